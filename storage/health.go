package storage

import (
	"cmp"
	"context"
	"hash/crc32"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/clipferry/clipferry/internal/fault"
)

// probeName is the object that probes write, under the prefix.
const probeName = "_probe"

// Check says whether S3 reads and writes, and takes clips as they are written, for
// a readiness probe, and lets an archive whose breaker is open try again. It writes one
// small object, at most once a minute, and only while nothing else is written.
func (a *Archive) Check(ctx context.Context) error {
	if err := a.breaker.check(ctx); err != nil {
		return err
	}
	_, err := a.features(ctx)
	return err
}

// Health is how S3 has answered this process of late. It asks nobody.
func (a *Archive) Health() Health { return a.breaker.health() }

// MayOrder returns nil if the export's clips would be archived, as far as this process
// knows, else why not. Where S3 has refused clips for long, and those of the same exports
// only, one export is let through now and then, however often it is asked for.
func (a *Archive) MayOrder(export string) error { return a.breaker.mayOrder(export) }

// probeRead looks at the bucket and at the object that probes write.
func (a *Archive) probeRead(ctx context.Context) error {
	_, err := a.s3.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: &a.opts.Bucket})
	if s := httpStatus(err); s >= 400 && s < 500 && !isMissing(err) {
		// A response to HEAD has no body that would say what is wrong.
		_, listErr := a.s3.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: &a.opts.Bucket, Prefix: aws.String(a.key(probeName)), MaxKeys: aws.Int32(1)})
		err = cmp.Or(listErr, err)
	}
	if isMissing(err) {
		return fault.New(fault.Retry, "the bucket "+a.opts.Bucket+" does not exist", err).WithHint(s3Hints["NoSuchBucket"])
	}
	if err != nil {
		return s3Fault(ctx, "looking at the bucket "+a.opts.Bucket, err)
	}
	_, _, err = a.head(ctx, a.key(probeName))
	return err
}

// probeWrite writes the object of probes, as receipts are written.
func (a *Archive) probeWrite(ctx context.Context) error {
	key := a.key(probeName)
	body := []byte("clipferry writes this to see whether S3 takes writes\n")
	in := &s3.PutObjectInput{Bucket: &a.opts.Bucket, Key: &key, ContentType: aws.String("text/plain"), ACL: a.documentACL()}
	_, err := a.put(ctx, in, body, a.sumOf(body, crc32.ChecksumIEEE(body)))
	return s3Fault(ctx, "writing "+key, err)
}
