package storage

import (
	"context"
	"errors"
	"mime"
	"net/http"
	"sync/atomic"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// errPage is what a web page means that came instead of S3's response.
var errPage = errors.New("a web page came instead of S3's answer: a portal, a proxy or another server is in its place")

// proxyGuard is an HTTP client that is prepared for what may be between us and S3.
//
// It takes no web page for a response of S3: neither one that says all is well, nor
// one that says there is nothing. Other errors keep their status, which says
// whether to come back. It asks for no permission to send a body once that was
// refused, and says Accept-Encoding itself, unsigned: some proxies change it.
type proxyGuard struct {
	s3.HTTPClient
	noExpect atomic.Bool
}

func (g *proxyGuard) Do(req *http.Request) (*http.Response, error) {
	req.Header.Set("Accept-Encoding", "identity")
	if g.noExpect.Load() {
		req.Header.Del("Expect")
	}
	resp, err := g.HTTPClient.Do(req)
	if err != nil {
		return resp, err
	}
	if resp.StatusCode == http.StatusExpectationFailed {
		g.noExpect.Store(true)
	}
	if isPage(resp) {
		_ = resp.Body.Close()
		return nil, errPage
	}
	return resp, nil
}

func isPage(resp *http.Response) bool {
	if resp.StatusCode >= http.StatusMultipleChoices && resp.StatusCode != http.StatusNotFound {
		return false
	}
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if kind != "text/html" && kind != "application/xhtml+xml" {
		return false
	}
	// Swift calls its empty responses HTML.
	ofS3 := resp.Header.Get("X-Amz-Request-Id") != "" || resp.Header.Get("ETag") != ""
	return resp.ContentLength != 0 || !ofS3
}

// rewritten are headers that what lies between may rewrite or drop. The SDK would sign
// them, and S3 needs none of them.
var rewritten = []string{"Accept-Encoding", "Amz-Sdk-Invocation-Id", "Amz-Sdk-Request"}

// unsigned keeps those headers out of the signature.
func unsigned(stack *middleware.Stack) error {
	return stack.Finalize.Insert(middleware.FinalizeMiddlewareFunc("clipferry/unsigned",
		func(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (middleware.FinalizeOutput, middleware.Metadata, error) {
			if req, ok := in.Request.(*smithyhttp.Request); ok {
				for _, name := range rewritten {
					req.Header.Del(name)
				}
			}
			return next.HandleFinalize(ctx, in)
		}), "Signing", middleware.Before)
}
