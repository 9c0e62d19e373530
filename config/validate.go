package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/clipferry/clipferry/internal/secret"
	"github.com/clipferry/clipferry/tasks"
)

// validate checks what decoding alone doesn't, and reads files that are named.
func (c *Config) validate(needs Needs, faults *Faults) {
	var err error
	if c.Redis, err = tasks.ParseRedis(c.RedisURL.Reveal()); err != nil {
		faults.add("CLIPFERRY_REDIS_URL", err.Error())
	}
	c.validateAPI(needs, faults)
	c.validateS3(needs, faults)
	c.validateRest(faults)
}

func (c *Config) validateAPI(needs Needs, faults *Faults) {
	if err := checkBaseURL(c.APIBaseURL); err != nil {
		faults.add("CLIPFERRY_API_BASE_URL", err.Error())
	}
	between(faults, "CLIPFERRY_API_REQUESTS_PER_MINUTE", c.APIRequestsPerMinute, 0, maxLimit)
	between(faults, "CLIPFERRY_API_MAX_ACTIVE_EXPORTS", c.APIMaxActiveExports, 0, maxLimit)
	switch {
	case c.APIKey != "" && c.APIKeyFile != "":
		faults.add("CLIPFERRY_API_KEY", "set together with CLIPFERRY_API_KEY_FILE; only one of them may be")
	case needs&NeedsAPI == 0:
	case c.APIKeyFile != "":
		c.readKey(faults)
	case c.APIKey == "" && len(c.APIKeys) == 0:
		faults.add("CLIPFERRY_API_KEY", "required (or CLIPFERRY_API_KEY_FILE)")
	default:
		c.APIKey = secret.String(strings.TrimSpace(c.APIKey.Reveal()))
		checkKey(faults, "CLIPFERRY_API_KEY", c.APIKey)
	}
	c.validateAccounts(needs, faults)
}

// maxKeyFile is far above any key: a larger file is the wrong file.
const maxKeyFile = 16 << 10

func (c *Config) readKey(faults *Faults) {
	const variable = "CLIPFERRY_API_KEY_FILE"
	info, err := os.Stat(c.APIKeyFile)
	switch {
	case err == nil && info.IsDir():
		err = errors.New("is a directory")
	case err == nil && info.Size() > maxKeyFile:
		err = errors.New("is too large to be a key")
	}
	var content []byte
	if err == nil {
		content, err = os.ReadFile(c.APIKeyFile)
	}
	if err != nil {
		var path *os.PathError
		if errors.As(err, &path) {
			err = path.Err
		}
		faults.add(variable, fmt.Sprintf("can't be read: %s: %v", c.APIKeyFile, err))
		return
	}
	c.APIKey = secret.String(strings.TrimSpace(string(content)))
	if c.APIKey == "" {
		faults.add(variable, fmt.Sprintf("%s is empty", c.APIKeyFile))
		return
	}
	checkKey(faults, variable, c.APIKey)
}

func checkKey(faults *Faults, variable string, key secret.String) {
	if !goodKey(key) {
		faults.add(variable, badKey)
	}
}

const badKey = "holds a space, a line break or another character that no key has"

func goodKey(key secret.String) bool {
	return !strings.ContainsFunc(key.Reveal(), func(r rune) bool { return r <= ' ' || r > '~' })
}

// maxLimit is far above what any contract allows.
const maxLimit = 1_000_000

func checkBaseURL(address string) error {
	u, err := url.Parse(address)
	switch {
	case err != nil:
		return errors.New("not a valid URL") // the cause would quote it, user info and all
	case u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "":
		return errors.New("must start with https:// (or http://) and a host")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return errors.New("must hold no user, query or fragment")
	}
	return nil
}

