package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/clipferry/clipferry/cmd/internal/cli"
	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/index"
	"github.com/clipferry/clipferry/internal/ledger"
	"github.com/clipferry/clipferry/internal/retry"
	"github.com/clipferry/clipferry/internal/view"
)

// batchView is a batch as it is shown. Field names are part of the outside contract.
type batchView struct {
	Batch     string         `json:"batch"`
	Members   int            `json:"members"`
	CreatedAt time.Time      `json:"created_at"`
	States    map[string]int `json:"states"`
	Missing   int            `json:"missing"` // not enqueued yet, or forgotten
	Final     int            `json:"final"`
	Complete  bool           `json:"complete"`
	Problems  []batchProblem `json:"problems"` // members that ended without an archive, the newest ones
}

type batchProblem struct {
	ID     string        `json:"id"`
	State  string        `json:"state"`
	Reason export.Reason `json:"reason"`
	Error  string        `json:"error"`
}

// maxProblems is how many members that failed are named of each state.
const maxProblems = 20

func (s *statusFlags) runBatch(ctx context.Context, c *console) error {
	conn, err := c.connect(ctx, 0)
	if err != nil {
		return err
	}
	defer conn.close()
	for last := ""; ; {
		v, err := conn.batch(ctx, s.batch)
		if errors.Is(err, index.ErrNoBatch) {
			_ = c.msg.Printf("%s: no batch has this name; after a loss of Redis, run `clipferry recover`, or enqueue the same file under it again: what was ordered is not ordered again\n", s.batch)
			return errReported
		}
		if err != nil && (!s.watch || ctx.Err() != nil) {
			return err
		}
		if err == nil {
			if line := v.line(); s.json || line != last {
				last = line
				if err := s.showBatch(c, v); err != nil {
					return err
				}
			}
			if !s.watch || v.Complete {
				return nil
			}
		}
		if err := retry.Wait(ctx, time.Second); err != nil {
			return err
		}
	}
}

func (s *statusFlags) showBatch(c *console, v batchView) error {
	if s.json {
		return c.out.JSON(v)
	}
	out := []cli.Styled{cli.Sprintf("%s", v.line())}
	for _, p := range v.Problems {
		out = append(out, cli.Sprintf("  %s %s: %s", p.ID, p.State, p.Error))
	}
	return c.out.Write(lines(out))
}

// line is the batch as one bar.
func (v batchView) line() string {
	const width = 30
	full := 0
	if v.Members > 0 {
		full = min(width, width*v.Final/v.Members)
	}
	parts := []string{}
	for _, s := range export.States() {
		if n := v.States[string(s)]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, s))
		}
	}
	if v.Missing > 0 {
		parts = append(parts, fmt.Sprintf("%d not enqueued: give the same file again", v.Missing))
	}
	return fmt.Sprintf("batch %s |%s%s| %d of %d final: %s", v.Batch, strings.Repeat("█", full), strings.Repeat("░", width-full),
		v.Final, v.Members, strings.Join(parts, ", "))
}

// batch returns a batch as it is now.
func (conn *connection) batch(ctx context.Context, name string) (batchView, error) {
	b, err := index.LoadBatch(ctx, conn.rdb, name)
	if err != nil {
		return batchView{}, err
	}
	v := batchView{Batch: name, Members: b.Count, CreatedAt: b.Created, States: map[string]int{}, Problems: []batchProblem{}}
	in, missing, err := index.CountMembers(ctx, conn.rdb, name, stateNames())
	if err != nil {
		return v, err
	}
	v.Missing = missing
	for i, s := range export.States() {
		if in[i] == 0 {
			continue
		}
		v.States[string(s)] = in[i]
		if !s.Final() {
			continue
		}
		v.Final += in[i]
		if s == export.Archived {
			continue
		}
		ended, err := conn.exports.List(ctx, ledger.Filter{Batch: name, State: s, Limit: maxProblems})
		if err != nil {
			return v, err
		}
		for _, r := range ended {
			shown := view.Of(r, view.CLI)
			v.Problems = append(v.Problems, batchProblem{r.ID, shown.State, shown.Reason, shown.Error})
		}
	}
	v.Complete = v.Final >= v.Members
	return v, nil
}
