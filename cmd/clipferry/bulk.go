package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/clipferry/clipferry/cmd/internal/cli"
	"github.com/clipferry/clipferry/internal/admin"
	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/ledger"
)

// bulk changes all exports that a filter lets through.
type bulk struct {
	filterFlags
	dryRun  bool
	confirm string // of a retry: the token of the dry run whose exports may be paid for again
}

func (b *bulk) define(cmd *cobra.Command) {
	b.filterFlags.define(cmd)
	cmd.Flags().BoolVar(&b.dryRun, "dry-run", false, "with a filter: change nothing, and say what would be changed and what it would cost")
}

// ids refuses a command line with neither ids nor a filter, or with both.
func (b *bulk) ids(_ *cobra.Command, args []string) error {
	switch {
	case len(args) == 0 && !b.given():
		return cli.Usagef("give at least one id, or a filter such as --state or --label")
	case len(args) > 0 && b.given():
		return cli.Usagef("ids and a filter exclude each other")
	case len(args) > 0 && (b.dryRun || b.confirm != ""):
		return cli.Usagef("--dry-run and --confirm go with a filter")
	}
	return nil
}

// candidates returns the exports that the filter lets through and that pass.
func candidates(ctx context.Context, conn *connection, filter ledger.Filter, pass func(export.State) bool) ([]*export.Record, error) {
	filter.Limit = maxList
	records, err := conn.exports.List(ctx, filter)
	return slices.DeleteFunc(records, func(r *export.Record) bool { return !pass(r.State) }), err
}

func (b *bulk) cancel(ctx context.Context, c *console) error {
	filter, err := b.filter(time.Now())
	if err != nil {
		return err
	}
	conn, err := c.connect(ctx, 0)
	if err != nil {
		return err
	}
	defer conn.close()
	records, err := candidates(ctx, conn, filter, func(s export.State) bool { return !s.Final() })
	if err != nil {
		return err
	}
	if len(records) == 0 && !b.dryRun {
		return c.msg.Printf("nothing is open that the filter lets through; nothing was canceled\n")
	}
	ids, ordered := make([]string, len(records)), 0
	for i, r := range records {
		if ids[i] = r.ID; r.ExportTaskID != "" {
			ordered++
		}
	}
	if b.dryRun {
		for _, r := range records {
			if err := c.out.Printf("%s %s\n", r.ID, r.State); err != nil {
				return err
			}
		}
		return c.msg.Printf("%d exports would be canceled; %d of them are ordered already, and stay paid for\n", len(ids), ordered)
	}
	return c.changeAll(ctx, conn, ids, (*admin.Service).Cancel)
}

// retryable are the states that a retry takes exports up from.
func retryable(s export.State) bool {
	return s == export.Failed || s == export.Expired || s == export.Canceled || s == export.Held
}

func (b *bulk) retry(ctx context.Context, c *console, o export.RetryOptions, wrong error) error {
	filter, err := b.filter(time.Now())
	if err = errors.Join(wrong, err); o.PayAgain != (b.confirm != "") {
		err = errors.Join(err, cli.Usagef("with a filter, --pay-again needs --confirm and the token that --dry-run with the same filter prints"))
	}
	if err != nil {
		return err
	}
	conn, err := c.connect(ctx, 0)
	if err != nil {
		return err
	}
	defer conn.close()
	records, err := candidates(ctx, conn, filter, retryable)
	if err != nil {
		return err
	}
	var ids, paid []string
	cost := 0.0
	for _, r := range records {
		whole, err := conn.exports.Get(ctx, r.ID)
		if err != nil {
			return err
		}
		before := whole.CostUsage
		switch err := whole.Retry(time.Now(), export.RetryOptions{}); { // on a copy: it is not stored
		case errors.Is(err, export.ErrPaid):
			paid, cost = append(paid, r.ID), cost+before
		case err == nil:
			ids = append(ids, r.ID)
		}
	}
	token := tokenOf(paid)
	switch {
	case b.dryRun:
		return c.printRetries(ids, paid, cost, token)
	case o.PayAgain && b.confirm != token:
		return cli.Usagef("--confirm is of another dry run: other exports would be paid for again by now; nothing was changed, run --dry-run again")
	}
	failed := c.changeAll(ctx, conn, ids, func(s *admin.Service, ctx context.Context, id string) (*export.Record, error) {
		return s.Retry(ctx, id, export.RetryOptions{})
	})
	if ctx.Err() != nil || !o.PayAgain {
		if len(paid) > 0 {
			_ = c.msg.Printf("%d more would be paid for again, and are left; see --dry-run\n", len(paid))
		}
		return failed
	}
	return errors.Join(failed, c.changeAll(ctx, conn, paid, func(s *admin.Service, ctx context.Context, id string) (*export.Record, error) {
		return s.Retry(ctx, id, o)
	}))
}

// tokenOf names a set of exports.
func tokenOf(ids []string) string {
	sum := sha256.Sum256([]byte(strings.Join(slices.Sorted(slices.Values(ids)), "\n")))
	return fmt.Sprintf("%d-%s", len(ids), hex.EncodeToString(sum[:6]))
}

func (c *console) printRetries(ids, paid []string, cost float64, token string) error {
	for _, list := range []struct {
		ids  []string
		what string
	}{{ids, "goes on where it stopped"}, {paid, "is paid for again"}} {
		for _, id := range list.ids {
			if err := c.out.Printf("%s %s\n", id, list.what); err != nil {
				return err
			}
		}
	}
	_ = c.msg.Printf("%d exports would go on at no cost\n", len(ids))
	if len(paid) == 0 {
		return nil
	}
	return c.msg.Printf("%d need a new paid order (their last ones cost %g units, as far as is known): add --pay-again --confirm %s\n", len(paid), cost, token)
}
