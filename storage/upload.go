package storage

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"sync"

	"golang.org/x/sync/errgroup"
)

// upload is one multipart upload under way, wherever its bytes come from: a
// rangedTransfer or a streamTransfer reads the parts, each in a goroutine of its
// own, as many as there are buffers. The proof takes them in order.
type upload struct {
	m      *mirror
	id     string // S3's
	layout layout
	proof  *proof
	share  *bufferShare
	pace   *pacer
	listed map[int]listedPart // what an earlier process has left in S3

	mu   sync.Mutex
	sent map[int]sentPart
}

// turn is a part's place in the proof.
type turn struct {
	begins <-chan struct{} // closed when the part before is in the proof
	ends   chan struct{}
}

func firstTurn() turn {
	begins := make(chan struct{})
	close(begins)
	return turn{begins: begins, ends: make(chan struct{})}
}

// next is the turn of the part after this one.
func (t turn) next() turn { return turn{begins: t.ends, ends: make(chan struct{})} }

// run has dispatch start the parts, waits for them all and completes what they prove,
// which is noted in track first, where there is one.
func (u *upload) run(ctx context.Context, dispatch func(context.Context, *errgroup.Group) error, track *tracker) (Result, error) {
	u.pace = newPacer(u.share, u.m.a.opts.PartsPerFile)
	g, gctx := errgroup.WithContext(ctx)
	if err := dispatch(gctx, g); err != nil {
		g.Go(func() error { return err })
	}
	if err := g.Wait(); err != nil {
		if ctx.Err() != nil {
			return Result{}, s3Fault(ctx, "archiving "+u.m.key, err)
		}
		return Result{}, err
	}
	v, err := u.proof.finish()
	if err != nil {
		return Result{}, err
	}
	if track != nil {
		track.seal(ctx, v)
	}
	return u.complete(ctx, v)
}

// send puts part n and, at the same time, proves it when its turn comes; proven,
// which may be nil, is called before the turn ends.
func (u *upload) send(ctx context.Context, n int, b []byte, at turn, proven func() error) (sentPart, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	proving := make(chan error, 1)
	go func() { proving <- u.prove(ctx, b, at, proven) }()
	sent, err := u.put(ctx, n, b, crc32.ChecksumIEEE(b))
	if err != nil {
		cancel() // nobody needs to wait for its turn any more
	}
	perr := <-proving
	if err != nil && (perr == nil || errors.Is(perr, context.Canceled)) {
		return sent, err
	}
	return sent, perr
}

func (u *upload) prove(ctx context.Context, b []byte, at turn, proven func() error) error {
	select {
	case <-at.begins:
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := u.proof.Write(b); err != nil {
		return err
	}
	if proven != nil {
		if err := proven(); err != nil {
			return err
		}
	}
	close(at.ends)
	return nil
}

// put sends a part to S3, unless S3 is known to have just this one.
func (u *upload) put(ctx context.Context, n int, b []byte, crc uint32) (p sentPart, err error) {
	p.crc = crc
	if l, ok := u.listed[n]; ok && l.hasCRC && l.is(int64(len(b)), crc, 0) {
		p.etag = l.etag
	} else if p.etag, err = u.m.a.uploadPart(ctx, u.m.key, u.id, n, b, u.m.a.sumOf(b, crc), u.pace); err != nil {
		return p, err
	}
	u.mu.Lock()
	u.sent[n] = p
	u.mu.Unlock()
	u.m.addStored(int64(len(b)), u.layout.size)
	return p, nil
}

// complete makes the object of what is proven and asks S3 for it again.
func (u *upload) complete(ctx context.Context, v verdict) (Result, error) {
	m := u.m
	parts := make([]sentPart, len(u.sent))
	for n, p := range u.sent {
		if n >= len(parts) {
			return Result{}, fmt.Errorf("part %d is missing", len(parts))
		}
		parts[n] = p
	}
	w, err := m.a.completeUpload(ctx, m.key, u.id, parts, v)
	switch {
	case err == nil:
	case errors.Is(err, errKeyTaken), errors.Is(err, errUploadGone):
		return u.lost(ctx, v, err)
	default:
		// the completion may have succeeded and its response been lost
		if obj, lerr := u.lost(ctx, v, err); lerr == nil {
			return obj, nil
		}
		return Result{}, err
	}
	obj, err := m.confirm(ctx, m.key, v, w)
	if err == nil {
		m.a.tagHash(ctx, m.key, v.sha256)
	}
	return obj, err
}

// lost looks whether the key holds this very file after a completion that did
// not succeed, or did not seem to. A missing upload never means success by itself.
func (u *upload) lost(ctx context.Context, v verdict, cause error) (Result, error) {
	m := u.m
	st, exists, err := m.a.head(ctx, m.key)
	if err != nil {
		return Result{}, err
	}
	if !exists {
		return Result{}, cause
	}
	if errors.Is(cause, errKeyTaken) {
		m.a.abortUpload(ctx, m.key, u.id)
	}
	if st.size == v.size && st.hasCRC && st.crc == v.crc {
		return m.confirm(ctx, m.key, v, written{found: true})
	}
	return m.reuseObject(ctx, m.key, st, nil)
}
