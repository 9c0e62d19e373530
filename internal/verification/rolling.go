package verification

import (
	"context"
	"log/slog"
	"time"

	"github.com/clipferry/clipferry/internal/telemetry/logkey"
)

// Rolling verifies the whole archive once every while, a share a day.
type Rolling struct {
	service *Service
	every   time.Duration
	parts   int
	log     *slog.Logger
}

// NewRolling returns what verifies all within every.
func NewRolling(s *Service, every time.Duration, log *slog.Logger) *Rolling {
	const day = 24 * time.Hour
	return &Rolling{service: s, every: every, parts: min(max(1, int(every/day)), MaxParts), log: log}
}

// Every is how long a round takes.
func (r *Rolling) Every() time.Duration { return r.every }

// State is how far the verification is.
func (r *Rolling) State(ctx context.Context) (State, error) { return r.service.State(ctx) }

// Next verifies the part that is due, if one is.
func (r *Rolling) Next(ctx context.Context) error {
	st, err := r.service.State(ctx)
	if err != nil {
		return err
	}
	part, due := st.due(r.parts, r.every, r.service.now())
	if !due {
		return nil
	}
	p, err := r.service.Verify(ctx, part, nil)
	if err != nil {
		return err
	}
	for _, b := range p.Bad {
		r.log.ErrorContext(ctx, "an archived file is not what its manifest says", logkey.Manifest, b.Manifest, logkey.Key, b.Key, logkey.Why, b.Problem)
	}
	r.log.InfoContext(ctx, "verified a part of the archive", logkey.Part, part.String(), logkey.Count, p.Exports,
		logkey.Bytes, p.Bytes, logkey.Took, p.Ended.Sub(p.Began))
	return nil
}
