package storage

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/clipferry/clipferry/internal/fault"
)

// CheckResult is one line of SelfTest.
type CheckResult struct {
	// Name is what was tried, such as "multipart".
	Name string
	// Err is why it failed, nil when it works.
	Err error
	// Optional says that the archive works without it, less well; Note says how
	// that shows, or what was found.
	Optional bool
	Note     string
}

// selfTestFolder holds what SelfTest and the trial of features write, for seconds.
const selfTestFolder = "_selftest"

// selfTest is one run of SelfTest, with the object that it tries things on.
type selfTest struct {
	a        *Archive
	key      string
	body     []byte
	features features
	listErr  error // what came of listing the parts of the test upload
}

// SelfTest tries on small objects of its own, below the prefix, everything that
// the archive needs of S3, and removes them. A check whose precondition failed is
// left out. It never touches other objects.
func (a *Archive) SelfTest(ctx context.Context) []CheckResult {
	body := make([]byte, 4<<10)
	_, _ = rand.Read(body) // never fails
	t := &selfTest{a: a, key: a.key(selfTestFolder, rand.Text()), body: body}
	// Sent once: who waits for it sees at once that nobody answers.
	results := []CheckResult{{Name: "bucket", Err: a.once.probeRead(ctx)}}
	if errors.Is(results[0].Err, ErrUnavailable) {
		return results // and nothing else would be answered
	}
	steps := []struct {
		name     string
		optional bool
		note     string
		run      func(context.Context) error
	}{
		{"put", false, "", t.put},
		{"get", false, "", t.get},
		{"checksum", true, readAgain, t.checksum},
		{"wrong checksum refused", true, readAgain, t.feature(func(f features) bool { return f.verifiesPut && !f.echoes }, "S3 accepts a body with a wrong checksum")},
		{"wrong checksum of a part refused", true, readAgain, t.feature(func(f features) bool { return f.verifiesPart }, "S3 accepts a part with a wrong checksum")},
		{"conditional write", true, byLooking, t.feature(func(f features) bool { return f.create }, "S3 writes over an object in spite of If-None-Match")},
		{"conditional completion", true, byLooking, t.feature(func(f features) bool { return f.complete }, "S3 completes an upload over an object in spite of If-None-Match")},
		{"conditional change", true, "of two workers that change one receipt the later wins", t.feature(func(f features) bool { return f.replace != noMatch }, "S3 changes an object in spite of If-Match, or refuses the right tag")},
		{"conditional removal", true, "an object that was stored wrong is looked at once more and then removed", t.feature(func(f features) bool { return f.remove }, "S3 removes an object in spite of If-Match, or refuses the right tag")},
		{"multipart", false, "", t.multipart},
		{"list parts", true, "a transfer that was interrupted begins anew", func(context.Context) error { return t.listErr }},
		{"list unfinished uploads", true, "unfinished uploads must be removed by a lifecycle rule", t.listUploads},
		{"tagging", true, "large objects carry no SHA-256; manifests do", t.tagging},
		{"catalog", true, "clips are archived and nobody finds them, neither /archive/ nor clipferry find", t.kept("catalog")},
		{"batches", true, "of a batch, a loss of Redis leaves only the exports that were ordered", t.kept("batches")},
		{"delete", false, "", t.remove},
		{"lifecycle rule", true, "set one that aborts incomplete multipart uploads after 7 days (docs/s3.md)", t.lifecycle},
	}
	for _, s := range steps {
		r := CheckResult{Name: s.name, Optional: s.optional, Err: s.run(ctx)}
		if r.Err != nil {
			r.Note = s.note
		}
		results = append(results, r)
		if s.name == "put" {
			if r.Err != nil {
				return results // nothing below can work, and there is nothing to remove
			}
			var err error
			if t.features, err = a.features(ctx); err != nil {
				_ = t.remove(ctx)
				return append(results, CheckResult{Name: "trial", Err: err}) // a worker goes no further, either
			}
		}
	}
	return results
}

// The notes of what several features are for.
const (
	readAgain = "objects are read again after they were archived"
	byLooking = "two workers at the same clip are told apart by looking only"
)

// feature is the check of a feature that has been tried.
func (t *selfTest) feature(there func(features) bool, lack string) func(context.Context) error {
	return func(context.Context) error {
		if !there(t.features) {
			return fault.New(fault.Retry, lack, nil)
		}
		return nil
	}
}

// input is the test object as receipts are written.
func (t *selfTest) input() *s3.PutObjectInput {
	return &s3.PutObjectInput{Bucket: &t.a.opts.Bucket, Key: &t.key, ACL: t.a.documentACL()}
}

func (t *selfTest) put(ctx context.Context) error {
	_, err := t.a.put(ctx, t.input(), t.body, t.a.sumOf(t.body, crc32.ChecksumIEEE(t.body)))
	return s3Fault(ctx, "writing a test object", err)
}

func (t *selfTest) get(ctx context.Context) error {
	_, got, err := t.a.readBack(ctx, t.key, io.Discard)
	if err != nil {
		return err
	}
	if want := sha256.Sum256(t.body); got != hex.EncodeToString(want[:]) {
		return fault.New(fault.Terminal, "S3 returned other bytes than were written", nil)
	}
	return nil
}

