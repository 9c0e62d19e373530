package storage

import (
	"context"
	"fmt"
	"hash/crc32"
	"io"
	"iter"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/clipferry/clipferry/internal/fault"
)

// Listed is an object as a listing shows it. Modified is zero where the server does not say.
type Listed struct {
	Key      string
	Size     int64
	Modified time.Time
}

// list yields the objects whose keys begin with prefix; a listing that breaks off
// yields its fault last. what names them in errors.
func (a *Archive) list(ctx context.Context, prefix, what string) iter.Seq2[Listed, error] {
	return func(yield func(Listed, error) bool) {
		pages := s3.NewListObjectsV2Paginator(a.s3, &s3.ListObjectsV2Input{
			Bucket: &a.opts.Bucket, Prefix: optional(prefix),
		})
		var token string
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			if err == nil && aws.ToBool(page.IsTruncated) {
				next := aws.ToString(page.NextContinuationToken)
				if next == token {
					err = brokenListing(what)
				}
				token = next
			}
			if err != nil {
				yield(Listed{}, s3Fault(ctx, "listing the "+what, err))
				return
			}
			for _, o := range page.Contents {
				if !yield(Listed{aws.ToString(o.Key), aws.ToInt64(o.Size), aws.ToTime(o.LastModified)}, nil) {
					return
				}
			}
		}
	}
}

// Manifests yields the manifests of all exports.
func (a *Archive) Manifests(ctx context.Context) iter.Seq2[Listed, error] {
	return func(yield func(Listed, error) bool) {
		prefix := a.uploadPrefix()
		for o, err := range a.list(ctx, prefix, "manifests") {
			if err == nil {
				parts := strings.Split(strings.TrimPrefix(o.Key, prefix), "/")
				if len(parts) != 3 || parts[2] != manifestName || strings.HasPrefix(parts[0], "_") {
					continue
				}
			}
			if !yield(o, err) {
				return
			}
		}
	}
}

// Kept is a folder of small objects beside the exports' own, such as the catalog.
// They may be written again, and removed. The archive can do without them: an S3 that
// fails them alone counts for nothing in [Archive.Health].
type Kept struct {
	a       *Archive
	folder  string
	breaker *breaker
}

// Kept returns the folder <prefix>/_<name>/.
func (a *Archive) Kept(name string) Kept {
	folder := a.key("_"+name) + "/"
	b := newKeptBreaker(a.breaker.next, folder, a.log)
	apart := &Archive{s3: &bucket{client: a.s3.client, timeouts: a.timeouts, sender: b}, opts: a.opts, log: a.log, now: a.now}
	return Kept{apart, folder, b}
}

// Health is how S3 has answered for the folder of late. After a write that failed, none
// is sent before Next.
func (k Kept) Health() Health { return k.breaker.health() }

// List yields its objects, by their names in the folder.
func (k Kept) List(ctx context.Context) iter.Seq2[Listed, error] {
	return func(yield func(Listed, error) bool) {
		for o, err := range k.a.list(ctx, k.folder, "objects of "+k.folder) {
			o.Key = strings.TrimPrefix(o.Key, k.folder)
			if !yield(o, err) {
				return
			}
		}
	}
}

// Read returns an object of at most limit bytes; false when there is none.
func (k Kept) Read(ctx context.Context, name string, limit int64) ([]byte, bool, error) {
	key := k.folder + name
	out, err := k.a.get(ctx, key)
	if errorCode(err) == "NoSuchKey" {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, s3Fault(ctx, "reading "+key, err)
	}
	defer func() { _ = out.Body.Close() }()
	b, err := io.ReadAll(io.LimitReader(out.Body, limit+1))
	if err != nil {
		return nil, false, s3Fault(ctx, "reading "+key, err)
	}
	if int64(len(b)) > limit {
		return nil, false, fault.New(fault.Terminal, fmt.Sprintf("%s has more than %d bytes", key, limit), nil)
	}
	if want := out.ContentLength; want != nil && int64(len(b)) != *want {
		return nil, false, fault.New(fault.Retry, fmt.Sprintf("reading %s ended after %d of %d bytes", key, len(b), *want), nil)
	}
	return b, true, nil
}

// Write writes an object, over one that is there.
func (k Kept) Write(ctx context.Context, name, contentType string, body []byte) error {
	key := k.folder + name
	in := &s3.PutObjectInput{Bucket: &k.a.opts.Bucket, Key: &key, ContentType: &contentType, ACL: k.a.documentACL()}
	_, err := k.a.put(ctx, in, body, k.a.sumOf(body, crc32.ChecksumIEEE(body)))
	return s3Fault(ctx, "writing "+key, err)
}

// Delete removes an object, if it is there.
func (k Kept) Delete(ctx context.Context, name string) error {
	return k.a.delete(ctx, k.folder+name)
}
