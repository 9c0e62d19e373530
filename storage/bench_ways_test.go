package storage

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/feature/s3/transfermanager"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"golang.org/x/sync/errgroup"

	"github.com/clipferry/clipferry/internal/link"
	"github.com/clipferry/clipferry/internal/s3test"
)

// benchWays are the ways of a file to S3 that are compared in processes of ours.
var benchWays = map[string]func(context.Context, *s3.Client, benchJob) error{
	"raw-put":         each(rawPut),
	"passed":          each(passed),
	"transfermanager": each(managed),
	"ours":            ours,
}

// each runs a way for every file, some at once.
func each(one func(ctx context.Context, c *s3.Client, link, key string, size int64) error) func(context.Context, *s3.Client, benchJob) error {
	return func(ctx context.Context, c *s3.Client, job benchJob) error {
		g, ctx := errgroup.WithContext(ctx)
		g.SetLimit(job.At)
		for i, link := range job.Links {
			g.Go(func() error { return one(ctx, c, link, job.Keys[i], job.Size) })
		}
		return g.Wait()
	}
}

func ours(ctx context.Context, c *s3.Client, job benchJob) error {
	src, err := link.New(link.Options{AllowedCIDRs: loopback})
	if err != nil {
		return err
	}
	a, err := New(Options{Client: c, Bucket: s3test.Bucket, Source: src, Checkpoints: newMemory()})
	if err != nil {
		return err
	}
	return each(func(ctx context.Context, _ *s3.Client, link, key string, size int64) error {
		obj, err := a.Mirror(ctx, Job{Export: "bench", Key: key, Link: link})
		if err == nil && obj.Size != size {
			err = errors.New("wrong size")
		}
		return err
	})(ctx, c, job)
}

// unchecked puts a body that is neither signed nor protected by a checksum.
func unchecked(ctx context.Context, c *s3.Client, key string, body io.Reader, size int64) error {
	_, err := c.PutObject(ctx, &s3.PutObjectInput{
		Bucket: aws.String(s3test.Bucket), Key: &key, Body: body, ContentLength: &size,
	}, func(o *s3.Options) {
		o.APIOptions = append(o.APIOptions, v4.SwapComputePayloadSHA256ForUnsignedPayloadMiddleware)
	})
	return err
}

// rawPut is the server's limit: bytes from memory, in one PUT.
func rawPut(ctx context.Context, c *s3.Client, _, key string, size int64) error {
	return unchecked(ctx, c, key, newVirtualClip(size), size)
}

// passed is the raw limit of the way: read by HTTP, written by PUT, nothing checked.
func passed(ctx context.Context, c *s3.Client, link, key string, _ int64) error {
	resp, err := http.Get(link)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return unchecked(ctx, c, key, bufio.NewReaderSize(resp.Body, 256<<10), resp.ContentLength)
}

// managed is the SDK's own uploader, as its documentation has it.
func managed(ctx context.Context, c *s3.Client, link, key string, _ int64) error {
	resp, err := http.Get(link)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = transfermanager.New(c).UploadObject(ctx, &transfermanager.UploadObjectInput{
		Bucket: aws.String(s3test.Bucket), Key: &key, Body: resp.Body,
	})
	return err
}
