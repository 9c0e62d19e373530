package telemetry

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// A scraper that leaves in the middle makes promhttp complain once for each metric.
func TestWhatPromhttpSaysIsReadableAndRare(t *testing.T) {
	var out bytes.Buffer
	now := time.Unix(1775831883, 0)
	l := &onceAMinute{log: slog.New(slog.NewJSONHandler(&out, nil)), message: "metrics are not complete", now: func() time.Time { return now }}
	for range 300 {
		l.Println("error encoding and sending metric family:", errors.New("broken pipe"))
	}
	if got := out.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, `"error encoding and sending metric family: broken pipe"`) {
		t.Error(got)
	}
	now = now.Add(time.Minute)
	l.Println("again")
	if got := strings.Count(out.String(), "\n"); got != 2 {
		t.Errorf("%d lines after a minute", got)
	}
}
