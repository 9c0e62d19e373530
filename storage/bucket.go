package storage

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// request is one operation on S3: everything between the archive and the SDK sees it
// as this.
type request struct {
	name string // the SDK's, such as "PutObject"
	// send makes one attempt. It may be called again once it has returned.
	send func(ctx context.Context) error
	size int64 // of its body
	// pace is notified of how S3 takes the parts of one file; nil for all other requests.
	pace *pacer
	once bool // it is not repeated
}

// sender is the one interface in front of S3. Each concern is a sender that wraps
// the next one; [New] says in which order.
type sender interface {
	do(ctx context.Context, r request) error
}

// attempt is the innermost sender: it asks the SDK, once.
type attempt struct{}

func (attempt) do(ctx context.Context, r request) error { return r.send(ctx) }

// Attempt is one attempt of a request to S3, as [Options.Observe] sees it.
type Attempt struct {
	Operation string // the SDK's name, such as "PutObject"
	Took      time.Duration
	Sent      int64 // bytes of a body that S3 took or refused whole; of one that was cut off nothing is known
	Status    int   // of the response, 0 without one
	Err       error
}

// observed shows each attempt to whoever counts them.
type observed struct {
	next sender
	show func(context.Context, Attempt)
}

func (s observed) do(ctx context.Context, r request) error {
	began := time.Now()
	err := s.next.do(ctx, r)
	a := Attempt{Operation: r.name, Took: time.Since(began), Status: httpStatus(err), Err: err}
	if err == nil {
		a.Status = http.StatusOK
	}
	if a.Status != 0 {
		a.Sent = r.size
	}
	s.show(ctx, a)
	return err
}

// bucket is the S3 client that the archive uses: the operations that it needs,
// each sent through the sender.
type bucket struct {
	client   *s3.Client
	timeouts *timeouts
	sender   sender
	once     bool // of all requests
}

// headers are those of every request, whatever it asks for.
func (o ObjectOptions) headers() func(*s3.Options) {
	return func(so *s3.Options) {
		so.APIOptions = slices.Clip(so.APIOptions)
		if o.ExpectedBucketOwner != "" {
			so.APIOptions = append(so.APIOptions, smithyhttp.SetHeaderValue("X-Amz-Expected-Bucket-Owner", o.ExpectedBucketOwner))
		}
		if o.RequesterPays {
			so.APIOptions = append(so.APIOptions, smithyhttp.SetHeaderValue("X-Amz-Request-Payer", "requester"))
		}
	}
}

// newClient is c without retries of its own, see retry.go, and guarded against answers that are not S3's.
func newClient(c *s3.Client, headers func(*s3.Options)) *s3.Client {
	return s3.New(c.Options(), headers, func(o *s3.Options) {
		o.Retryer = aws.NopRetryer{}
		o.HTTPClient = &proxyGuard{HTTPClient: o.HTTPClient}
		o.APIOptions = append(slices.Clip(o.APIOptions), unsigned)
	})
}

// ask sends one operation through the bucket's senders.
func ask[In, Out any](ctx context.Context, b *bucket, r request, call func(context.Context, *In, ...func(*s3.Options)) (*Out, error), in *In, opts []func(*s3.Options)) (*Out, error) {
	var out *Out
	r.once = b.once
	r.send = func(ctx context.Context) (err error) {
		out, err = call(ctx, in, opts...)
		opts = append(slices.Clip(opts), withoutExpect) // for the next attempt
		return err
	}
	err := b.sender.do(ctx, r)
	return out, err
}

// withoutExpect sends a body without asking for permission: the refusal of those
// who know no Expect may be lost with its connection.
func withoutExpect(o *s3.Options) { o.ContinueHeaderThresholdBytes = -1 }

func (b *bucket) HeadBucket(ctx context.Context, in *s3.HeadBucketInput, opts ...func(*s3.Options)) (*s3.HeadBucketOutput, error) {
	return ask(ctx, b, request{name: "HeadBucket"}, b.client.HeadBucket, in, opts)
}

func (b *bucket) HeadObject(ctx context.Context, in *s3.HeadObjectInput, opts ...func(*s3.Options)) (*s3.HeadObjectOutput, error) {
	return ask(ctx, b, request{name: "HeadObject"}, b.client.HeadObject, in, opts)
}

