package storage

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/sony/gobreaker/v2"
)

const (
	// transfersThreshold is how many clips in a row S3 has to refuse, with nothing
	// archived in between.
	transfersThreshold = 2
	// longestTransferWait is how long an S3 that refuses clips is left alone at most. The
	// next one is tried in full, which costs a read of its link.
	longestTransferWait = time.Minute
	// transfersForgotten is how long the refusal is believed with no clip to try: more
	// than a clip waits for its next try.
	transfersForgotten = 15 * time.Minute
)

// transfer runs a transfer of the clip under key. An S3 that takes small documents may
// refuse clips (a policy, a quota, a limit on sizes): while it does, nothing shows that
// it takes them again but a clip that is archived, and one is tried at a time.
func (b *breaker) transfer(ctx context.Context, key string, carry func() (Result, error)) (result Result, err error) {
	c := b.circuits[transfers]
	if c.State() == gobreaker.StateHalfOpen && !c.due() {
		return Result{}, c.refusal()
	}
	_, refused := c.Execute(func() (struct{}, error) {
		result, err = carry()
		switch {
		case err == nil && !result.Found:
			c.refuses("")
			return struct{}{}, nil
		case err == nil, ctx.Err() != nil, !refusesTransfer(err):
			return struct{}{}, abandoned{err}
		}
		c.failed(ctx, "archiving "+key, err)
		if again := c.refuses(key) == key; again && c.State() == gobreaker.StateClosed {
			return struct{}{}, abandoned{err} // it may be about this one alone
		}
		return struct{}{}, err
	})
	if errors.Is(refused, gobreaker.ErrOpenState) || errors.Is(refused, gobreaker.ErrTooManyRequests) {
		return Result{}, c.refusal()
	}
	return result, err
}

// refuses notes which clip was refused last, and returns which one it was before.
func (c *circuit) refuses(key string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	before := c.refused
	c.refused = key
	return before
}

// due reports whether an open circuit lets the next one try.
func (c *circuit) due() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !time.Now().Before(c.next)
}

// wants reports whether a transfer is what S3 is to be probed by now.
func (b *breaker) wants() bool {
	c := b.circuits[transfers]
	return c.State() == gobreaker.StateHalfOpen && c.Counts().Requests == c.Counts().TotalExclusions && c.due() &&
		b.circuits[reads].State() == gobreaker.StateClosed && b.circuits[writes].State() == gobreaker.StateClosed
}

// forget closes the circuit of transfers where nobody has one that could.
func (b *breaker) forget() {
	c := b.circuits[transfers]
	c.mu.Lock()
	old := time.Since(c.next) > transfersForgotten
	c.mu.Unlock()
	if old && c.State() == gobreaker.StateHalfOpen {
		_, _ = c.Execute(func() (struct{}, error) { return struct{}{}, nil })
	}
}

// refusesTransfer says that S3 failed a transfer, and so, it seems, would others: not
// that the link failed it, that it was not sent, or that it ran against another one.
func refusesTransfer(err error) bool {
	if errors.Is(err, errOpen) || isUseless(err) {
		return false
	}
	switch s := httpStatus(err); s {
	case 0:
		return errors.Is(err, ErrUnavailable)
	case http.StatusNotFound:
		return errorCode(err) == "NoSuchBucket"
	case http.StatusConflict, http.StatusPreconditionFailed:
		return false
	default:
		return s >= 300
	}
}
