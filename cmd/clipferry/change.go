package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/pflag"

	"github.com/clipferry/clipferry/internal/admin"
	"github.com/clipferry/clipferry/internal/export"
)

func cancelCommand() command {
	return command{
		name: "cancel", args: "ID…", summary: "stop exports",
		details: `What the provider has accepted goes on rendering there and is paid for; it is
read until its end, so that its slot is known to be free, and not archived.`,
		flags: func(*pflag.FlagSet) action {
			return func(ctx context.Context, c *console, ids []string) error {
				return c.change(ctx, ids, (*admin.Service).Cancel)
			}
		},
	}
}

func retryCommand() command {
	return command{
		name: "retry", args: "[--submitted-as TASK] [--pay-again] ID…", summary: "take failed, expired, canceled or held exports up again where they stopped",
		details: `Nothing is paid for twice unless --pay-again allows it: it is needed where the
provider's task can't be used any more.`,
		flags: func(set *pflag.FlagSet) action {
			var o export.RetryOptions
			set.StringVar(&o.SubmittedAs, "submitted-as", "", "the provider's `TASK` of a held export, as found on the provider's site")
			set.BoolVar(&o.PayAgain, "pay-again", false, "allow a new paid export")
			return func(ctx context.Context, c *console, ids []string) error {
				if err := checkRetry(set, o, ids); err != nil {
					return err
				}
				return c.change(ctx, ids, func(d *admin.Service, ctx context.Context, id string) (*export.Record, error) {
					return d.Retry(ctx, id, o)
				})
			}
		},
	}
}

// checkRetry refuses options that don't fit, above all a task that is empty
// because a variable of a script was: the export would be ordered again.
func checkRetry(set *pflag.FlagSet, o export.RetryOptions, ids []string) error {
	if !set.Changed("submitted-as") {
		return nil
	}
	if wrong := admin.CheckTask(o.SubmittedAs); wrong != "" {
		return usagef("--submitted-as %s", wrong)
	}
	if o.PayAgain {
		return usagef("--submitted-as and --pay-again exclude each other: either it was accepted, or it is ordered again")
	}
	if len(ids) > 1 {
		return usagef("--submitted-as names the task of one export, not of %d", len(ids))
	}
	return nil
}

// change does the same to each export, prints its new state, and fails if one
// could not be changed; the others are changed all the same.
func (c *console) change(ctx context.Context, ids []string, f func(*admin.Service, context.Context, string) (*export.Record, error)) error {
	if len(ids) == 0 {
		return usagef("give at least one id")
	}
	conn, err := c.connect(ctx, 0)
	if err != nil {
		return err
	}
	defer conn.close()
	var failed error
	for _, id := range ids {
		r, err := f(conn.exports, ctx, id)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, admin.ErrUnknown):
			failed = errReported
			fmt.Fprintf(c.stderr, "%s: unknown: %s\n", printable(id), newUnknown(id).Error)
		case err != nil:
			failed = errReported
			fmt.Fprintf(c.stderr, "%s: %v\n", printable(id), err)
		default:
			fmt.Fprintf(c.stdout, "%s %s\n", r.ID, r.State)
		}
	}
	return failed
}
