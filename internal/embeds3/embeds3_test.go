package embeds3_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"

	"github.com/clipferry/clipferry/internal/link"
	"github.com/clipferry/clipferry/internal/s3test"
	"github.com/clipferry/clipferry/storage"
)

var bucket = aws.String(s3test.Bucket)

// code is S3's error code, "" for no error.
func code(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	if err != nil {
		return err.Error()
	}
	return ""
}

func crcOf(b string) *string {
	return aws.String(base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE([]byte(b)))))
}

// Everything that the archive tries on an S3 server works, but for the lifecycle
// rule that the server cannot have.
func TestArchive(t *testing.T) {
	source, err := link.New(link.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	a, err := storage.New(storage.Options{Client: s3test.StartEmbedded(t).Client(), Bucket: *bucket, Prefix: "exports", Source: source})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range a.SelfTest(t.Context()) {
		if (r.Err != nil) != (r.Name == "lifecycle rule") {
			t.Errorf("%s: %v", r.Name, r.Err)
		}
	}
}

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

func TestUploads(t *testing.T) {
	srv := s3test.StartEmbedded(t)
	client, ctx := srv.Client(), t.Context()
	key := aws.String("big")
	const size = 5 << 20
	bodies := []string{strings.Repeat("1", size), strings.Repeat("2", size), "3"}
	create, err := client.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{
		Bucket: bucket, Key: key, ContentType: aws.String("video/mp4"),
		ChecksumAlgorithm: types.ChecksumAlgorithmCrc32, ChecksumType: types.ChecksumTypeFullObject,
	})
	if err != nil {
		t.Fatal(err)
	}
	id := create.UploadId
	parts := make([]types.CompletedPart, len(bodies))
	for _, n := range []int32{3, 1, 2} {
		body := bodies[n-1]
		in := s3.UploadPartInput{Bucket: bucket, Key: key, UploadId: id, PartNumber: &n, Body: strings.NewReader(body), ChecksumCRC32: crcOf("other")}
		if _, err := client.UploadPart(ctx, &in); code(err) != "BadDigest" {
			t.Errorf("a part with a wrong CRC: %v", err)
		}
		in.Body, in.ChecksumCRC32 = strings.NewReader(body), crcOf(body)
		out, err := client.UploadPart(ctx, &in)
		if err != nil {
			t.Fatal(err)
		}
		parts[n-1] = types.CompletedPart{PartNumber: &n, ETag: out.ETag, ChecksumCRC32: crcOf(body)}
	}
	pages := s3.NewListPartsPaginator(client, &s3.ListPartsInput{Bucket: bucket, Key: key, UploadId: id, MaxParts: aws.Int32(2)})
	var listed []types.Part
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		listed = append(listed, page.Parts...)
	}
	for i, p := range listed {
		if *p.PartNumber != int32(i+1) || *p.Size != int64(len(bodies[i])) || *p.ChecksumCRC32 != *crcOf(bodies[i]) || *p.ETag != *parts[i].ETag {
			t.Errorf("listed: %+v", p)
		}
	}
	if uploads, err := client.ListMultipartUploads(ctx, &s3.ListMultipartUploadsInput{Bucket: bucket, Prefix: aws.String("bi")}); err != nil || len(listed) != 3 || len(uploads.Uploads) != 1 || *uploads.Uploads[0].UploadId != *id {
		t.Errorf("%d parts, uploads: %+v, %v", len(listed), uploads, err)
	}
	whole := strings.Join(bodies, "")
	complete := func(change func(*s3.CompleteMultipartUploadInput)) error {
		in := &s3.CompleteMultipartUploadInput{
			Bucket: bucket, Key: key, UploadId: id, MultipartUpload: &types.CompletedMultipartUpload{Parts: append([]types.CompletedPart(nil), parts...)},
			ChecksumType: types.ChecksumTypeFullObject, ChecksumCRC32: crcOf(whole), MpuObjectSize: aws.Int64(int64(len(whole))),
		}
		if change != nil {
			change(in)
		}
		_, err := client.CompleteMultipartUpload(ctx, in)
		return err
	}
	for name, c := range map[string]struct {
		change func(*s3.CompleteMultipartUploadInput)
		want   string
	}{
		"wrong CRC":      {func(in *s3.CompleteMultipartUploadInput) { in.ChecksumCRC32 = crcOf("other") }, "BadDigest"},
		"wrong size":     {func(in *s3.CompleteMultipartUploadInput) { in.MpuObjectSize = aws.Int64(1) }, "InvalidRequest"},
		"no parts":       {func(in *s3.CompleteMultipartUploadInput) { in.MultipartUpload.Parts = nil }, "MalformedXML"},
		"wrong order":    {func(in *s3.CompleteMultipartUploadInput) { p := in.MultipartUpload.Parts; p[0], p[1] = p[1], p[0] }, "InvalidPartOrder"},
		"wrong tag":      {func(in *s3.CompleteMultipartUploadInput) { in.MultipartUpload.Parts[0].ETag = aws.String("0") }, "InvalidPart"},
		"wrong part CRC": {func(in *s3.CompleteMultipartUploadInput) { in.MultipartUpload.Parts[0].ChecksumCRC32 = crcOf("0") }, "InvalidPart"},
		"no such part":   {func(in *s3.CompleteMultipartUploadInput) { in.MultipartUpload.Parts[2].PartNumber = aws.Int32(9) }, "InvalidPart"},
		"no such upload": {func(in *s3.CompleteMultipartUploadInput) { in.UploadId = aws.String("none") }, "NoSuchUpload"},
		"another key":    {func(in *s3.CompleteMultipartUploadInput) { in.Key = aws.String("other") }, "NoSuchUpload"},
	} {
		if err := complete(c.change); code(err) != c.want {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
	if _, err := client.PutObject(ctx, &s3.PutObjectInput{Bucket: bucket, Key: key, Body: strings.NewReader("other")}); err != nil {
		t.Fatal(err)
	}
	if err := complete(func(in *s3.CompleteMultipartUploadInput) { in.IfNoneMatch = aws.String("*") }); code(err) != "PreconditionFailed" {
		t.Errorf("over an object: %v", err)
	}
	if err := complete(nil); err != nil {
		t.Fatal(err)
	}
	got, err := client.GetObject(ctx, &s3.GetObjectInput{Bucket: bucket, Key: key, ChecksumMode: types.ChecksumModeEnabled})
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(got.Body)
	if err != nil || !bytes.Equal(b, []byte(whole)) || *got.ChecksumCRC32 != *crcOf(whole) || got.ChecksumType != types.ChecksumTypeFullObject ||
		*got.ContentType != "video/mp4" || !strings.HasSuffix(*got.ETag, `-3"`) {
		t.Errorf("%d bytes, %+v, %v", len(b), got, err)
	}
	if _, err := client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: bucket, Key: key, UploadId: id}); code(err) != "NoSuchUpload" {
		t.Errorf("aborting what is complete: %v", err)
	}
	if work, err := os.ReadDir(filepath.Join(srv.Dir, ".s3")); err != nil || len(work) > 0 {
		t.Errorf("left: %v, %v", work, err)
	}
}

// What is not understood is refused, never taken for something else.
func TestUnknownQuery(t *testing.T) {
	srv := s3test.StartEmbedded(t)
	r, err := s3.NewPresignClient(srv.Client()).PresignGetObject(t.Context(), &s3.GetObjectInput{Bucket: bucket, Key: aws.String("k")})
	if err != nil {
		t.Fatal(err)
	}
	for _, change := range []string{"&%zz", "&X-Amz-Algorithm=x;y"} {
		if _, err := url.ParseQuery(change[1:]); err == nil {
			t.Fatalf("%q can be read", change)
		}
		resp, err := http.Get(r.URL + change)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %s", change, resp.Status)
		}
	}
}
