package storage

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/clipferry/clipferry/internal/fault"
	"github.com/clipferry/clipferry/internal/telemetry/logkey"
)

// Names of our own object metadata, and of the tag that carries the SHA-256 of
// an object whose metadata had to be written before its last byte was known.
const (
	metaExport = "clipferry-export"
	metaSHA256 = "clipferry-sha256"
	tagSHA256  = "clipferry-sha256"
)

// stat is what S3 says of an object.
type stat struct {
	size        int64
	etag        string
	contentType string
	crc         uint32
	hasCRC      bool // of the whole object
	export      string
	sha256      string // from the metadata
	modified    time.Time
	locked      bool // as far as S3 shows it
}

// head asks S3 about a key; false when there is none.
func (a *Archive) head(ctx context.Context, key string) (stat, bool, error) {
	out, err := a.s3.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &a.opts.Bucket, Key: &key, ChecksumMode: types.ChecksumModeEnabled})
	if isMissing(err) {
		return stat{}, false, nil
	}
	if err != nil {
		return stat{}, false, s3Fault(ctx, "looking at "+key, err)
	}
	st := stat{
		size: aws.ToInt64(out.ContentLength), etag: strongETag(out.ETag),
		contentType: aws.ToString(out.ContentType), modified: aws.ToTime(out.LastModified),
		export: out.Metadata[metaExport], sha256: out.Metadata[metaSHA256],
		locked: out.ObjectLockMode != "",
	}
	if f := a.tested.known.Load(); out.ChecksumType != types.ChecksumTypeComposite && (f == nil || !f.echoes) {
		st.crc, st.hasCRC = decodeCRC(aws.ToString(out.ChecksumCRC32))
	}
	if out.ContentLength == nil {
		st.size, err = a.length(ctx, key)
	}
	return st, err == nil, err
}

// get reads an object. The caller closes the body.
func (a *Archive) get(ctx context.Context, key string) (*s3.GetObjectOutput, error) {
	return a.s3.GetObject(ctx, &s3.GetObjectInput{Bucket: &a.opts.Bucket, Key: &key})
}

// length is the size of an object whose HEAD did not have it: something between
// S3 and us may have taken it away.
func (a *Archive) length(ctx context.Context, key string) (int64, error) {
	out, err := a.get(ctx, key)
	if err != nil {
		return 0, s3Fault(ctx, "looking at "+key, err)
	}
	_ = out.Body.Close()
	if out.ContentLength == nil {
		return 0, fault.New(fault.Retry, "S3 does not give the length of "+key, nil)
	}
	return *out.ContentLength, nil
}

func encodeCRC(crc uint32) string {
	return base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, crc))
}

func decodeCRC(s string) (uint32, bool) {
	raw, err := base64.StdEncoding.DecodeString(s)
	if err != nil || len(raw) != 4 {
		return 0, false
	}
	return binary.BigEndian.Uint32(raw), true
}

// attributes are what an object is written with.
type attributes struct {
	contentType string
	disposition string
	metadata    map[string]string
}

// tagging encodes tags as a query string, nil for none.
func tagging(tags map[string]string) *string {
	if len(tags) == 0 {
		return nil
	}
	q := url.Values{}
	for k, v := range tags {
		q.Set(k, v)
	}
	return aws.String(strings.ReplaceAll(q.Encode(), "+", "%20"))
}

// lockUntil is the object-lock retention of something archived now.
func (a *Archive) lockUntil() *time.Time {
	if a.opts.Object.LockMode == "" {
		return nil
	}
	return aws.Time(a.now().Add(a.opts.Object.LockFor).UTC())
}

