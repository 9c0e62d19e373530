package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/clipferry/clipferry/internal/fault"
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
		ExpectedBucketOwner: a.owner(), RequestPayer: a.payer(),
	}
	if a.opts.Checksum == ChecksumCRC32 {
		in.ChecksumAlgorithm, in.ChecksumType = types.ChecksumAlgorithmCrc32, types.ChecksumTypeFullObject
	}
	out, err := a.s3.CreateMultipartUpload(ctx, in)
	if err != nil {
		return "", s3Fault(ctx, "beginning the upload of "+key, err)
	}
	if aws.ToString(out.UploadId) == "" {
		// parts of no upload are objects, to some servers
		return "", fault.New(fault.Retry, "S3 began an upload of "+key+" and gave it no id", nil)
	}
	return *out.UploadId, nil
}

// uploadPart puts part n (from 0) and returns its ETag. pace, which may be nil,
// hears how S3 takes it.
func (a *Archive) uploadPart(ctx context.Context, key, upload string, n int, body []byte, crc uint32, pace *pacer) (string, error) {
	in := &s3.UploadPartInput{
		Bucket: &a.opts.Bucket, Key: &key, UploadId: &upload, PartNumber: aws.Int32(int32(n + 1)),
		Body: bytes.NewReader(body), ContentLength: aws.Int64(int64(len(body))),
		ExpectedBucketOwner: a.owner(), RequestPayer: a.payer(),
	}
	if a.opts.Checksum == ChecksumMD5 {
		in.ContentMD5 = contentMD5(body)
	} else {
		in.ChecksumAlgorithm, in.ChecksumCRC32 = types.ChecksumAlgorithmCrc32, aws.String(encodeCRC(crc))
	}
	sent := payload{body: body}
	defer sent.end()
	out, err := a.s3.UploadPart(ctx, in, pace, sent.option)
	switch {
	case err == nil:
		return aws.ToString(out.ETag), nil
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
	pages := s3.NewListPartsPaginator(a.s3, &s3.ListPartsInput{
		Bucket: &a.opts.Bucket, Key: &key, UploadId: &upload,
		ExpectedBucketOwner: a.owner(), RequestPayer: a.payer(),
	}, func(o *s3.ListPartsPaginatorOptions) { o.StopOnDuplicateToken = true }) // or a server could go on for ever
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
				size: aws.ToInt64(p.Size), etag: aws.ToString(p.ETag), crc: crc, hasCRC: ok,
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

// completeUpload makes the parts an object, unless the key is taken, and returns
// its ETag. Errors other than errKeyTaken and errUploadGone are faults.
func (a *Archive) completeUpload(ctx context.Context, key, upload string, parts []sentPart, v verdict) (etag string, err error) {
	conditional := !a.noConditional.Load()
	for {
		if !conditional { // the next best: another worker may have been faster
			if _, there, err := a.head(ctx, key); err != nil {
				return "", err
			} else if there {
				return "", errKeyTaken
			}
		}
		in := a.completeInput(key, upload, parts, v, conditional)
		out, err := a.s3.CompleteMultipartUpload(ctx, in)
		switch {
		case err == nil:
			if !conditional {
				a.forgetConditional(ctx)
			}
			return aws.ToString(out.ETag), nil
		case isTaken(err):
			return "", errKeyTaken
		case isUseless(err):
			a.abortUpload(ctx, key, upload)
			return "", fmt.Errorf("%w: %s", errUploadGone, errorCode(err))
		case isUploadGone(err), isConflict(err): // perhaps another worker completes it just now
			return "", errUploadGone
		case isUnsupported(err) && conditional:
			conditional = false // or something else that was asked for: it shows
			continue
		}
		return "", s3Fault(ctx, "completing "+key, err)
	}
}

// errKeyTaken means that an object stands under the key already.
var errKeyTaken = errors.New("the key is taken")

func (a *Archive) completeInput(key, upload string, parts []sentPart, v verdict, conditional bool) *s3.CompleteMultipartUploadInput {
	done := make([]types.CompletedPart, len(parts))
	for i, p := range parts {
		done[i] = types.CompletedPart{PartNumber: aws.Int32(int32(i + 1)), ETag: aws.String(p.etag)}
		if a.opts.Checksum == ChecksumCRC32 {
			done[i].ChecksumCRC32 = aws.String(encodeCRC(p.crc))
		}
	}
	in := &s3.CompleteMultipartUploadInput{
		Bucket: &a.opts.Bucket, Key: &key, UploadId: &upload,
		MultipartUpload:     &types.CompletedMultipartUpload{Parts: slices.Clip(done)},
		ExpectedBucketOwner: a.owner(), RequestPayer: a.payer(),
	}
	if a.opts.Checksum == ChecksumCRC32 {
		in.ChecksumType, in.ChecksumCRC32 = types.ChecksumTypeFullObject, aws.String(encodeCRC(v.crc))
		in.MpuObjectSize = aws.Int64(v.size)
	}
	if conditional {
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
		a.log.WarnContext(ctx, "multipart upload not aborted", "key", key, "error", err)
	}
}

func (a *Archive) tryAbort(ctx context.Context, key, upload string) error {
	_, err := a.s3.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{
		Bucket: &a.opts.Bucket, Key: &key, UploadId: &upload,
		ExpectedBucketOwner: a.owner(), RequestPayer: a.payer(),
	})
	if err == nil || isUploadGone(err) {
		return nil
	}
	return fault.New(fault.Retry, "aborting an upload failed in S3", err)
}
