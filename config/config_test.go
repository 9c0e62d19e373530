package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

const everything = NeedsAPI | NeedsS3

func TestDefaults(t *testing.T) {
	c, err := Load([]string{"CLIPFERRY_API_KEY=k", "CLIPFERRY_S3_BUCKET=b", "HOME=/root", "REDIS_URL=redis://wrong"}, everything)
	if err != nil {
		t.Fatal(err)
	}
	want := Config{
		RedisURL: "redis://127.0.0.1:6379/0", APIBaseURL: "https://wayinvideo-api.wayin.ai", APIKey: "k",
		APIRequestsPerMinute: 15, APIMaxActiveExports: 5, S3Bucket: "b", S3Prefix: "exports", S3Checksum: "crc32",
		S3CacheControl: "private, max-age=31536000, immutable", S3PartSize: 6 << 20, S3PartsInFlight: 16, S3PartsPerFile: 4,
		MirrorConcurrency: 8, LinkMaxBytes: 64 << 30, SubmitInDoubt: "resubmit", ShutdownTimeout: 28 * time.Second, ImportQuiet: 15 * time.Minute,
		LedgerRetention: 720 * time.Hour, HTTPAddr: "127.0.0.1:8080", HTTPLinkTTL: 15 * time.Minute,
		HTTPPassthrough: true, HTTPPassthroughKeep: true, HTTPPassthroughWait: 25 * time.Second, Redis: c.Redis,
	}
	if !reflect.DeepEqual(*c, want) {
		t.Errorf("got  %+v\nwant %+v", *c, want)
	}
	if c.Redis.String() != "redis://127.0.0.1:6379/0" {
		t.Errorf("Redis %s", c.Redis)
	}
}

// everyKey sets each variable to something that isn't its default.
var everyKey = map[string]string{
	"CLIPFERRY_REDIS_URL":                "redis-cluster://u:hunter2@h1,h2",
	"CLIPFERRY_API_BASE_URL":             "http://127.0.0.1:9000/open/v2",
	"CLIPFERRY_API_KEY":                  "hunter2",
	"CLIPFERRY_API_KEYS":                 "eu:hunter21, us-2:hunter22",
	"CLIPFERRY_API_LIMITS":               "eu:60/20, default:0/7",
	"CLIPFERRY_API_DAILY_UNITS":          "1000, eu:250.5",
	"CLIPFERRY_API_REQUESTS_PER_MINUTE":  "600",
	"CLIPFERRY_API_MAX_ACTIVE_EXPORTS":   "0",
	"CLIPFERRY_S3_BUCKET":                "media",
	"CLIPFERRY_S3_PREFIX":                "/a/b/",
	"CLIPFERRY_S3_PATH_STYLE":            "true",
	"CLIPFERRY_S3_CHECKSUM":              "md5",
	"CLIPFERRY_S3_STORAGE_CLASS":         "STANDARD_IA",
	"CLIPFERRY_S3_SSE":                   "aws:kms",
	"CLIPFERRY_S3_KMS_KEY_ID":            "alias/media",
	"CLIPFERRY_S3_TAGS":                  "team=media, cost = clips",
	"CLIPFERRY_S3_ACL":                   "bucket-owner-full-control",
	"CLIPFERRY_S3_CACHE_CONTROL":         "no-store",
	"CLIPFERRY_S3_LOCK_MODE":             "GOVERNANCE",
	"CLIPFERRY_S3_LOCK_FOR":              "24h",
	"CLIPFERRY_S3_REQUESTER_PAYS":        "1",
	"CLIPFERRY_S3_EXPECTED_BUCKET_OWNER": "123456789012",
	"CLIPFERRY_S3_PART_SIZE":             "16MiB",
	"CLIPFERRY_S3_PARTS_IN_FLIGHT":       "3",
	"CLIPFERRY_S3_PARTS_PER_FILE":        "2",
	"CLIPFERRY_MIRROR_CONCURRENCY":       "1",
	"CLIPFERRY_LINK_ALLOWED_CIDRS":       "10.1.2.3/8, fd00::/8",
	"CLIPFERRY_LINK_MAX_BYTES":           "1.5 GB",
	"CLIPFERRY_SUBMIT_IN_DOUBT":          "hold",
	"CLIPFERRY_SHUTDOWN_TIMEOUT":         "5s",
	"CLIPFERRY_IMPORT_QUIET":             "20m",
	"CLIPFERRY_VERIFY_EVERY":             "720h",
	"CLIPFERRY_LEDGER_RETENTION":         "1h",
	"CLIPFERRY_HTTP_ADDR":                "",
	"CLIPFERRY_TENANTS":                  "news:3, sport:1",
	"CLIPFERRY_NOTIFY_QUEUES":            "default, orders",
	"CLIPFERRY_HTTP_ADMIN_KEYS":          "ops:hunter2hunter2hunter4",
	"CLIPFERRY_HTTP_API_KEYS":            "shop:hunter2hunter2hunter2, shop:hunter2hunter2hunter3",
	"CLIPFERRY_HTTP_PUBLIC_URL":          "https://clips.example.com",
	"CLIPFERRY_HTTP_SECRET":              "hunter2hunter2hunter2hunter2hunter2, hunter3hunter2hunter2hunter2hunter2",
	"CLIPFERRY_HTTP_LINK_TTL":            "1h",
	"CLIPFERRY_HTTP_MAX_WAITING":         "1000",
	"CLIPFERRY_HTTP_PASSTHROUGH":         "false",
	"CLIPFERRY_HTTP_PASSTHROUGH_ARCHIVE": "false",
	"CLIPFERRY_HTTP_PASSTHROUGH_WAIT":    "10s",
	"CLIPFERRY_WEBHOOK_SECRETS":          "whsec_aHVudGVyMmh1bnRlcjJodW50ZXIyaHVudGVyMg==",
	"CLIPFERRY_WEBHOOK_ALLOWED_CIDRS":    "10.0.0.0/8",
	"CLIPFERRY_MONITOR_AUTH":             "ops:hunter2:x",
	"CLIPFERRY_MONITOR_OPEN":             "false",
	"CLIPFERRY_MONITOR_WRITABLE":         "true",
	"CLIPFERRY_ARCHIVE_AUTH":             "mia:hunter2:x, ben:hunter2y",
	"CLIPFERRY_ARCHIVE_PROXY_HEADER":     "X-Forwarded-User",
	"CLIPFERRY_ARCHIVE_PROXY_CIDRS":      "10.1.0.0/16",
	"CLIPFERRY_LOG_LEVEL":                "debug",
	"CLIPFERRY_LOG_FORMAT":               "text",
}

