// Package config turns the environment into one validated struct. Only the
// program's main packages import it; every other package has options of its
// own, so that it can be used and tested without an environment.
//
// All faults are reported together, each with the name of its variable, and no
// secret is ever part of a message. A variable that starts with CLIPFERRY_ and
// is unknown is a fault as well: a misspelled name must not mean a default.
//
// S3 credentials, region and endpoint are not here: they are the AWS SDK's own
// variables, profiles and roles.
package config

import (
	"log/slog"
	"time"

	"github.com/clipferry/clipferry/internal/secret"
	"github.com/clipferry/clipferry/tasks"
)

// Prefix starts the name of every variable of ours.
const Prefix = "CLIPFERRY_"

// Config is the whole configuration. The tags give each variable's full name:
// envconfig would look a name without the prefix up on its own as well, and
// take any REDIS_URL for ours.
type Config struct {
	RedisURL secret.String `envconfig:"CLIPFERRY_REDIS_URL" default:"redis://127.0.0.1:6379/0" desc:"where Redis is: redis://, unix://, redis-sentinel:// with ?master_name=, redis-cluster://h1,h2,h3; rediss in place of redis is TLS"`

	APIBaseURL           string        `envconfig:"CLIPFERRY_API_BASE_URL" default:"https://wayinvideo-api.wayin.ai" desc:"the provider's address"`
	APIKey               secret.String `envconfig:"CLIPFERRY_API_KEY" desc:"the provider's API key"`
	APIKeyFile           string        `envconfig:"CLIPFERRY_API_KEY_FILE" desc:"a file that holds the key, instead of CLIPFERRY_API_KEY"`
	APIKeys              AccountKeys   `envconfig:"CLIPFERRY_API_KEYS" desc:"more keys, each an account with limits of its own: name:key,name:key; without CLIPFERRY_API_KEY the first is the default account"`
	APIRequestsPerMinute int           `envconfig:"CLIPFERRY_API_REQUESTS_PER_MINUTE" default:"15" desc:"the provider's limit of requests a minute, for the whole fleet; 0 = no limit"`
	APIMaxActiveExports  int           `envconfig:"CLIPFERRY_API_MAX_ACTIVE_EXPORTS" default:"5" desc:"the provider's limit of exports at once, for the whole fleet; 0 = no limit"`
	APILimits            AccountLimits `envconfig:"CLIPFERRY_API_LIMITS" desc:"limits of accounts that have others than these: name:requests/slots,name:requests/slots"`
	APIDailyUnits        DailyUnits    `envconfig:"CLIPFERRY_API_DAILY_UNITS" desc:"how many units an account may spend on a UTC day, a number for each or name:units,name:units; further exports wait for the next day; empty or 0 = no cap"`

	Tenants Shares `envconfig:"CLIPFERRY_TENANTS" desc:"tenants with a queue of their own and their shares of the provider's slots: name:share,name:share, such as news:3,sport:1; all others together have a share of 1, or that of default; the same on every worker"`

	S3Bucket              string        `envconfig:"CLIPFERRY_S3_BUCKET" desc:"the bucket that clips are archived in"`
	S3Prefix              string        `envconfig:"CLIPFERRY_S3_PREFIX" default:"exports" desc:"the prefix of every key"`
	S3PathStyle           bool          `envconfig:"CLIPFERRY_S3_PATH_STYLE" default:"false" desc:"put the bucket in the path, as many S3 look-alikes need"`
	S3Checksum            string        `envconfig:"CLIPFERRY_S3_CHECKSUM" default:"crc32" desc:"how bodies are protected: crc32, or md5 for servers that refuse x-amz-checksum headers"`
	S3StorageClass        string        `envconfig:"CLIPFERRY_S3_STORAGE_CLASS" desc:"the storage class of clips, such as STANDARD_IA; empty = the bucket's"`
	S3SSE                 string        `envconfig:"CLIPFERRY_S3_SSE" desc:"server-side encryption: AES256, aws:kms or aws:kms:dsse; empty = the bucket's"`
	S3KMSKeyID            string        `envconfig:"CLIPFERRY_S3_KMS_KEY_ID" desc:"the key of the two kms modes"`
	S3Tags                Tags          `envconfig:"CLIPFERRY_S3_TAGS" desc:"tags of clips and thumbnails: name=value,name=value (at most 10)"`
	S3ACL                 string        `envconfig:"CLIPFERRY_S3_ACL" desc:"a canned ACL, only for buckets that still use them"`
	S3CacheControl        string        `envconfig:"CLIPFERRY_S3_CACHE_CONTROL" default:"private, max-age=31536000, immutable" desc:"Cache-Control of clips and thumbnails"`
	S3LockMode            string        `envconfig:"CLIPFERRY_S3_LOCK_MODE" desc:"object lock of clips: GOVERNANCE or COMPLIANCE; empty = none"`
	S3LockFor             time.Duration `envconfig:"CLIPFERRY_S3_LOCK_FOR" desc:"how long a locked clip is retained, such as 8760h"`
	S3RequesterPays       bool          `envconfig:"CLIPFERRY_S3_REQUESTER_PAYS" default:"false" desc:"accept the charges of a requester-pays bucket"`
	S3ExpectedBucketOwner string        `envconfig:"CLIPFERRY_S3_EXPECTED_BUCKET_OWNER" desc:"the account that must own the bucket"`
	S3PartSize            Bytes         `envconfig:"CLIPFERRY_S3_PART_SIZE" default:"6MiB" desc:"the part size of large files, 5MiB to 5GiB"`
	S3PartsInFlight       int           `envconfig:"CLIPFERRY_S3_PARTS_IN_FLIGHT" default:"16" desc:"parts held in memory by one worker; times the part size is its memory for transfers"`
	S3PartsPerFile        int           `envconfig:"CLIPFERRY_S3_PARTS_PER_FILE" default:"4" desc:"parts of one file in flight"`

	MirrorConcurrency int      `envconfig:"CLIPFERRY_MIRROR_CONCURRENCY" default:"8" desc:"clips transferred at once in one worker"`
	LinkAllowedCIDRs  Prefixes `envconfig:"CLIPFERRY_LINK_ALLOWED_CIDRS" desc:"private ranges that export links may resolve to, such as 10.0.0.0/8,fd00::/8; a listed range frees the port too"`
	LinkMaxBytes      Bytes    `envconfig:"CLIPFERRY_LINK_MAX_BYTES" default:"64GiB" desc:"the largest file that is taken from an export link"`

	SubmitInDoubt   string        `envconfig:"CLIPFERRY_SUBMIT_IN_DOUBT" default:"resubmit" desc:"when a submit's answer was lost after it was sent: resubmit, or hold for a person to decide"`
	ShutdownTimeout time.Duration `envconfig:"CLIPFERRY_SHUTDOWN_TIMEOUT" default:"28s" desc:"how long a stopping worker waits for what is under way; keep it under the platform's grace period"`
	ImportQuiet     time.Duration `envconfig:"CLIPFERRY_IMPORT_QUIET" default:"15m" desc:"a task that was made elsewhere and renders its clips by itself is complete once nothing new has come for so long"`
	VerifyEvery     time.Duration `envconfig:"CLIPFERRY_VERIFY_EVERY" desc:"how long a full round of the rolling verification takes, such as 720h: the workers read a share of the archive again each day; empty = off"`
	LedgerRetention time.Duration `envconfig:"CLIPFERRY_LEDGER_RETENTION" default:"720h" desc:"how long a finished export, and so its job id, is remembered"`

	HTTPAddr       string        `envconfig:"CLIPFERRY_HTTP_ADDR" default:"127.0.0.1:8080" desc:"where the operations server and the HTTP API listen; empty = off"`
	HTTPAPIKeys    NamedSecrets  `envconfig:"CLIPFERRY_HTTP_API_KEYS" desc:"the bearer keys of tenants for the HTTP API: name:secret,name:secret; the name is the tenant, whose exports alone a key gives; several of one name while they are rotated; without any and without CLIPFERRY_HTTP_ADMIN_KEYS the API is off"`
	HTTPAdminKeys  NamedSecrets  `envconfig:"CLIPFERRY_HTTP_ADMIN_KEYS" desc:"bearer keys that see the exports of all tenants and may order for any: name:secret,name:secret"`
	HTTPPublicURL  string        `envconfig:"CLIPFERRY_HTTP_PUBLIC_URL" desc:"what the links that the HTTP API hands out start with; empty = the host of each request"`
	HTTPSecret     Secrets       `envconfig:"CLIPFERRY_HTTP_SECRET" desc:"what signs those links and the ids that the HTTP API gives, 32 characters or more; several with commas while it is rotated, the first signs; the same on all servers; needed with the HTTP API"`
	HTTPLinkTTL    time.Duration `envconfig:"CLIPFERRY_HTTP_LINK_TTL" default:"15m" desc:"how long an S3 link that one of those is redirected to can be used"`
	HTTPMaxWaiting int           `envconfig:"CLIPFERRY_HTTP_MAX_WAITING" default:"0" desc:"the HTTP API answers 429 while so many exports wait; 0 = never"`

	HTTPPassthrough     bool          `envconfig:"CLIPFERRY_HTTP_PASSTHROUGH" default:"true" desc:"let the HTTP API pass the provider's other calls on, under the default account's key and within its budget; needs that key"`
	HTTPPassthroughKeep bool          `envconfig:"CLIPFERRY_HTTP_PASSTHROUGH_ARCHIVE" default:"true" desc:"archive the clips of what is passed on with enable_export, as an import"`
	HTTPPassthroughWait time.Duration `envconfig:"CLIPFERRY_HTTP_PASSTHROUGH_WAIT" default:"25s" desc:"how long such a call waits for its turn before it is answered 429; keep it under the clients' timeouts"`

	WebhookSecrets      WebhookSecrets `envconfig:"CLIPFERRY_WEBHOOK_SECRETS" desc:"what signs webhooks: whsec_ and base64, several with commas while they are rotated; empty = no webhooks are sent"`
	WebhookAllowedCIDRs Prefixes       `envconfig:"CLIPFERRY_WEBHOOK_ALLOWED_CIDRS" desc:"private ranges that webhooks may lead to; a listed range frees the port too"`
	NotifyQueues        QueueNames     `envconfig:"CLIPFERRY_NOTIFY_QUEUES" desc:"queues of producers that orders over HTTP may name for the task that notifies of their end, with commas between them; empty = none"`

	MonitorAuth     Credentials `envconfig:"CLIPFERRY_MONITOR_AUTH" desc:"user:password for Asynqmon at /monitor/; without it, it is off"`
	MonitorOpen     bool        `envconfig:"CLIPFERRY_MONITOR_OPEN" default:"false" desc:"show Asynqmon without credentials to a browser on the same machine; only where the server listens on a loopback address, without CLIPFERRY_HTTP_API_KEYS and CLIPFERRY_HTTP_PUBLIC_URL"`
	MonitorWritable bool        `envconfig:"CLIPFERRY_MONITOR_WRITABLE" default:"false" desc:"let Asynqmon change queues and tasks; needs CLIPFERRY_MONITOR_AUTH"`

	ArchiveAuth        Users    `envconfig:"CLIPFERRY_ARCHIVE_AUTH" desc:"who may open the pages at /archive/: user:password,user:password; empty, and without CLIPFERRY_ARCHIVE_PROXY_HEADER, = off"`
	ArchiveProxyHeader string   `envconfig:"CLIPFERRY_ARCHIVE_PROXY_HEADER" desc:"the header in which an authenticating proxy names the user, such as X-Forwarded-User; needs CLIPFERRY_ARCHIVE_PROXY_CIDRS"`
	ArchiveProxyCIDRs  Prefixes `envconfig:"CLIPFERRY_ARCHIVE_PROXY_CIDRS" desc:"the addresses of the proxy in front of the pages: the header and X-Forwarded-For are believed from these alone"`

	LogLevel  slog.Level `envconfig:"CLIPFERRY_LOG_LEVEL" default:"info" desc:"debug, info, warn or error"`
	LogFormat string     `envconfig:"CLIPFERRY_LOG_FORMAT" desc:"json or text; empty = json, text on a terminal"`

	// Redis is RedisURL, parsed.
	Redis *tasks.Redis `ignored:"true"`
}

// Needs says what a command uses, and so which variables it cannot do without.
type Needs uint8

// What a command may need. Redis needs nothing here, since its address has a default.
const (
	NeedsAPI Needs = 1 << iota // the provider's key
	NeedsS3                    // the bucket
)

// Load reads the configuration from env, in the form of os.Environ. Its error
// is a [Faults].
func Load(env []string, needs Needs) (*Config, error) {
	c := &Config{}
	faults := unknown(env)
	faults = append(faults, decode(env, c)...)
	c.validate(needs, &faults)
	if len(faults) > 0 {
		return nil, faults.sorted()
	}
	return c, nil
}
