package storage

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/clipferry/clipferry/internal/fault"
	"github.com/clipferry/clipferry/internal/telemetry/logkey"
)

// errUploadGone means that S3 no longer knows the upload, or will never
// complete it: begin anew.
var errUploadGone = errors.New("the multipart upload is of no use")

func (a *Archive) createUpload(ctx context.Context, key string, at attributes) (string, error) {
	o := a.opts.Object
	in := &s3.CreateMultipartUploadInput{
		Bucket: &a.opts.Bucket, Key: &key, ContentType: &at.contentType,
		ContentDisposition: optional(at.disposition), CacheControl: optional(o.CacheControl),
		Metadata: at.metadata, Tagging: tagging(o.Tags), ACL: types.ObjectCannedACL(o.ACL),
		StorageClass: types.StorageClass(o.StorageClass), ServerSideEncryption: types.ServerSideEncryption(o.SSE),
		SSEKMSKeyId: optional(o.KMSKeyID), ObjectLockMode: types.ObjectLockMode(o.LockMode), ObjectLockRetainUntilDate: a.lockUntil(),
	}
	if a.opts.Checksum == ChecksumCRC32 {
		in.ChecksumAlgorithm, in.ChecksumType = types.ChecksumAlgorithmCrc32, types.ChecksumTypeFullObject
	}
	out, err := a.s3.CreateMultipartUpload(ctx, in)
	if err != nil {
		return "", s3Fault(ctx, "beginning the upload of "+key, refusedFor(err, o))
	}
	if aws.ToString(out.UploadId) == "" {
		// parts of no upload are objects, to some servers
		return "", fault.New(fault.Retry, "S3 began an upload of "+key+" and gave it no id", nil)
	}
	return *out.UploadId, nil
}

// uploadPart puts part n (from 0) and returns its ETag. pace, which may be nil,
// is notified of how S3 takes it.
func (a *Archive) uploadPart(ctx context.Context, key, upload string, n int, body []byte, sum bodySum, pace *pacer) (string, error) {
	in := &s3.UploadPartInput{
		Bucket: &a.opts.Bucket, Key: &key, UploadId: &upload, PartNumber: aws.Int32(int32(n + 1)),
		Body: bytes.NewReader(body), ContentLength: aws.Int64(int64(len(body))),
	}
	if in.ContentMD5, in.ChecksumCRC32 = sum.md5, sum.crc32; sum.crc32 != nil {
		in.ChecksumAlgorithm = types.ChecksumAlgorithmCrc32
	}
	sent := payload{body: body}
	defer sent.end()
	out, err := a.s3.UploadPart(ctx, in, pace, sent.option)
	switch {
	case err == nil:
		return strongETag(out.ETag), nil
	case isUploadGone(err):
		return "", errUploadGone
	}
	return "", s3Fault(ctx, "uploading a part of "+key, err)
}

// listedPart is a part that S3 says it has.
type listedPart struct {
	size   int64
	etag   string
	crc    uint32
	hasCRC bool
}

// is says whether the part is the one with this size and CRC, as far as S3
// lists sums; tag is the sum of the ETag that we were given for it.
func (p listedPart) is(size int64, crc, tag uint32) bool {
	if p.size != size {
		return false
	}
	if p.hasCRC {
		return p.crc == crc
	}
	return tagSum(p.etag) == tag
}

// listParts returns what S3 holds of an upload, by part number from 0. An upload
// that S3 does not know is errUploadGone.
func (a *Archive) listParts(ctx context.Context, key, upload string) (map[int]listedPart, error) {
	parts := map[int]listedPart{}
	pages := s3.NewListPartsPaginator(a.s3, &s3.ListPartsInput{Bucket: &a.opts.Bucket, Key: &key, UploadId: &upload}, func(o *s3.ListPartsPaginatorOptions) { o.StopOnDuplicateToken = true }) // or a server could go on for ever
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if isUploadGone(err) {
			return nil, errUploadGone
		}
		if err != nil {
			return nil, s3Fault(ctx, "listing the parts of "+key, err)
		}
		for _, p := range page.Parts {
			crc, ok := decodeCRC(aws.ToString(p.ChecksumCRC32))
			parts[int(aws.ToInt32(p.PartNumber))-1] = listedPart{
				size: aws.ToInt64(p.Size), etag: strongETag(p.ETag), crc: crc, hasCRC: ok,
			}
		}
	}
	return parts, nil
}