func environ(values map[string]string) []string {
	var env []string
	for name, value := range values {
		env = append(env, name+"="+value)
	}
	return env
}

func TestEveryKey(t *testing.T) {
	c, err := Load(environ(everyKey), everything)
	if err != nil {
		t.Fatal(err)
	}
	want := Config{
		RedisURL: "redis-cluster://u:hunter2@h1,h2", APIBaseURL: "http://127.0.0.1:9000/open/v2", APIKey: "hunter2",
		APIKeys:   AccountKeys{{"eu", "hunter21"}, {"us-2", "hunter22"}},
		APILimits: AccountLimits{"eu": {60, 20}, "default": {0, 7}}, APIDailyUnits: DailyUnits{1000, map[string]float64{"eu": 250.5}},
		APIRequestsPerMinute: 600, S3Bucket: "media", S3Prefix: "a/b", S3PathStyle: true, S3Checksum: "md5",
		S3StorageClass: "STANDARD_IA", S3SSE: "aws:kms", S3KMSKeyID: "alias/media",
		S3Tags: Tags{"team": "media", "cost": "clips"}, S3ACL: "bucket-owner-full-control", S3CacheControl: "no-store",
		S3LockMode: "GOVERNANCE", S3LockFor: 24 * time.Hour, S3RequesterPays: true, S3ExpectedBucketOwner: "123456789012",
		S3PartSize: 16 << 20, S3PartsInFlight: 3, S3PartsPerFile: 2, MirrorConcurrency: 1,
		LinkAllowedCIDRs: Prefixes{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")},
		LinkMaxBytes:     1_500_000_000, SubmitInDoubt: "hold", ShutdownTimeout: 5 * time.Second, ImportQuiet: 20 * time.Minute, VerifyEvery: 720 * time.Hour,
		LedgerRetention: time.Hour, Tenants: Shares{"news": 3, "sport": 1}, NotifyQueues: QueueNames{"default", "orders"},
		HTTPAdminKeys: NamedSecrets{{"ops", "hunter2hunter2hunter4"}},
		HTTPAPIKeys:   NamedSecrets{{"shop", "hunter2hunter2hunter2"}, {"shop", "hunter2hunter2hunter3"}},
		HTTPPublicURL: "https://clips.example.com", HTTPSecret: Secrets{"hunter2hunter2hunter2hunter2hunter2", "hunter3hunter2hunter2hunter2hunter2"}, HTTPLinkTTL: time.Hour,
		WebhookSecrets:      WebhookSecrets{"whsec_aHVudGVyMmh1bnRlcjJodW50ZXIyaHVudGVyMg=="},
		WebhookAllowedCIDRs: Prefixes{netip.MustParsePrefix("10.0.0.0/8")},
		HTTPMaxWaiting:      1000, HTTPPassthroughWait: 10 * time.Second, MonitorAuth: Credentials{"ops", "hunter2:x"}, MonitorWritable: true,
		ArchiveAuth: Users{{"mia", "hunter2:x"}, {"ben", "hunter2y"}}, ArchiveProxyHeader: "X-Forwarded-User",
		ArchiveProxyCIDRs: Prefixes{netip.MustParsePrefix("10.1.0.0/16")},
		LogLevel:          slog.LevelDebug, LogFormat: "text", Redis: c.Redis,
	}
	if !reflect.DeepEqual(*c, want) {
		t.Errorf("got  %+v\nwant %+v", *c, want)
	}
	for _, v := range Variables() {
		if _, ok := everyKey[v.Name]; !ok && v.Name != "CLIPFERRY_API_KEY_FILE" {
			t.Errorf("this test does not set %s", v.Name)
		}
		if v.Description == "" || !strings.HasPrefix(v.Name, Prefix) {
			t.Errorf("variable %+v", v)
		}
	}
}

func TestSecretsAreNeverShown(t *testing.T) {
	c, err := Load(environ(everyKey), everything)
	if err != nil {
		t.Fatal(err)
	}
	asJSON, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "config", c, "key", c.APIKey)
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "config", *c, "key", c.APIKey)
	shown := fmt.Sprintf("%v %+v %#v %s %q %d %x", *c, c, *c, c.APIKey, c.APIKey, c.APIKey, c.APIKey) + string(asJSON) + log.String()
	if strings.Contains(shown, "whsec_") || strings.Contains(shown, "hunter2") || strings.Contains(shown, fmt.Sprintf("%x", "hunter2")) {
		t.Errorf("a secret shows in %s", shown)
	}
	if c.APIKey.Reveal() != "hunter2" {
		t.Error("the key is lost")
	}
}

