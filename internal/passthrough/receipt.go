package passthrough

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/clipferry/clipferry/internal/budget"
	"github.com/clipferry/clipferry/internal/provider"
	"github.com/clipferry/clipferry/internal/queue"
	"github.com/clipferry/clipferry/storage"
)

// Receipts is where receipts are; *storage.Archive is one.
type Receipts interface {
	Receipt(ctx context.Context, id string) (storage.Receipt, bool, error)
	WriteReceipt(ctx context.Context, r, was storage.Receipt) (bool, error)
	SyncReceipt(ctx context.Context, r storage.Receipt) error
}

// receiptOf is what is said in S3 of the document under a key of the store: the document
// itself, for a Redis that has lost it.
func receiptOf(account, key string, d document) (storage.Receipt, error) {
	d.Key = key
	text, err := json.Marshal(d)
	if err != nil {
		return storage.Receipt{}, fmt.Errorf("encode what was passed through: %w", err)
	}
	return storage.Receipt{ID: receiptID(account, key), Account: account, Passed: text}, nil
}

// receiptID is the id of the receipt, which none of an export can be.
func receiptID(account, key string) string { return budget.PassedPrefix + account + "/" + key }

// document is what a receipt keeps: an attempt or a task, and its key in the store.
type document struct {
	Key     string   `json:"key"`
	Attempt *attempt `json:"attempt,omitempty"`
	Task    *task    `json:"task,omitempty"`
}

// documentIn is what the receipt keeps.
func documentIn(receipt storage.Receipt) (document, error) {
	var d document
	if err := json.Unmarshal(receipt.Passed, &d); err != nil || receipt.ID != receiptID(receipt.Account, d.Key) {
		return d, errors.Join(fmt.Errorf("the receipt %s can't be read: somebody else, or a newer clipferry, wrote it", receipt.ID), err)
	}
	return d, nil
}

// Restorer gives back to a Redis that was lost what receipts say of requests that were
// passed through.
type Restorer struct {
	Redis    redis.UniversalClient
	Receipts Receipts
	// TakeUp is that of [Options]: of a task whose export left no receipt of its own.
	TakeUp func(ctx context.Context, t Accepted) (export string, err error)
	// Rename gives the slot of one name to another, should the account's budget know it.
	Rename func(ctx context.Context, account, from, to string) error
	Now    func() time.Time
}

// Restore gives back what the receipt says, and reports whether Redis did not know it.
// A task that is not over is read to its end again, and with that its slot is held.
func (r Restorer) Restore(ctx context.Context, receipt storage.Receipt) (bool, error) {
	d, err := documentIn(receipt)
	if err != nil {
		return false, err
	}
	s := newStore(r.Redis, receipt.Account)
	switch {
	case d.Attempt != nil && receipt.State != storage.ReceiptFailed: // that was not taken
		return r.attempt(ctx, s, d, receipt)
	case d.Task != nil:
		return r.task(ctx, s, d.Task, receipt)
	}
	return false, nil
}

func (r Restorer) attempt(ctx context.Context, s store, d document, receipt storage.Receipt) (added bool, err error) {
	if keep := keepKey - r.Now().Sub(d.Attempt.Sent); keep > 0 {
		added, err = s.add(ctx, d.Key, d.Attempt, keep)
	}
	t := d.Attempt.made(receipt.Request)
	if err != nil || t == nil {
		return added, err
	}
	of, written, err := r.follow(ctx, receipt.Account, t)
	if err != nil || !written { // what was there is restored by itself
		return added, err
	}
	made, err := r.Restore(ctx, of)
	return added || made, err
}

// follow returns the receipt of a task that an attempt names. It writes one if there is
// none, as whoever made the task did not come to it.
func (r Restorer) follow(ctx context.Context, account string, t *task) (of storage.Receipt, written bool, err error) {
	of, found, err := r.Receipts.Receipt(ctx, receiptID(account, taskKey(t.Call, t.ID)))
	if found || err != nil {
		return of, false, err
	}
	t.Due = t.accepted(account)
	if of, err = t.receipt(account); err == nil {
		err = r.Receipts.SyncReceipt(ctx, of)
	}
	return of, true, err
}

func (r Restorer) task(ctx context.Context, s store, t *task, receipt storage.Receipt) (bool, error) {
	t.Receipt, t.request = receipt.State, receipt.Request
	if receipt.Ended() {
		t.Slot = ""
	}
	if t.Export != "" && r.TakeUp != nil {
		_, began, err := r.Receipts.Receipt(ctx, t.Export)
		if err != nil {
			return false, err
		}
		if !began {
			t.Due = t.accepted(receipt.Account)
		}
	}
	if t.Due != nil && r.TakeUp != nil {
		id, err := r.TakeUp(ctx, *t.Due)
		if err != nil {
			return false, err
		}
		t.Due, t.Export = nil, id
		if id != "" {
			err = r.hand(ctx, t, receipt.Account)
		}
		if err != nil {
			return false, err
		}
	}
	added, err := r.own(ctx, s, t)
	if err != nil || t.Slot == "" {
		return added, err
	}
	return added, addStep(ctx, queue.New(r.Redis), t, r.Now())
}

