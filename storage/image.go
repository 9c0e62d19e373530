package storage

import (
	"context"
	"errors"
	"fmt"

	"github.com/clipferry/clipferry/internal/fault"
	"github.com/clipferry/clipferry/internal/link"
)

// image archives a thumbnail: small, never resumed, and named by what it is. It is
// asked for several times, since nobody comes back for it.
func (m *mirror) image(ctx context.Context) (Result, error) {
	for n := 1; ; n++ {
		result, err := m.wholeImage(ctx)
		if err == nil || n >= maxImageReads || fault.ClassOf(err) == fault.Terminal || errors.Is(err, link.ErrUnusable) ||
			!m.a.backoff.wait(ctx, n, err) {
			return result, err
		}
	}
}

func (m *mirror) wholeImage(ctx context.Context) (Result, error) {
	body, err := m.a.opts.Source.Open(ctx, m.job.Link, link.Range{From: 0, To: -1})
	if err != nil {
		return Result{}, err
	}
	defer func() { _ = body.Close() }()
	share := m.a.buffers.join(1)
	defer share.leave()
	buf, err := share.acquire(ctx)
	if err != nil {
		return Result{}, s3Fault(ctx, "waiting for memory", err)
	}
	defer share.release(buf)
	src := partSource{m: m, info: body.Info, first: newResponse(body)}
	if size := body.Info.Size; size > int64(len(buf)) {
		return Result{}, contentFault(fmt.Sprintf("the image has %d bytes, more than %d", size, len(buf)), nil)
	} else if size >= 0 {
		buf = buf[:size]
		if err := src.read(ctx, 0, buf); err != nil {
			return Result{}, err
		}
		return m.putWhole(ctx, buf, body.Info)
	}
	n, over, err := src.fill(buf)
	if err != nil {
		return Result{}, err
	}
	if !over {
		return Result{}, contentFault(fmt.Sprintf("the image has more than %d bytes", len(buf)), nil)
	}
	return m.putWhole(ctx, buf[:n], body.Info)
}
