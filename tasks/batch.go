package tasks

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
)

// ItemError says what is wrong with one export of a batch.
type ItemError struct {
	// Index is the export's place in the batch, from 0.
	Index int
	// Err is a [Faults], [ErrDifferentBody] or what Redis answered.
	Err error
}

// BatchError is everything that is wrong with a batch, by rising index.
type BatchError []ItemError

// Error names each item by its number, from 1.
func (b BatchError) Error() string {
	texts := make([]string, len(b))
	for i, item := range b {
		texts[i] = fmt.Sprintf("export %d: %v", item.Index+1, item.Err)
	}
	return strings.Join(texts, "\n")
}

// Unwrap returns the items' errors.
func (b BatchError) Unwrap() []error {
	errs := make([]error, len(b))
	for i, item := range b {
		errs[i] = item.Err
	}
	return errs
}

// EnqueueAll checks all exports and only then enqueues them, in order, and
// returns their ids. If any is wrong nothing is enqueued and the error is a
// [BatchError]. If Redis fails on the way, the ids of those that were accepted
// are returned with the error; enqueueing the batch again is safe only for
// exports with a JobID.
func (c *Client) EnqueueAll(ctx context.Context, exports []Export) ([]string, error) {
	if err := CheckAll(exports); err != nil {
		return nil, err
	}
	known, err := c.knownAll(ctx, exports)
	if err != nil {
		return nil, err
	}
	ids := make([]string, 0, len(exports))
	done := make(map[string]bool)
	for i, e := range exports {
		id := e.JobID
		switch {
		case id == "":
			id, err = c.enqueueNew(ctx, e, NewID())
		case !known[i] && !done[id]:
			_, err = c.enqueueOnce(ctx, e)
		}
		if err != nil {
			return ids, fmt.Errorf("export %d of %d: %w", i+1, len(exports), err)
		}
		done[id] = true
		ids = append(ids, id)
	}
	return ids, nil
}

// CheckAll validates each export, and that no two share a JobID with different
// bodies. It asks nobody. Its error is a [BatchError].
func CheckAll(exports []Export) error {
	var wrong BatchError
	first := make(map[string]int)
	for i, e := range exports {
		if err := e.Validate(); err != nil {
			wrong = append(wrong, ItemError{i, err})
			continue
		}
		if e.JobID == "" {
			continue
		}
		before, seen := first[e.JobID]
		switch {
		case !seen:
			first[e.JobID] = i
		case exports[before].Digest() != e.Digest():
			wrong = append(wrong, ItemError{i, fmt.Errorf("job_id: %s %w (given before in this batch)", e.JobID, ErrDifferentBody)})
		}
	}
	if len(wrong) > 0 {
		return wrong
	}
	return nil
}

// lookups is how many exports of a batch are looked up at once.
const lookups = 16

// knownAll tells for each export whether it is already in the ledger or a queue.
// The error is a [BatchError] of different bodies, or the first failure of Redis.
func (c *Client) knownAll(ctx context.Context, exports []Export) ([]bool, error) {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	known := make([]bool, len(exports))
	errs := make([]error, len(exports))
	var group sync.WaitGroup
	turns := make(chan struct{}, lookups)
	for i, e := range exports {
		if e.JobID == "" || ctx.Err() != nil {
			continue
		}
		turns <- struct{}{}
		group.Go(func() {
			defer func() { <-turns }()
			if known[i], errs[i] = c.known(ctx, e); errs[i] != nil && !errors.Is(errs[i], ErrDifferentBody) {
				stop(errs[i]) // Redis fails: the rest would only fail the same way, slowly
			}
		})
	}
	group.Wait()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	var wrong BatchError
	for i, err := range errs {
		if err != nil {
			wrong = append(wrong, ItemError{i, err})
		}
	}
	if len(wrong) > 0 {
		return nil, wrong
	}
	return known, nil
}
