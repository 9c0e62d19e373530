package tasks

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/clipferry/clipferry/internal/index"
)

// Batch names exports that belong together, and who is notified once all are final.
type Batch struct {
	// Name is 1–64 of [A-Za-z0-9._:-], the first not -.
	Name string
	// Notify is who gets the event batch.completed; nil for nobody.
	Notify *Notify
}

// MaxBatch is how many members a batch may have.
const MaxBatch = 100_000

// ErrDifferentBatch means that the name already stands for other exports.
var ErrDifferentBatch = errors.New("already stands for a batch of other exports")

// EnqueueBatch enqueues exports as the members of a batch, and returns their ids. All are
// checked, and the batch's record is written, before the first is enqueued. After any
// error the same call again goes on where it stopped, and enqueues nothing twice: a
// member without a JobID has an id that follows from the batch and its place.
func (c *Client) EnqueueBatch(ctx context.Context, b Batch, exports []Export) ([]string, error) {
	ids := make([]string, 0, len(exports))
	err := c.EnqueueBatchEach(ctx, b, slices.Values(exports), func(id string) error {
		ids = append(ids, id)
		return nil
	})
	return ids, err
}

// EnqueueBatchEach is [Client.EnqueueBatch] for more exports than should be held in memory, as
// [Client.EnqueueEach] is.
func (c *Client) EnqueueBatchEach(ctx context.Context, b Batch, exports iter.Seq[Export], taken func(id string) error) error {
	var faults Faults
	if !ValidBatch(b.Name) {
		faults.add("batch", "must be "+BatchRule)
	}
	if problem := checkNotify(b.Notify); problem != "" {
		faults.add("notify", problem)
	}
	if err := faults.asError(); err != nil {
		return err
	}
	of := func(n int, e Export) item { return memberOf(b.Name, n, e) }
	return c.enqueueEach(ctx, exports, of, func() error { return c.saveBatch(ctx, b, exports) }, taken)
}

// memberOf is an export as the nth member of a batch.
func memberOf(batch string, n int, e Export) item {
	one := item{Export: e, id: e.JobID, once: true, digest: e.Digest(), batch: batch}
	if one.id == "" {
		sum := sha256.Sum256(fmt.Appendf(nil, "clipferry batch\x00%s\x00%d\x00%s", batch, n, one.digest))
		one.id = "exp_" + strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:16]))
	}
	return one
}

// saveBatch writes the record of a batch, unless it is there already, and its members.
func (c *Client) saveBatch(ctx context.Context, b Batch, exports iter.Seq[Export]) error {
	record := index.Batch{Name: b.Name, Created: time.Now().UTC()}
	if b.Notify != nil {
		record.Notify, _ = json.Marshal(b.Notify) // three strings always marshal
	}
	all, n, seen := sha256.New(), 0, map[[16]byte]bool{}
	for e := range exports {
		switch tenant := cmp.Or(e.Tenant, DefaultTenant); {
		case n == 0:
			record.Tenant = tenant
		case record.Tenant != tenant:
			record.Tenant = ""
		}
		one := memberOf(b.Name, n, e)
		_, _ = fmt.Fprintf(all, "%s\x00%s\x00", one.id, one.digest)
		sum := sha256.Sum256([]byte(one.id))
		seen[[16]byte(sum[:16])] = true
		n++
	}
	record.Digest, record.Count = hex.EncodeToString(all.Sum(nil)), len(seen)
	if record.Count == 0 || record.Count > MaxBatch {
		return Faults{{Field: "batch", Message: fmt.Sprintf("must have 1 to %d members, not %d", MaxBatch, record.Count)}}
	}
	before, err := index.LoadBatch(ctx, c.rdb, b.Name)
	switch {
	case err == nil && before.Digest != record.Digest:
		return fmt.Errorf("batch %s %w", b.Name, ErrDifferentBatch)
	case err == nil:
		record.Created = before.Created
	case !errors.Is(err, index.ErrNoBatch):
		return err
	}
	n = 0
	items := func(yield func(item) bool) {
		for e := range exports {
			if !yield(memberOf(b.Name, n, e)) {
				return
			}
			n++
		}
	}
	for _, chunk := range chunks(items) {
		ids := make([]string, len(chunk))
		for i, one := range chunk {
			ids[i] = one.id
		}
		if err := index.AddMembers(ctx, c.rdb, b.Name, record.Created, ids); err != nil {
			return err
		}
	}
	if err == nil { // it is there
		return nil
	}
	return index.SaveBatch(ctx, c.rdb, record)
}
