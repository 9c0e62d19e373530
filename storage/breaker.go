package storage

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/sony/gobreaker/v2"

	"github.com/clipferry/clipferry/internal/fault"
	"github.com/clipferry/clipferry/internal/telemetry/logkey"
)

const (
	// breakerThreshold is how many requests in a row, each with all its retries,
	// have to fail.
	breakerThreshold = 5
	// breakerWait is how long an open breaker lets nothing through but the next probe.
	breakerWait = 5 * time.Second
	// keptWait is the same for writes under a [Kept], of which one that fails is enough:
	// a little less than the minute after which workers try again.
	keptWait = 50 * time.Second
	// keptFailsFor is how long a Kept that nobody uses is taken to fail after it was to
	// be tried again.
	keptFailsFor = 2 * time.Minute
	probeTimeout = 5 * time.Second
	// probeWriteEvery is how often a probe writes at most: it costs money and, in a
	// bucket with versions, space.
	probeWriteEvery = time.Minute
)

// sides are the requests that say how S3 is, by what they are: one that reads well
// says nothing about whether writes are refused. Those that are not listed are
// requests that the archive can do without; they count for nothing.
var sides = map[string]string{
	"HeadObject": reads, "GetObject": reads, "ListObjectsV2": reads, "ListParts": reads,
	"PutObject": writes, "CreateMultipartUpload": writes, "UploadPart": writes, "CompleteMultipartUpload": writes,
}

const (
	reads  = "reads"
	writes = "writes"
)

// Health is how S3 has answered this process of late.
type Health struct {
	// Open says that requests fail here without being sent, since S3 has failed
	// a number of them in a row whatever they were.
	Open bool
	// Since is when that began, Next when S3 is asked again, if anybody asks.
	Since, Next time.Time
	// Sentence says what is wrong, for an operator.
	Sentence string
	// WantsClip says that S3 is asked next by the transfer of a clip, and that nobody
	// does so yet.
	WantsClip bool
	// WantsOrder says that one export may be ordered all the same, see [Archive.MayOrder].
	WantsOrder bool
}

// prober asks S3 for as much as proves that it can read or write.
type prober interface {
	probeRead(ctx context.Context) error
	probeWrite(ctx context.Context) error
}

// breaker keeps requests away from an S3 that fails all of them in this process,
// whoever else may reach it.
type breaker struct {
	next     sender
	probe    prober // nil for a [Kept]: the next request is the probe
	log      *slog.Logger
	circuits map[string]*circuit // of reads and of writes
	clips    *clipCircuit        // nil for a [Kept]

	probing  sync.Mutex // held over a write of a probe
	ordering sync.Mutex // held while it is decided whether an export is ordered

	mu       sync.Mutex
	wrote    time.Time // when S3 took a write last
	probed   time.Time // when a probe tried to write last
	probeErr error     // what came of it
}

// circuit is the state of one side.
type circuit struct {
	*gobreaker.CircuitBreaker[struct{}]

	what string        // that fails, as in "writes under exports/_catalog/"
	wait time.Duration // that an open one lets nothing through; doubles up to
	most time.Duration

	closed func() // called under mu as it closes, nil for nothing

	mu          sync.Mutex
	since, next time.Time
	tries       int          // that it has failed since it opened
	last        *fault.Fault // what failed last
}

func newBreaker(next sender, probe prober, log *slog.Logger) *breaker {
	return &breaker{next: next, probe: probe, log: log, clips: newClipCircuit(log), circuits: map[string]*circuit{
		reads:  newCircuit(&circuit{what: reads + " of this process", wait: breakerWait}, breakerThreshold, log),
		writes: newCircuit(&circuit{what: writes + " of this process", wait: breakerWait}, breakerThreshold, log),
	}}
}

// newKeptBreaker returns a breaker for what is under folder alone. A policy may refuse
// just that, and the archive can do without.
func newKeptBreaker(next sender, folder string, log *slog.Logger) *breaker {
	return &breaker{next: next, log: log, circuits: map[string]*circuit{
		reads:  newCircuit(&circuit{what: reads + " under " + folder, wait: breakerWait}, breakerThreshold, log),
		writes: newCircuit(&circuit{what: writes + " under " + folder, wait: keptWait}, 1, log),
	}}
}

