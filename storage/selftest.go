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

// errTrusting means that what S3 says of an object proves nothing.
var errTrusting = errors.New("its checksums prove nothing")

// selfTest is one check of SelfTest, with the objects that it tries things on.
type selfTest struct {
	a    *Archive
	key  string
	body []byte
}

// SelfTest tries on a small object of its own, below the prefix, everything that
// the archive needs of S3, and removes it. A check whose precondition failed is
// left out. It never touches other objects.
func (a *Archive) SelfTest(ctx context.Context) []CheckResult {
	body := make([]byte, 4<<10)
	_, _ = rand.Read(body) // never fails
	t := &selfTest{a: a, key: a.key("_selftest", rand.Text()), body: body}
	results := []CheckResult{{Name: "bucket", Err: a.probeRead(ctx)}}
	steps := []struct {
		name     string
		optional bool
		note     string
		run      func(context.Context) error
	}{
		{"put", false, "", t.put},
		{"get", false, "", t.get},
		{"checksum", true, "objects are read again after they were archived", t.checksum},
		{"wrong checksum refused", true, "objects are read again after they were archived", t.wrongChecksum},
		{"conditional write", true, "two workers at the same clip are told apart by looking only", t.conditional},
		{"multipart", false, "", t.multipart},
		{"list unfinished uploads", true, "unfinished uploads must be removed by a lifecycle rule", t.listUploads},
		{"tagging", true, "large objects carry no SHA-256; manifests do", t.tagging},
		{"delete", false, "", t.remove},
		{"lifecycle rule", true, "set one that aborts incomplete multipart uploads after 7 days (docs/s3.md)", t.lifecycle},
	}
	for _, s := range steps {
		r := CheckResult{Name: s.name, Err: s.run(ctx)}
		if r.Optional = s.optional && !errors.Is(r.Err, errTrusting); r.Err != nil && r.Optional == s.optional {
			r.Note = s.note
		}
		results = append(results, r)
		if s.name == "put" && r.Err != nil {
			break // nothing below can work, and there is nothing to remove
		}
	}
	return results
}

// input is the test object as receipts are written.
func (t *selfTest) input() *s3.PutObjectInput {
	return &s3.PutObjectInput{Bucket: &t.a.opts.Bucket, Key: &t.key, ACL: t.a.documentACL()}
}

func (t *selfTest) put(ctx context.Context) error {
	in := t.input()
	_, err := t.a.put(ctx, in, t.body, crc32.ChecksumIEEE(t.body))
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
		return fault.New(fault.Retry, "S3 does not tell an object's CRC32", nil)
	}
	return nil
}

func (t *selfTest) wrongChecksum(ctx context.Context) error {
	in := t.input()
	wrong := ^crc32.ChecksumIEEE(t.body)
	if _, err := t.a.put(ctx, in, t.body, wrong); err == nil {
		if st, _, err := t.a.head(ctx, t.key); err == nil && st.hasCRC && st.crc == wrong {
			return fault.New(fault.Terminal, "S3 keeps a checksum that it was sent without looking at it", errTrusting).
				WithHint("use the checksum mode md5: objects are then read again after they were archived")
		}
		return fault.New(fault.Retry, "S3 accepted a body with a wrong checksum", nil)
	} else if s := httpStatus(err); s < 400 || s >= 500 {
		return s3Fault(ctx, "writing with a wrong checksum", err)
	}
	return nil
}

func (t *selfTest) conditional(ctx context.Context) error {
	in := t.input()
	in.IfNoneMatch = aws.String("*")
	if _, err := t.a.put(ctx, in, t.body, crc32.ChecksumIEEE(t.body)); err == nil {
		return fault.New(fault.Retry, "S3 wrote over an object in spite of If-None-Match", nil)
	} else if !isTaken(err) {
		return s3Fault(ctx, "a conditional write", err)
	}
	return nil
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
		etag, err := a.uploadPart(ctx, key, upload, n, b, crc, nil)
		if err != nil {
			return err
		}
		parts = append(parts, sentPart{etag: etag, crc: crc})
		v.size += int64(len(b))
		v.crc = crc32.Update(v.crc, crc32.IEEETable, b)
	}
	listed, err := a.listParts(ctx, key, upload)
	if err != nil {
		return err
	}
	if len(listed) != len(parts) {
		return fault.New(fault.Retry, fmt.Sprintf("S3 lists %d parts of %d", len(listed), len(parts)), nil)
	}
	if _, err := a.completeUpload(ctx, key, upload, parts, v); err != nil {
		return s3Fault(ctx, "completing a test upload", err)
	}
	defer func() { _ = t.delete(ctx, key) }()
	size, _, err := a.readBack(ctx, key, io.Discard)
	if err == nil && size != v.size {
		err = fault.New(fault.Retry, fmt.Sprintf("S3 holds %d bytes of %d", size, v.size), nil)
	}
	return err
}

func (t *selfTest) listUploads(ctx context.Context) error {
	_, err := t.a.s3.ListMultipartUploads(ctx, &s3.ListMultipartUploadsInput{
		Bucket: &t.a.opts.Bucket, Prefix: optional(t.a.uploadPrefix()), MaxUploads: aws.Int32(1),
		ExpectedBucketOwner: t.a.owner(), RequestPayer: t.a.payer(),
	})
	return s3Fault(ctx, "listing unfinished uploads", err)
}

func (t *selfTest) tagging(ctx context.Context) error {
	_, err := t.a.s3.PutObjectTagging(ctx, &s3.PutObjectTaggingInput{
		Bucket: &t.a.opts.Bucket, Key: &t.key, ExpectedBucketOwner: t.a.owner(), RequestPayer: t.a.payer(),
		Tagging: &types.Tagging{TagSet: []types.Tag{{Key: aws.String(tagSHA256), Value: aws.String(strings.Repeat("0", 64))}}},
	})
	if err == nil && t.a.taggedHash(ctx, t.key) == "" {
		return fault.New(fault.Retry, "S3 forgets tags", nil)
	}
	return s3Fault(ctx, "tagging", err)
}

func (t *selfTest) remove(ctx context.Context) error {
	if err := t.delete(ctx, t.key); err != nil {
		return err
	}
	if _, exists, err := t.a.head(ctx, t.key); err != nil || exists {
		return s3Fault(ctx, "looking at a deleted object", err)
	}
	return nil
}

func (t *selfTest) delete(ctx context.Context, key string) error {
	_, err := t.a.s3.DeleteObject(ctx, &s3.DeleteObjectInput{
		Bucket: &t.a.opts.Bucket, Key: &key, ExpectedBucketOwner: t.a.owner(), RequestPayer: t.a.payer(),
	})
	return s3Fault(ctx, "deleting "+key, err)
}

// lifecycle looks for an enabled rule that aborts incomplete uploads of our prefix.
func (t *selfTest) lifecycle(ctx context.Context) error {
	out, err := t.a.s3.GetBucketLifecycleConfiguration(ctx, &s3.GetBucketLifecycleConfigurationInput{
		Bucket: &t.a.opts.Bucket, ExpectedBucketOwner: t.a.owner(),
	})
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