// sentPart is a part as Complete has to name it.
type sentPart struct {
	etag string
	crc  uint32
}

// completeUpload makes the parts an object, unless the key is taken. Errors other
// than errKeyTaken and errUploadGone are faults.
func (a *Archive) completeUpload(ctx context.Context, key, upload string, parts []sentPart, v verdict) (written, error) {
	f, err := a.features(ctx)
	if err != nil {
		return written{}, err
	}
	if parts, err = a.nameParts(ctx, key, upload, parts); err != nil {
		return written{}, err
	}
	if !f.complete { // the next best: another worker may have been faster
		if _, exists, err := a.head(ctx, key); err != nil {
			return written{}, err
		} else if exists {
			return written{}, errKeyTaken
		}
	}
	out, err := a.s3.CompleteMultipartUpload(ctx, a.completeInput(key, upload, parts, v, f))
	switch {
	case err == nil:
		return written{etag: strongETag(out.ETag), verified: f.verifiesPart}, nil
	case isTaken(err):
		return written{}, errKeyTaken
	case isUseless(err):
		a.abortUpload(ctx, key, upload)
		return written{}, fmt.Errorf("%w: %s", errUploadGone, errorCode(err))
	case isUploadGone(err), isConflict(err): // perhaps another worker completes it just now
		return written{}, errUploadGone
	}
	return written{}, s3Fault(ctx, "completing "+key, err)
}

// nameParts asks S3 for the entity tags of parts that came back without one: not
// everything that is between S3 and us lets them through.
func (a *Archive) nameParts(ctx context.Context, key, upload string, parts []sentPart) ([]sentPart, error) {
	if !slices.ContainsFunc(parts, func(p sentPart) bool { return p.etag == "" }) {
		return parts, nil
	}
	listed, err := a.listParts(ctx, key, upload)
	named := slices.Clone(parts)
	for n := range named {
		named[n].etag = cmp.Or(named[n].etag, listed[n].etag)
	}
	return named, err
}

// errKeyTaken means that an object is under the key already.
var errKeyTaken = errors.New("the key is taken")

func (a *Archive) completeInput(key, upload string, parts []sentPart, v verdict, f features) *s3.CompleteMultipartUploadInput {
	checksums := a.opts.Checksum == ChecksumCRC32 && !f.plainComplete
	done := make([]types.CompletedPart, len(parts))
	for i, p := range parts {
		done[i] = types.CompletedPart{PartNumber: aws.Int32(int32(i + 1)), ETag: aws.String(p.etag)}
		if checksums {
			done[i].ChecksumCRC32 = aws.String(encodeCRC(p.crc))
		}
	}
	in := &s3.CompleteMultipartUploadInput{
		Bucket: &a.opts.Bucket, Key: &key, UploadId: &upload,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: slices.Clip(done)},
	}
	if checksums {
		in.ChecksumType, in.ChecksumCRC32 = types.ChecksumTypeFullObject, aws.String(encodeCRC(v.crc))
		in.MpuObjectSize = aws.Int64(v.size)
	}
	if f.complete {
		in.IfNoneMatch = aws.String("*")
	}
	return in
}

// abortUpload frees the parts of an upload that will not be completed. It works
// for a transfer that is being stopped, too. What it cannot do, AbortOrphans will.
func (a *Archive) abortUpload(ctx context.Context, key, upload string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTimeout)
	defer cancel()
	if err := a.tryAbort(ctx, key, upload); err != nil {
		a.log.WarnContext(ctx, "multipart upload not aborted", logkey.Key, key, logkey.Error, err)
	}
}

func (a *Archive) tryAbort(ctx context.Context, key, upload string) error {
	_, err := a.s3.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &a.opts.Bucket, Key: &key, UploadId: &upload})
	if err == nil || isUploadGone(err) {
		return nil
	}
	return fault.New(fault.Retry, "aborting an upload failed in S3", err)
}
