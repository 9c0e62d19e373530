package telemetry

import (
	"context"
	"net/http"
	"slices"

	"github.com/clipferry/clipferry/storage"
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

// S3 counts an attempt of a request to S3.
func (t *Telemetry) S3(ctx context.Context, a storage.Attempt) {
	operation := a.Operation
	if !slices.Contains(s3Operations, operation) {
		operation = "other"
	}
	t.s3Duration.WithLabelValues(operation).Observe(a.Took.Seconds())
	t.s3Requests.WithLabelValues(operation, s3Result(ctx, a)).Inc()
	t.s3Sent.Add(float64(a.Sent))
}

func s3Result(ctx context.Context, a storage.Attempt) string {
	switch status := a.Status; {
	case a.Err == nil:
		return "ok"
	case status == 0 && ctx.Err() != nil:
		return "canceled"
	case status == 0:
		return "no_answer"
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
