package storage

import (
	"context"
	"fmt"
	"io"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/clipferry/clipferry/internal/fault"
)

// ReadFrom reads an object from an offset on. The caller closes the body, which ends
// early with an error where S3 does.
func (a *Archive) ReadFrom(ctx context.Context, key string, offset int64) (io.ReadCloser, error) {
	in := &s3.GetObjectInput{Bucket: &a.opts.Bucket, Key: &key}
	if offset > 0 {
		in.Range = aws.String(fmt.Sprintf("bytes=%d-", offset))
	}
	out, err := a.s3.GetObject(ctx, in)
	if err != nil {
		return nil, s3Fault(ctx, "reading "+key, err)
	}
	if offset > 0 && out.ContentRange == nil { // it gives the whole object
		_ = out.Body.Close()
		return nil, fault.New(fault.Retry, "S3 gives no ranges of "+key, nil)
	}
	return out.Body, nil
}