func (t *selfTest) checksum(ctx context.Context) error {
	st, _, err := t.a.head(ctx, t.key)
	if err != nil {
		return err
	}
	if !st.hasCRC || st.crc != crc32.ChecksumIEEE(t.body) {
		return fault.New(fault.Retry, "S3 does not show an object's CRC32", nil)
	}
	return nil
}

// kept writes in a folder of the archive's own, which a policy may forget.
func (t *selfTest) kept(folder string) func(context.Context) error {
	return func(ctx context.Context) error {
		kept, name := t.a.Kept(folder), selfTestFolder+"-"+rand.Text()
		if err := kept.Write(ctx, name, "application/octet-stream", t.body); err != nil {
			return err
		}
		return kept.Delete(ctx, name)
	}
}

// multipart uploads an object of two parts in the archive's own way, and reads it.
func (t *selfTest) multipart(ctx context.Context) error {
	a, key := t.a, t.key+"-multipart"
	upload, err := a.createUpload(ctx, key, attributes{contentType: "application/octet-stream"})
	if err != nil {
		return err
	}
	defer a.abortUpload(ctx, key, upload)
	bodies := [][]byte{bytes.Repeat([]byte{1}, minPartSize), t.body}
	v := verdict{}
	var parts []sentPart
	for n, b := range bodies {
		crc := crc32.ChecksumIEEE(b)
		etag, err := a.uploadPart(ctx, key, upload, n, b, a.sumOf(b, crc), nil)
		if err != nil {
			return err
		}
		parts = append(parts, sentPart{etag: etag, crc: crc})
		v.size += int64(len(b))
		v.crc = crc32.Update(v.crc, crc32.IEEETable, b)
	}
	listed, err := a.listParts(ctx, key, upload)
	if t.listErr = err; err == nil && len(listed) != len(parts) {
		t.listErr = fault.New(fault.Retry, fmt.Sprintf("S3 lists %d parts of %d", len(listed), len(parts)), nil)
	}
	if _, err := a.completeUpload(ctx, key, upload, parts, v); err != nil {
		return s3Fault(ctx, "completing a test upload", err)
	}
	defer func() { _ = a.delete(ctx, key) }()
	size, _, err := a.readBack(ctx, key, io.Discard)
	if err == nil && size != v.size {
		err = fault.New(fault.Retry, fmt.Sprintf("S3 holds %d bytes of %d", size, v.size), nil)
	}
	return err
}

func (t *selfTest) listUploads(ctx context.Context) error {
	_, err := t.a.s3.ListMultipartUploads(ctx, &s3.ListMultipartUploadsInput{Bucket: &t.a.opts.Bucket, Prefix: optional(t.a.uploadPrefix()), MaxUploads: aws.Int32(1)})
	return s3Fault(ctx, "listing unfinished uploads", err)
}

func (t *selfTest) tagging(ctx context.Context) error {
	_, err := t.a.s3.PutObjectTagging(ctx, &s3.PutObjectTaggingInput{
		Bucket: &t.a.opts.Bucket, Key: &t.key,
		Tagging: &types.Tagging{TagSet: []types.Tag{{Key: aws.String(tagSHA256), Value: aws.String(strings.Repeat("0", 64))}}},
	})
	if err == nil && t.a.taggedHash(ctx, t.key) == "" {
		return fault.New(fault.Retry, "S3 forgets tags", nil)
	}
	return s3Fault(ctx, "tagging", err)
}

func (t *selfTest) remove(ctx context.Context) error {
	if err := t.a.delete(ctx, t.key); err != nil {
		return err
	}
	if _, exists, err := t.a.head(ctx, t.key); err != nil || exists {
		return s3Fault(ctx, "looking at a deleted object", err)
	}
	return nil
}

// lifecycle looks for an enabled rule that aborts incomplete uploads of our prefix.
func (t *selfTest) lifecycle(ctx context.Context) error {
	out, err := t.a.s3.GetBucketLifecycleConfiguration(ctx, &s3.GetBucketLifecycleConfigurationInput{Bucket: &t.a.opts.Bucket})
	if err != nil && errorCode(err) != "NoSuchLifecycleConfiguration" {
		return s3Fault(ctx, "reading the bucket's lifecycle", err)
	}
	if out != nil {
		for _, r := range out.Rules {
			if r.Status == types.ExpirationStatusEnabled && r.AbortIncompleteMultipartUpload != nil && covers(r.Filter, t.a.uploadPrefix()) {
				return nil
			}
		}
	}
	return fault.New(fault.Retry, "no lifecycle rule removes uploads that nobody finishes", nil)
}

// covers says whether a rule's filter lets all keys below prefix through.
func covers(f *types.LifecycleRuleFilter, prefix string) bool {
	if f == nil {
		return true
	}
	return f.And == nil && f.Tag == nil && f.ObjectSizeGreaterThan == nil && f.ObjectSizeLessThan == nil &&
		strings.HasPrefix(prefix, aws.ToString(f.Prefix))
}
