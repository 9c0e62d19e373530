package storage

import (
	"errors"
	"mime"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// errPage is what a web page means that came instead of S3's answer.
var errPage = errors.New("a web page came instead of S3's answer: a portal, a proxy or another server stands in its place")

// htmlGuard is an HTTP client that takes no web page for an answer of S3: neither
// one that says all is well, nor one that says there is nothing. Other errors
// keep their status, which says whether to come back.
type htmlGuard struct{ s3.HTTPClient }

func (g htmlGuard) Do(req *http.Request) (*http.Response, error) {
	resp, err := g.HTTPClient.Do(req)
	if err != nil || resp.StatusCode >= http.StatusMultipleChoices && resp.StatusCode != http.StatusNotFound {
		return resp, err
	}
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if kind != "text/html" && kind != "application/xhtml+xml" {
		return resp, nil
	}
	_ = resp.Body.Close()
	return nil, errPage
}
