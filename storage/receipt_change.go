package storage

import (
	"context"
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/clipferry/clipferry/internal/fault"
)

// WriteReceipt writes r over the receipt was, as it was read, or where none stood.
// It reports false, and changes nothing, if another one stands now.
func (a *Archive) WriteReceipt(ctx context.Context, r, was Receipt) (bool, error) {
	return a.writeDocument(ctx, a.receiptKey(r.ID), was.Version, r)
}

// maxReceiptTries bounds how often one change of a receipt is tried against
// others; each that came first has made progress.
const maxReceiptTries = 10

// SyncReceipt makes the receipt say what r says of its task, whatever stands there,
// unless that is known to be later: see [Receipt.Over].
func (a *Archive) SyncReceipt(ctx context.Context, r Receipt) error {
	for n := 1; n <= maxReceiptTries; n++ {
		was, found, err := a.Receipt(ctx, r.ID)
		if err != nil {
			return err
		}
		if found && was.ID != r.ID {
			return fault.New(fault.Terminal, fmt.Sprintf("%s is the receipt of %q, not of %q", a.receiptKey(r.ID), was.ID, r.ID), nil).
				WithHint("a store that takes both names for one can't keep exports whose ids differ in nothing else")
		}
		next, due := r.Over(was)
		if !due {
			return nil
		}
		if next.Closed == nil && next.Ended() {
			next.Closed = aws.Time(a.now().UTC())
		}
		if written, err := a.WriteReceipt(ctx, next, was); written || err != nil {
			return err
		}
		if !a.backoff.pause(ctx, n, 0) {
			break
		}
	}
	return fault.New(fault.Retry, fmt.Sprintf("%s is changed by others all the time", a.receiptKey(r.ID)), nil)
}

// Over returns what follows where r is to be said and was stands, and whether that
// is to be written. Of its own task r says how that stands, but done is the last
// word. A receipt of another task, or of an intent, is replaced, and what it knew is
// kept ([Receipt.After]), unless it gave r's task up and r does not know of that.
// Without a task, r says only that its settled intents came to nothing.
func (r Receipt) Over(was Receipt) (Receipt, bool) {
	switch {
	case r.ExportTaskID == "":
		if was.State != ReceiptIntent && (was.State != ReceiptUnsent || r.State == ReceiptUnsent) || !slices.Contains(r.Settled, was.Intent) {
			return was, false
		}
	case was.ExportTaskID == r.ExportTaskID:
		done := was.State == ReceiptDone && (r.State != ReceiptDone || was.Manifest != "")
		if done || was.State == r.State && was.Manifest == r.Manifest {
			return was, false
		}
	case slices.Contains(was.Earlier, r.ExportTaskID) && !r.knows(was.ExportTaskID):
		return was, false // whoever says it comes late
	default:
		return r.After(was), true
	}
	next := was
	next.State, next.Manifest, next.Closed = r.State, r.Manifest, nil
	if len(r.Passed) > 0 {
		next.Passed = r.Passed
	}
	return next, true
}

// knows reports whether the receipt's writer knew of the task.
func (r Receipt) knows(task string) bool {
	return slices.Contains(r.Earlier, task) || slices.Contains(r.Duplicates, task)
}

// After is the receipt with all tasks that the one before it knew of: a task that
// it names itself in Duplicates if r has it there, else in Earlier.
func (r Receipt) After(was Receipt) Receipt {
	var earlier, duplicates []string
	for _, task := range slices.Concat(r.Duplicates, was.Duplicates) {
		if task != r.ExportTaskID && !slices.Contains(r.Earlier, task) && !slices.Contains(duplicates, task) {
			duplicates = append(duplicates, task)
		}
	}
	for _, task := range slices.Concat(was.Earlier, r.Earlier, []string{was.ExportTaskID}) {
		if task != "" && task != r.ExportTaskID && !slices.Contains(duplicates, task) && !slices.Contains(earlier, task) {
			earlier = append(earlier, task)
		}
	}
	r.Earlier, r.Duplicates = earlier, duplicates
	return r
}
