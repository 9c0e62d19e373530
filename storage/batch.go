package storage

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"

	"github.com/clipferry/clipferry/internal/fault"
	"github.com/clipferry/clipferry/internal/index"
)

// Batch is what a batch is rebuilt from after a loss of Redis. It is in S3 while not all
// of its members are final, and before the first of them is paid for.
type Batch struct {
	index.Batch          // its Notify as in a [Receipt]
	Members     []string `json:"members"` // their ids
}

func batchName(name string) string { return safeID(name) + ".json" }

// KeepBatch writes a batch, over what is there of it.
func (a *Archive) KeepBatch(ctx context.Context, b Batch) error {
	body, err := encodeDocument(b)
	if err != nil {
		return fmt.Errorf("encoding batch %s: %w", b.Name, err)
	}
	return a.batches.Write(ctx, batchName(b.Name), "application/json", body)
}

// ForgetBatch removes a batch.
func (a *Archive) ForgetBatch(ctx context.Context, name string) error {
	return a.batches.Delete(ctx, batchName(name))
}

// Batches yields the batches. One that cannot be read yields its fault and the next ones
// still come; a listing that breaks off yields its fault last.
func (a *Archive) Batches(ctx context.Context) iter.Seq2[Batch, error] {
	return func(yield func(Batch, error) bool) {
		for o, err := range a.batches.List(ctx) {
			var b Batch
			if err == nil {
				if b, err = a.readBatch(ctx, o.Key); err == nil && b.Name == "" {
					continue // removed since
				}
			}
			if !yield(b, err) {
				return
			}
		}
	}
}

// readBatch returns a batch without a name where there is none.
func (a *Archive) readBatch(ctx context.Context, name string) (Batch, error) {
	var b Batch
	text, there, err := a.batches.Read(ctx, name, maxDocument)
	if err != nil || !there {
		return b, err
	}
	if err := json.Unmarshal(text, &b); err != nil || batchName(b.Name) != name {
		return Batch{}, fault.New(fault.Terminal, a.batches.folder+name+" is not a batch", err)
	}
	return b, nil
}
