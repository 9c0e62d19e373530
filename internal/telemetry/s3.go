package telemetry

import (
	"context"
	"errors"
	"net/http"
	"slices"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// s3Operations are the operations that the archive uses; any other is "other".
var s3Operations = []string{
	"PutObject", "GetObject", "HeadObject", "DeleteObject", "ListObjectsV2", "CreateMultipartUpload", "UploadPart",
	"CompleteMultipartUpload", "AbortMultipartUpload", "ListParts", "ListMultipartUploads", "PutObjectTagging",
	"GetObjectTagging", "HeadBucket", "other",
}

// s3Results are how operations end. Missing and precondition are answers, not
// failures: the archive asks whether something is there, and writes only where
// nothing is.
var s3Results = []string{"ok", "missing", "precondition", "denied", "slow_down", "server_error", "client_error", "no_answer", "canceled"}

// S3 counts the operations of an S3 client. It goes into the client's APIOptions.
func (t *Telemetry) S3(stack *middleware.Stack) error {
	if err := stack.Initialize.Add(s3Watch{t}, middleware.Before); err != nil {
		return err
	}
	// Last, where the length of the body is known.
	return stack.Deserialize.Add(s3Sent{t}, middleware.After)
}

// s3Watch sees each attempt of a request: the archive repeats them itself.
type s3Watch struct{ t *Telemetry }

func (s3Watch) ID() string { return "clipferry.metrics" }

func (m s3Watch) HandleInitialize(ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler) (middleware.InitializeOutput, middleware.Metadata, error) {
	operation := middleware.GetOperationName(ctx)
	if !slices.Contains(s3Operations, operation) {
		operation = "other"
	}
	began := m.t.now()
	out, meta, err := next.HandleInitialize(ctx, in)
	m.t.s3Duration.WithLabelValues(operation).Observe(m.t.now().Sub(began).Seconds())
	m.t.s3Requests.WithLabelValues(operation, s3Result(ctx, err)).Inc()
	return out, meta, err
}

// s3Sent counts the bytes of a body once it has gone out whole.
type s3Sent struct{ t *Telemetry }

func (s3Sent) ID() string { return "clipferry.sent" }

func (m s3Sent) HandleDeserialize(ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler) (middleware.DeserializeOutput, middleware.Metadata, error) {
	out, meta, err := next.HandleDeserialize(ctx, in)
	// What went out of a body that was cut off is not known; it is not counted.
	if req, ok := in.Request.(*smithyhttp.Request); ok && out.RawResponse != nil && req.ContentLength > 0 {
		m.t.s3Sent.Add(float64(req.ContentLength))
	}
	return out, meta, err
}

func s3Result(ctx context.Context, err error) string {
	if err == nil {
		return "ok"
	}
	var re *awshttp.ResponseError
	if !errors.As(err, &re) || re.HTTPStatusCode() == 0 {
		if ctx.Err() != nil {
			return "canceled"
		}
		return "no_answer"
	}
	switch status := re.HTTPStatusCode(); {
	case status == http.StatusNotFound:
		return "missing"
	case status == http.StatusPreconditionFailed, status == http.StatusConflict:
		return "precondition"
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return "denied"
	case status == http.StatusTooManyRequests, status == http.StatusServiceUnavailable:
		return "slow_down"
	case status >= 500:
		return "server_error"
	default:
		return "client_error"
	}
}
