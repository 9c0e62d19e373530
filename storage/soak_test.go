package storage

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/clipferry/clipferry/internal/fault"
	"github.com/clipferry/clipferry/internal/s3test"
)

// TestForeignServer tries everything that the archive does on a server that is
// running already, to find out about one that is not tested here otherwise:
//
//	CLIPFERRY_TEST_S3=http://127.0.0.1:7480 AWS_ACCESS_KEY_ID=… AWS_SECRET_ACCESS_KEY=… \
//	  go test -v -count=1 -run TestForeignServer ./storage/
//
// The bucket is CLIPFERRY_TEST_S3_BUCKET, or clips. docs/s3.md says how servers
// are started on one machine.
func TestForeignServer(t *testing.T) {
	endpoint := os.Getenv("CLIPFERRY_TEST_S3")
	if endpoint == "" {
		t.Skip("CLIPFERRY_TEST_S3 names no server")
	}
	t.Setenv("AWS_ENDPOINT_URL_S3", endpoint)
	client, err := NewClient(t.Context(), ClientOptions{PathStyle: true})
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	client = s3.New(client.Options(), func(o *s3.Options) { o.HTTPClient = &http.Client{Transport: transport} })
	bucket := cmp.Or(os.Getenv("CLIPFERRY_TEST_S3_BUCKET"), s3test.Bucket)
	_, _ = client.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &bucket}) // unless it is there
	for _, mode := range []ChecksumMode{ChecksumCRC32, ChecksumMD5} {
		t.Run(string(mode), func(t *testing.T) {
			store := newMemory()
			a := untested(newArchive(t, &s3test.Server{}, func(o *Options) {
				o.Client, o.Checkpoints, o.Checksum = client, store, mode
				o.Bucket, o.Prefix = bucket, "soak-"+rand.Text()
			}))
			for _, r := range a.SelfTest(t.Context()) {
				t.Logf("%-35s %v %s", r.Name, r.Err, r.Note)
				if r.Err != nil && !r.Optional {
					t.Errorf("%s: %v", r.Name, r.Err)
				}
			}
			if t.Failed() {
				return
			}
			t.Logf("%+v", *a.tested.known.Load())
			for _, size := range []int{5000, minPartSize, 3*minPartSize + 5} {
				for name, link := range map[string]string{"ranged": serveFile(t, clipOf(size, 1)), "streamed": serveStream(t, clipOf(size, 1))} {
					foreignTransfer(t, a, Job{Export: "e", Key: fmt.Sprintf("%sclip-%d.mp4", a.Folder("p", name), size), Link: link}, clipOf(size, 1))
				}
			}
			foreignResume(t, a, store)
			foreignReceipt(t, a)
			foreignOptions(t, a)
			if n, err := a.AbortOrphans(t.Context(), 0); err != nil {
				t.Logf("unfinished uploads: %d, %v", n, err)
			}
			if err := a.Check(t.Context()); err != nil || a.Health().Open {
				t.Errorf("check: %v", err)
			}
		})
	}
}

// foreignTransfer carries a clip, finds it again, and refuses another one in its place.
func foreignTransfer(t *testing.T, a *Archive, job Job, clip []byte) {
	t.Helper()
	obj, err := a.Mirror(t.Context(), job)
	if err != nil || obj.SHA256 != sum(clip) || obj.Found || !bytes.Equal(stored(t, a, obj.Key), clip) {
		t.Fatalf("%s: %+v, %v", job.Key, obj, err)
	}
	t.Logf("%s: %v", job.Key, obj.Proofs)
	if again, err := a.Mirror(t.Context(), job); err != nil || !again.Found || again.SHA256 != obj.SHA256 {
		t.Errorf("%s, again: %+v, %v", job.Key, again, err)
	}
	job.Export, job.Link = "other", serveFile(t, clipOf(len(clip), 2))
	if _, err := a.Mirror(t.Context(), job); err == nil || !bytes.Equal(stored(t, a, obj.Key), clip) {
		t.Errorf("%s: another export's clip: %v", job.Key, err)
	}
}