// newCircuit returns a circuit of requests, each of which succeeds unless S3 fails all.
func newCircuit(c *circuit, threshold uint32, log *slog.Logger) *circuit {
	return c.start(threshold, log, func(err error) bool { return !failsAll(err) })
}

// start has the circuit open after as many failures in a row.
func (c *circuit) start(threshold uint32, log *slog.Logger, succeeds func(error) bool) *circuit {
	c.CircuitBreaker = gobreaker.NewCircuitBreaker[struct{}](gobreaker.Settings{
		Timeout:       c.wait,
		ReadyToTrip:   func(n gobreaker.Counts) bool { return n.ConsecutiveFailures >= threshold },
		IsSuccessful:  succeeds,
		IsExcluded:    func(err error) bool { return errors.As(err, new(abandoned)) },
		OnStateChange: func(_ string, from, to gobreaker.State) { c.changed(log, from, to) },
	})
	return c
}

// changed notes and logs that a circuit has opened or closed.
func (c *circuit) changed(log *slog.Logger, from, to gobreaker.State) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case to == gobreaker.StateClosed:
		c.since, c.next, c.tries = time.Time{}, time.Time{}, 0
		if c.closed != nil {
			c.closed()
		}
		log.Info("S3 answers again; " + c.what + " go on")
	case to == gobreaker.StateOpen && from == gobreaker.StateClosed:
		c.since = time.Now()
		log.Error("S3 fails all "+c.what+"; they are tried now and then until one succeeds", logkey.Error, c.last)
		fallthrough
	case to == gobreaker.StateOpen:
		c.next = time.Now().Add(min(c.wait<<min(c.tries, 10), max(c.wait, c.most)))
		c.tries++
	}
}

// errOpen is the cause of a refusal.
var errOpen = unavailable{errors.New("the breaker is open")}

// abandoned is the error of a request whose caller gave up: it says nothing of S3.
type abandoned struct{ error }

func (a abandoned) Unwrap() error { return a.error }

// probeFailure is the error of a probe. Each is a failure of S3: a probe asks for
// nothing that could be refused to it alone.
type probeFailure struct{ error }

func (p probeFailure) Unwrap() error { return p.error }

// errNotDue is the failure of a probe that was not sent.
var errNotDue = probeFailure{errors.New("the next probe is not due yet")}

// failsAll says that err is about the server, the bucket or the credentials, so
// that anything else would fail as well.
func failsAll(err error) bool {
	switch {
	case err == nil:
		return false
	case errors.As(err, new(probeFailure)), errorCode(err) == "NoSuchBucket":
		return true
	}
	switch httpStatus(err) {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusMovedPermanently, http.StatusTemporaryRedirect:
		return true
	}
	return isUnavailable(err)
}

func (b *breaker) do(ctx context.Context, r request) error {
	c := b.circuits[sides[r.name]]
	if c == nil {
		return b.next.do(ctx, r)
	}
	if err := b.settle(ctx, c); err != nil {
		return err
	}
	return c.run(ctx, r.name, func() error {
		err := b.next.do(ctx, r)
		if err == nil && c == b.circuits[writes] {
			b.mu.Lock()
			b.wrote = time.Now()
			b.mu.Unlock()
		}
		return err
	})
}

// run has the circuit count what comes of send, unless it is open.
func (c *circuit) run(ctx context.Context, what string, send func() error) error {
	_, err := c.Execute(func() (struct{}, error) {
		err := send()
		switch {
		case err != nil && ctx.Err() != nil:
			err = abandoned{err}
		case failsAll(err) && !errors.Is(err, errNotDue): // what failed before is still the reason
			c.failed(ctx, what, err)
		}
		return struct{}{}, err
	})
	if errors.Is(err, gobreaker.ErrOpenState) || errors.Is(err, gobreaker.ErrTooManyRequests) {
		return c.refusal()
	}
	if a := (abandoned{}); errors.As(err, &a) {
		return a.error
	}
	return err
}