func TestFaults(t *testing.T) {
	for pair, want := range map[string]string{
		"CLIPFERRY_REDIS_URL=":                             "CLIPFERRY_REDIS_URL: not a Redis address: it starts with none of redis://, rediss://, unix://, redis-sentinel://, redis-cluster://, rediss-sentinel:// or rediss-cluster://",
		"CLIPFERRY_API_BASE_URL=wayin.ai":                  "CLIPFERRY_API_BASE_URL: must start with https:// (or http://) and a host",
		"CLIPFERRY_API_BASE_URL=https://u:hunter2@h":       "CLIPFERRY_API_BASE_URL: must hold no user, query or fragment",
		"CLIPFERRY_API_BASE_URL=https://u:hunter2%zz@h":    "CLIPFERRY_API_BASE_URL: not a valid URL",
		"CLIPFERRY_API_KEY=hunter2 x":                      "CLIPFERRY_API_KEY: holds a space, a line break or another character that no key has",
		"CLIPFERRY_API_REQUESTS_PER_MINUTE=many":           `CLIPFERRY_API_REQUESTS_PER_MINUTE: must be a whole number, not "many"`,
		"CLIPFERRY_API_REQUESTS_PER_MINUTE=":               `CLIPFERRY_API_REQUESTS_PER_MINUTE: must be a whole number, not ""`,
		"CLIPFERRY_API_MAX_ACTIVE_EXPORTS=-1":              "CLIPFERRY_API_MAX_ACTIVE_EXPORTS: must be from 0 to 1000000, not -1",
		"CLIPFERRY_API_KEYS=hunter2":                       "CLIPFERRY_API_KEYS: item 1 is not name:key",
		"CLIPFERRY_API_KEYS=a:hunter2,B:hunter3":           "CLIPFERRY_API_KEYS: the name of item 2 must be 1–32 of the characters a–z 0–9 -",
		"CLIPFERRY_API_KEYS=a:hunter2,a:hunter3":           "CLIPFERRY_API_KEYS: the account a is given twice",
		"CLIPFERRY_API_KEYS=a:hunter2,b:hunter2":           "CLIPFERRY_API_KEYS: the key of account b is another account's, too: two budgets for one key are one too many",
		"CLIPFERRY_API_KEYS=a:":                            "CLIPFERRY_API_KEYS: the key of account a is empty",
		"CLIPFERRY_API_KEYS=a:hunter2 x":                   "CLIPFERRY_API_KEYS: the key of account a holds a space, a line break or another character that no key has",
		"CLIPFERRY_API_KEYS=default:hunter2":               "CLIPFERRY_API_KEYS: names the account default, whose key CLIPFERRY_API_KEY is already",
		"CLIPFERRY_API_KEYS=a:k":                           "CLIPFERRY_API_KEYS: the key of account a is that of the default account, too: two budgets for one key are one too many",
		"CLIPFERRY_API_LIMITS=15":                          `CLIPFERRY_API_LIMITS: "15" is not name:requests/slots, such as eu:60/20`,
		"CLIPFERRY_API_LIMITS=A:1/1":                       `CLIPFERRY_API_LIMITS: the name in "A:1/1" must be 1–32 of the characters a–z 0–9 -`,
		"CLIPFERRY_API_LIMITS=default:1/-1":                `CLIPFERRY_API_LIMITS: "default:1/-1": the limits must be whole numbers from 0 to 1000000`,
		"CLIPFERRY_API_LIMITS=default:1/1,default:2/2":     "CLIPFERRY_API_LIMITS: the account default is given twice",
		"CLIPFERRY_API_LIMITS=eu:1/1":                      "CLIPFERRY_API_LIMITS: eu is no account; there is default",
		"CLIPFERRY_API_DAILY_UNITS=many":                   `CLIPFERRY_API_DAILY_UNITS: "many" must be a number of units, or name:units`,
		"CLIPFERRY_API_DAILY_UNITS=-1":                     `CLIPFERRY_API_DAILY_UNITS: "-1" must be a number of units, or name:units`,
		"CLIPFERRY_API_DAILY_UNITS=NaN":                    `CLIPFERRY_API_DAILY_UNITS: "NaN" must be a number of units, or name:units`,
		"CLIPFERRY_API_DAILY_UNITS=1,2":                    `CLIPFERRY_API_DAILY_UNITS: "2" gives a second cap`,
		"CLIPFERRY_API_DAILY_UNITS=a:1,a:2":                `CLIPFERRY_API_DAILY_UNITS: "a:2" gives a second cap`,
		"CLIPFERRY_API_DAILY_UNITS=eu:1":                   "CLIPFERRY_API_DAILY_UNITS: eu is no account; there is default",
		"CLIPFERRY_S3_BUCKET=b/prefix":                     "CLIPFERRY_S3_BUCKET: must be a bucket's name (or the ARN of an access point), without a path; the path is CLIPFERRY_S3_PREFIX",
		"CLIPFERRY_S3_BUCKET=":                             "CLIPFERRY_S3_BUCKET: required",
		"CLIPFERRY_S3_PREFIX=a/../b":                       "CLIPFERRY_S3_PREFIX: must be at most 400 bytes, without control characters, backslashes and empty, . or .. parts",
		"CLIPFERRY_S3_PATH_STYLE=maybe":                    `CLIPFERRY_S3_PATH_STYLE: must be true or false, not "maybe"`,
		"CLIPFERRY_S3_CHECKSUM=sha1":                       `CLIPFERRY_S3_CHECKSUM: must be crc32 or md5, not "sha1"`,
		"CLIPFERRY_S3_SSE=kms":                             `CLIPFERRY_S3_SSE: must be AES256, aws:kms or aws:kms:dsse, not "kms"`,
		"CLIPFERRY_S3_KMS_KEY_ID=x":                        "CLIPFERRY_S3_KMS_KEY_ID: needs CLIPFERRY_S3_SSE to be aws:kms or aws:kms:dsse",
		"CLIPFERRY_S3_TAGS=team":                           `CLIPFERRY_S3_TAGS: "team" is not name=value`,
		"CLIPFERRY_S3_TAGS=a=1,a=2":                        `CLIPFERRY_S3_TAGS: tag "a" is given twice`,
		"CLIPFERRY_S3_LOCK_MODE=COMPLIANCE":                "CLIPFERRY_S3_LOCK_FOR: required with CLIPFERRY_S3_LOCK_MODE",
		"CLIPFERRY_S3_LOCK_FOR=24h":                        "CLIPFERRY_S3_LOCK_FOR: needs CLIPFERRY_S3_LOCK_MODE",
		"CLIPFERRY_S3_PART_SIZE=1MiB":                      "CLIPFERRY_S3_PART_SIZE: must be between 5MiB and 5GiB",
		"CLIPFERRY_S3_PART_SIZE=big":                       "CLIPFERRY_S3_PART_SIZE: must be a size such as 8MiB, 50GB or a number of bytes",
		"CLIPFERRY_S3_PARTS_IN_FLIGHT=0":                   "CLIPFERRY_S3_PARTS_IN_FLIGHT: must be from 1 to 1024, not 0",
		"CLIPFERRY_MIRROR_CONCURRENCY=0":                   "CLIPFERRY_MIRROR_CONCURRENCY: must be from 1 to 1024, not 0",
		"CLIPFERRY_LINK_ALLOWED_CIDRS=10.0.0.1":            "CLIPFERRY_LINK_ALLOWED_CIDRS: 10.0.0.1 is an address, not a range: write 10.0.0.1/32",
		"CLIPFERRY_LINK_ALLOWED_CIDRS=10.0.0.0/8,local":    `CLIPFERRY_LINK_ALLOWED_CIDRS: "local" is not a range such as 10.0.0.0/8`,
		"CLIPFERRY_LINK_MAX_BYTES=-1":                      "CLIPFERRY_LINK_MAX_BYTES: must be a size such as 8MiB, 50GB or a number of bytes",
		"CLIPFERRY_ARCHIVE_AUTH=mia":                       "CLIPFERRY_ARCHIVE_AUTH: item 1: must be user:password",
		"CLIPFERRY_ARCHIVE_AUTH=mia:hunter2y,ben:hunter2":  "CLIPFERRY_ARCHIVE_AUTH: item 2: the password must have at least 8 characters",
		"CLIPFERRY_ARCHIVE_AUTH=mia:hunter2y,mia:hunter2z": "CLIPFERRY_ARCHIVE_AUTH: item 2 has the name of another one",
		"CLIPFERRY_ARCHIVE_PROXY_HEADER=X-User":            "CLIPFERRY_ARCHIVE_PROXY_HEADER: needs CLIPFERRY_ARCHIVE_PROXY_CIDRS: a header says who somebody is only where it comes from the proxy",
		"CLIPFERRY_SUBMIT_IN_DOUBT=ask":                    `CLIPFERRY_SUBMIT_IN_DOUBT: must be resubmit or hold, not "ask"`,
		"CLIPFERRY_SHUTDOWN_TIMEOUT=30":                    `CLIPFERRY_SHUTDOWN_TIMEOUT: must be a duration such as 30s or 720h, not "30"`,
		"CLIPFERRY_VERIFY_EVERY=5m":                        "CLIPFERRY_VERIFY_EVERY: must be between 1h and 24000h, or empty for off",
		"CLIPFERRY_IMPORT_QUIET=0s":                        "CLIPFERRY_IMPORT_QUIET: must be between 1s and 24h",
		"CLIPFERRY_SHUTDOWN_TIMEOUT=0s":                    "CLIPFERRY_SHUTDOWN_TIMEOUT: must be between 1s and 1h",
		"CLIPFERRY_LEDGER_RETENTION=1m":                    "CLIPFERRY_LEDGER_RETENTION: must be at least 1h",
		"CLIPFERRY_HTTP_ADDR=8080":                         "CLIPFERRY_HTTP_ADDR: must be host:port or :port, or empty for off",
		"CLIPFERRY_HTTP_ADDR=:http2":                       "CLIPFERRY_HTTP_ADDR: must end in a port from 0 to 65535",
		"CLIPFERRY_HTTP_API_KEYS=hunter2":                  "CLIPFERRY_HTTP_API_KEYS: item 1 is not name:secret",
		"CLIPFERRY_HTTP_API_KEYS=a b:hunter2":              "CLIPFERRY_HTTP_API_KEYS: the name of item 1 must be 1–32 of the characters a–z 0–9 -, the first not -",
		"CLIPFERRY_HTTP_API_KEYS=-a:hunter2hunter2hunter2": "CLIPFERRY_HTTP_API_KEYS: the name of item 1 must be 1–32 of the characters a–z 0–9 -, the first not -",
		"CLIPFERRY_TENANTS=-a:1":                           "CLIPFERRY_TENANTS: the name in \"-a:1\" must be 1–32 of the characters a–z 0–9 -, the first not -",
		"CLIPFERRY_TENANTS=News:3":                         "CLIPFERRY_TENANTS: the name in \"News:3\" must be 1–32 of the characters a–z 0–9 -, the first not -",
		"CLIPFERRY_TENANTS=news":                           "CLIPFERRY_TENANTS: \"news\" is not name:share, a whole number from 1 to 1000",
		"CLIPFERRY_TENANTS=news,sport:1,A:2,x:0": `CLIPFERRY_TENANTS: "news" is not name:share, a whole number from 1 to 1000; ` +
			`the name in "A:2" must be 1–32 of the characters a–z 0–9 -, the first not -; "x:0" is not name:share, a whole number from 1 to 1000`,
		"CLIPFERRY_HTTP_API_KEYS=a:short,b:hunter2hunter2hunter2,c":               "CLIPFERRY_HTTP_API_KEYS: the secret of item 1 has less than 16 characters; item 3 is not name:secret",
		"CLIPFERRY_LINK_ALLOWED_CIDRS=a,10.0.0.0/8,10.0.0.1":                      `CLIPFERRY_LINK_ALLOWED_CIDRS: "a" is not a range such as 10.0.0.0/8; 10.0.0.1 is an address, not a range: write 10.0.0.1/32`,
		"CLIPFERRY_TENANTS=news:0":                                                "CLIPFERRY_TENANTS: \"news:0\" is not name:share, a whole number from 1 to 1000",
		"CLIPFERRY_TENANTS=news:1,news:2":                                         "CLIPFERRY_TENANTS: the tenant news is given twice",
		"CLIPFERRY_NOTIFY_QUEUES=clipferry-poll":                                  "CLIPFERRY_NOTIFY_QUEUES: \"clipferry-poll\": queue must not start with clipferry: those are clipferry's own",
		"CLIPFERRY_HTTP_API_KEYS=a:hunter2":                                       "CLIPFERRY_HTTP_API_KEYS: the secret of item 1 has less than 16 characters",
		"CLIPFERRY_HTTP_API_KEYS=a:hunter2hunter2hunter2,b:hunter2hunter2hunter2": "CLIPFERRY_HTTP_API_KEYS: the secret of item 2 is given twice",
		"CLIPFERRY_HTTP_SECRET=hunter2hunter2 hunter2hunter2hunter2hunter2":       "CLIPFERRY_HTTP_SECRET: secret 1 is not printable ASCII without spaces",
		"CLIPFERRY_HTTP_SECRET=hunter2hunter2hunter2":                             "CLIPFERRY_HTTP_SECRET: secret 1 has less than 32 characters",
		"CLIPFERRY_HTTP_API_KEYS=a:hunter2hunter2hunter2":                         "CLIPFERRY_HTTP_SECRET: required with CLIPFERRY_HTTP_API_KEYS and CLIPFERRY_HTTP_ADMIN_KEYS",
		"CLIPFERRY_HTTP_LINK_TTL=200h":                                            "CLIPFERRY_HTTP_LINK_TTL: must be between 1s and 168h",
		"CLIPFERRY_HTTP_PUBLIC_URL=example.com":                                   "CLIPFERRY_HTTP_PUBLIC_URL: must start with https:// (or http://) and a host",
		"CLIPFERRY_HTTP_MAX_WAITING=-1":                                           "CLIPFERRY_HTTP_MAX_WAITING: must be from 0 to 1000000000, not -1",
		"CLIPFERRY_HTTP_PASSTHROUGH_WAIT=0s":                                      "CLIPFERRY_HTTP_PASSTHROUGH_WAIT: must be between 1s and 5m",
		"CLIPFERRY_WEBHOOK_SECRETS=whsec_hunter2":                                 "CLIPFERRY_WEBHOOK_SECRETS: secret 1 must be base64 after whsec_",
		"CLIPFERRY_WEBHOOK_ALLOWED_CIDRS=all":                                     `CLIPFERRY_WEBHOOK_ALLOWED_CIDRS: "all" is not a range such as 10.0.0.0/8`,
		"CLIPFERRY_MONITOR_AUTH=hunter2":                                          "CLIPFERRY_MONITOR_AUTH: must be user:password",
		"CLIPFERRY_MONITOR_AUTH=ops:hunter2":                                      "CLIPFERRY_MONITOR_AUTH: the password must have at least 8 characters",
		"CLIPFERRY_MONITOR_WRITABLE=1":                                            "CLIPFERRY_MONITOR_WRITABLE: needs CLIPFERRY_MONITOR_AUTH",
		"CLIPFERRY_LOG_LEVEL=loud":                                                `CLIPFERRY_LOG_LEVEL: must be debug, info, warn or error, not "loud"`,
		"CLIPFERRY_LOG_FORMAT=xml":                                                `CLIPFERRY_LOG_FORMAT: must be json or text, not "xml"`,
		"CLIPFERRY_REDISURL=redis://:hunter2@h":                                   "CLIPFERRY_REDISURL: unknown variable; did you mean CLIPFERRY_REDIS_URL?",
		"CLIPFERRY_S3_REGION=eu":                                                  "CLIPFERRY_S3_REGION: unknown variable; it is the AWS SDK's own AWS_REGION",
		"CLIPFERRY_SOMETHING_ELSE_ALTOGETHER_UNRELATED=":                          "CLIPFERRY_SOMETHING_ELSE_ALTOGETHER_UNRELATED: unknown variable",
	} {
		env := map[string]string{"CLIPFERRY_API_KEY": "k", "CLIPFERRY_S3_BUCKET": "b"}
		name, value, _ := strings.Cut(pair, "=")
		env[name] = value
		_, err := Load(environ(env), everything)
		if err == nil || err.Error() != want {
			t.Errorf("%s\n got %v\nwant %s", pair, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: the message shows a secret: %v", pair, err)
		}
	}
}

func TestAllFaultsAtOnce(t *testing.T) {
	_, err := Load([]string{
		"CLIPFERRY_S3_PATH_STYLE=x", "CLIPFERRY_TYPO=", "CLIPFERRY_LOG_LEVEL=x", "CLIPFERRY_REDIS_URL=x", "CLIPFERRY_SHUTDOWN_TIMEOUT=x",
	}, everything)
	var faults Faults
	if !errors.As(err, &faults) {
		t.Fatalf("error %v", err)
	}
	var names []string
	for _, f := range faults {
		names = append(names, f.Variable)
	}
	want := []string{
		"CLIPFERRY_REDIS_URL", "CLIPFERRY_API_KEY", "CLIPFERRY_S3_BUCKET", "CLIPFERRY_S3_PATH_STYLE",
		"CLIPFERRY_SHUTDOWN_TIMEOUT", "CLIPFERRY_LOG_LEVEL", "CLIPFERRY_TYPO",
	}
	if !slices.Equal(names, want) {
		t.Errorf("faults of %v, want %v", names, want)
	}
}

// Who may see Asynqmon without credentials is on the same machine.
func TestMonitorOpenNeedsALoopbackAddress(t *testing.T) {
	for addr, ok := range map[string]bool{
		"": true, "127.0.0.1:8080": true, "[::1]:0": true, "localhost:8080": true,
		":8080": false, "0.0.0.0:8080": false, "10.1.2.3:8080": false, "clipferry.example:8080": false,
	} {
		_, err := Load([]string{"CLIPFERRY_API_KEY=k", "CLIPFERRY_S3_BUCKET=b", "CLIPFERRY_MONITOR_OPEN=true", "CLIPFERRY_HTTP_ADDR=" + addr}, everything)
		if ok != (err == nil) || err != nil && !strings.Contains(err.Error(), "CLIPFERRY_MONITOR_OPEN: must not be set where CLIPFERRY_HTTP_ADDR") {
			t.Errorf("%q: %v", addr, err)
		}
	}
}

func TestNeeds(t *testing.T) {
	if _, err := Load(nil, 0); err != nil {
		t.Errorf("a producer needs nothing: %v", err)
	}
	if _, err := Load([]string{"CLIPFERRY_API_KEY_FILE=/nowhere"}, NeedsS3); err == nil || strings.Contains(err.Error(), "KEY_FILE") {
		t.Errorf("the key's file matters only to who needs it, and the bucket is missing: %v", err)
	}
	_, err := Load(nil, everything)
	if want := "CLIPFERRY_API_KEY: required (or CLIPFERRY_API_KEY_FILE)\nCLIPFERRY_S3_BUCKET: required"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestKeyFile(t *testing.T) {
	dir := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	c, err := Load([]string{"CLIPFERRY_API_KEY_FILE=" + file("good", "hunter2\r\n")}, NeedsAPI)
	if err != nil || c.APIKey.Reveal() != "hunter2" {
		t.Fatalf("key %q, %v", c.APIKey.Reveal(), err)
	}
	for path, want := range map[string]string{
		filepath.Join(dir, "none"):        "no such file",
		dir:                               "is a directory",
		file("empty", " \n"):              "is empty",
		file("two", "hunter2\nhunter3\n"): "holds a space, a line break",
		file("large", strings.Repeat("hunter2", 1e4)): "too large",
	} {
		_, err := Load([]string{"CLIPFERRY_API_KEY_FILE=" + path}, NeedsAPI)
		if err == nil || !strings.HasPrefix(err.Error(), "CLIPFERRY_API_KEY_FILE: ") || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter") {
			t.Errorf("%s: got %v, want %s", path, err, want)
		}
	}
	_, err = Load([]string{"CLIPFERRY_API_KEY=k", "CLIPFERRY_API_KEY_FILE=" + dir}, 0)
	if err == nil || !strings.Contains(err.Error(), "only one of them") {
		t.Errorf("both: %v", err)
	}
}

func TestProcessEnvironmentIsLeftAlone(t *testing.T) {
	t.Setenv("CLIPFERRY_S3_BUCKET", "of-the-process")
	t.Setenv("CLIPFERRY_TYPO", "x")
	before := os.Environ()
	c, err := Load([]string{"CLIPFERRY_S3_PREFIX=p"}, 0)
	if err != nil || c.S3Bucket != "" || c.S3Prefix != "p" {
		t.Errorf("%+v, %v", c, err)
	}
	if _, err := Load([]string{"CLIPFERRY_LOG_LEVEL=x"}, 0); err == nil {
		t.Error("a wrong level was accepted")
	}
	after := os.Environ()
	slices.Sort(before)
	slices.Sort(after)
	if !slices.Equal(before, after) {
		t.Errorf("before %v\nafter %v", before, after)
	}
}

func TestBytes(t *testing.T) {
	for in, want := range map[string]Bytes{"0": 0, "1024": 1024, "8MiB": 8 << 20, "1.5 GB": 1_500_000_000, "5TiB": 5 << 40, "7B": 7} {
		var b Bytes
		if err := b.Decode(in); err != nil || b != want {
			t.Errorf("%s became %d, %v", in, b, err)
		}
	}
	for _, in := range []string{"", "MiB", "8 mib", "-1", "1e30", "NaN", "Inf GB", "9999999TiB", "0x10"} {
		var b Bytes
		if err := b.Decode(in); err == nil {
			t.Errorf("%s became %d", in, b)
		}
	}
}

func TestAccounts(t *testing.T) {
	for _, c := range []struct {
		name string
		env  map[string]string
		want []Account
	}{
		{"one key", map[string]string{"CLIPFERRY_API_KEY": "k"}, []Account{{"default", "k", 15, 5, 0}}},
		{
			"both",
			map[string]string{"CLIPFERRY_API_KEY": "k", "CLIPFERRY_API_KEYS": "eu:e,us:u"},
			[]Account{{"default", "k", 15, 5, 0}, {"eu", "e", 15, 5, 0}, {"us", "u", 15, 5, 0}},
		},
		{
			"named alone",
			map[string]string{"CLIPFERRY_API_KEYS": "eu:e,us:u", "CLIPFERRY_API_LIMITS": "us:0/3", "CLIPFERRY_API_DAILY_UNITS": "9,us:0"},
			[]Account{{"eu", "e", 15, 5, 9}, {"us", "u", 0, 3, 0}},
		},
		{
			"one is named default",
			map[string]string{"CLIPFERRY_API_KEYS": "eu:e,default:d"},
			[]Account{{"default", "d", 15, 5, 0}, {"eu", "e", 15, 5, 0}},
		},
	} {
		cfg, err := Load(environ(c.env), NeedsAPI)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if got := cfg.Accounts(); !slices.Equal(got, c.want) {
			t.Errorf("%s: %+v", c.name, got)
		}
		for _, name := range []string{"", "default"} {
			if got := cfg.Account(name); got != c.want[0] {
				t.Errorf("%s: account %q is %+v", c.name, name, got)
			}
		}
		if got := cfg.Account("us"); got.Name != "us" {
			t.Errorf("%s: %+v", c.name, got)
		}
	}
	// Without keys there is still the one account that status asks about.
	cfg, err := Load([]string{"CLIPFERRY_API_LIMITS=eu:1/1"}, 0)
	if err != nil || cfg.Accounts()[0].Name != "default" || cfg.Account("eu").MaxActive != 1 {
		t.Errorf("%+v, %v", cfg, err)
	}
}

func TestGoodPrefix(t *testing.T) {
	for prefix, want := range map[string]bool{
		"": true, "exports": true, "a/b c/ü": true, "a//b": false, "../x": false, "a/./b": false, "a\nb": false, "a\\b": false,
		strings.Repeat("x", 256): false, strings.Repeat("x/", 200) + "x": false,
	} {
		if got := goodPrefix(prefix); got != want {
			t.Errorf("%.20q: %v", prefix, got)
		}
	}
}
