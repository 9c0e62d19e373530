// Package storage is the archive in S3: it carries a clip from its export link
// to an object that is proven to be the clip, resumes what was cut, and keeps
// the receipts and manifests beside the clips.
//
// # Keys
//
//	<prefix>/<project>/<export task>/clip-000-<slug>.mp4   a clip, or .mov
//	<prefix>/<project>/<export task>/clip-000-<slug>.jpg   its thumbnail
//	<prefix>/<project>/<export task>/manifest.json         written last
//	<prefix>/_receipts/<id>.json                           what was paid for
//	<prefix>/_batches/<name>.json                          a batch whose members are not all final
//	<prefix>/_catalog/, _verified/                         see packages catalog and verification
//	<prefix>/_probe                                        written to see whether S3 takes writes
//	<prefix>/_selftest/                                    what is tried on a server, for seconds
//
// # A transfer
//
// A small file is one PUT. A large one whose source has ranges and a validator
// is fetched in parts, some at once, each put with UploadPart; any other is one
// stream cut into parts. The bytes pass a proof in their order (hashes, length,
// the container), and only what is proven is completed: nothing unproven is ever
// under a final key. After each part a small record goes to
// [Checkpoints], so that another process can go on from what S3 holds.
//
// No body leaves without a checksum for S3 to verify. Memory is
// [Options.PartsInFlight] times the part size for the whole Archive, whatever
// the number and the size of the files.
//
// # When S3 fails
//
// Each request passes the senders that [New] puts together: the breaker, the
// retries, the pace of its file, the timeout of an attempt. retry.go says who
// repeats what. The breaker is this process's own: [Archive.Health] shows it,
// [Archive.Check] probes S3, and requests that it does not let through fail with
// [ErrUnavailable].
//
// Servers differ. What not every one of them does, conditional requests above all,
// is tried before it is relied upon: features.go.
//
// # What it needs
//
// The IAM actions s3:PutObject, s3:GetObject, s3:DeleteObject,
// s3:AbortMultipartUpload and s3:ListMultipartUploadParts on the prefix,
// s3:ListBucket and s3:ListBucketMultipartUploads on the bucket;
// s3:PutObjectTagging and s3:GetObjectTagging where tags are wanted,
// s3:GetLifecycleConfiguration for SelfTest.
//
// Every failure is a *fault.Fault. Those of S3 are of the class Retry, even a
// denied access: an operator can repair it while the export waits.
package storage

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/clipferry/clipferry/internal/link"
)

// Limits and defaults of [Options].
const (
	DefaultPartSize        = 6 << 20
	DefaultPartsInFlight   = 16
	DefaultPartsPerFile    = 4
	DefaultUploadTimeout   = 5 * time.Minute
	DefaultCompleteTimeout = 15 * time.Minute
	DefaultCacheControl    = "private, max-age=31536000, immutable"

	minPartSize = 5 << 20 // S3 refuses smaller parts, the last one apart
	maxPartSize = 5 << 30
	maxParts    = 10_000
)

// ErrContent marks a Fault that means: the link gave the wrong bytes. Nothing
// was archived. It is the same error as link.ErrContent.
var ErrContent = link.ErrContent

// Source reads export links; *link.Client is one.
type Source interface {
	Open(ctx context.Context, link string, rg link.Range) (*link.Body, error)
	// MaxSize is the largest file that Open reads, in bytes.
	MaxSize() int64
}

// Checkpoints keeps one small record (up to 120 KB for the largest files) for
// each transfer under way. A lost record costs a transfer from the start,
// nothing else.
type Checkpoints interface {
	// Load returns nil when there is no record.
	Load(ctx context.Context, key string) ([]byte, error)
	Save(ctx context.Context, key string, b []byte) error
	Delete(ctx context.Context, key string) error
}

// ChecksumMode is how bodies are protected on their way to S3.
type ChecksumMode string

const (
	// ChecksumCRC32 sends a CRC32 with every part and of the whole object; S3
	// verifies both and keeps the latter.
	ChecksumCRC32 ChecksumMode = "crc32"
	// ChecksumMD5 sends Content-MD5 with every part, for servers that refuse
	// the x-amz-checksum headers. Slower.
	ChecksumMD5 ChecksumMode = "md5"
)

// Options says where the archive is and how objects are written. Client,
// Bucket and Source are required.
type Options struct {
	Client *s3.Client
	Bucket string
	// Prefix begins every key; empty means none. Package config has checked it:
	// it leaves room for every name under the 1,024 bytes of a key.
	Prefix string
	Source Source
	// Checkpoints makes transfers resumable across processes; nil does without.
	Checkpoints Checkpoints
	Logger      *slog.Logger
	Now         func() time.Time
	// Observe is called with each attempt of a request, from many goroutines.
	Observe func(context.Context, Attempt)

	// PartSize is the size of a part in bytes, at least 5 MiB. It grows where a
	// file of the source's largest size would need more than 10,000 parts.
	PartSize int64
	// PartsInFlight bounds the parts held in memory by the whole Archive,
	// PartsPerFile those of one file.
	PartsInFlight int
	PartsPerFile  int
	// UploadTimeout bounds one attempt to put one part, CompleteTimeout the
	// completion of a multipart upload, for which some servers copy the object.
	UploadTimeout   time.Duration
	CompleteTimeout time.Duration

	Checksum ChecksumMode
	Object   ObjectOptions
}

