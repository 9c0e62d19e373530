package embeds3_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/clipferry/clipferry/internal/s3test"
)

// An object is what it was stored as, and a file; it is not stored when the body
// or a condition is wrong.
func TestObjects(t *testing.T) {
	srv := s3test.StartEmbedded(t)
	client, ctx := srv.Client(), t.Context()
	key := aws.String("a/b c/ü.txt")
	put := func(body string, change func(*s3.PutObjectInput)) (string, error) {
		in := &s3.PutObjectInput{
			Bucket: bucket, Key: key, Body: strings.NewReader(body), ContentType: aws.String("text/plain"), CacheControl: aws.String("no-store"),
			ContentDisposition: aws.String("inline"), Metadata: map[string]string{"title": "Café"}, Tagging: aws.String("a=b%20c"),
		}
		if change != nil {
			change(in)
		}
		out, err := client.PutObject(ctx, in)
		if err != nil {
			return "", err
		}
		return aws.ToString(out.ETag), nil
	}
	etag, err := put("one", func(in *s3.PutObjectInput) { in.ChecksumCRC32 = crcOf("one") })
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(*s3.PutObjectInput)
		want   string
	}{
		"wrong CRC":         {func(in *s3.PutObjectInput) { in.ChecksumCRC32 = crcOf("other") }, "BadDigest"},
		"wrong MD5":         {func(in *s3.PutObjectInput) { in.ContentMD5 = aws.String("AAAAAAAAAAAAAAAAAAAAAA==") }, "BadDigest"},
		"key taken":         {func(in *s3.PutObjectInput) { in.IfNoneMatch = aws.String("*") }, "PreconditionFailed"},
		"another object":    {func(in *s3.PutObjectInput) { in.IfMatch = aws.String(`"0"`) }, "PreconditionFailed"},
		"nothing to match":  {func(in *s3.PutObjectInput) { in.Key, in.IfMatch = aws.String("none"), &etag }, "NoSuchKey"},
		"encryption":        {func(in *s3.PutObjectInput) { in.ServerSideEncryption = types.ServerSideEncryptionAes256 }, "NotImplemented"},
		"no such bucket":    {func(in *s3.PutObjectInput) { in.Bucket = aws.String("other") }, "NoSuchBucket"},
		"out of the bucket": {func(in *s3.PutObjectInput) { in.Key = aws.String("../../x") }, "InvalidArgument"},
		"its own files":     {func(in *s3.PutObjectInput) { in.Bucket = aws.String(".s3") }, "InvalidBucketName"},
		"below an object":   {func(in *s3.PutObjectInput) { in.Key = aws.String(*key + "/x") }, "InvalidArgument"},
		"above an object":   {func(in *s3.PutObjectInput) { in.Key = aws.String("a") }, "InvalidArgument"},
	} {
		if _, err := put("two", c.change); code(err) != c.want {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
	head, err := client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: bucket, Key: key, ChecksumMode: types.ChecksumModeEnabled})
	if err != nil || aws.ToInt64(head.ContentLength) != 3 || aws.ToString(head.ContentType) != "text/plain" || aws.ToString(head.CacheControl) != "no-store" ||
		aws.ToString(head.ContentDisposition) != "inline" || head.Metadata["title"] != "Café" || aws.ToString(head.ETag) != etag || aws.ToString(head.ChecksumCRC32) != *crcOf("one") {
		t.Errorf("%+v, %v", head, err)
	}
	tags, err := client.GetObjectTagging(ctx, &s3.GetObjectTaggingInput{Bucket: bucket, Key: key})
	if err != nil || len(tags.TagSet) != 1 || *tags.TagSet[0].Value != "b c" {
		t.Errorf("tags: %+v, %v", tags, err)
	}
	if _, err := client.GetObject(ctx, &s3.GetObjectInput{Bucket: bucket, Key: key, IfMatch: aws.String(`"0"`)}); code(err) != "PreconditionFailed" {
		t.Errorf("reading another object: %v", err)
	}
	if _, err := client.GetObjectAcl(ctx, &s3.GetObjectAclInput{Bucket: bucket, Key: key}); code(err) != "NotImplemented" {
		t.Errorf("an operation that isn't there: %v", err)
	}
	file := filepath.Join(srv.Dir, *bucket, "a", "b c", "ü.txt")
	if b, err := os.ReadFile(file); err != nil || string(b) != "one" {
		t.Errorf("the file: %q, %v", b, err)
	}
	if _, err := client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: bucket, Key: key, IfMatch: aws.String(`"0"`)}); code(err) != "PreconditionFailed" {
		t.Errorf("removing another object: %v", err)
	}
	for range 2 {
		if _, err := client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: bucket, Key: key}); err != nil {
			t.Error(err)
		}
	}
	left, err := os.ReadDir(filepath.Join(srv.Dir, *bucket))
	work, werr := os.ReadDir(filepath.Join(srv.Dir, ".s3"))
	if err := errors.Join(err, werr); err != nil || len(left) > 0 || len(work) > 0 {
		t.Errorf("left: %v, %v, %v", left, work, err)
	}
}

// A body that ends early is not stored.
func TestCutBody(t *testing.T) {
	srv := s3test.StartEmbedded(t)
	ctx, cancel := context.WithCancel(t.Context())
	client := s3.New(srv.Client().Options(), func(o *s3.Options) {
		o.Retryer = aws.NopRetryer{}
		o.HTTPClient = changed{func(r *http.Request) { r.Body = io.NopCloser(io.MultiReader(strings.NewReader("hal"), stop(cancel))) }}
	})
	if _, err := client.PutObject(ctx, &s3.PutObjectInput{Bucket: bucket, Key: aws.String("cut"), Body: strings.NewReader("half of it")}); err == nil {
		t.Error("accepted")
	}
	if _, err := srv.Client().HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: bucket, Key: aws.String("cut")}); code(err) != "NotFound" {
		t.Errorf("stored: %v", err)
	}
}

// stop is a body whose sender is stopped when it is read.
type stop func()

func (s stop) Read([]byte) (int, error) {
	s()
	return 0, io.ErrUnexpectedEOF
}

func TestListing(t *testing.T) {
	srv := s3test.StartEmbedded(t)
	client, ctx := srv.Client(), t.Context()
	for _, key := range []string{"x/a/b", "x/a-b", "x/a/a", "x/ü", "y"} {
		if _, err := client.PutObject(ctx, &s3.PutObjectInput{Bucket: bucket, Key: &key, Body: strings.NewReader(key)}); err != nil {
			t.Fatal(err)
		}
	}
	var keys []string
	pages := s3.NewListObjectsV2Paginator(client, &s3.ListObjectsV2Input{Bucket: bucket, Prefix: aws.String("x/"), MaxKeys: aws.Int32(2)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range page.Contents {
			keys = append(keys, *o.Key)
			if aws.ToInt64(o.Size) != int64(len(*o.Key)) || o.LastModified == nil {
				t.Errorf("%+v", o)
			}
		}
	}
	if got := strings.Join(keys, " "); got != "x/a-b x/a/a x/a/b x/ü" {
		t.Errorf("listed %s", got)
	}
}
