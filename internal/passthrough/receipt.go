package passthrough

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/clipferry/clipferry/internal/budget"
	"github.com/clipferry/clipferry/internal/queue"
	"github.com/clipferry/clipferry/storage"
)

// Receipts is where receipts are; *storage.Archive is one.
type Receipts interface {
	Receipt(ctx context.Context, id string) (storage.Receipt, bool, error)
	WriteReceipt(ctx context.Context, r, was storage.Receipt) (bool, error)
	SyncReceipt(ctx context.Context, r storage.Receipt) error
}

// receipt is what is said in S3 of the document under a key of the store: the document
// itself, for a Redis that has lost it.
func (s *Service) receipt(key string, d document) (storage.Receipt, error) {
	d.Key = key
	text, err := json.Marshal(d)
	if err != nil {
		return storage.Receipt{}, fmt.Errorf("encode what was passed through: %w", err)
	}
	return storage.Receipt{ID: receiptID(s.o.Account, key), Account: s.o.Account, Passed: text}, nil
}

// receiptID is the id of the receipt, which none of an export can be.
func receiptID(account, key string) string { return budget.PassedPrefix + account + "/" + key }

// document is what a receipt keeps: an attempt or a task, and its key in the store.
type document struct {
	Key     string   `json:"key"`
	Attempt *attempt `json:"attempt,omitempty"`
	Task    *task    `json:"task,omitempty"`
}

// Restorer gives back to a Redis that was lost what receipts say of requests that were
// passed through.
type Restorer struct {
	Redis    redis.UniversalClient
	Receipts Receipts
	// TakeUp is that of [Options]: of a task whose export left no receipt of its own.
	TakeUp func(ctx context.Context, t Accepted) (export string, err error)
	Now    func() time.Time
}

// Restore gives back what the receipt says, and reports whether Redis did not know it.
// A task that is not over is read to its end again, and with that its slot is held.
func (r Restorer) Restore(ctx context.Context, receipt storage.Receipt) (bool, error) {
	var d document
	if err := json.Unmarshal(receipt.Passed, &d); err != nil || receipt.ID != receiptID(receipt.Account, d.Key) {
		return false, errors.Join(fmt.Errorf("the receipt %s can't be read: somebody else, or a newer clipferry, wrote it", receipt.ID), err)
	}
	s := newStore(r.Redis, receipt.Account)
	switch {
	case d.Attempt != nil && receipt.State != storage.ReceiptFailed: // that was not taken
		if keep := keepKey - r.Now().Sub(d.Attempt.Sent); keep > 0 {
			return s.add(ctx, d.Key, d.Attempt, keep)
		}
	case d.Task != nil:
		return r.task(ctx, s, d.Task, receipt)
	}
	return false, nil
}

func (r Restorer) task(ctx context.Context, s store, t *task, receipt storage.Receipt) (bool, error) {
	t.Receipt, t.request = receipt.State, receipt.Request
	if receipt.Ended() {
		t.Slot = ""
	}
	if t.Export != "" && r.TakeUp != nil {
		_, began, err := r.Receipts.Receipt(ctx, t.Export)
		if err == nil && !began {
			_, err = r.TakeUp(ctx, t.accepted(receipt.Account))
		}
		if err != nil {
			return false, err
		}
	}
	added, err := s.add(ctx, taskKey(t.Call, t.ID), t, keepTask)
	if err != nil || t.Slot == "" {
		return added, err
	}
	return added, addStep(ctx, queue.New(r.Redis), t, r.Now())
}

const (
	// receiptWait is how long S3 may take to say whose a task is. One that is silent is
	// not asked again for receiptPause.
	receiptWait  = 2 * time.Second
	receiptPause = 10 * time.Second
)

// errNoReceipts means that S3 does not say whose a task is.
var errNoReceipts = errors.New("S3 does not say whose the task is")

// lookup returns what is known of a task, in Redis or else in S3.
func (s *Service) lookup(ctx context.Context, call, id string, into *task) (bool, error) {
	key := taskKey(call, id)
	known, err := s.store.get(ctx, key, into)
	if known || err != nil {
		return known, err
	}
	now := s.now().UnixNano()
	if now < s.silentUntil.Load() {
		return false, errNoReceipts
	}
	within, cancel := context.WithTimeout(ctx, s.receiptWait)
	defer cancel()
	receipt, found, err := s.o.Receipts.Receipt(within, receiptID(s.o.Account, key))
	switch {
	case err != nil && within.Err() != nil && ctx.Err() == nil:
		s.silentUntil.Store(now + int64(receiptPause))
		fallthrough
	case err != nil:
		return false, fmt.Errorf("%w: %w", errNoReceipts, err)
	case !found: // made elsewhere; S3 is not asked again for a while
		_, err = s.store.add(ctx, key, into, keepUnknown)
	default:
		_, err = s.restore.Restore(ctx, receipt) // S3 answers
	}
	if err != nil {
		return false, err
	}
	return s.store.get(ctx, key, into)
}

