package storage

import (
	"context"
	"encoding/json"
	"iter"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/fault"
)

// ReceiptState is how far the export of a receipt is.
type ReceiptState string

// The states of a receipt; all but ReceiptIntent, ReceiptUnsent and ReceiptOpen say
// that its export is over.
const (
	ReceiptIntent   ReceiptState = "intent"   // a paid request is about to be sent, or was; it names no task
	ReceiptUnsent   ReceiptState = "unsent"   // that request was not sent, or not taken; its export waits in line again
	ReceiptOpen     ReceiptState = "open"     // the provider took it
	ReceiptDone     ReceiptState = "done"     // archived
	ReceiptFailed   ReceiptState = "failed"   // rendered in vain or, without a task, not taken
	ReceiptExpired  ReceiptState = "expired"  // the provider no longer has it
	ReceiptCanceled ReceiptState = "canceled" // a person stopped it
	ReceiptEnded    ReceiptState = "ended"    // of what was passed through: nothing more is to come
)

// receiptReaders is how many receipts are read at once.
const receiptReaders = 8

// Receipt says that an export may have been paid for, and as which task. It is
// written ahead of the paid request. It is what an export is recovered from when
// Redis is lost, and it is never deleted: a closed one still says that its id was
// paid for.
type Receipt struct {
	ID           string          `json:"id"`
	ExportTaskID string          `json:"export_task_id"`
	ProjectID    string          `json:"project_id"`
	Account      string          `json:"account,omitempty"`
	Tenant       string          `json:"tenant,omitempty"`  // as the record has it
	Kind         export.TaskKind `json:"kind,omitempty"`    // of a task that was made elsewhere
	ReadAs       string          `json:"read_as,omitempty"` // and Skip: as the record has them
	Skip         []int           `json:"skip,omitempty"`
	Request      json.RawMessage `json:"request,omitempty"`
	Created      time.Time       `json:"created,omitzero"` // when the export was enqueued or taken up
	Submitted    time.Time       `json:"submitted"`        // when it was accepted; of an intent, when that was written
	Intent       string          `json:"intent,omitempty"` // the token of the request, while no task is known
	Answer       string          `json:"answer,omitempty"` // of an intent: what the provider accepted it with, without naming a task
	Closed       *time.Time      `json:"closed,omitempty"`
	State        ReceiptState    `json:"state"`
	Manifest     string          `json:"manifest,omitempty"` // its key
	// What its producer asked for besides: where it waits if it has to be
	// submitted again, whom to notify of its end (as notify.Envelope writes it,
	// without a secret that could be read), and the trace that it belongs to.
	Priority string            `json:"priority,omitempty"`
	Labels   map[string]string `json:"labels,omitempty"`
	Batch    string            `json:"batch,omitempty"`
	Notify   json.RawMessage   `json:"notify,omitempty"`
	Trace    map[string]string `json:"trace,omitempty"`
	// Passed is, of a request that was passed through, what package passthrough keeps.
	Passed json.RawMessage `json:"passed,omitempty"`
	// Earlier are export tasks that the same id was submitted as before, and that
	// were given up; Duplicates were paid for as well, after lost answers.
	Earlier    []string `json:"earlier,omitempty"`
	Duplicates []string `json:"duplicates,omitempty"`

	// Settled are tokens of intents that came to nothing: what a receipt without a
	// task says, see [Receipt.Over].
	Settled []string `json:"-"`
	// Version is what stands in S3, for [Archive.WriteReceipt]; empty for nothing.
	Version string `json:"-"`
}

// Ended reports whether nothing more is to come of what the receipt says.
func (r Receipt) Ended() bool {
	switch r.State {
	case ReceiptDone, ReceiptFailed, ReceiptExpired, ReceiptCanceled, ReceiptEnded:
		return true
	default:
		return false
	}
}

func (a *Archive) receiptKey(id string) string {
	return a.key(receiptFolder, safeID(id)+".json")
}

// Receipt returns the receipt of an export id; false when there is none.
func (a *Archive) Receipt(ctx context.Context, id string) (Receipt, bool, error) {
	var r Receipt
	version, err := a.readDocument(ctx, a.receiptKey(id), &r)
	r.Version = version
	return r, version != "", err
}

// Receipts yields the receipts that were written since, in no particular order,
// reading some ahead; with the zero time all of them. A receipt that cannot be read yields its fault and the next ones still come; a
// listing that breaks off yields its fault last.
func (a *Archive) Receipts(ctx context.Context, since time.Time) iter.Seq2[Receipt, error] {
	return func(yield func(Receipt, error) bool) {
		var keys []string
		for o, err := range a.list(ctx, a.key(receiptFolder)+"/", "receipts") {
			switch {
			case err != nil:
				if a.yieldReceipts(ctx, keys, yield) {
					yield(Receipt{}, err)
				}
				return
			case strings.HasSuffix(o.Key, ".json") && (o.Modified.IsZero() || !o.Modified.Before(since)):
				keys = append(keys, o.Key)
			}
			if len(keys) == receiptReaders {
				if !a.yieldReceipts(ctx, keys, yield) {
					return
				}
				keys = nil
			}
		}
		a.yieldReceipts(ctx, keys, yield)
	}
}

func (a *Archive) yieldReceipts(ctx context.Context, keys []string, yield func(Receipt, error) bool) bool {
	receipts, errs := make([]Receipt, len(keys)), make([]error, len(keys))
	var g errgroup.Group
	for i, key := range keys {
		g.Go(func() error {
			ok, err := a.getDocument(ctx, key, &receipts[i])
			if err == nil && (!ok || receipts[i].ID == "") {
				err = fault.New(fault.Terminal, key+" is not a receipt", nil)
			}
			errs[i] = err
			return nil
		})
	}
	_ = g.Wait() // each error is yielded with its receipt
	for i := range keys {
		if !yield(receipts[i], errs[i]) {
			return false
		}
	}
	return true
}
