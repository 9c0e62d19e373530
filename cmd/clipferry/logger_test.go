package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/clipferry/clipferry/cmd/internal/cli"
	"github.com/clipferry/clipferry/config"
)

func TestDurationsInLogsAreReadable(t *testing.T) {
	var out bytes.Buffer
	c := &console{msg: cli.NewPrinter(&out)}
	c.logger(&config.Config{LogFormat: "json"}).Info("webhook failed", "wait", 28942635307*time.Nanosecond)
	if got := out.String(); !strings.Contains(got, `"wait":"28.942635307s"`) {
		t.Error(got)
	}
}
