// Package recovery deals with a Redis that has forgotten: it holds the receipts
// and manifests in S3 against the records, rebuilds what was paid for and has no
// record, and repairs records that are from before what their receipts say. It
// never talks to the provider.
package recovery

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/ledger"
	"github.com/clipferry/clipferry/internal/queue"
	"github.com/clipferry/clipferry/storage"
)

// Service rebuilds and repairs records.
type Service struct {
	rdb    redis.UniversalClient
	ledger *ledger.Ledger
	queue  *queue.Queue
	now    func() time.Time

	// Passed restores what receipts say of requests that were passed through; nil leaves
	// those alone.
	Passed Passed

	// Recall tells an account that an order of an export, sent then, was accepted in a form
	// that nobody can read, since it may have forgotten what halted it; nil tells nobody.
	Recall func(ctx context.Context, account, export string, sent time.Time) error
}

// Passed is a passthrough.Restorer.
type Passed interface {
	Restore(ctx context.Context, receipt storage.Receipt) (bool, error)
}

// New returns a Service.
func New(rdb redis.UniversalClient, l *ledger.Ledger, q *queue.Queue, now func() time.Time) *Service {
	return &Service{rdb: rdb, ledger: l, queue: q, now: now}
}

func (s *Service) change(ctx context.Context, id string, f func(*export.Record) error) (*export.Record, error) {
	r, err := s.ledger.Update(ctx, id, f)
	if err != nil {
		return r, err
	}
	return r, s.queue.Schedule(ctx, r)
}
