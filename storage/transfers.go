package storage

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"path"
	"time"

	"github.com/sony/gobreaker/v2"

	"github.com/clipferry/clipferry/internal/telemetry/logkey"
)

const (
	// transfersThreshold is of how many exports in a row S3 has to refuse a clip, with
	// nothing archived in between.
	transfersThreshold = 2
	// longestTransferWait is how long an S3 that refuses clips is left alone at most. The
	// next one is tried in full, which costs a read of its link.
	longestTransferWait = time.Minute
	// transfersForgotten is how long the refusal is believed with no clip to try: more
	// than a clip waits for its next try.
	transfersForgotten = 15 * time.Minute
	// trialWait is how long S3 has to refuse the same exports' clips, and no other's, until
	// one more export is ordered to see whether it is about them alone. It doubles with
	// each, up to longestTrialWait.
	trialWait        = time.Hour
	longestTrialWait = 24 * time.Hour
	// maxRefused bounds the exports that are remembered as refused.
	maxRefused = 100
)

// clipCircuit is the circuit of transfers of clips, each as a whole. Its mutex guards
// what it has of its own, too.
type clipCircuit struct {
	*circuit

	// The folders of exports of which S3 has refused a clip, and has taken none since, and
	// when the last one joined them or was ordered to see.
	refused map[string]struct{}
	news    time.Time
	// The export that was ordered last to see, and how many were since it opened.
	trial  string
	trials int
}

func newClipCircuit(log *slog.Logger) *clipCircuit {
	c := &clipCircuit{refused: map[string]struct{}{}}
	c.circuit = &circuit{
		what: "transfers of clips of this process", wait: breakerWait, most: longestTransferWait,
		closed: func() { c.trial, c.trials = "", 0 },
	}
	// That S3 takes clips is shown by one that is archived, and by nothing else.
	c.start(transfersThreshold, log, func(err error) bool { return err == nil })
	return c
}

// transfer runs a transfer of the clip under key. An S3 that takes small documents may
// refuse clips (a policy, a quota, a limit on sizes): while it does, nothing shows that
// it takes them again but a clip that is archived, and one is tried at a time.
func (b *breaker) transfer(ctx context.Context, key string, carry func() (Result, error)) (result Result, err error) {
	c := b.clips
	if c.State() == gobreaker.StateHalfOpen && !c.due() {
		return Result{}, c.refusal()
	}
	_, refused := c.Execute(func() (struct{}, error) {
		result, err = carry()
		switch {
		case err == nil && !result.Found:
			c.takes(path.Dir(key))
			return struct{}{}, nil
		case err == nil, ctx.Err() != nil, !refusesTransfer(err):
			return struct{}{}, abandoned{err}
		}
		c.failed(ctx, "archiving "+key, err)
		if again := c.refuses(path.Dir(key)); again && c.State() == gobreaker.StateClosed {
			return struct{}{}, abandoned{err} // it may be about this export alone
		}
		return struct{}{}, err
	})
	if errors.Is(refused, gobreaker.ErrOpenState) || errors.Is(refused, gobreaker.ErrTooManyRequests) {
		return Result{}, c.refusal()
	}
	return result, err
}

// refuses notes that a clip of the export in folder was refused, and returns whether one
// was before, with none archived since.
func (c *clipCircuit) refuses(folder string) (again bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, again = c.refused[folder]; again {
		return true
	}
	for other := range c.refused {
		if len(c.refused) >= maxRefused {
			delete(c.refused, other)
		}
	}
	c.refused[folder] = struct{}{}
	c.news = time.Now()
	return false
}

// takes notes that a clip of the export in folder was archived.
func (c *clipCircuit) takes(folder string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.refused, folder)
}

// wantsOrder reports whether one export may be ordered though S3 refuses clips.
func (c *clipCircuit) wantsOrder() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Since(c.news) >= min(trialWait<<min(c.trials, 10), longestTrialWait)
}

// wantsClip reports whether a transfer is what S3 is to be probed by now.
func (c *clipCircuit) wantsClip() bool {
	return c.State() == gobreaker.StateHalfOpen && c.Counts().Requests == c.Counts().TotalExclusions && c.due()
}

// onlyClipsFail reports whether S3 refuses clips, and nothing else.
func (b *breaker) onlyClipsFail() bool {
	return b.clips.State() != gobreaker.StateClosed &&
		b.circuits[reads].State() == gobreaker.StateClosed && b.circuits[writes].State() == gobreaker.StateClosed
}

// mayOrder returns nil if the export may be ordered: S3 takes clips, or this is the one
// that is to show whether it does.
func (b *breaker) mayOrder(export string) error {
	h := b.health()
	if !h.Open {
		return nil
	}
	b.ordering.Lock()
	defer b.ordering.Unlock()
	c, only := b.clips, b.onlyClipsFail()
	due := only && c.wantsOrder()
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case due:
		c.trial, c.news = export, time.Now()
		c.trials++
		b.log.Warn("an export is ordered to see whether S3 refuses all clips or just those of some exports", logkey.Export, export)
	case !only || c.trial != export:
		return errors.New(h.Sentence)
	}
	return nil
}

// due reports whether an open circuit lets the next one try.
func (c *circuit) due() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !time.Now().Before(c.next)
}

// forget closes the circuit where nobody has a clip that could.
func (c *clipCircuit) forget() {
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