func (c *Config) validateS3(needs Needs, faults *Faults) {
	switch {
	case c.S3Bucket == "" && needs&NeedsS3 != 0:
		faults.add("CLIPFERRY_S3_BUCKET", "required")
	case strings.ContainsFunc(c.S3Bucket, unicode.IsSpace), strings.Contains(c.S3Bucket, "/") && !strings.HasPrefix(c.S3Bucket, "arn:"):
		faults.add("CLIPFERRY_S3_BUCKET", "must be a bucket's name (or the ARN of an access point), without a path; the path is CLIPFERRY_S3_PREFIX")
	}
	c.S3Prefix = strings.Trim(c.S3Prefix, "/")
	if !goodPrefix(c.S3Prefix) {
		faults.add("CLIPFERRY_S3_PREFIX", "must be at most 400 bytes, without control characters, backslashes and empty, . or .. parts")
	}
	oneOf(faults, "CLIPFERRY_S3_CHECKSUM", c.S3Checksum, "crc32", "md5")
	oneOf(faults, "CLIPFERRY_S3_SSE", c.S3SSE, "", "AES256", "aws:kms", "aws:kms:dsse")
	if c.S3KMSKeyID != "" && !strings.HasPrefix(c.S3SSE, "aws:kms") {
		faults.add("CLIPFERRY_S3_KMS_KEY_ID", "needs CLIPFERRY_S3_SSE to be aws:kms or aws:kms:dsse")
	}
	oneOf(faults, "CLIPFERRY_S3_LOCK_MODE", c.S3LockMode, "", "GOVERNANCE", "COMPLIANCE")
	switch {
	case c.S3LockFor < 0:
		faults.add("CLIPFERRY_S3_LOCK_FOR", "must not be negative")
	case c.S3LockMode != "" && c.S3LockFor == 0:
		faults.add("CLIPFERRY_S3_LOCK_FOR", "required with CLIPFERRY_S3_LOCK_MODE")
	case c.S3LockMode == "" && c.S3LockFor != 0:
		faults.add("CLIPFERRY_S3_LOCK_FOR", "needs CLIPFERRY_S3_LOCK_MODE")
	}
	if c.S3PartSize < 5<<20 || c.S3PartSize > 5<<30 {
		faults.add("CLIPFERRY_S3_PART_SIZE", "must be between 5MiB and 5GiB")
	}
	between(faults, "CLIPFERRY_S3_PARTS_IN_FLIGHT", c.S3PartsInFlight, 1, 1024)
	between(faults, "CLIPFERRY_S3_PARTS_PER_FILE", c.S3PartsPerFile, 1, 1024)
}

// goodPrefix says whether every key under a prefix is a good one: of up to 1,024
// bytes, and a path that nothing reads as another one.
func goodPrefix(prefix string) bool {
	if len(prefix) > 400 || !utf8.ValidString(prefix) || strings.ContainsFunc(prefix, func(r rune) bool { return r == '\\' || !unicode.IsPrint(r) }) {
		return false
	}
	if prefix == "" {
		return true
	}
	for part := range strings.SplitSeq(prefix, "/") {
		if part == "" || part == "." || part == ".." || len(part) > 255 {
			return false
		}
	}
	return true
}