func (c *circuit) failed(ctx context.Context, what string, err error) {
	f := new(fault.Fault)
	if !errors.As(s3Fault(ctx, what, err), &f) {
		return
	}
	c.mu.Lock()
	c.last = f
	c.mu.Unlock()
}

// settle returns nil if the circuit is closed, if need be after the probe that is due.
func (b *breaker) settle(ctx context.Context, c *circuit) error {
	switch state := c.State(); {
	case state == gobreaker.StateOpen:
		return c.refusal()
	case state == gobreaker.StateClosed, b.probe == nil:
		return nil
	}
	err := c.run(ctx, "the probe", func() error {
		if c == b.circuits[writes] {
			return b.write(ctx, true)
		}
		return b.read(ctx)
	})
	if failsAll(err) {
		return c.refusal()
	}
	return err
}

func (b *breaker) read(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	if err := b.probe.probeRead(ctx); err != nil {
		return probeFailure{err}
	}
	return nil
}

// write is a probe that writes. The result of one that was made within
// probeWriteEvery is used again; where writes have failed since, a success is not.
func (b *breaker) write(ctx context.Context, failing bool) error {
	b.probing.Lock()
	defer b.probing.Unlock()
	b.mu.Lock()
	probed, err := b.probed, b.probeErr
	b.mu.Unlock()
	if time.Since(probed) < probeWriteEvery {
		if err == nil && failing {
			err = errNotDue
		}
		return err
	}
	within, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	if err = b.probe.probeWrite(within); err != nil {
		err = probeFailure{err}
	}
	if err == nil || ctx.Err() == nil {
		b.mu.Lock()
		b.probed, b.probeErr = time.Now(), err
		b.mu.Unlock()
	}
	return err
}

// check says whether S3 does all that it is asked: by what it did of late, else by
// probes.
func (b *breaker) check(ctx context.Context) error {
	for _, name := range []string{reads, writes} {
		if err := b.settle(ctx, b.circuits[name]); err != nil {
			return err
		}
	}
	b.clips.forget()
	if b.clips.State() != gobreaker.StateClosed {
		return b.clips.refusal()
	}
	if err := b.read(ctx); err != nil {
		return err
	}
	b.mu.Lock()
	busy := time.Since(b.wrote) < probeWriteEvery
	b.mu.Unlock()
	if busy {
		return nil
	}
	return b.write(ctx, false)
}

// refusal is the fault of a request that was not sent.
func (c *circuit) refusal() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := fault.New(fault.Retry, "S3 fails all "+c.what, errOpen)
	if !c.since.IsZero() {
		f.Message += " since " + c.since.UTC().Format(time.TimeOnly) + " UTC"
	}
	if c.last != nil {
		f.Message += ": " + c.last.Message
		f.Hint = c.last.Hint
	}
	f.RetryAfter = max(time.Until(c.next), time.Second)
	return f
}

// health is the state of the circuit that has been open for longest.
func (b *breaker) health() Health {
	var h Health
	circuits := []*circuit{b.circuits[writes], b.circuits[reads]}
	if b.clips != nil {
		circuits = append(circuits, b.clips.circuit)
	}
	for _, c := range circuits {
		if c.State() == gobreaker.StateClosed {
			continue
		}
		sentence := fault.SentenceOf(c.refusal())
		c.mu.Lock()
		if forgotten := b.probe == nil && time.Since(c.next) > keptFailsFor; !forgotten && (!h.Open || c.since.Before(h.Since)) {
			h = Health{Open: true, Since: c.since, Next: c.next, Sentence: sentence}
		}
		c.mu.Unlock()
	}
	if h.Open && b.clips != nil && b.onlyClipsFail() {
		h.WantsClip, h.WantsOrder = b.clips.wantsClip(), b.clips.wantsOrder()
	}
	return h
}
