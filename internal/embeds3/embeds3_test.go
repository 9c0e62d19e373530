package embeds3_test

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"net/http"
	"net/url"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
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
