package ledger

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// outageKey is a hash of the workers that S3 fails, by field.
const outageKey = "clipferry:{fleet}:outages"

// outageFor is how long a worker is believed that does not repeat what it said.
const outageFor = 20 * time.Second

// Outage is what a worker says of an S3 that fails it.
type Outage struct {
	Worker   string    `json:"worker"`            // its host and process id, as asynq names them
	Catalog  bool      `json:"catalog,omitempty"` // S3 fails what the worker writes of the catalog
	Since    time.Time `json:"since"`
	Next     time.Time `json:"next"` // when S3 is asked again
	Sentence string    `json:"sentence"`
	SaidAt   time.Time `json:"said_at"`
}

// ReportOutage lets the fleet know that S3 fails a worker. It has to be repeated
// every few seconds for as long as that lasts.
func (l *Ledger) ReportOutage(ctx context.Context, o Outage) error {
	text, err := json.Marshal(o)
	if err != nil {
		return fmt.Errorf("encode an outage: %w", err)
	}
	p := l.rdb.Pipeline()
	p.HSet(ctx, outageKey, o.field(), text)
	p.Expire(ctx, outageKey, outageFor)
	if _, err := p.Exec(ctx); err != nil {
		return fmt.Errorf("report an outage: %w", err)
	}
	return nil
}

// field is where the outage is in the hash: a worker has one of each kind at the most.
func (o Outage) field() string {
	if o.Catalog {
		return o.Worker + " catalog"
	}
	return o.Worker
}

// EndOutage takes back what [Ledger.ReportOutage] said.
func (l *Ledger) EndOutage(ctx context.Context, o Outage) error {
	if err := l.rdb.HDel(ctx, outageKey, o.field()).Err(); err != nil {
		return fmt.Errorf("end an outage: %w", err)
	}
	return nil
}

// Outages lists the workers that S3 fails, the longest first.
func (l *Ledger) Outages(ctx context.Context, now time.Time) ([]Outage, error) {
	texts, err := l.rdb.HVals(ctx, outageKey).Result()
	if err != nil {
		return nil, fmt.Errorf("list the outages: %w", err)
	}
	var all []Outage
	for _, text := range texts {
		var o Outage
		if json.Unmarshal([]byte(text), &o) == nil && now.Sub(o.SaidAt) < outageFor {
			all = append(all, o)
		}
	}
	slices.SortFunc(all, func(a, b Outage) int { return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.Worker, b.Worker)) })
	return all, nil
}
