package storage

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/clipferry/clipferry/internal/s3test"
)

// documentedPolicy is the IAM policy of docs/s3.md, as a bucket policy for one user.
func documentedPolicy(t *testing.T, user string) string {
	t.Helper()
	doc, err := os.ReadFile("../docs/s3.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := bytes.Cut(doc, []byte("```json\n"))
	policy, _, ok2 := bytes.Cut(rest, []byte("```"))
	if !ok || !ok2 {
		t.Fatal("docs/s3.md holds no policy")
	}
	p := strings.ReplaceAll(string(policy), "YOUR-BUCKET", s3test.Bucket)
	return strings.ReplaceAll(p, `"Effect": "Allow",`, fmt.Sprintf(`"Effect": "Allow", "Principal": {"AWS": [%q]},`, user))
}

// The documented policy is enough for everything, and no more than that.
func TestDocumentedPolicy(t *testing.T) {
	srv := s3test.StartWithUser(t, "ferry", "ferry-secret")
	user := srv.Client()
	user = s3.New(user.Options(), func(o *s3.Options) {
		o.Credentials = credentials.NewStaticCredentialsProvider("ferry", "ferry-secret", "")
	})
	a := newArchive(t, srv, func(o *Options) { o.Client = user })
	if err := a.Check(t.Context()); err == nil {
		t.Error("the user may do things without a policy")
	}
	policy := documentedPolicy(t, "ferry")
	if _, err := srv.Client().PutBucketPolicy(t.Context(), &s3.PutBucketPolicyInput{Bucket: aws.String(s3test.Bucket), Policy: &policy}); err != nil {
		t.Fatalf("%v\n%s", err, policy)
	}
	for _, r := range a.SelfTest(t.Context()) {
		if r.Err != nil && r.Name != "lifecycle rule" { // which this server does not have
			t.Errorf("%s: %v", r.Name, r.Err)
		}
	}
	clip := clipOf(minPartSize+1, 1)
	obj, err := a.Mirror(t.Context(), Job{Export: "e", Key: a.Folder("p", "t") + "clip-000.mp4", Link: serveFile(t, clip)})
	if err != nil || obj.SHA256 != sum(clip) {
		t.Errorf("%+v, %v", obj, err)
	}
	if err := a.SyncReceipt(t.Context(), Receipt{ID: "e", ExportTaskID: "t"}); err != nil {
		t.Error(err)
	}
	if n, err := a.AbortOrphans(t.Context(), time.Hour); n != 0 || err != nil {
		t.Error(n, err)
	}
	outside := "elsewhere/x"
	if _, err := user.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String(s3test.Bucket), Key: &outside, Body: bytes.NewReader(nil)}); err == nil {
		t.Error("the policy lets clipferry write outside its prefix")
	}
}

