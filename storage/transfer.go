package storage

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/clipferry/clipferry/internal/link"
)

// errNotResumable means that a record is of no use: begin anew.
var errNotResumable = errors.New("the transfer cannot be resumed")

// transfer is one multipart upload under way. Its parts are read, put and
// proven in goroutines of their own, as many as there are buffers; the proof
// takes them in order.
type transfer struct {
	m      *mirror
	layout layout
	info   link.Info
	upload string
	proof  *proof
	share  *bufferShare
	pace   *pacer
	track  *tracker // nil when it cannot be resumed anyway

	resumed bool      // an earlier process began the upload
	from    int       // parts before are in S3 and in the proof, refill apart
	refill  []int     // of those, the ones that S3 lost
	crcs    checksums // of the parts before from
	listed  map[int]listedPart
	first   *link.Body // an open answer: at part from, or of the whole stream
	head    []byte     // the buffer with a stream's first part, read already

	mu   sync.Mutex
	sent map[int]sentPart
}

// ranges carries a large file whose parts can be asked for one by one.
func (m *mirror) ranges(ctx context.Context, body *link.Body) (Result, error) {
	size := body.Info.Size
	t := &transfer{
		m: m, info: body.Info, first: body, layout: layout{size: size, part: m.a.partSize(size)},
		proof: m.proof(body.Info), sent: map[int]sentPart{},
	}
	var err error
	if t.upload, err = m.a.createUpload(ctx, m.job.Key, m.attributes("video/mp4", m.job.Filename, "")); err != nil {
		return Result{}, err
	}
	saved, err := t.proof.save()
	if err != nil {
		m.a.abortUpload(ctx, m.job.Key, t.upload)
		return Result{}, err
	}
	t.track = m.a.track(ctx, m.job.Key, record{
		Version: recordVersion, Upload: t.upload, Size: size, Part: t.layout.part,
		Validator: body.Info.Validator(), Checksum: m.a.opts.Checksum, Proof: saved, Started: m.a.now().UTC(),
	})
	return t.finish(ctx)
}

// stream carries a file that comes in one piece only.
func (m *mirror) stream(ctx context.Context, body *link.Body) (Result, error) {
	share := m.a.buffers.join(m.a.opts.PartsPerFile)
	defer share.leave()
	buf, err := share.acquire(ctx)
	if err != nil {
		return Result{}, s3Fault(ctx, "waiting for memory", err)
	}
	part := m.a.partSize(body.Info.Size)
	src := partSource{m: m, info: body.Info, first: body}
	n, over, err := src.fill(buf[:part])
	if err != nil || over {
		defer share.release(buf)
		if err != nil {
			return Result{}, err
		}
		return m.putWhole(ctx, buf[:n], body.Info)
	}
	t := &transfer{
		m: m, info: body.Info, first: body, layout: layout{size: body.Info.Size, part: part},
		proof: m.proof(body.Info), sent: map[int]sentPart{}, share: share, head: buf,
	}
	if t.upload, err = m.a.createUpload(ctx, m.job.Key, m.attributes("video/mp4", m.job.Filename, "")); err != nil {
		share.release(buf)
		return Result{}, err
	}
	return t.finish(ctx)
}

// finish runs the transfer to its end and completes it; or, when it failed in a
// way that going on cannot mend, gives the upload up.
func (t *transfer) finish(ctx context.Context) (Result, error) {
	m := t.m
	if t.share == nil {
		t.share = m.a.buffers.join(m.a.opts.PartsPerFile)
		defer t.share.leave()
	}
	t.pace = newPacer(t.share, m.a.opts.PartsPerFile)
	v, err := t.run(ctx)
	if err == nil {
		var obj Result
		if obj, err = t.complete(ctx, v); err == nil {
			t.closeTrack()
			m.a.dropRecord(ctx, m.job.Key)
			return obj, nil
		}
	}
	t.closeTrack()
	if t.resumed && isStale(err) {
		m.a.abortUpload(ctx, m.job.Key, t.upload)
		return Result{}, fmt.Errorf("%w: %w", errUploadGone, err)
	}
	if t.track == nil || errors.Is(err, ErrContent) || errors.Is(err, errNoRanges) {
		m.a.abortUpload(ctx, m.job.Key, t.upload)
		if t.track != nil {
			m.a.dropRecord(context.WithoutCancel(ctx), m.job.Key)
		}
	}
	return Result{}, err
}