// errSentBefore means that the order was sent before, as S3 knows and Redis did not.
var errSentBefore = errors.New("this request was sent before")

// maxIntents bounds how often an intent is written against others.
const maxIntents = 4

// writeAhead keeps, once the order has its slot, that it is about to be sent: in S3 and
// in Redis.
func (o *ordered) writeAhead(ctx context.Context) error {
	if err := o.lease.Renew(ctx); err != nil {
		return err
	}
	s, now := o.s, o.s.now()
	about := attempt{Digest: o.digest, Sent: now}
	r, err := s.receipt(o.key, document{Attempt: &about})
	if err != nil {
		return err
	}
	r.Tenant, r.Intent, r.Submitted, r.State = o.request.Tenant, o.slot, now, storage.ReceiptIntent
	var was storage.Receipt
	for range maxIntents {
		o.intent = true
		written, err := s.o.Receipts.WriteReceipt(ctx, r.After(was), was)
		if err != nil {
			return err
		}
		if !written {
			was, _, err = s.o.Receipts.Receipt(ctx, r.ID)
		}
		switch {
		case err != nil:
			return err
		case written, was.Intent == o.slot: // our own write, whose answer was lost
			return s.store.set(ctx, o.key, about, keepKey)
		}
		o.intent = false
		if was.ID != "" && was.State != storage.ReceiptFailed && now.Sub(was.Submitted) < keepKey {
			_, err := s.restore.Restore(ctx, was)
			return cmp.Or(err, errSentBefore)
		}
	}
	return fmt.Errorf("the receipt %s is changed by others all the time", r.ID)
}

// restored answers an order that S3 knows, and Redis knows again.
func (o *ordered) restored(ctx context.Context) (Answer, error) {
	var before attempt
	known, err := o.s.store.get(ctx, o.key, &before)
	if err != nil || !known {
		return Answer{}, notNow(cmp.Or(err, errSentBefore))
	}
	return o.again(before)
}

// accepted says in S3 what the provider has answered to the order.
func (o *ordered) accepted(ctx context.Context, kept attempt, task string) error {
	if len(kept.Body) > maxKept {
		kept.Body = nil
	}
	r, err := o.s.receipt(o.key, document{Attempt: &kept})
	if err != nil {
		return err
	}
	r.Tenant, r.ExportTaskID, r.Submitted, r.State = o.request.Tenant, task, kept.Sent, storage.ReceiptEnded
	return o.s.sync(ctx, r)
}

// settle says in S3 that the order's intent came to nothing.
func (o *ordered) settle(ctx context.Context) error {
	return o.s.sync(ctx, storage.Receipt{
		ID: receiptID(o.s.o.Account, o.key), State: storage.ReceiptFailed, Settled: []string{o.slot},
	})
}

// syncTime is how long a receipt may take that is written while a client waits.
const syncTime = 5 * time.Second

func (s *Service) sync(ctx context.Context, r storage.Receipt) error {
	ctx, cancel := context.WithTimeout(ctx, syncTime)
	defer cancel()
	return s.o.Receipts.SyncReceipt(ctx, r)
}

// maxKept bounds the answer that a receipt keeps, in bytes.
const maxKept = 64 << 10

// saveTask says in S3 whose the task is, and whether it is over, where that is not said
// yet: it is tried again with each answer.
func (s *Service) saveTask(ctx context.Context, t *task) error {
	state := storage.ReceiptOpen
	if t.Slot == "" {
		state = storage.ReceiptEnded
	}
	if t.Tenant == "" || t.Receipt == state {
		return nil
	}
	kept := *t
	kept.Receipt = ""
	if len(kept.Body) > maxKept {
		kept.Body = nil
	}
	r, err := s.receipt(taskKey(t.Call, t.ID), document{Task: &kept})
	if err != nil {
		return err
	}
	r.Tenant, r.ExportTaskID, r.State, r.Submitted, r.Request = t.Tenant, t.ID, state, t.Made, t.request
	if err := s.sync(ctx, r); err != nil {
		return err
	}
	t.Receipt = state
	return s.store.set(ctx, taskKey(t.Call, t.ID), t, keepTask)
}
