package embeds3_test

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/clipferry/clipferry/internal/s3test"
)

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
