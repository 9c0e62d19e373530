package storage

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/clipferry/clipferry/internal/fault"
)

// maxDocument bounds a receipt or manifest that is read, in bytes.
const maxDocument = 64 << 20

// putDocument writes v as indented JSON, over what stands there.
func (a *Archive) putDocument(ctx context.Context, key string, v any) error {
	b, err := encodeDocument(v)
	if err != nil {
		return fmt.Errorf("encoding %s: %w", key, err)
	}
	_, err = a.put(ctx, &s3.PutObjectInput{
		Bucket: &a.opts.Bucket, Key: &key, ContentType: aws.String("application/json"),
	}, b, crc32.ChecksumIEEE(b))
	return s3Fault(ctx, "writing "+key, err)
}

// encodeDocument is v as people read it.
func encodeDocument(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	err := enc.Encode(v)
	return b.Bytes(), err
}

// getDocument reads JSON into v; false when the key holds nothing.
func (a *Archive) getDocument(ctx context.Context, key string, v any) (bool, error) {
	out, err := a.s3.GetObject(ctx, &s3.GetObjectInput{
		Bucket: &a.opts.Bucket, Key: &key, ExpectedBucketOwner: a.owner(), RequestPayer: a.payer(),
	})
	if isMissing(err) {
		return false, nil
	}
	if err != nil {
		return false, s3Fault(ctx, "reading "+key, err)
	}
	defer func() { _ = out.Body.Close() }()
	b, err := io.ReadAll(io.LimitReader(out.Body, maxDocument+1))
	if err != nil {
		return false, s3Fault(ctx, "reading "+key, err)
	}
	if len(b) > maxDocument {
		return false, fault.New(fault.Terminal, key+" is too large to be ours", nil)
	}
	if err := json.Unmarshal(b, v); err != nil {
		return false, fault.New(fault.Terminal, key+" does not hold what it should", err).
			WithHint("somebody else wrote or changed it; restore or remove it")
	}
	return true, nil
}
