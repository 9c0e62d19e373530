package link

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/clipferry/clipferry/internal/fault"
)

// errStalled is the cancel cause of a read that made no progress.
var errStalled = errors.New("no bytes came for too long, or hardly any")

// stallBytes have to come within each stall timeout: a source that drips would
// otherwise hold a transfer for ever.
const stallBytes = 64 << 10

// Body is the answer to one request. Reading it yields io.EOF only where the
// transfer ended as announced.
type Body struct {
	// Info is what the answer says about the whole file.
	Info Info
	// From is the file offset of the first byte.
	From int64
	// Length is how many bytes the answer announced, -1 when it did not say.
	Length int64

	ctx    context.Context
	cancel context.CancelCauseFunc
	body   io.ReadCloser
	read   int64
	limit  int64
	stall  time.Duration
	timer  *time.Timer
	// since the last stallBytes: how many more came, and how long they were waited for
	came   int
	waited time.Duration
}

func (b *Body) attach(ctx context.Context, cancel context.CancelCauseFunc, body io.ReadCloser, stall time.Duration) {
	b.ctx, b.cancel, b.body, b.stall = ctx, cancel, body, stall
	b.timer = time.AfterFunc(stall, func() { cancel(errStalled) })
	b.timer.Stop() // runs only while a read waits: a slow caller is no stall
}

// Read implements io.Reader. Its errors are *fault.Fault, io.EOF apart.
func (b *Body) Read(p []byte) (int, error) {
	b.timer.Reset(b.stall - b.waited)
	began := time.Now()
	n, err := b.body.Read(p)
	b.timer.Stop()
	b.read += int64(n)
	if b.came += n; b.came >= stallBytes {
		b.came, b.waited = 0, 0
	} else {
		b.waited += time.Since(began)
	}
	if b.read > b.limit {
		return n, tooLarge(b.limit)
	}
	switch {
	case err == nil:
		return n, nil
	case errors.Is(err, io.EOF) && (b.Length < 0 || b.read == b.Length):
		return n, io.EOF
	case errors.Is(context.Cause(b.ctx), errStalled):
		return n, fault.New(fault.Retry, "the export link stalled", errStalled)
	case b.ctx.Err() != nil:
		return n, fault.New(fault.Retry, "reading the export link was interrupted", context.Cause(b.ctx))
	default:
		return n, fault.New(fault.Retry, "the export link broke off", scrub(err))
	}
}

// Close ends the read; the connection is kept only if everything was read.
func (b *Body) Close() error {
	b.timer.Stop()
	err := b.body.Close()
	b.cancel(nil)
	return err
}
