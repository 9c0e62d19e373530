package storage

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/clipferry/clipferry/internal/fault"
	"github.com/clipferry/clipferry/internal/s3test"
)

// In the mode md5 the wrong sum that is tried is an MD5.
func TestSelfTestWithMD5(t *testing.T) {
	a := untested(newArchive(t, s3test.Start(t), func(o *Options) { o.Checksum = ChecksumMD5 }))
	for _, r := range a.SelfTest(t.Context()) {
		if r.Err != nil && (strings.HasPrefix(r.Name, "wrong checksum") || !r.Optional) {
			t.Errorf("%s: %v", r.Name, r.Err)
		}
	}
}

// A HEAD has no body that would say what is wrong with the credentials.
func TestSelfTestWithAWrongSecret(t *testing.T) {
	srv := s3test.Start(t)
	a := newArchive(t, srv, func(o *Options) {
		o.Client = s3.New(srv.Client().Options(), func(so *s3.Options) {
			so.Credentials = credentials.NewStaticCredentialsProvider(s3test.AccessKey, "wrong", "")
		})
	})
	r := a.SelfTest(t.Context())[0]
	if r.Name != "bucket" || !strings.Contains(fault.SentenceOf(r.Err), "SignatureDoesNotMatch; check the AWS credentials") {
		t.Errorf("%s: %s", r.Name, fault.SentenceOf(r.Err))
	}
}

// A server with the bucket in the path is asked for a host that nobody knows.
func TestABucketsHostThatDoesNotResolve(t *testing.T) {
	srv := s3test.Start(t)
	transport := &http.Transport{DialContext: func(_ context.Context, network, address string) (net.Conn, error) {
		host, _, _ := net.SplitHostPort(address)
		return nil, &net.OpError{Op: "dial", Net: network, Err: &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}}
	}}
	a := newArchive(t, srv, func(o *Options) {
		o.Client = s3.New(srv.Client().Options(), func(so *s3.Options) {
			so.UsePathStyle, so.BaseEndpoint = false, aws.String("http://s3.invalid:7070")
			so.HTTPClient = &http.Client{Transport: transport}
		})
	})
	if err := a.Check(t.Context()); !strings.Contains(fault.SentenceOf(err), "CLIPFERRY_S3_PATH_STYLE=true") {
		t.Error(fault.SentenceOf(err))
	}
}

// Checksums in Complete that are refused, in words other than those that the
// archive knows how to help itself with, are told with what to do.
func TestHintsOfChecksums(t *testing.T) {
	for _, code := range []string{"MalformedXML", "InvalidRequest"} {
		hs := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { s3Error(w, http.StatusBadRequest, code) }))
		defer hs.Close()
		_, _, err := newArchive(t, &s3test.Server{Endpoint: hs.URL}).Receipt(t.Context(), "e")
		if !strings.Contains(fault.SentenceOf(err), "CLIPFERRY_S3_CHECKSUM=md5") {
			t.Errorf("%s: %s", code, fault.SentenceOf(err))
		}
	}
}
