package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// responseTimeout is how long S3 may take to answer a request without a body, and
// to send the next bytes of one that it answers with a body.
const responseTimeout = time.Minute

// silentError says that S3 took a request and did not answer. It is repeated,
// over another connection.
type silentError struct{ waited time.Duration }

func (e silentError) Error() string      { return fmt.Sprintf("no answer within %s", e.waited) }
func (silentError) RetryableError() bool { return true }
func (silentError) Timeout() bool        { return true }

// timeouts lets no attempt wait for ever.
type timeouts struct {
	next     sender
	response time.Duration
	upload   time.Duration // of requests with a body of up to a part
	complete time.Duration
}

func (s *timeouts) do(ctx context.Context, r request) error {
	limit := s.response
	switch r.name {
	case "PutObject", "UploadPart":
		limit = s.upload
	case "CompleteMultipartUpload":
		limit = s.complete
	case "GetObject":
		return s.next.do(ctx, r) // its body outlives the attempt, see get
	}
	attempt, cancel := context.WithTimeoutCause(ctx, limit, silentError{limit})
	defer cancel()
	err := s.next.do(attempt, r)
	if err != nil && attempt.Err() != nil && ctx.Err() == nil {
		err = context.Cause(attempt)
	}
	return err
}

// get returns c's GetObject, given up when S3 falls silent before or within the body.
func (s *timeouts) get(c *s3.Client) func(context.Context, *s3.GetObjectInput, ...func(*s3.Options)) (*s3.GetObjectOutput, error) {
	return func(ctx context.Context, in *s3.GetObjectInput, opts ...func(*s3.Options)) (*s3.GetObjectOutput, error) {
		attempt, cancel := context.WithCancelCause(ctx)
		timer := time.AfterFunc(s.response, func() { cancel(silentError{s.response}) })
		out, err := c.GetObject(attempt, in, opts...)
		timer.Stop()
		if err != nil {
			if attempt.Err() != nil {
				err = context.Cause(attempt)
			}
			cancel(nil)
			return nil, err
		}
		out.Body = &timedBody{out.Body, attempt, cancel, timer, s.response}
		return out, nil
	}
}

// timedBody is the body of an object that waits for so long for each read, and
// not while nobody reads.
type timedBody struct {
	io.ReadCloser
	ctx    context.Context
	cancel context.CancelCauseFunc
	timer  *time.Timer
	wait   time.Duration
}

func (b *timedBody) Read(p []byte) (int, error) {
	b.timer.Reset(b.wait)
	n, err := b.ReadCloser.Read(p)
	b.timer.Stop()
	if err != nil && !errors.Is(err, io.EOF) && b.ctx.Err() != nil {
		err = context.Cause(b.ctx)
	}
	return n, err
}

func (b *timedBody) Close() error {
	b.timer.Stop()
	err := b.ReadCloser.Close()
	b.cancel(nil)
	return err
}