func (t *transfer) closeTrack() {
	if t.track != nil {
		t.track.close()
	}
}

// run sends every part that is missing and returns what they prove.
func (t *transfer) run(ctx context.Context) (verdict, error) {
	g, gctx := errgroup.WithContext(ctx)
	if err := t.dispatch(gctx, g); err != nil {
		g.Go(func() error { return err })
	}
	if err := g.Wait(); err != nil {
		if ctx.Err() != nil {
			return verdict{}, s3Fault(ctx, "archiving "+t.m.job.Key, err)
		}
		return verdict{}, err
	}
	return t.proof.finish()
}

// dispatch starts the parts in order, each as soon as it has a buffer.
func (t *transfer) dispatch(ctx context.Context, g *errgroup.Group) error {
	for _, n := range t.refill {
		buf, err := t.share.acquire(ctx)
		if err != nil {
			return err
		}
		g.Go(func() error { return t.again(ctx, n, buf) })
	}
	before := make(chan struct{})
	close(before)
	for n := t.from; t.layout.size < 0 || n < t.layout.count(); n++ {
		p := &part{t: t, n: n, before: before}
		more, err := p.load(ctx)
		if err != nil {
			return err
		}
		if p.b == nil {
			return nil
		}
		proven := make(chan struct{})
		p.proven, before = proven, proven
		g.Go(func() error { return p.send(ctx) })
		if !more {
			return nil
		}
	}
	return nil
}

// part is one part on its way.
type part struct {
	t      *transfer
	n      int
	buf, b []byte
	before <-chan struct{} // closed when the part before is in the proof
	proven chan<- struct{} // closed when this one is
	first  *link.Body      // an open answer that begins with this part, or nil
}

// load gives the part its buffer and, of a stream, its bytes; of a stream that
// is over, no bytes.
func (p *part) load(ctx context.Context) (more bool, err error) {
	t := p.t
	if t.head != nil {
		p.buf, p.b, t.head = t.head, t.head[:t.layout.part], nil
		return true, nil
	}
	if p.buf, err = t.share.acquire(ctx); err != nil {
		return false, err
	}
	if t.track != nil {
		_, length := t.layout.span(p.n)
		p.b = p.buf[:length]
		p.first, t.first = t.first, nil
		return true, nil
	}
	src := partSource{m: t.m, info: t.info, first: t.first}
	n, over, err := src.fill(p.buf[:t.layout.part])
	if err != nil || n == 0 {
		t.share.release(p.buf)
		return false, err
	}
	p.b = p.buf[:n]
	return !over, nil
}

// send reads the part (unless a stream has), then puts and proves it at once.
func (p *part) send(ctx context.Context) error {
	t := p.t
	defer t.share.release(p.buf)
	if t.track != nil {
		src := partSource{m: t.m, info: t.info, first: p.first, slower: t.pace.slower}
		offset, _ := t.layout.span(p.n)
		if err := src.read(ctx, offset, p.b); err != nil {
			return err
		}
	}
	crc := crc32.ChecksumIEEE(p.b)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var saved proofState
	proving := make(chan error, 1)
	go func() {
		var err error
		saved, err = p.prove(ctx)
		proving <- err
	}()
	etag, err := t.put(ctx, p.n, p.b, crc)
	if err != nil {
		cancel() // nobody needs to wait for its turn any more
	}
	perr := <-proving
	if err != nil && (perr == nil || errors.Is(perr, context.Canceled)) {
		return err
	}
	if perr != nil {
		return perr
	}
	if t.track != nil {
		t.track.finish(p.n, donePart{crc: crc, tag: tagSum(etag), proof: saved}, t.m.read())
	}
	return nil
}

