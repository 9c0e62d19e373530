package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	smithy "github.com/aws/smithy-go/middleware"
)

// defaultPatience is how long S3 may take to answer a request without a body, and
// to send the next bytes of one that it answers with a body.
const defaultPatience = time.Minute

// silentError says that S3 took a request and did not answer. The SDK repeats it,
// over another connection.
type silentError struct{ waited time.Duration }

func (e silentError) Error() string      { return fmt.Sprintf("no answer within %s", e.waited) }
func (silentError) RetryableError() bool { return true }
func (silentError) Timeout() bool        { return true }

// bounded lets no attempt wait for ever. Those with large bodies, and completions,
// have bounds of their own; for a read see getObject.
func (a *Archive) bounded(stack *smithy.Stack) error {
	bound := func(ctx context.Context, in smithy.FinalizeInput, next smithy.FinalizeHandler) (smithy.FinalizeOutput, smithy.Metadata, error) {
		switch middleware.GetOperationName(ctx) {
		case "PutObject", "UploadPart", "CompleteMultipartUpload", "GetObject":
			return next.HandleFinalize(ctx, in)
		}
		attempt, cancel := context.WithTimeoutCause(ctx, a.patience, silentError{a.patience})
		defer cancel()
		out, meta, err := next.HandleFinalize(attempt, in)
		if err != nil && attempt.Err() != nil && ctx.Err() == nil {
			err = context.Cause(attempt)
		}
		return out, meta, err
	}
	return stack.Finalize.Add(smithy.FinalizeMiddlewareFunc("clipferry/bounded", bound), smithy.After)
}

// getObject reads an object, unless S3 falls silent. The caller closes the body.
func (a *Archive) getObject(ctx context.Context, key string) (*s3.GetObjectOutput, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(a.patience, func() { cancel(silentError{a.patience}) })
	out, err := a.s3.GetObject(ctx, &s3.GetObjectInput{
		Bucket: &a.opts.Bucket, Key: &key, ExpectedBucketOwner: a.owner(), RequestPayer: a.payer(),
	})
	timer.Stop()
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		cancel(nil)
		return nil, err
	}
	out.Body = &patientBody{out.Body, ctx, cancel, timer, a.patience}
	return out, nil
}

// patientBody is the body of an object that waits for so long for each read, and
// not while nobody reads.
type patientBody struct {
	io.ReadCloser
	ctx    context.Context
	cancel context.CancelCauseFunc
	timer  *time.Timer
	wait   time.Duration
}

func (b *patientBody) Read(p []byte) (int, error) {
	b.timer.Reset(b.wait)
	n, err := b.ReadCloser.Read(p)
	b.timer.Stop()
	if err != nil && !errors.Is(err, io.EOF) && b.ctx.Err() != nil {
		err = context.Cause(b.ctx)
	}
	return n, err
}

func (b *patientBody) Close() error {
	b.timer.Stop()
	err := b.ReadCloser.Close()
	b.cancel(nil)
	return err
}