// hand gives the task's slot to the export that has taken it up, and says in S3 that this
// was done, lest it counts as due after the next loss.
func (r Restorer) hand(ctx context.Context, t *task, account string) error {
	if t.Slot != "" {
		if err := r.Rename(ctx, account, t.Slot, t.Export); err != nil {
			return err
		}
		t.Slot = ""
	}
	of, err := t.receipt(account)
	if err != nil {
		return err
	}
	t.Receipt = of.State
	return r.Receipts.SyncReceipt(ctx, of)
}

// own records the task where it is not known, or taken for one that was made elsewhere.
func (r Restorer) own(ctx context.Context, s store, t *task) (bool, error) {
	key := taskKey(t.Call, t.ID)
	added, err := s.add(ctx, key, t, keepTask)
	if added || err != nil {
		return added, err
	}
	var now task
	known, err := s.get(ctx, key, &now)
	if err != nil || known && now.Tenant != "" {
		return false, err
	}
	return true, s.set(ctx, key, t, keepTask)
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
	r, err := receiptOf(s.o.Account, o.key, document{Attempt: &about})
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
	return o.again(ctx, before)
}

// fromS3 completes what became of an order whose answer Redis does not know: it may have
// been away when the answer came, and S3 not. free says that the order was not sent, or
// refused.
func (o *ordered) fromS3(ctx context.Context, before *attempt) (free bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, syncTime)
	defer cancel()
	r, found, err := o.s.o.Receipts.Receipt(ctx, receiptID(o.s.o.Account, o.key))
	if err != nil || !found {
		return false, err
	}
	if r.State == storage.ReceiptFailed {
		return true, nil
	}
	d, err := documentIn(r)
	if err != nil || d.Attempt == nil || d.Attempt.Status == 0 {
		return false, nil //nolint:nilerr // what nobody can read says nothing of the answer
	}
	*before = *d.Attempt
	return false, o.s.store.set(ctx, o.key, before, keepKey)
}

// accepted says in S3 what the provider has answered to the order.
func (o *ordered) accepted(ctx context.Context, kept attempt) error {
	kept.Header, kept.Body = short(kept.Task.ID, kept.Header, kept.Body)
	r, err := receiptOf(o.s.o.Account, o.key, document{Attempt: &kept})
	if err != nil {
		return err
	}
	r.Tenant, r.ExportTaskID, r.Submitted, r.State = o.request.Tenant, kept.Task.ID, kept.Sent, storage.ReceiptEnded
	if kept.Task.Inline {
		r.Request = o.body
	}
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

// short is what a receipt keeps of the answer to an order that made a task.
func short(task string, header http.Header, body []byte) (http.Header, []byte) {
	if len(body) <= maxKept {
		return header, body
	}
	return http.Header{"Content-Type": {"application/json"}}, provider.Made(task)
}

// saveTask says in S3 whose the task is, and whether it is over, where that is not said
// yet: it is tried again with each answer.
func (s *Service) saveTask(ctx context.Context, t *task) error {
	if t.Tenant == "" || t.Receipt == t.state() {
		return nil
	}
	r, err := t.receipt(s.o.Account)
	if err != nil {
		return err
	}
	if err := s.sync(ctx, r); err != nil {
		return err
	}
	t.Receipt = r.State
	return s.store.set(ctx, taskKey(t.Call, t.ID), t, keepTask)
}

// state is what the task's receipt is to say.
func (t *task) state() storage.ReceiptState {
	if t.Slot == "" {
		return storage.ReceiptEnded
	}
	return storage.ReceiptOpen
}

func (t *task) receipt(account string) (storage.Receipt, error) {
	kept := *t
	kept.Receipt = ""
	if !kept.Changed.IsZero() { // it was read: results have links, which receipts never have
		kept.At, kept.Status, kept.Header, kept.Body = time.Time{}, 0, nil, nil
	}
	kept.Header, kept.Body = short(t.ID, kept.Header, kept.Body)
	r, err := receiptOf(account, taskKey(t.Call, t.ID), document{Task: &kept})
	r.Tenant, r.ExportTaskID, r.State, r.Submitted, r.Request = t.Tenant, t.ID, t.state(), t.Made, t.request
	return r, err
}