// ObjectOptions are the S3 attributes of clips and thumbnails; receipts and
// manifests are encrypted like them, and given to the bucket's owner like them,
// nothing else. All are optional.
type ObjectOptions struct {
	StorageClass string
	// SSE is "AES256", "aws:kms" or "aws:kms:dsse"; KMSKeyID the key of the latter two.
	SSE      string
	KMSKeyID string
	// Tags are set on clips and thumbnails.
	Tags map[string]string
	// ACL is a canned ACL. Leave it empty unless the bucket still uses ACLs.
	ACL string
	// LockMode is "GOVERNANCE" or "COMPLIANCE"; clips and thumbnails are then
	// retained for LockFor after they were archived.
	LockMode string
	LockFor  time.Duration
	// RequesterPays acknowledges the charges of a requester-pays bucket.
	RequesterPays bool
	// ExpectedBucketOwner is the account that must own the bucket.
	ExpectedBucketOwner string
	// CacheControl of clips and thumbnails.
	CacheControl string
}

// Archive is the archive in one bucket. It is safe for concurrent use.
type Archive struct {
	s3       *bucket
	opts     Options
	log      *slog.Logger
	now      func() time.Time
	buffers  *bufferPool
	backoff  backoff
	timeouts *timeouts
	breaker  *breaker
	batches  Kept
	links    *s3.PresignClient
	once     *Archive // the same with requests that are sent once
	tested   featureTest
}

// New returns an Archive. It contacts nobody; its errors are about o alone.
func New(o Options) (*Archive, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	a := &Archive{opts: o, log: o.Logger, now: o.Now, backoff: defaultBackoff}
	a.timeouts = &timeouts{next: attempt{}, response: responseTimeout, upload: o.UploadTimeout, complete: o.CompleteTimeout}
	retried := retries{next: paced{observed{a.timeouts, o.Observe}}, backoff: &a.backoff}
	client := newClient(o.Client, o.Object.headers())
	a.links = s3.NewPresignClient(s3.New(o.Client.Options(), o.Object.headers()))
	probes := &Archive{s3: &bucket{client: client, timeouts: a.timeouts, sender: retried}, opts: o} // past the breaker
	a.breaker = newBreaker(retried, probes, o.Logger)
	a.s3 = &bucket{client: client, timeouts: a.timeouts, sender: a.breaker}
	a.once = &Archive{s3: &bucket{client: client, timeouts: a.timeouts, sender: a.breaker, once: true}, opts: o, log: o.Logger, now: o.Now}
	a.buffers = newBufferPool(int(a.partSize(o.Source.MaxSize())), o.PartsInFlight)
	a.batches = a.Kept("batches")
	return a, nil
}

func (o Options) withDefaults() (Options, error) {
	o.PartSize = cmp.Or(o.PartSize, DefaultPartSize)
	o.PartsInFlight = cmp.Or(o.PartsInFlight, DefaultPartsInFlight)
	o.PartsPerFile = cmp.Or(o.PartsPerFile, DefaultPartsPerFile)
	o.UploadTimeout = cmp.Or(o.UploadTimeout, DefaultUploadTimeout)
	o.CompleteTimeout = cmp.Or(o.CompleteTimeout, DefaultCompleteTimeout)
	o.Checksum = cmp.Or(o.Checksum, ChecksumCRC32)
	o.Object.CacheControl = cmp.Or(o.Object.CacheControl, DefaultCacheControl)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Observe == nil {
		o.Observe = func(context.Context, Attempt) {}
	}
	if o.Checkpoints == nil {
		o.Checkpoints = noCheckpoints{}
	}
	o.Prefix = strings.Trim(o.Prefix, "/")
	return o, o.validate()
}

func (o Options) validate() error {
	var errs []error
	bad := func(wrong bool, format string, args ...any) {
		if wrong {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	bad(o.Client == nil, "client: required")
	bad(o.Bucket == "", "bucket: required")
	bad(o.Source == nil, "source: required")
	bad(o.PartSize < minPartSize || o.PartSize > maxPartSize, "part size: %d is not within 5 MiB and 5 GiB", o.PartSize)
	bad(o.PartsInFlight < 1, "parts in flight: must be at least 1")
	bad(o.PartsPerFile < 1, "parts per file: must be at least 1")
	bad(o.UploadTimeout < 0 || o.CompleteTimeout < 0, "timeouts: must not be negative")
	bad(o.Checksum != ChecksumCRC32 && o.Checksum != ChecksumMD5, "checksum: %q is neither crc32 nor md5", o.Checksum)
	bad(o.Object.LockMode != "" && o.Object.LockFor <= 0, "object lock: a mode needs a duration")
	return errors.Join(errs...)
}

type noCheckpoints struct{}

func (noCheckpoints) Load(context.Context, string) ([]byte, error) { return nil, nil }
func (noCheckpoints) Save(context.Context, string, []byte) error   { return nil }
func (noCheckpoints) Delete(context.Context, string) error         { return nil }