func (c *Config) validateRest(faults *Faults) {
	between(faults, "CLIPFERRY_MIRROR_CONCURRENCY", c.MirrorConcurrency, 1, 1024)
	if c.LinkMaxBytes < 1 {
		faults.add("CLIPFERRY_LINK_MAX_BYTES", "must be at least 1")
	}
	oneOf(faults, "CLIPFERRY_SUBMIT_IN_DOUBT", c.SubmitInDoubt, "resubmit", "hold")
	if c.ShutdownTimeout < time.Second || c.ShutdownTimeout > time.Hour {
		faults.add("CLIPFERRY_SHUTDOWN_TIMEOUT", "must be between 1s and 1h")
	}
	if c.ImportQuiet < time.Second || c.ImportQuiet > 24*time.Hour {
		faults.add("CLIPFERRY_IMPORT_QUIET", "must be between 1s and 24h")
	}
	if c.VerifyEvery != 0 && (c.VerifyEvery < time.Hour || c.VerifyEvery > 24000*time.Hour) {
		faults.add("CLIPFERRY_VERIFY_EVERY", "must be between 1h and 24000h, or empty for off")
	}
	if c.LedgerRetention < time.Hour {
		faults.add("CLIPFERRY_LEDGER_RETENTION", "must be at least 1h")
	}
	if err := checkAddr(c.HTTPAddr); err != nil {
		faults.add("CLIPFERRY_HTTP_ADDR", err.Error())
	}
	if c.HTTPPublicURL != "" {
		if err := checkBaseURL(c.HTTPPublicURL); err != nil {
			faults.add("CLIPFERRY_HTTP_PUBLIC_URL", err.Error())
		}
	}
	const longestLink = 7 * 24 * time.Hour // S3's own limit
	if c.HTTPLinkTTL < time.Second || c.HTTPLinkTTL > longestLink {
		faults.add("CLIPFERRY_HTTP_LINK_TTL", "must be between 1s and 168h")
	}
	if c.HTTPPassthroughWait < time.Second || c.HTTPPassthroughWait > 5*time.Minute {
		faults.add("CLIPFERRY_HTTP_PASSTHROUGH_WAIT", "must be between 1s and 5m")
	}
	between(faults, "CLIPFERRY_HTTP_MAX_WAITING", c.HTTPMaxWaiting, 0, 1_000_000_000)
	keys := len(c.HTTPAPIKeys)+len(c.HTTPAdminKeys) > 0
	if keys && len(c.HTTPSecret) == 0 {
		faults.add("CLIPFERRY_HTTP_SECRET", "required with CLIPFERRY_HTTP_API_KEYS and CLIPFERRY_HTTP_ADMIN_KEYS")
	}
	for i, k := range c.HTTPAdminKeys {
		if slices.ContainsFunc(c.HTTPAPIKeys, func(tenant NamedSecret) bool { return tenant.Secret == k.Secret }) {
			faults.add("CLIPFERRY_HTTP_ADMIN_KEYS", fmt.Sprintf("the secret of item %d is a tenant's in CLIPFERRY_HTTP_API_KEYS", i+1))
		}
	}
	if c.MonitorOpen && (keys || c.HTTPPublicURL != "") {
		faults.add("CLIPFERRY_MONITOR_OPEN", "must not be set together with CLIPFERRY_HTTP_API_KEYS or CLIPFERRY_HTTP_PUBLIC_URL; set CLIPFERRY_MONITOR_AUTH")
	}
	if c.MonitorOpen && !loopback(c.HTTPAddr) {
		faults.add("CLIPFERRY_MONITOR_OPEN", "must not be set where CLIPFERRY_HTTP_ADDR is no loopback address, such as 127.0.0.1:8080; set CLIPFERRY_MONITOR_AUTH")
	}
	if c.MonitorWritable && c.MonitorAuth.User == "" {
		faults.add("CLIPFERRY_MONITOR_WRITABLE", "needs CLIPFERRY_MONITOR_AUTH")
	}
	if c.ArchiveProxyHeader != "" && len(c.ArchiveProxyCIDRs) == 0 {
		faults.add("CLIPFERRY_ARCHIVE_PROXY_HEADER", "needs CLIPFERRY_ARCHIVE_PROXY_CIDRS: a header says who somebody is only where it comes from the proxy")
	}
	if strings.Trim(c.ArchiveProxyHeader, headerName) != "" {
		faults.add("CLIPFERRY_ARCHIVE_PROXY_HEADER", "must be the name of a header, such as X-Forwarded-User")
	}
	oneOf(faults, "CLIPFERRY_LOG_FORMAT", c.LogFormat, "", "json", "text")
}

// headerName is what the name of a header is made of.
const headerName = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-"

func checkAddr(addr string) error {
	if addr == "" {
		return nil
	}
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return errors.New("must be host:port or :port, or empty for off")
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return errors.New("must end in a port from 0 to 65535")
	}
	return nil
}

// loopback reports whether nobody but this machine reaches a server at the address.
func loopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	ip, notIP := netip.ParseAddr(host)
	return addr == "" || err == nil && (host == "localhost" || notIP == nil && ip.IsLoopback())
}

func between(faults *Faults, variable string, n, least, most int) {
	if n < least || n > most {
		faults.add(variable, fmt.Sprintf("must be from %d to %d, not %d", least, most, n))
	}
}

// oneOf takes an empty value among the allowed for "may be left out".
func oneOf(faults *Faults, variable, value string, allowed ...string) {
	var named []string
	for _, a := range allowed {
		if value == a {
			return
		}
		if a != "" {
			named = append(named, a)
		}
	}
	faults.add(variable, fmt.Sprintf("must be %s, not %q", either(named), short(value)))
}

// either joins names as "a, b or c".
func either(names []string) string {
	last := len(names) - 1
	if last == 0 {
		return names[0]
	}
	return strings.Join(names[:last], ", ") + " or " + names[last]
}