// retain asks again for the retention of an object that shows none: Ceph takes that
// of an upload and forgets it. Where only the right to see it is lacking it is
// prolonged by a moment.
func (a *Archive) retain(ctx context.Context, key string, st stat) {
	until := a.lockUntil()
	if until == nil || st.locked {
		return
	}
	_, err := a.s3.PutObjectRetention(ctx, &s3.PutObjectRetentionInput{
		Bucket: &a.opts.Bucket, Key: &key,
		Retention: &types.ObjectLockRetention{Mode: types.ObjectLockRetentionMode(a.opts.Object.LockMode), RetainUntilDate: until},
	})
	if err != nil {
		a.log.WarnContext(ctx, "an object shows no retention, and S3 refuses to set it", logkey.Key, key, logkey.Error, s3Fault(ctx, "retaining "+key, err))
	}
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// clipInput asks for an object with all that is configured for clips; put adds its
// encryption.
func (a *Archive) clipInput(key string, at attributes) *s3.PutObjectInput {
	o := a.opts.Object
	return &s3.PutObjectInput{
		Bucket: &a.opts.Bucket, Key: &key, ContentType: &at.contentType,
		ContentDisposition: optional(at.disposition), CacheControl: optional(o.CacheControl),
		Metadata: at.metadata, Tagging: tagging(o.Tags), ACL: types.ObjectCannedACL(o.ACL),
		StorageClass:   types.StorageClass(o.StorageClass),
		ObjectLockMode: types.ObjectLockMode(o.LockMode), ObjectLockRetainUntilDate: a.lockUntil(),
	}
}

// putSmall writes a whole object in one request, never over another one.
func (a *Archive) putSmall(ctx context.Context, key string, body []byte, v verdict, at attributes) (written, error) {
	f, err := a.features(ctx)
	if err != nil {
		return written{}, err
	}
	in := a.clipInput(key, at)
	if f.create {
		in.IfNoneMatch = aws.String("*")
	} else if _, exists, err := a.head(ctx, key); err != nil || exists { // the next best
		return written{found: exists}, err
	}
	out, err := a.put(ctx, in, body, a.sumOf(body, v.crc))
	switch {
	case err == nil:
		return written{etag: strongETag(out.ETag), verified: f.verifiesPut}, nil
	case isTaken(err):
		return written{found: true}, nil
	case f.create && (httpStatus(err) == 0 || httpStatus(err) == http.StatusForbidden) && ctx.Err() == nil:
		// A server may refuse and cut the connection before the body is through,
		// so that its refusal is never read, or mind the lock of an object
		// before the condition: look.
		if _, exists, look := a.head(ctx, key); look == nil && exists {
			return written{found: true}, nil
		}
	}
	return written{}, s3Fault(ctx, "archiving "+key, err)
}

// bodySum is the checksum of a body in the archive's mode, for the server to verify.
type bodySum struct{ crc32, md5 *string }

func (a *Archive) sumOf(body []byte, crc uint32) bodySum {
	if a.opts.Checksum == ChecksumMD5 {
		sum := md5.Sum(body)
		return bodySum{md5: aws.String(base64.StdEncoding.EncodeToString(sum[:]))}
	}
	return bodySum{crc32: aws.String(encodeCRC(crc))}
}

// put sends one PutObject, encrypted as all that is ours.
func (a *Archive) put(ctx context.Context, in *s3.PutObjectInput, body []byte, sum bodySum) (*s3.PutObjectOutput, error) {
	in.Body, in.ContentLength = bytes.NewReader(body), aws.Int64(int64(len(body)))
	in.ServerSideEncryption, in.SSEKMSKeyId = types.ServerSideEncryption(a.opts.Object.SSE), optional(a.opts.Object.KMSKeyID)
	if in.ContentMD5, in.ChecksumCRC32 = sum.md5, sum.crc32; sum.crc32 != nil {
		in.ChecksumAlgorithm = types.ChecksumAlgorithmCrc32
	}
	sent := payload{body: body}
	defer sent.end()
	out, err := a.s3.PutObject(ctx, in, sent.option)
	asked := ObjectOptions{SSE: a.opts.Object.SSE, StorageClass: string(in.StorageClass), LockMode: string(in.ObjectLockMode), ACL: string(in.ACL)}
	if in.Tagging != nil {
		asked.Tags = a.opts.Object.Tags
	}
	return out, refusedFor(err, asked)
}

// delete removes an object, whatever it is.
func (a *Archive) delete(ctx context.Context, key string) error {
	_, err := a.s3.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &a.opts.Bucket, Key: &key})
	return s3Fault(ctx, "deleting "+key, err)
}

// readBack reads an object whole and returns its SHA-256. For a video it checks
// the container on the way.
func (a *Archive) readBack(ctx context.Context, key string, into io.Writer) (size int64, sum string, err error) {
	out, err := a.get(ctx, key)
	if err != nil {
		return 0, "", s3Fault(ctx, "reading back "+key, err)
	}
	defer func() { _ = out.Body.Close() }()
	sha := sha256.New()
	size, err = io.CopyBuffer(io.MultiWriter(sha, into), out.Body, make([]byte, 128<<10))
	if err != nil {
		return 0, "", s3Fault(ctx, "reading back "+key, err)
	}
	if want := out.ContentLength; want != nil && size != *want {
		return 0, "", fault.New(fault.Retry, fmt.Sprintf("reading back %s ended after %d of %d bytes", key, size, *want), nil)
	}
	return size, hex.EncodeToString(sha.Sum(nil)), nil
}

// tagHash writes the SHA-256 of an object that could not have it in its
// metadata. The archive is whole without it, so a refusal is logged at debug level only.
func (a *Archive) tagHash(ctx context.Context, key, sum string) {
	set := []types.Tag{{Key: aws.String(tagSHA256), Value: &sum}}
	for k, v := range a.opts.Object.Tags {
		set = append(set, types.Tag{Key: &k, Value: &v})
	}
	_, err := a.s3.PutObjectTagging(ctx, &s3.PutObjectTaggingInput{Bucket: &a.opts.Bucket, Key: &key, Tagging: &types.Tagging{TagSet: set}})
	if err != nil {
		a.log.DebugContext(ctx, "object not tagged with its SHA-256", logkey.Key, key, logkey.Error, err)
	}
}

// taggedHash returns the SHA-256 that tagHash left, or "".
func (a *Archive) taggedHash(ctx context.Context, key string) string {
	out, err := a.s3.GetObjectTagging(ctx, &s3.GetObjectTaggingInput{Bucket: &a.opts.Bucket, Key: &key})
	if err != nil {
		return ""
	}
	for _, t := range out.TagSet {
		if aws.ToString(t.Key) == tagSHA256 && len(aws.ToString(t.Value)) == 2*sha256.Size {
			return *t.Value
		}
	}
	return ""
}
