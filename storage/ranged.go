package storage

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"

	"golang.org/x/sync/errgroup"

	"github.com/clipferry/clipferry/internal/link"
)

// errNotResumable means that a record is of no use: begin anew.
var errNotResumable = errors.New("the transfer cannot be resumed")

// rangedTransfer carries a large file whose parts can be asked for one by one. It
// keeps a record, so that another process can go on where it was cut.
type rangedTransfer struct {
	upload
	info  link.Info
	first *response // an open response that begins at part from, or nil
	track *tracker

	// What an earlier process has left; nothing of a transfer that begins.
	resumed bool
	from    int       // parts before are in S3 and in the proof, refill apart
	refill  []int     // of those, the ones that S3 lost
	crcs    checksums // of the parts before from
}

// ranges begins a rangedTransfer.
func (m *mirror) ranges(ctx context.Context, body *response) (Result, error) {
	size := body.Info.Size
	proof := m.proof(body.Info)
	saved, err := proof.save()
	if err != nil {
		return Result{}, err
	}
	id, err := m.a.createUpload(ctx, m.key, m.attributes(""))
	if err != nil {
		return Result{}, err
	}
	t := &rangedTransfer{info: body.Info, first: body, upload: upload{
		m: m, id: id, layout: layout{size: size, part: m.a.partSize(size)}, proof: proof, sent: map[int]sentPart{},
	}}
	return t.carry(ctx, record{
		Version: recordVersion, Key: m.key, Upload: id, Size: size, Part: t.layout.part,
		Validator: body.Info.Validator(), Checksum: m.a.opts.Checksum, Proof: saved, Started: m.a.now().UTC(),
	})
}

// carry runs the transfer to its end and completes it. When it failed in a way
// that going on can't repair, it gives the upload up.
func (t *rangedTransfer) carry(ctx context.Context, rec record) (Result, error) {
	m := t.m
	t.share = m.a.buffers.join(m.a.opts.PartsPerFile)
	defer t.share.leave()
	t.track = m.a.track(ctx, m.job.Key, rec)
	obj, err := t.run(ctx, t.dispatch, t.track)
	t.track.close()
	switch {
	case err == nil:
		m.a.dropRecord(ctx, m.job.Key)
	case t.resumed && isStale(err):
		m.a.abortUpload(ctx, m.key, t.id)
		err = fmt.Errorf("%w: %w", errUploadGone, err)
	case errors.Is(err, ErrContent), errors.Is(err, errNoRanges):
		m.a.abortUpload(ctx, m.key, t.id)
		m.a.dropRecord(context.WithoutCancel(ctx), m.job.Key)
	}
	return obj, err
}

// dispatch starts the parts in order, each as soon as it has a buffer.
func (t *rangedTransfer) dispatch(ctx context.Context, g *errgroup.Group) error {
	for _, n := range t.refill {
		buf, err := t.share.acquire(ctx)
		if err != nil {
			return err
		}
		g.Go(func() error {
			defer t.share.release(buf)
			return t.again(ctx, n, buf)
		})
	}
	at := firstTurn()
	for n := t.from; n < t.layout.count(); n++ {
		buf, err := t.share.acquire(ctx)
		if err != nil {
			return err
		}
		first, mine := t.first, at
		t.first, at = nil, at.next()
		g.Go(func() error {
			defer t.share.release(buf)
			return t.part(ctx, n, buf, first, mine)
		})
	}
	return nil
}

// part reads, puts, proves and records one part. first is an open response that
// begins with it, or nil.
func (t *rangedTransfer) part(ctx context.Context, n int, buf []byte, first *response, at turn) error {
	offset, length := t.layout.span(n)
	b := buf[:length]
	source := partSource{m: t.m, info: t.info, first: first, slower: t.pace.slower}
	if err := source.read(ctx, offset, b); err != nil {
		return err
	}
	var saved proofState
	sent, err := t.send(ctx, n, b, at, func() (err error) {
		saved, err = t.proof.save()
		return err
	})
	if err != nil {
		return err
	}
	t.track.finish(n, donePart{crc: sent.crc, tag: tagSum(sent.etag), proof: saved}, t.m.read())
	return nil
}

// again fetches and puts a part that is in the proof, but no longer in S3.
func (t *rangedTransfer) again(ctx context.Context, n int, buf []byte) error {
	offset, length := t.layout.span(n)
	b := buf[:length]
	source := partSource{m: t.m, info: t.info, slower: t.pace.slower}
	if err := source.read(ctx, offset, b); err != nil {
		return err
	}
	crc := crc32.ChecksumIEEE(b)
	if crc != t.crcs[n] {
		return contentFault("the source has changed under the same validator", link.ErrChanged)
	}
	_, err := t.put(ctx, n, b, crc)
	return err
}
