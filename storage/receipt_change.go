package storage

import (
	"context"
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/clipferry/clipferry/internal/fault"
)

// maxReceiptTries bounds how often one change of a receipt is tried against
// others; each that came first has made progress.
const maxReceiptTries = 10

// changeReceipt lets change say what follows from the receipt that stands (the
// zero one for none), and writes that unless somebody else has written
// meanwhile, else asks again. change reports whether there is something to write.
func (a *Archive) changeReceipt(ctx context.Context, id string, change func(was Receipt) (Receipt, bool)) error {
	key := a.receiptKey(id)
	for n := 1; n <= maxReceiptTries; n++ {
		var was Receipt
		etag, err := a.readDocument(ctx, key, &was)
		if err != nil {
			return err
		}
		if etag != "" && was.ID != id {
			return fault.New(fault.Terminal, fmt.Sprintf("%s is the receipt of %q, not of %q", key, was.ID, id), nil).
				WithHint("a store that takes both names for one can't keep exports whose ids differ in nothing else")
		}
		next, due := change(was)
		if !due {
			return nil
		}
		written, err := a.replaceDocument(ctx, key, etag, next)
		if written || err != nil {
			return err
		}
		if !a.backoff.wait(ctx, n, nil) {
			break
		}
	}
	return fault.New(fault.Retry, fmt.Sprintf("%s is changed by others all the time", key), nil)
}

// PutReceipt writes an open receipt. One of the same export task that is there
// already stays as it is, closed or not, and so does one of a later task that
// names this one as given up. One of another task is replaced, and that task
// kept: in Duplicates if r names it there, else in Earlier.
func (a *Archive) PutReceipt(ctx context.Context, r Receipt) error {
	if r.State == "" {
		r.State = ReceiptOpen
	}
	return a.changeReceipt(ctx, r.ID, func(was Receipt) (Receipt, bool) {
		switch {
		case was.ExportTaskID == r.ExportTaskID:
			return was, false
		case slices.Contains(was.Earlier, r.ExportTaskID) && !r.knows(was.ExportTaskID):
			return was, false // whoever writes it comes late
		}
		return r.after(was), true
	})
}

// knows reports whether the receipt's writer knew of the task.
func (r Receipt) knows(task string) bool {
	return slices.Contains(r.Earlier, task) || slices.Contains(r.Duplicates, task)
}

// after is the receipt with all tasks that the one before it knew of.
func (r Receipt) after(was Receipt) Receipt {
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

// CloseReceipt marks the export task as over. A receipt of another task, none
// at all, and one that is done already stay as they are: done is the last word
// on a task. The manifest is its key, empty when there is none.
func (a *Archive) CloseReceipt(ctx context.Context, id, task string, outcome ReceiptState, manifest string) error {
	return a.changeReceipt(ctx, id, func(r Receipt) (Receipt, bool) {
		done := r.State == ReceiptDone && (outcome != ReceiptDone || r.Manifest != "")
		if task == "" || r.ExportTaskID != task || done || (r.State == outcome && r.Manifest == manifest) {
			return r, false
		}
		r.State, r.Manifest = outcome, manifest
		r.Closed = aws.Time(a.now().UTC())
		return r, true
	})
}

// ReopenReceipt marks the export task as open again, for one that is taken up
// once more. A receipt of another task and one that is done stay as they are.
func (a *Archive) ReopenReceipt(ctx context.Context, id, task string) error {
	return a.changeReceipt(ctx, id, func(r Receipt) (Receipt, bool) {
		if task == "" || r.ExportTaskID != task || r.State == ReceiptOpen || r.State == ReceiptDone {
			return r, false
		}
		r.State, r.Manifest, r.Closed = ReceiptOpen, "", nil
		return r, true
	})
}

// PutDoubt writes that a paid request may have been taken: ahead of it, so that
// no loss of Redis has it sent once more unseen. A task that was given up is
// kept in Earlier; a receipt of any other means that the export is paid for, and
// a doubt other than settled, the intent that the writer knows the end of, that
// it may be: both are faults.
func (a *Archive) PutDoubt(ctx context.Context, r Receipt, settled string) error {
	r.State, r.ExportTaskID = ReceiptDoubt, ""
	var why string
	err := a.changeReceipt(ctx, r.ID, func(was Receipt) (Receipt, bool) {
		why = ""
		switch {
		case was.ExportTaskID != "" && !r.knows(was.ExportTaskID):
			why = "was paid for as task " + was.ExportTaskID + " already"
			return was, false
		case was.State == ReceiptDoubt && was.Intent == r.Intent:
			return was, false
		case was.State == ReceiptDoubt && was.Intent != settled:
			why = "has another paid request under way, or in doubt"
			return was, false
		}
		return r.after(was), true
	})
	if err == nil && why != "" {
		return fault.New(fault.Retry, "export "+r.ID+" "+why, nil)
	}
	return err
}

// ClearDoubt notes that the request of the intent was not taken.
func (a *Archive) ClearDoubt(ctx context.Context, id, intent string) error {
	return a.changeReceipt(ctx, id, func(r Receipt) (Receipt, bool) {
		if r.State != ReceiptDoubt || r.Intent != intent {
			return r, false
		}
		r.State, r.Closed = ReceiptVoid, aws.Time(a.now().UTC())
		return r, true
	})
}
