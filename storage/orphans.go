package storage

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/clipferry/clipferry/internal/fault"
)

// brokenListing is the fault of a listing that does not get on: what is left of
// it is not known.
func brokenListing(what string) error {
	return fault.New(fault.Retry, "S3 says that there are more "+what+", and does not list them", nil)
}

// AbortOrphans aborts multipart uploads under the prefix that were begun longer
// ago than olderThan and whose transfer has not saved a checkpoint since. It
// returns how many; an upload that could not be aborted does not stop the rest.
func (a *Archive) AbortOrphans(ctx context.Context, olderThan time.Duration) (int, error) {
	before := a.now().Add(-olderThan)
	pages := s3.NewListMultipartUploadsPaginator(a.s3, &s3.ListMultipartUploadsInput{Bucket: &a.opts.Bucket, Prefix: optional(a.uploadPrefix())})
	var aborted int
	var errs []error
	var marker [2]string
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err == nil && aws.ToBool(page.IsTruncated) {
			next := [2]string{aws.ToString(page.NextKeyMarker), aws.ToString(page.NextUploadIdMarker)}
			if next == marker {
				err = brokenListing("unfinished uploads")
			}
			marker = next
		}
		if err != nil {
			return aborted, errors.Join(append(errs, s3Fault(ctx, "listing unfinished uploads", err))...)
		}
		for _, u := range page.Uploads {
			if !a.isOrphan(ctx, u, before) {
				continue
			}
			if err := a.tryAbort(ctx, aws.ToString(u.Key), aws.ToString(u.UploadId)); err != nil {
				errs = append(errs, err)
				continue
			}
			aborted++
		}
	}
	return aborted, errors.Join(errs...)
}

func (a *Archive) uploadPrefix() string {
	if a.opts.Prefix == "" {
		return ""
	}
	return a.opts.Prefix + "/"
}

func (a *Archive) isOrphan(ctx context.Context, u types.MultipartUpload, before time.Time) bool {
	key := aws.ToString(u.Key)
	// servers differ in how they read the prefix of this listing
	if !strings.HasPrefix(key, a.uploadPrefix()) || u.Initiated == nil || !u.Initiated.Before(before) {
		return false
	}
	name, isMOV := strings.CutSuffix(key, quickTime.ending)
	if isMOV { // see Job.Key
		key = name + mp4.ending
	}
	rec := a.loadRecord(ctx, key)
	return rec == nil || rec.Upload != aws.ToString(u.UploadId) || rec.Saved.Before(before)
}
