package main

import (
	"bytes"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/clipferry/clipferry/cmd/internal/cli"
	"github.com/clipferry/clipferry/config"
)

// stuck is a pipe that nobody reads until it is opened.
type stuck struct {
	open  chan struct{}
	lines chan string
}

func (s *stuck) Write(p []byte) (int, error) {
	<-s.open
	s.lines <- string(p)
	return len(p), nil
}

func TestALogThatNobodyReadsHoldsUpNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pipe := &stuck{open: make(chan struct{}), lines: make(chan string, 10)}
		log := &lossy{w: pipe}
		began := time.Now()
		for _, line := range []string{"one\n", "two\n", "three\n"} {
			if n, err := log.Write([]byte(line)); n != len(line) || err != nil {
				t.Errorf("%d, %v", n, err)
			}
		}
		if waited := time.Since(began); waited != logTimeout {
			t.Errorf("three lines took %v", waited)
		}
		close(pipe.open)
		synctest.Wait()
		_, _ = log.Write([]byte("four\n"))
		if got := <-pipe.lines; got != "one\n" {
			t.Errorf("%q", got)
		}
		if got := <-pipe.lines; !strings.Contains(got, `"lines":2}`) || !strings.HasSuffix(got, "\nfour\n") {
			t.Errorf("%q", got)
		}
	})
}

func TestDurationsInLogsAreReadable(t *testing.T) {
	var out bytes.Buffer
	c := &console{msg: cli.NewPrinter(&out)}
	c.logger(&config.Config{LogFormat: "json"}).Info("webhook failed", "wait", 28942635307*time.Nanosecond)
	if got := out.String(); !strings.Contains(got, `"wait":"28.942635307s"`) {
		t.Error(got)
	}
}