// Every option reaches S3, for small objects and for large ones.
func TestObjectOptionsAreSent(t *testing.T) {
	srv := s3test.Start(t)
	var sent http.Header
	proxied := newS3Proxy(t, srv, func(kind string, _ int, w http.ResponseWriter, r *http.Request, _ func(http.ResponseWriter)) bool {
		if kind == "head" {
			w.WriteHeader(http.StatusNotFound)
			return true
		}
		if kind != "put" && kind != "create" {
			return false
		}
		sent = r.Header.Clone()
		s3Error(w, 400, "InvalidRequest")
		return true
	})
	a := newArchive(t, srv, func(o *Options) {
		o.Client, o.Now = srv.ClientAt(proxied), func() time.Time { return someTime }
		o.Object = ObjectOptions{
			StorageClass: "STANDARD_IA", SSE: "aws:kms", KMSKeyID: "key-1", Tags: map[string]string{"a": "b c"}, ACL: "bucket-owner-full-control",
			LockMode: "GOVERNANCE", LockFor: time.Hour, RequesterPays: true, ExpectedBucketOwner: "123456789012", CacheControl: "no-store",
		}
	})
	for _, size := range []int{100, minPartSize + 1} {
		sent = nil
		_, err := a.Mirror(t.Context(), Job{Export: "e", Key: fmt.Sprint(size), Link: serveFile(t, clipOf(size, 1))})
		if err == nil {
			t.Fatal("no error")
		}
		for name, want := range map[string]string{
			"X-Amz-Storage-Class": "STANDARD_IA", "X-Amz-Server-Side-Encryption": "aws:kms", "X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id": "key-1",
			"X-Amz-Tagging": "a=b%20c", "X-Amz-Acl": "bucket-owner-full-control", "X-Amz-Object-Lock-Mode": "GOVERNANCE",
			"X-Amz-Object-Lock-Retain-Until-Date": "2026-04-01T13:00:00Z", "X-Amz-Request-Payer": "requester",
			"X-Amz-Expected-Bucket-Owner": "123456789012", "Cache-Control": "no-store",
		} {
			if got := sent.Get(name); got != want {
				t.Errorf("%d bytes: %s is %q, not %q", size, name, got, want)
			}
		}
	}
	link, err := a.Presign(t.Context(), "k", "", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"x-amz-request-payer=requester", "x-amz-expected-bucket-owner=123456789012"} {
		if !strings.Contains(strings.ToLower(link), want) {
			t.Errorf("a link lacks %s: %s", want, link)
		}
	}
}

// Whoever observes sees each attempt, repeated ones too, and what was sent in it.
func TestAttemptsAreObserved(t *testing.T) {
	srv := s3test.Start(t)
	proxied := newS3Proxy(t, srv, func(kind string, n int, w http.ResponseWriter, _ *http.Request, _ func(http.ResponseWriter)) bool {
		if kind == "put" && n == 1 {
			s3Error(w, 503, "SlowDown")
			return true
		}
		return false
	})
	var mu sync.Mutex
	var puts []Attempt
	a := newArchive(t, srv, func(o *Options) {
		o.Client = srv.ClientAt(proxied)
		o.Observe = func(_ context.Context, at Attempt) {
			mu.Lock()
			defer mu.Unlock()
			if at.Operation == "PutObject" {
				puts = append(puts, at)
			}
		}
	})
	if err := a.probeWrite(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(puts) != 2 || puts[0].Status != 503 || puts[0].Err == nil || puts[1].Status != 200 || puts[1].Err != nil || puts[1].Sent == 0 {
		t.Errorf("seen: %+v", puts)
	}
}

// A bucket whose policy takes nothing but what is encrypted with a key, and given
// to its owner, takes receipts and manifests as well. What is public of clips is
// not so of them.
func TestDocumentsAreEncryptedAsClipsAre(t *testing.T) {
	srv := s3test.Start(t)
	for acl, want := range map[string]string{"bucket-owner-full-control": "bucket-owner-full-control", "public-read": ""} {
		var sent http.Header
		proxied := newS3Proxy(t, srv, func(kind string, _ int, _ http.ResponseWriter, r *http.Request, _ func(http.ResponseWriter)) bool {
			if kind == "put" {
				sent = r.Header.Clone()
			}
			return false
		})
		a := newArchive(t, srv, func(o *Options) {
			o.Client = srv.ClientAt(proxied)
			o.Object = ObjectOptions{SSE: "aws:kms", KMSKeyID: "key-1", ACL: acl, StorageClass: "GLACIER", LockMode: "GOVERNANCE", LockFor: time.Hour, Tags: map[string]string{"a": "b"}}
		})
		if err := a.SyncReceipt(t.Context(), Receipt{ID: "of-" + acl, ExportTaskID: "t"}); err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]string{
			"X-Amz-Server-Side-Encryption": "aws:kms", "X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id": "key-1", "X-Amz-Acl": want,
			// a receipt is read and written again
			"X-Amz-Storage-Class": "", "X-Amz-Object-Lock-Mode": "", "X-Amz-Tagging": "",
		} {
			if got := sent.Get(name); got != want {
				t.Errorf("%s: %s is %q, not %q", acl, name, got, want)
			}
		}
	}
}
