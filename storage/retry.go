package storage

import (
	"context"
	"math/rand/v2"
	"net/http"
	"time"

	sdkretry "github.com/aws/aws-sdk-go-v2/aws/retry"

	"github.com/clipferry/clipferry/internal/fault"
	"github.com/clipferry/clipferry/internal/retry"
)

// Who repeats what, from the inside out. No two layers repeat the same thing:
//
//   - A request to S3 is repeated here, by retries, and nowhere below: the SDK's
//     own retries are off.
//   - A read from a link is repeated by partSource.read, which goes on where it
//     was cut. A refusal by the link's server is not: the worker tries the link
//     again. A thumbnail is read anew here, since nobody comes back for it.
//   - A transfer begins anew within one Mirror (maxRestarts) only when something
//     about it has changed: another version of the source, a source that turned
//     out to have no ranges, an upload that S3 forgot. It doesn't repeat what the
//     two above gave up.
//   - Whatever is left is the caller's: the worker schedules the transfer again,
//     and it goes on from its checkpoint.
const (
	maxAttempts = 6
	// maxRetryTime is how long after its beginning a request is still repeated: an
	// S3 that answers nothing costs two timeouts and not six.
	maxRetryTime   = 90 * time.Second
	maxBackoffWait = 15 * time.Second
	// maxAskedWait is the longest Retry-After that is sat out with buffers in
	// hand; a longer one is handed up to whoever schedules transfers.
	maxAskedWait = time.Minute
)

// retries repeats the requests that may succeed unchanged.
type retries struct {
	next    sender
	backoff *backoff
}

func (s retries) do(ctx context.Context, r request) error {
	began := time.Now()
	for n := 1; ; n++ {
		err := s.next.do(ctx, r)
		if err == nil || r.once || n >= maxAttempts || ctx.Err() != nil || !repeatable(r, err) || time.Since(began) > maxRetryTime {
			return err
		}
		if !s.backoff.pause(ctx, n, retryAfter(err)) {
			return err
		}
	}
}

var sdkRetryable = sdkretry.IsErrorRetryables(sdkretry.DefaultRetryables)

// repeatable says whether the same request may succeed if it is sent once more.
func repeatable(r request, err error) bool {
	switch errorCode(err) {
	case "BadDigest", "IncompleteBody": // damaged on the way; of a completion it is the parts that are wrong
		return r.name == "PutObject" || r.name == "UploadPart"
	}
	switch status := httpStatus(err); {
	case status == http.StatusRequestTimeout, status == http.StatusTooManyRequests, status == http.StatusExpectationFailed:
		return true
	case status == http.StatusInsufficientStorage: // nobody makes room in a moment
		return false
	case status >= http.StatusInternalServerError:
		return !isUnsupported(err)
	}
	return sdkRetryable.IsErrorRetryable(err).Bool()
}

// backoff says how long to wait before attempt n (from 1) is repeated.
type backoff struct {
	first time.Duration
	max   time.Duration
}

var defaultBackoff = backoff{first: 250 * time.Millisecond, max: maxBackoffWait}

// wait sleeps before the next attempt. It returns false when there is no use
// in waiting: the context ends before, or the other side asked for too long.
func (b backoff) wait(ctx context.Context, attempt int, err error) bool {
	return b.pause(ctx, attempt, fault.RetryAfterOf(err))
}

// pause is wait for an error that asked for a wait, zero for none.
func (b backoff) pause(ctx context.Context, attempt int, asked time.Duration) bool {
	d := retry.Backoff(attempt-1, b.first, b.max)
	if asked > maxAskedWait {
		return false
	} else if asked > 0 {
		d = asked + rand.N(d)
	}
	if end, ok := ctx.Deadline(); ok && time.Until(end) < d {
		return false
	}
	return retry.Wait(ctx, d) == nil
}