func (b *bucket) GetObject(ctx context.Context, in *s3.GetObjectInput, opts ...func(*s3.Options)) (*s3.GetObjectOutput, error) {
	return ask(ctx, b, request{name: "GetObject"}, b.timeouts.get(b.client), in, opts)
}

func (b *bucket) PutObject(ctx context.Context, in *s3.PutObjectInput, opts ...func(*s3.Options)) (*s3.PutObjectOutput, error) {
	return ask(ctx, b, request{name: "PutObject", size: aws.ToInt64(in.ContentLength)}, b.client.PutObject, in, opts)
}

func (b *bucket) DeleteObject(ctx context.Context, in *s3.DeleteObjectInput, opts ...func(*s3.Options)) (*s3.DeleteObjectOutput, error) {
	return ask(ctx, b, request{name: "DeleteObject"}, b.client.DeleteObject, in, opts)
}

func (b *bucket) ListObjectsV2(ctx context.Context, in *s3.ListObjectsV2Input, opts ...func(*s3.Options)) (*s3.ListObjectsV2Output, error) {
	return ask(ctx, b, request{name: "ListObjectsV2"}, b.client.ListObjectsV2, in, opts)
}

func (b *bucket) CreateMultipartUpload(ctx context.Context, in *s3.CreateMultipartUploadInput, opts ...func(*s3.Options)) (*s3.CreateMultipartUploadOutput, error) {
	return ask(ctx, b, request{name: "CreateMultipartUpload"}, b.client.CreateMultipartUpload, in, opts)
}

func (b *bucket) UploadPart(ctx context.Context, in *s3.UploadPartInput, pace *pacer, opts ...func(*s3.Options)) (*s3.UploadPartOutput, error) {
	return ask(ctx, b, request{name: "UploadPart", size: aws.ToInt64(in.ContentLength), pace: pace}, b.client.UploadPart, in, opts)
}

func (b *bucket) ListParts(ctx context.Context, in *s3.ListPartsInput, opts ...func(*s3.Options)) (*s3.ListPartsOutput, error) {
	return ask(ctx, b, request{name: "ListParts"}, b.client.ListParts, in, opts)
}

func (b *bucket) CompleteMultipartUpload(ctx context.Context, in *s3.CompleteMultipartUploadInput, opts ...func(*s3.Options)) (*s3.CompleteMultipartUploadOutput, error) {
	return ask(ctx, b, request{name: "CompleteMultipartUpload"}, b.client.CompleteMultipartUpload, in, opts)
}

func (b *bucket) AbortMultipartUpload(ctx context.Context, in *s3.AbortMultipartUploadInput, opts ...func(*s3.Options)) (*s3.AbortMultipartUploadOutput, error) {
	return ask(ctx, b, request{name: "AbortMultipartUpload"}, b.client.AbortMultipartUpload, in, opts)
}

func (b *bucket) ListMultipartUploads(ctx context.Context, in *s3.ListMultipartUploadsInput, opts ...func(*s3.Options)) (*s3.ListMultipartUploadsOutput, error) {
	return ask(ctx, b, request{name: "ListMultipartUploads"}, b.client.ListMultipartUploads, in, opts)
}

func (b *bucket) PutObjectTagging(ctx context.Context, in *s3.PutObjectTaggingInput, opts ...func(*s3.Options)) (*s3.PutObjectTaggingOutput, error) {
	return ask(ctx, b, request{name: "PutObjectTagging"}, b.client.PutObjectTagging, in, opts)
}

func (b *bucket) PutObjectRetention(ctx context.Context, in *s3.PutObjectRetentionInput, opts ...func(*s3.Options)) (*s3.PutObjectRetentionOutput, error) {
	return ask(ctx, b, request{name: "PutObjectRetention"}, b.client.PutObjectRetention, in, opts)
}

func (b *bucket) GetObjectTagging(ctx context.Context, in *s3.GetObjectTaggingInput, opts ...func(*s3.Options)) (*s3.GetObjectTaggingOutput, error) {
	return ask(ctx, b, request{name: "GetObjectTagging"}, b.client.GetObjectTagging, in, opts)
}

func (b *bucket) GetBucketLifecycleConfiguration(ctx context.Context, in *s3.GetBucketLifecycleConfigurationInput, opts ...func(*s3.Options)) (*s3.GetBucketLifecycleConfigurationOutput, error) {
	return ask(ctx, b, request{name: "GetBucketLifecycleConfiguration"}, b.client.GetBucketLifecycleConfiguration, in, opts)
}
