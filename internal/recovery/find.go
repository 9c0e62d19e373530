package recovery

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/fault"
	"github.com/clipferry/clipferry/storage"
)

// Receipts is where receipts are found one by one and written.
type Receipts interface {
	Receipt(ctx context.Context, id string) (storage.Receipt, bool, error)
	WriteReceipt(ctx context.Context, r, was storage.Receipt) (bool, error)
	Manifests
}

// Says is what S3 says of an export that is about to be paid for, or may have been.
type Says string

// What S3 may say.
const (
	Nothing      Says = "nothing"
	Settled      Says = "settled"        // only what the record knows of, or what came to nothing
	InDoubt      Says = "in doubt"       // a request was about to be sent that the record knows nothing of
	Accepted     Says = "accepted"       // the provider took it, in words that name no task
	Paid         Says = "paid"           // the provider took it as a task that the record does not know
	OtherInDoubt Says = "other in doubt" // the same, of a different request under this id
	OtherPaid    Says = "other paid"     // of that one the provider took it, as whatever task
	OtherOver    Says = "other over"     // of that one, it has ended
	Foreign      Says = "foreign"        // this S3 takes another id for the same
	Unreadable   Says = "unreadable"     // something is there, and nobody can read it
)

// Action is what follows for the export.
type Action string

// The actions.
const (
	Send   Action = "send"   // nothing keeps its paid request from being sent
	Settle Action = "settle" // its own request is in doubt: by policy
	Hold   Action = "hold"   // its own request is in doubt, and a person decides
	Recall Action = "recall" // a request that it knows nothing of is in doubt: by policy
	Adopt  Action = "adopt"  // it goes on with the task that was paid for
	Refuse Action = "refuse" // it can't be sent under this id
	Yield  Action = "yield"  // the other export comes back in its place
)

// actions is the whole decision: what follows for an export that is about to be
// sent, under either policy, and for one that was, by a worker which died before it
// recorded the answer.
//
// A newcomer whose id another request was paid for under gets neither its clips nor
// its webhook: it fails if the other one is over, or if it was sent itself; if not,
// the other one comes back, unless it is in doubt and the policy lets nobody wait for it.
var actions = map[Says]struct{ resubmit, hold, sent Action }{
	Nothing:      {Send, Send, Settle},
	Settled:      {Send, Send, Settle},
	InDoubt:      {Recall, Recall, Settle},
	Accepted:     {Recall, Recall, Hold},
	Paid:         {Adopt, Adopt, Adopt},
	OtherInDoubt: {Send, Yield, Settle},
	OtherPaid:    {Yield, Yield, Settle},
	OtherOver:    {Refuse, Refuse, Settle},
	Foreign:      {Refuse, Refuse, Settle},
	Unreadable:   {Refuse, Refuse, Hold},
}

// Finding is what was found of an export in S3, and what follows.
type Finding struct {
	Says    Says
	Action  Action
	Receipt storage.Receipt
	// Problem says why the export can't be sent.
	Problem export.Problem

	archive
	newcomer string         // the digest of the record
	other    *export.Record // that comes back
}

// archive is the manifest of a receipt's task, if it stands.
type archive struct {
	manifest storage.Manifest
	key      string
	complete bool
}

// Find looks what S3 says of the record's export. token is that of the caller's own
// intent, empty if it has none. An error means that S3 does not say.
func Find(ctx context.Context, from Receipts, r *export.Record, token string, policy export.Policy, now time.Time) (Finding, error) {
	f := Finding{newcomer: r.Digest}
	err := f.read(ctx, from, r, token)
	if fault.ClassOf(err) == fault.Terminal {
		f.Says = Unreadable
		f.Problem = export.Problem{Reason: export.ReasonReceiptUnreadable, Detail: fault.SentenceOf(err)}
		err = nil
	}
	if err != nil {
		return f, err
	}
	row := actions[f.Says]
	switch {
	case r.State == export.Submitting:
		f.Action = row.sent
	case policy == export.Hold:
		f.Action = row.hold
	default:
		f.Action = row.resubmit
	}
	switch {
	case f.Action != Yield:
	case r.Attempts > 0 || len(r.Previous) > 0: // a request of its own was sent, so its record can't make way
		f.Action = Refuse
		f.Problem = export.Problem{Reason: export.ReasonJobIDTaken, Detail: f.Receipt.ExportTaskID}
	default:
		f.other, err = Rebuilt(ctx, from, f.Receipt, now)
	}
	return f, err
}

