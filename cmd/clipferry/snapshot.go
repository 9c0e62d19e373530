package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/clipferry/clipferry/cmd/internal/wiring"
	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/notify"
	"github.com/clipferry/clipferry/internal/status"
	"github.com/clipferry/clipferry/internal/view"
)

// snapshots says what exports wait for. What it can't learn is left out: the
// exports themselves are shown all the same.
type snapshots struct {
	accounts []string
	reader   *status.Reader
	notified *notify.Reader
}

func (c *connection) snapshots() (*snapshots, error) {
	reader, err := wiring.StatusReader(c.cfg, c.rdb)
	return &snapshots{wiring.AccountNames(c.cfg), reader, notify.NewReader(c.rdb)}, err
}

func (s *snapshots) of(ctx context.Context, records []*export.Record) status.Snapshot {
	out, err := s.reader.Read(ctx, records, s.accounts...)
	if err != nil {
		return status.Snapshot{}
	}
	return out
}

// notification says what became of the notification of an export's end; nil where
// there is none.
func (s *snapshots) notification(ctx context.Context, r *export.Record) *notify.Notification {
	n, err := s.notified.Of(ctx, r)
	if err != nil {
		return nil
	}
	return n
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
	for _, o := range out.Outages {
		what := "archive: worker %s takes nothing that needs S3: %s"
		if o.Catalog {
			what = "catalog: worker %s can't add archived clips, which nobody finds until it can: %s"
		}
		all = append(all, fmt.Sprintf(what, o.Worker, o.Sentence))
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
	WaitingFor    string               `json:"waiting_for"`
	WaitingReason status.Reason        `json:"waiting_reason"`
	Notification  *notify.Notification `json:"notification,omitempty"` // not in a list
}
