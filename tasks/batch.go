package tasks

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
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
	ids := make([]string, 0, len(exports))
	err := c.EnqueueEach(ctx, slices.Values(exports), func(id string) error {
		ids = append(ids, id)
		return nil
	})
	var wrong BatchError
	if errors.As(err, &wrong) {
		return nil, err
	}
	return ids, err
}
