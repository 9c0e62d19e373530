package storage

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"

	"github.com/clipferry/clipferry/internal/fault"
	"github.com/clipferry/clipferry/internal/retry"
)

// s3Hints say what an operator can do, by S3's error code.
var s3Hints = map[string]string{
	"NoSuchBucket":          "create the bucket or correct CLIPFERRY_S3_BUCKET",
	"AccessDenied":          "grant the actions that docs/s3.md lists",
	"Forbidden":             "grant the actions that docs/s3.md lists",
	"InvalidAccessKeyId":    "check the AWS credentials",
	"SignatureDoesNotMatch": "check the AWS credentials",
	"ExpiredToken":          "renew the AWS credentials",
	"RequestTimeTooSkewed":  "set this machine's clock",
	"PermanentRedirect":     "set AWS_REGION to the bucket's region",
	"TemporaryRedirect":     "set AWS_REGION to the bucket's region; a bucket that is new there may take a while",
	"MalformedXML":          "a server that refuses checksums needs CLIPFERRY_S3_CHECKSUM=md5",
	"NotImplemented":        "this server lacks something that is asked of it",
	"InvalidRequest":        "a server that refuses checksums needs CLIPFERRY_S3_CHECKSUM=md5",
}

// ErrUnavailable marks the failure of an S3 server that does not answer, or
// answers that it cannot: anything else would fail there as well.
var ErrUnavailable = errors.New("S3 is unavailable")

// unavailable marks err with [ErrUnavailable].
type unavailable struct{ error }

func (u unavailable) Unwrap() error        { return u.error }
func (u unavailable) Is(target error) bool { return target == ErrUnavailable }

// isUnavailable says that err is about the server and not about the request.
func isUnavailable(err error) bool {
	switch s := httpStatus(err); s {
	case 0, http.StatusRequestTimeout, http.StatusTooManyRequests:
		return true
	default:
		return s >= 500 && !isUnsupported(err)
	}
}

// s3Fault is what a failed S3 call means: always Retry, since the export is paid
// for and whatever is wrong can be mended.
func s3Fault(ctx context.Context, doing string, err error) error {
	if err == nil {
		return nil
	}
	var f *fault.Fault
	if errors.As(err, &f) {
		return err
	}
	if ctx.Err() != nil {
		return fault.New(fault.Retry, doing+" was interrupted", context.Cause(ctx))
	}
	cause := err
	if isUnavailable(err) {
		cause = unavailable{err}
	}
	f = fault.New(fault.Retry, doing+" failed in S3", cause)
	if code := errorCode(err); code != "" {
		f.Message = fmt.Sprintf("%s failed in S3 with %s", doing, code)
		f.Hint = s3Hints[code]
	}
	var asked optionsFault
	if errors.As(err, &asked) {
		f.Hint = asked.hint(errorCode(err), f.Hint)
	}
	if isUnknownHost(err) {
		f.Hint = "check AWS_ENDPOINT_URL_S3; a server that has the bucket in the path needs CLIPFERRY_S3_PATH_STYLE=true"
	}
	f.RetryAfter = retryAfter(err)
	return f
}

// isUnknownHost says that nobody knows the server's name, or that its certificate
// is for another one: so it is with bucket.server where there is only server/bucket.
func isUnknownHost(err error) bool {
	var dns *net.DNSError
	var certificate x509.HostnameError
	return errors.As(err, &dns) && dns.IsNotFound || errors.As(err, &certificate)
}

func errorCode(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return ""
}

// httpStatus is the response's status, 0 when there was none.
func httpStatus(err error) int {
	var re *awshttp.ResponseError
	if errors.As(err, &re) {
		return re.HTTPStatusCode()
	}
	return 0
}

// longestRetryAfter bounds what S3 may ask us to wait.
const longestRetryAfter = time.Hour

func retryAfter(err error) time.Duration {
	var re *awshttp.ResponseError
	if !errors.As(err, &re) || re.Response == nil {
		return 0
	}
	return retry.After(re.Response.Header, time.Now(), longestRetryAfter)
}

// isMissing says that the key, bucket or upload asked for is not there.
func isMissing(err error) bool {
	switch errorCode(err) {
	case "NotFound", "NoSuchKey":
		return true
	}
	return false
}

// isUploadGone says that S3 does not know the upload: completed, aborted or
// forgotten. Which one, only a look at the key tells.
func isUploadGone(err error) bool { return errorCode(err) == "NoSuchUpload" }

// lacksListParts says that a server answered ListParts as one that does not know it.
func lacksListParts(err error) bool {
	switch httpStatus(err) {
	case http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusNotImplemented:
		return true
	case http.StatusNotFound:
		return errorCode(err) != "NoSuchBucket"
	}
	return false
}

// isTaken says that a conditional write found the key taken.
func isTaken(err error) bool {
	return httpStatus(err) == http.StatusPreconditionFailed || errorCode(err) == "PreconditionFailed"
}

// isConflict says that a conditional write ran against another one.
func isConflict(err error) bool {
	return errorCode(err) == "ConditionalRequestConflict" ||
		(httpStatus(err) == http.StatusConflict && errorCode(err) != "OperationAborted")
}

// isUseless says that S3 holds other parts than we believe, and that completing
// them will be refused every time.
func isUseless(err error) bool {
	switch errorCode(err) {
	case "BadDigest", "InvalidPart", "InvalidPartOrder", "EntityTooSmall":
		return true
	}
	return false
}

// isStale says that S3 refuses to go on with an upload that was begun under other
// settings, or whose key has been taken away since. A new one may do.
func isStale(err error) bool {
	code := errorCode(err)
	return code == "InvalidRequest" || code == "InvalidArgument" || strings.HasPrefix(code, "KMS.")
}

// isUnsupported says that the server does not know what was asked of it.
func isUnsupported(err error) bool {
	return httpStatus(err) == http.StatusNotImplemented || errorCode(err) == "NotImplemented"
}

// isPushback says that S3 asks for less.
func isPushback(err error) bool {
	switch httpStatus(err) {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return true
	}
	return errorCode(err) == "SlowDown"
}
