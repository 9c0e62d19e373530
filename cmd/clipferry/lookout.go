package main

import (
	"context"
	"strings"
	"time"

	"github.com/clipferry/clipferry/cmd/internal/wiring"
	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/status"
	"github.com/clipferry/clipferry/internal/view"
)

// lookout tells what exports wait for. What it can't learn is left out: the
// exports themselves are shown all the same.
type lookout struct {
	accounts []string
	look     *status.Reader
}

func (c *connection) lookout() (*lookout, error) {
	look, err := wiring.Lookout(c.cfg, c.rdb)
	return &lookout{wiring.AccountNames(c.cfg), look}, err
}

func (l *lookout) at(ctx context.Context, records []*export.Record) status.Snapshot {
	out, err := l.look.Read(ctx, records, l.accounts...)
	if err != nil {
		return status.Snapshot{}
	}
	return out
}

// summaries are how the accounts stand, one a line.
func summaries(out status.Snapshot) []string {
	var all []string
	for _, s := range out.Accounts {
		all = append(all, "account "+s.Summary(time.Now()))
		if spent := s.Spending(); spent != "" {
			all = append(all, "  "+spent)
		}
	}
	if out.Bucket.Open {
		all = append(all, "archive: HALTED: it waits for "+status.BucketHalted(out.Bucket, time.Now()))
	}
	for _, what := range out.Fleet {
		all = append(all, "fleet: "+what)
	}
	return all
}

// printSummaries writes them as messages: they are not what was asked for.
func (c *console) printSummaries(out status.Snapshot) {
	if lines := summaries(out); len(lines) > 0 {
		_ = c.msg.Lines(strings.Join(lines, "\n") + "\n")
	}
}

// waitingView is an export as it is shown, with what it waits for.
type waitingView struct {
	view.Export
	WaitingFor string `json:"waiting_for"`
}
