package storage

import (
	"context"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// Presign returns a link with which anybody can read the object for ttl, under
// filename where that is not empty. The link is a secret. The object is not
// looked at. Credentials that expire sooner end the link sooner.
func (a *Archive) Presign(ctx context.Context, key, filename string, ttl time.Duration) (string, error) {
	return a.presignGet(ctx, key, contentDisposition(filename), ttl)
}

// PresignInline is Presign of an object that a browser is to show, not to download.
func (a *Archive) PresignInline(ctx context.Context, key string, ttl time.Duration) (string, error) {
	return a.presignGet(ctx, key, "inline", ttl)
}

func (a *Archive) presignGet(ctx context.Context, key, disposition string, ttl time.Duration) (string, error) {
	in := &s3.GetObjectInput{Bucket: &a.opts.Bucket, Key: &key, ResponseContentDisposition: optional(disposition)}
	req, err := a.links.PresignGetObject(ctx, in, s3.WithPresignExpires(ttl))
	if err != nil {
		return "", fmt.Errorf("signing a link to %s: %w", key, err)
	}
	return req.URL, nil
}

// PresignHead returns a link as Presign does, for a HEAD: S3 signs the method
// as well, so that a HEAD of a link for a GET is refused with 403.
func (a *Archive) PresignHead(ctx context.Context, key string, ttl time.Duration) (string, error) {
	in := &s3.HeadObjectInput{Bucket: &a.opts.Bucket, Key: &key}
	req, err := a.links.PresignHeadObject(ctx, in, s3.WithPresignExpires(ttl))
	if err != nil {
		return "", fmt.Errorf("signing a link to %s: %w", key, err)
	}
	return req.URL, nil
}
