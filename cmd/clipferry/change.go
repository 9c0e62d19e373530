package main

import (
	"cmp"
	"context"
	"errors"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/clipferry/clipferry/cmd/internal/cli"
	"github.com/clipferry/clipferry/internal/admin"
	"github.com/clipferry/clipferry/internal/export"
)

func cancelCommand(c *console) *cobra.Command {
	b := &bulk{}
	cmd := &cobra.Command{
		Use: "cancel ID… | --state S … [--dry-run]", Short: "stop exports",
		Long: `What the provider has accepted goes on rendering there and is paid for; it is
read until its end, so that its slot is known to be free, and not archived.`,
		Args: b.ids,
		RunE: func(cmd *cobra.Command, ids []string) error {
			if len(ids) == 0 {
				return b.cancel(cmd.Context(), c)
			}
			return c.change(cmd.Context(), ids, (*admin.Service).Cancel)
		},
	}
	b.define(cmd)
	return cmd
}

func retryCommand(c *console) *cobra.Command {
	var o export.RetryOptions
	b := &bulk{}
	cmd := &cobra.Command{
		Use: "retry [--pay-again] ID… | --state S … [--dry-run]", Short: "take failed, expired, canceled or held exports up again where they stopped",
		Long: `Nothing is paid for twice unless --pay-again allows it: it is needed where the
provider's task can't be used any more. With a filter it needs the token that
--dry-run with the same filter prints, and pays for what that named alone.`,
		Args: b.ids,
		RunE: func(cmd *cobra.Command, ids []string) error {
			err := checkRetry(cmd.Flags(), o, ids)
			if len(ids) == 0 {
				return b.retry(cmd.Context(), c, o, err)
			}
			if err != nil {
				return err
			}
			return c.change(cmd.Context(), ids, func(s *admin.Service, ctx context.Context, id string) (*export.Record, error) {
				return s.Retry(ctx, id, o)
			})
		},
	}
	cmd.Flags().StringVar(&o.SubmittedAs, "submitted-as", "", "the provider's `TASK` of a held export, as found on the provider's site")
	b.define(cmd)
	cmd.Flags().StringVar(&b.confirm, "confirm", "", "with a filter and --pay-again: the `TOKEN` that --dry-run has printed")
	cmd.Flags().BoolVar(&o.PayAgain, "pay-again", false, "allow a new paid export")
	return cmd
}

// someIDs refuses a command line without an id.
func someIDs(_ *cobra.Command, args []string) error {
	if len(args) == 0 {
		return cli.Usagef("give at least one id")
	}
	return nil
}

// checkRetry refuses options that don't fit, above all a task that is empty
// because a variable of a script was: the export would be ordered again.
func checkRetry(set *pflag.FlagSet, o export.RetryOptions, ids []string) error {
	if !set.Changed("submitted-as") {
		return nil
	}
	var faults []error
	if wrong := admin.CheckTask(o.SubmittedAs); wrong != "" {
		faults = append(faults, cli.Usagef("--submitted-as %s", wrong))
	}
	if o.PayAgain {
		faults = append(faults, cli.Usagef("--submitted-as and --pay-again exclude each other: either it was accepted, or it is ordered again"))
	}
	switch {
	case len(ids) == 0:
		faults = append(faults, cli.Usagef("--submitted-as names the task of one export, not of a filter"))
	case len(ids) > 1:
		faults = append(faults, cli.Usagef("--submitted-as names the task of one export, not of %d", len(ids)))
	}
	return errors.Join(faults...)
}

// change does the same to each export, prints its new state, and fails if one
// could not be changed; the others are changed all the same.
func (c *console) change(ctx context.Context, ids []string, f func(*admin.Service, context.Context, string) (*export.Record, error)) error {
	conn, err := c.connect(ctx, 0)
	if err != nil {
		return err
	}
	defer conn.close()
	return c.changeAll(ctx, conn, ids, f)
}

func (c *console) changeAll(ctx context.Context, conn *connection, ids []string, f func(*admin.Service, context.Context, string) (*export.Record, error)) error {
	outliveReaders()
	var failed error
	find := newFinder(c, conn)
	for _, id := range ids {
		r, err := f(conn.exports, ctx, id)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, admin.ErrUnknown):
			failed = errReported
			_ = c.msg.Printf("%s: %s\n", cmp.Or(id, `""`), find.whyUnknown(ctx, id))
		case errors.Is(err, export.ErrMayBePaid):
			failed = errReported
			_ = c.msg.Printf("%s: %s; use --submitted-as TASK_ID if the provider's site shows its task, else --pay-again for a new paid export\n", id, err)
		case errors.Is(err, export.ErrPaid):
			failed = errReported
			_ = c.msg.Printf("%s: %s; use --pay-again for a new paid export\n", id, err)
		case err != nil:
			failed = errReported
			_ = c.msg.Printf("%s: %s\n", id, err)
		default:
			if err := c.out.Printf("%s %s\n", r.ID, r.State); err != nil {
				return err
			}
		}
	}
	return failed
}