// foreignResume interrupts a transfer and goes on.
func foreignResume(t *testing.T, a *Archive, store *memory) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	store.saved = func(r *record) {
		if r.Parts >= 2 {
			cancel()
		}
	}
	clip := clipOf(5*minPartSize, 3)
	job := Job{Export: "e", Key: a.Folder("p", "resumed") + "clip-000.mp4", Link: serveFile(t, clip)}
	if _, err := a.Mirror(ctx, job); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
	store.saved = nil
	obj, err := a.Mirror(t.Context(), job)
	if err != nil || obj.SHA256 != sum(clip) {
		t.Errorf("resumed: %+v, %v", obj, err)
	}
	t.Logf("resumed with %d of %d bytes in S3", obj.Resumed, obj.Size)
}

// foreignOptions asks for what servers differ in, in a bucket with versions and
// object lock where there is such a thing. What is refused is logged; what is taken is
// to be the clip.
func foreignOptions(t *testing.T, a *Archive) {
	t.Helper()
	locked := a.opts.Bucket + "-locked"
	_, lockErr := a.opts.Client.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &locked, ObjectLockEnabledForBucket: aws.Bool(true)})
	for name, o := range map[string]ObjectOptions{
		"AES256": {SSE: "AES256"}, "KMS": {SSE: "aws:kms", KMSKeyID: "clips"}, "storage class": {StorageClass: "STANDARD_IA"},
		"tags": {Tags: map[string]string{"team": "news"}}, "ACL": {ACL: "bucket-owner-full-control"}, "lock": {LockMode: "GOVERNANCE", LockFor: time.Minute},
	} {
		b := untested(newArchive(t, &s3test.Server{}, func(opts *Options) {
			*opts = a.opts
			opts.Object = o
			if name == "lock" {
				opts.Bucket = locked
			}
		}))
		for _, size := range []int{5000, minPartSize + 5} {
			clip := clipOf(size, 4)
			obj, err := b.Mirror(t.Context(), Job{Export: "e", Key: fmt.Sprintf("%sclip-%d.mp4", b.Folder("p", name), size), Link: serveFile(t, clip)})
			if err != nil {
				t.Logf("%s, %d bytes: %s", name, size, fault.SentenceOf(err))
				continue
			}
			if !bytes.Equal(stored(t, b, obj.Key), clip) {
				t.Errorf("%s, %d bytes: stored otherwise", name, size)
			}
			head, err := b.opts.Client.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: &b.opts.Bucket, Key: &obj.Key})
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%s, %d bytes: %v; encryption %q, class %q, lock %q", name, size, obj.Proofs, head.ServerSideEncryption, head.StorageClass, head.ObjectLockMode)
		}
		if name == "lock" && lockErr == nil {
			foreignReceipt(t, b)
		}
	}
}

// foreignReceipt changes a receipt.
func foreignReceipt(t *testing.T, a *Archive) {
	t.Helper()
	was, err := a.WriteReceipt(t.Context(), Receipt{ID: "e", Intent: "token", State: ReceiptIntent}, Receipt{})
	if again, err2 := a.WriteReceipt(t.Context(), Receipt{ID: "e", Intent: "other", State: ReceiptIntent}, Receipt{}); !was || again || err != nil || err2 != nil {
		t.Errorf("intents: %v, %v, then %v, %v", was, err, again, err2)
	}
	for _, r := range []Receipt{
		{State: ReceiptOpen}, {State: ReceiptFailed}, {State: ReceiptOpen}, {State: ReceiptDone, Manifest: "m"},
	} {
		r.ID, r.ExportTaskID = "e", "t"
		if err := a.SyncReceipt(t.Context(), r); err != nil {
			t.Errorf("receipt: %v", err)
		}
	}
	if r, ok, err := a.Receipt(t.Context(), "e"); err != nil || !ok || r.State != ReceiptDone || r.Manifest != "m" {
		t.Errorf("receipt: %+v, %v, %v", r, ok, err)
	}
}
