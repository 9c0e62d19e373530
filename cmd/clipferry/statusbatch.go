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
	"github.com/clipferry/clipferry/internal/retry"
	"github.com/clipferry/clipferry/internal/view"
)

func (s *statusFlags) runBatch(ctx context.Context, c *console) error {
	conn, err := c.connect(ctx, 0)
	if err != nil {
		return err
	}
	defer conn.close()
	for last := ""; ; {
		v, err := conn.exports.Batch(ctx, s.batch, view.CLI)
		if errors.Is(err, index.ErrNoBatch) {
			_ = c.msg.Printf("%s: no batch has this name; after a loss of Redis, run `clipferry recover`, or enqueue the same file under it again: what was ordered is not ordered again\n", s.batch)
			return errReported
		}
		if err != nil && (!s.watch || ctx.Err() != nil) {
			return err
		}
		if err == nil {
			if line := barOf(v); s.json || line != last {
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

func (s *statusFlags) showBatch(c *console, v view.Batch) error {
	if s.json {
		return c.out.JSON(v)
	}
	out := []cli.Styled{cli.Sprintf("%s", barOf(v))}
	for _, p := range v.Problems {
		line := cli.Sprintf("  %s %s", p.ID, p.State)
		if p.Error != "" { // a member that was canceled has none
			line += cli.Sprintf(": %s", p.Error)
		}
		out = append(out, line)
	}
	return c.out.Write(lines(out))
}

// barOf is the batch as one bar.
func barOf(v view.Batch) string {
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
