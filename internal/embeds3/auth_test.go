package embeds3_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/clipferry/clipferry/internal/s3test"
)

// A request is taken only as its sender has signed it.
func TestSignatures(t *testing.T) {
	srv := s3test.StartEmbedded(t)
	with := func(access, secret string, change ...func(*http.Request)) *s3.Client {
		return s3.New(srv.Client().Options(), func(o *s3.Options) {
			o.Credentials = credentials.NewStaticCredentialsProvider(access, secret, "")
			o.Retryer = aws.NopRetryer{}
			o.HTTPClient = changed(change)
		})
	}
	for name, c := range map[string]struct {
		client *s3.Client
		want   string
	}{
		"right":                   {with(s3test.AccessKey, s3test.SecretKey), ""},
		"other key":               {with("other", s3test.SecretKey), "InvalidAccessKeyId"},
		"other secret":            {with(s3test.AccessKey, "other"), "SignatureDoesNotMatch"},
		"no signature":            {with(s3test.AccessKey, s3test.SecretKey, func(r *http.Request) { r.Header.Del("Authorization") }), "AccessDenied"},
		"other key of the object": {with(s3test.AccessKey, s3test.SecretKey, func(r *http.Request) { r.URL.Path += "2"; r.URL.RawPath = "" }), "SignatureDoesNotMatch"},
		"other query":             {with(s3test.AccessKey, s3test.SecretKey, func(r *http.Request) { r.URL.RawQuery += "&prefix=a" }), "SignatureDoesNotMatch"},
		"other header":            {with(s3test.AccessKey, s3test.SecretKey, func(r *http.Request) { r.Header.Set("X-Amz-Meta-A", "2") }), "SignatureDoesNotMatch"},
		"more headers":            {with(s3test.AccessKey, s3test.SecretKey, func(r *http.Request) { r.Header.Set("X-Amz-Meta-B", "2") }), "AccessDenied"},
		"other body":              {with(s3test.AccessKey, s3test.SecretKey, func(r *http.Request) { r.Body = io.NopCloser(strings.NewReader("BODY")) }), "XAmzContentSHA256Mismatch"},
		"another time":            {with(s3test.AccessKey, s3test.SecretKey, func(r *http.Request) { r.Header.Set("X-Amz-Date", "20200101T000000Z") }), "AuthorizationHeaderMalformed"},
	} {
		_, err := c.client.PutObject(t.Context(), &s3.PutObjectInput{
			Bucket: bucket, Key: aws.String("a folder/ä+b=c&d.mp4"), Body: strings.NewReader("body"), Metadata: map[string]string{"a": "1  2 "},
		})
		if code(err) != c.want {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// changed is an HTTP client that changes requests after they were signed.
type changed []func(*http.Request)

func (c changed) Do(r *http.Request) (*http.Response, error) {
	for _, change := range c {
		change(r)
	}
	return http.DefaultClient.Do(r)
}

// Whoever has a link can read the object that it is for, in its time.
func TestLinks(t *testing.T) {
	srv := s3test.StartEmbedded(t)
	const key = "folder/a b.mp4"
	if _, err := srv.Client().PutObject(t.Context(), &s3.PutObjectInput{Bucket: bucket, Key: aws.String(key), Body: strings.NewReader("0123456789")}); err != nil {
		t.Fatal(err)
	}
	link := func(age time.Duration) string {
		r, err := s3.NewPresignClient(srv.Client()).PresignGetObject(t.Context(), &s3.GetObjectInput{
			Bucket: bucket, Key: aws.String(key), ResponseContentDisposition: aws.String(`attachment; filename="x.mp4"`),
		}, s3.WithPresignExpires(time.Hour), func(o *s3.PresignOptions) { o.Presigner = presigner{v4.NewSigner(), age} })
		if err != nil {
			t.Fatal(err)
		}
		return r.URL
	}
	right := link(0)
	unsigned, _, _ := strings.Cut(right, "?")
	for name, c := range map[string]struct {
		url, ranges string
		status      int
		body        string
	}{
		"right":          {right, "", http.StatusOK, "0123456789"},
		"a range":        {right, "bytes=2-4", http.StatusPartialContent, "234"},
		"no range of it": {right, "bytes=20-", http.StatusRequestedRangeNotSatisfiable, ""},
		"expired":        {link(time.Hour + time.Second), "", http.StatusForbidden, ""},
		"nearly expired": {link(time.Hour - time.Minute), "", http.StatusOK, "0123456789"},
		"of tomorrow":    {link(-24 * time.Hour), "", http.StatusForbidden, ""},
		"longer":         {strings.Replace(right, "X-Amz-Expires=3600", "X-Amz-Expires=3601", 1), "", http.StatusForbidden, ""},
		"another object": {strings.Replace(right, "a%20b", "a%20c", 1), "", http.StatusForbidden, ""},
		"no signature":   {unsigned, "", http.StatusForbidden, ""},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.url, nil)
		if err != nil {
			t.Fatal(err)
		}
		if c.ranges != "" {
			req.Header.Set("Range", c.ranges)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || resp.StatusCode != c.status || c.body != "" && string(got) != c.body {
			t.Errorf("%s: %s, %q, %v", name, resp.Status, got, err)
		}
		if c.body != "" && !strings.Contains(resp.Header.Get("Content-Disposition"), "x.mp4") {
			t.Errorf("%s: it has not the name that the link gives it", name)
		}
	}
}

// presigner makes links that are of some age already.
type presigner struct {
	*v4.Signer
	age time.Duration
}

func (p presigner) PresignHTTP(ctx context.Context, c aws.Credentials, r *http.Request, hash, service, region string, at time.Time, opts ...func(*v4.SignerOptions)) (string, http.Header, error) {
	opts = append(opts, func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
	return p.Signer.PresignHTTP(ctx, c, r, hash, service, region, at.Add(-p.age), opts...)
}