// prove takes the part into the proof once it is its turn.
func (p *part) prove(ctx context.Context) (proofState, error) {
	select {
	case <-p.before:
	case <-ctx.Done():
		return proofState{}, ctx.Err()
	}
	if err := p.t.proof.Write(p.b); err != nil {
		return proofState{}, err
	}
	var saved proofState
	if p.t.track != nil {
		var err error
		if saved, err = p.t.proof.save(); err != nil {
			return saved, err
		}
	}
	close(p.proven)
	return saved, nil
}

// put sends a part to S3, unless S3 is known to have just this one.
func (t *transfer) put(ctx context.Context, n int, b []byte, crc uint32) (etag string, err error) {
	if l, ok := t.listed[n]; ok && l.hasCRC && l.is(int64(len(b)), crc, 0) {
		etag = l.etag
	} else if etag, err = t.m.a.uploadPart(ctx, t.m.job.Key, t.upload, n, b, crc, t.pace); err != nil {
		return "", err
	}
	t.mu.Lock()
	t.sent[n] = sentPart{etag: etag, crc: crc}
	t.mu.Unlock()
	t.m.addStored(int64(len(b)), t.layout.size)
	return etag, nil
}

// again fetches and puts a part that is in the proof, but no longer in S3.
func (t *transfer) again(ctx context.Context, n int, buf []byte) error {
	defer t.share.release(buf)
	offset, length := t.layout.span(n)
	b := buf[:length]
	src := partSource{m: t.m, info: t.info, slower: t.pace.slower}
	if err := src.read(ctx, offset, b); err != nil {
		return err
	}
	crc := crc32.ChecksumIEEE(b)
	if crc != t.crcs[n] {
		return contentFault("the source has changed under the same validator", link.ErrChanged)
	}
	_, err := t.put(ctx, n, b, crc)
	return err
}

// complete makes the object of what is proven and asks S3 for it again.
func (t *transfer) complete(ctx context.Context, v verdict) (Result, error) {
	m := t.m
	parts := make([]sentPart, len(t.sent))
	for n, p := range t.sent {
		if n >= len(parts) {
			return Result{}, fmt.Errorf("part %d is missing", len(parts))
		}
		parts[n] = p
	}
	if t.track != nil {
		t.track.seal(ctx, v)
	}
	etag, err := m.a.completeUpload(ctx, m.job.Key, t.upload, parts, v)
	switch {
	case err == nil:
	case errors.Is(err, errKeyTaken), errors.Is(err, errUploadGone):
		return t.lost(ctx, v, err)
	default:
		// the answer may have been lost after the deed
		if obj, lerr := t.lost(ctx, v, err); lerr == nil {
			return obj, nil
		}
		return Result{}, err
	}
	obj, err := m.confirm(ctx, m.job.Key, v, written{etag: etag})
	if err == nil {
		m.a.tagHash(ctx, m.job.Key, v.sha256)
	}
	return obj, err
}

// lost looks whether the key holds this very file after a completion that did
// not succeed, or did not seem to. A missing upload never means success by itself.
func (t *transfer) lost(ctx context.Context, v verdict, cause error) (Result, error) {
	m := t.m
	st, exists, err := m.a.head(ctx, m.job.Key)
	if err != nil {
		return Result{}, err
	}
	if !exists {
		return Result{}, cause
	}
	if errors.Is(cause, errKeyTaken) {
		m.a.abortUpload(ctx, m.job.Key, t.upload)
	}
	if st.size == v.size && st.hasCRC && st.crc == v.crc {
		return m.confirm(ctx, m.job.Key, v, written{found: true})
	}
	return m.adopt(ctx, m.job.Key, st, nil)
}
