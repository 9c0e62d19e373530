package main

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/clipferry/clipferry/cmd/internal/assembly"
	"github.com/clipferry/clipferry/config"
	"github.com/clipferry/clipferry/internal/budget"
	"github.com/clipferry/clipferry/internal/control"
	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/units"
)

// lookout tells what exports wait for. What it can't learn is left out: the
// exports themselves are shown all the same.
type lookout struct {
	cfg   *config.Config
	rdb   redis.UniversalClient
	gates map[string]*budget.Gate
	look  *control.Lookout
}

func (c *connection) lookout() *lookout {
	l := &lookout{cfg: c.cfg, rdb: c.rdb, gates: map[string]*budget.Gate{}}
	l.look = control.NewLookout(c.rdb, l.account, time.Now)
	return l
}

func (l *lookout) close() {
	for _, g := range l.gates {
		g.Close()
	}
}

// account returns an account to look at; one that is not configured here has the
// limits that are for all.
func (l *lookout) account(name string) control.Account {
	a := l.cfg.Account(name)
	if l.gates[a.Name] == nil {
		gate, err := assembly.Gate(a, l.rdb, slog.New(slog.DiscardHandler))
		if err != nil {
			panic("clipferry: " + err.Error()) // the configuration was checked
		}
		l.gates[a.Name] = gate
	}
	return control.Account{Name: a.Name, Budget: l.gates[a.Name], Units: units.New(l.rdb, a.Name, a.DailyUnits)}
}

func (l *lookout) at(ctx context.Context, records []*export.Record) control.Outlook {
	out, err := l.look.Look(ctx, records, assembly.AccountNames(l.cfg)...)
	if err != nil {
		return control.Outlook{}
	}
	return out
}

// summaries are how the accounts stand, one a line.
func summaries(out control.Outlook) []string {
	var all []string
	for _, s := range out.Accounts {
		all = append(all, "account "+s.Summary(time.Now()))
		if spent := s.Spending(); spent != "" {
			all = append(all, "  "+spent)
		}
	}
	return all
}

// printSummaries writes them as messages: they are not what was asked for.
func (c *console) printSummaries(out control.Outlook) {
	if lines := summaries(out); len(lines) > 0 {
		fmt.Fprintln(c.stderr, strings.Join(lines, "\n"))
	}
}

// waitingView is an export as it is shown, with what it waits for.
type waitingView struct {
	export.View
	WaitingFor string `json:"waiting_for"`
}
