package storage

import (
	"context"

	"golang.org/x/sync/errgroup"
)

// streamTransfer carries a file that comes in one piece only. It can't be resumed:
// whatever ends it early ends its upload.
type streamTransfer struct {
	upload
	source partSource // reads from one open response
	head   []byte     // the buffer with the first part, read already
}

// stream carries a file whose parts can't be asked for one by one. One that turns
// out to fit into a single part is put whole.
func (m *mirror) stream(ctx context.Context, body *response) (Result, error) {
	share := m.a.buffers.join(m.a.opts.PartsPerFile)
	defer share.leave()
	buf, err := share.acquire(ctx)
	if err != nil {
		return Result{}, s3Fault(ctx, "waiting for memory", err)
	}
	part := m.a.partSize(body.Info.Size)
	source := partSource{m: m, info: body.Info, first: body}
	n, over, err := source.fill(buf[:part])
	if err != nil || over {
		defer share.release(buf)
		if err != nil {
			return Result{}, err
		}
		return m.putWhole(ctx, buf[:n], body.Info)
	}
	id, err := m.a.createUpload(ctx, m.key, m.attributes(""))
	if err != nil {
		share.release(buf)
		return Result{}, err
	}
	t := &streamTransfer{source: source, head: buf, upload: upload{
		m: m, id: id, layout: layout{size: body.Info.Size, part: part}, proof: m.proof(body.Info),
		share: share, sent: map[int]sentPart{},
	}}
	obj, err := t.run(ctx, t.dispatch, nil)
	if err != nil {
		m.a.abortUpload(ctx, m.key, t.id)
		return Result{}, err
	}
	m.a.dropRecord(ctx, m.job.Key)
	return obj, nil
}

// dispatch reads the parts one after the other and sends each while the next is read.
func (t *streamTransfer) dispatch(ctx context.Context, g *errgroup.Group) error {
	buf, length, over := t.head, int(t.layout.part), false
	for n, at := 0, firstTurn(); ; n, at = n+1, at.next() {
		g.Go(t.part(ctx, n, buf, length, at))
		if over {
			return nil
		}
		var err error
		if buf, err = t.share.acquire(ctx); err != nil {
			return err
		}
		if length, over, err = t.source.fill(buf[:t.layout.part]); err != nil || length == 0 {
			t.share.release(buf)
			return err
		}
	}
}

// part sends the part that is in the first bytes of buf.
func (t *streamTransfer) part(ctx context.Context, n int, buf []byte, length int, at turn) func() error {
	return func() error {
		defer t.share.release(buf)
		_, err := t.send(ctx, n, buf[:length], at, nil)
		return err
	}
}