func (f *Finding) read(ctx context.Context, from Receipts, r *export.Record, token string) error {
	receipt, found, err := from.Receipt(ctx, r.ID)
	f.Receipt = receipt
	switch {
	case err != nil:
		return err
	case !found:
		f.Says = Nothing
		return nil
	case receipt.ID != r.ID:
		f.Says = Foreign
		f.Problem = export.Problem{Reason: export.ReasonJobIDAlike, Detail: receipt.ID}
		return nil
	case settled(r, receipt, token):
		f.Says = Settled
		return nil
	}
	own := true
	if len(receipt.Request) > 0 {
		e, err := RequestIn(receipt)
		if err != nil {
			return err
		}
		own = e.Digest() == r.Digest
	}
	switch intent := receipt.ExportTaskID == ""; {
	case own && intent && receipt.Answer != "":
		f.Says = Accepted
		f.Problem = export.Problem{Reason: export.ReasonNotUnderstood, Detail: receipt.Answer}
	case own && intent:
		f.Says = InDoubt
	case own:
		f.Says = Paid
		f.archive, err = archiveOf(ctx, from, receipt)
	case intent && receipt.Answer == "":
		f.Says = OtherInDoubt
	case intent, receipt.State == storage.ReceiptOpen:
		f.Says = OtherPaid
	default:
		f.Says = OtherOver
		f.Problem = export.Problem{Reason: export.ReasonJobIDTaken, Detail: receipt.ExportTaskID}
	}
	return err
}

// settled reports whether a receipt says nothing that the record does not know: a
// task that was given up, or an intent whose end is known. token is of an intent that
// the caller has written and not acted upon.
func settled(r *export.Record, receipt storage.Receipt, token string) bool {
	switch {
	case receipt.ExportTaskID != "":
		return slices.Contains(r.Previous, receipt.ExportTaskID)
	case receipt.Ended(), receipt.State == storage.ReceiptUnsent:
		return true
	default:
		return receipt.Intent != "" && (receipt.Intent == token || slices.Contains(r.Settled, receipt.Intent))
	}
}

// Apply carries out an action that is a change of the record alone.
func (f Finding) Apply(r *export.Record, now time.Time, policy export.Policy) error {
	switch f.Action {
	case Recall:
		return recall(r, now, f.Receipt, policy)
	case Adopt:
		return adopt(r, now, f.Receipt, f.archive)
	case Refuse:
		return r.Reject(now, "", f.Problem)
	case Yield:
		if r.Digest != f.newcomer {
			return fmt.Errorf("the other one is back: %w", export.ErrStale)
		}
		return r.Yield(now, f.other)
	default:
		return fmt.Errorf("%s is no change of a record", f.Action)
	}
}

// maxWriteAheads bounds how often an intent is written against others that write at
// the same time.
const maxWriteAheads = 4

// WriteAhead writes to S3 that the paid request of the record's export is about to
// be sent: the intent, with its token, is created where no receipt stands, or takes
// the place of one that says nothing new. Any other action than [Send] means that
// something there keeps the request from being sent.
func WriteAhead(ctx context.Context, to Receipts, r *export.Record, intent storage.Receipt, policy export.Policy, now time.Time) (Finding, error) {
	intent.State = storage.ReceiptIntent
	if r.Attempts == 0 { // what stands there, if anything does, is not its own
		created, err := to.WriteReceipt(ctx, intent, storage.Receipt{})
		if err != nil || created {
			return Finding{Says: Nothing, Action: Send, Receipt: intent}, err
		}
	}
	for range maxWriteAheads {
		f, err := Find(ctx, to, r, intent.Intent, policy, now)
		if err != nil || f.Action != Send {
			return f, err
		}
		if f.Receipt.Intent == intent.Intent { // our own write, whose answer was lost
			return f, nil
		}
		written, err := to.WriteReceipt(ctx, intent.After(f.Receipt), f.Receipt)
		if err != nil || written {
			return f, err
		}
	}
	return Finding{}, fault.New(fault.Retry, "the receipt of export "+r.ID+" is changed by others all the time", nil)
}
