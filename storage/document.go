package storage

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"path"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/clipferry/clipferry/internal/fault"
)

// unknownETag is that of an object whose server gives none.
const unknownETag = "*"

// maxDocument bounds a receipt or manifest that is read, in bytes.
const maxDocument = 64 << 20

// encodeDocument is v as people read it.
func encodeDocument(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	err := enc.Encode(v)
	return b.Bytes(), err
}

// writeDocument writes v as indented JSON over the version that was there when it
// was read, over nothing if that is empty. It reports false, and changes nothing, if
// something else is there now.
//
// On a server without conditions it looks, writes and reads back. That is weaker: of
// two that write in the same moment both may believe that theirs is there, unless
// each reads back after the other has written.
func (a *Archive) writeDocument(ctx context.Context, key, version string, v any) (bool, error) {
	b, err := encodeDocument(v)
	if err != nil {
		return false, fmt.Errorf("encoding %s: %w", key, err)
	}
	f, err := a.features(ctx)
	if err != nil {
		return false, err
	}
	sum := sha256.Sum256(b)
	in := &s3.PutObjectInput{
		Bucket: &a.opts.Bucket, Key: &key, ContentType: aws.String("application/json"), ACL: a.documentACL(),
		ContentDisposition: optional(strings.Replace(contentDisposition(path.Base(key)), "attachment", "inline", 1)), // it is text
		Metadata:           map[string]string{metaSHA256: hex.EncodeToString(sum[:])},
	}
	switch {
	case version == "" && f.create:
		in.IfNoneMatch = aws.String("*")
	case version != "":
		in.IfMatch = f.replace.ifMatch(version)
	}
	conditional := in.IfMatch != nil || in.IfNoneMatch != nil
	if !conditional {
		now, exists, err := a.head(ctx, key)
		if err != nil || exists != (version != "") || exists && cmp.Or(now.etag, unknownETag) != version {
			return false, err
		}
	}
	_, err = a.put(ctx, in, b, a.sumOf(b, crc32.ChecksumIEEE(b)))
	switch {
	case err == nil && conditional:
		return true, nil
	case err == nil:
		var now json.RawMessage
		_, err := a.readDocument(ctx, key, &now)
		return err == nil && bytes.Equal(bytes.TrimSpace(now), bytes.TrimSpace(b)), err
	case conditional && (isTaken(err) || isConflict(err) || version != "" && isMissing(err)):
		return false, nil
	}
	return false, s3Fault(ctx, "writing "+key, err)
}

// documentACL is that of receipts and manifests: a bucket's owner may insist on
// what clips give to him, but what they give to the public is not for these.
func (a *Archive) documentACL() types.ObjectCannedACL {
	if acl := a.opts.Object.ACL; strings.HasPrefix(acl, "bucket-owner-") {
		return types.ObjectCannedACL(acl)
	}
	return ""
}

// getDocument reads JSON into v; false when the key holds nothing.
func (a *Archive) getDocument(ctx context.Context, key string, v any) (bool, error) {
	etag, err := a.readDocument(ctx, key, v)
	return etag != "", err
}

// readDocument reads JSON into v and returns its ETag, empty when the key holds
// nothing.
func (a *Archive) readDocument(ctx context.Context, key string, v any) (string, error) {
	out, err := a.get(ctx, key)
	switch {
	case err == nil:
	case errorCode(err) == "NoSuchKey":
		return "", nil
	case httpStatus(err) == http.StatusNotFound && errorCode(err) != "NoSuchBucket":
		// S3 names what is missing. A bare 404 is somebody else's, and may cost a second payment.
		return "", s3Fault(ctx, "reading "+key, unavailable{err})
	default:
		return "", s3Fault(ctx, "reading "+key, err)
	}
	defer func() { _ = out.Body.Close() }()
	b, err := io.ReadAll(io.LimitReader(out.Body, maxDocument+1))
	if err != nil {
		return "", s3Fault(ctx, "reading "+key, err)
	}
	if len(b) > maxDocument {
		return "", fault.New(fault.Terminal, key+" is too large to be ours", nil)
	}
	if err := json.Unmarshal(b, v); err != nil {
		return "", fault.New(fault.Terminal, key+" does not hold what it should", err).
			WithHint("somebody else wrote or changed it; restore or remove it")
	}
	return cmp.Or(strongETag(out.ETag), unknownETag), nil
}
