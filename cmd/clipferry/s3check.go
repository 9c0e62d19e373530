package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/smithy-go"

	"github.com/clipferry/clipferry/cmd/internal/cli"
	"github.com/clipferry/clipferry/internal/fault"
	"github.com/clipferry/clipferry/internal/ledger"
	"github.com/clipferry/clipferry/storage"
)

func (d *doctor) s3(ctx context.Context, conn *connection) {
	client, err := storage.NewClient(ctx, storage.ClientOptions{PathStyle: conn.cfg.S3PathStyle})
	if err = cmp.Or(err, conn.openArchive(ctx, nil)); err != nil {
		d.report("S3", finding{bad, err.Error(), ""})
		return
	}
	f := checkCredentials(ctx, client.Options().Credentials)
	d.report("S3", f)
	if f.verdict == bad {
		return // whatever else is asked of it would be refused
	}
	endpoint := aws.ToString(client.Options().BaseEndpoint)
	d.report("S3", checkServer(endpoint, client.Options().Region, conn.cfg.S3PathStyle))
	works := true
	for _, f := range examineS3(ctx, conn.archive, conn.cfg.S3Bucket, endpoint) {
		d.report("S3", f)
		works = works && f.verdict != bad
	}
	if d.reached {
		d.outages(ctx, conn, works)
	}
}

// outages reports workers that S3 fails, though it may answer here.
func (d *doctor) outages(ctx context.Context, conn *connection, works bool) {
	out, _ := conn.ledger.Outages(ctx, time.Now()) // what Redis answers has its own lines
	whole := slices.DeleteFunc(slices.Clone(out), func(o ledger.Outage) bool { return o.Catalog })
	if works && len(whole) > 0 {
		d.report("S3", waitsInVain(whole))
	}
	if of := len(out) - len(whole); of > 0 {
		d.report("S3", finding{
			warn, fmt.Sprintf("the catalog: workers that can't write it: %d; archived clips are not found", of),
			"grant them all actions under the whole prefix, _catalog/ included (docs/s3.md); what is missing is added within a minute",
		})
	}
}

// waitsInVain is about workers that wait for a bucket which answers here.
func waitsInVain(outages []ledger.Outage) finding {
	return finding{
		bad, fmt.Sprintf("workers that wait for it, though it answers from here: %d, the first (%s) since %s",
			len(outages), outages[0].Worker, outages[0].Since.UTC().Format("15:04 MST")),
		"if that lasts, they can't reach it: /readyz of each says so; see what they have in common, network, credentials or clock",
	}
}

// credentialsTimeout is for roles, which are asked for over the network.
const credentialsTimeout = 10 * time.Second

// checkCredentials says where the AWS SDK has its credentials from.
func checkCredentials(ctx context.Context, from aws.CredentialsProvider) finding {
	ctx, cancel := context.WithTimeout(ctx, credentialsTimeout)
	defer cancel()
	const hint = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or give this machine a role"
	if from == nil {
		return finding{bad, "there are no credentials", hint}
	}
	found, err := from.Retrieve(ctx)
	switch {
	case err != nil || !found.HasKeys():
		return finding{bad, "there are no credentials", hint}
	case found.Expired():
		return finding{bad, "the credentials have expired", "renew them: " + sourceOf(found)}
	}
	return finding{good, "credentials from " + sourceOf(found), ""}
}

// sourceOf is where credentials are from in words of those who set them.
func sourceOf(c aws.Credentials) string {
	switch {
	case c.Source == "EnvConfigCredentials":
		return "AWS_ACCESS_KEY_ID"
	case strings.HasPrefix(c.Source, "SharedConfigCredentials"):
		return "a profile (" + strings.TrimPrefix(c.Source, "SharedConfigCredentials: ") + ")"
	case c.Source == "EC2RoleProvider":
		return "the machine's role"
	}
	return cmp.Or(c.Source, "the AWS SDK's chain")
}

// servers are those of which something special holds, by a part of their host names.
var servers = []struct{ host, name, note string }{
	{"storage.googleapis.com", "Google Cloud Storage", "it needs HMAC keys for AWS_ACCESS_KEY_ID, and the rule for unfinished uploads is set with gcloud"},
	{"r2.cloudflarestorage.com", "Cloudflare R2", "AWS_REGION is auto; it has no object tags and no storage classes of AWS"},
	{"backblazeb2.com", "Backblaze B2", "it keeps old versions of what is removed: set a lifecycle rule; it has no object tags"},
	{"digitaloceanspaces.com", "DigitalOcean Spaces", "AWS_REGION is that of the host name"},
	{"wasabisys.com", "Wasabi", "what is removed within its least storage time is paid for all the same"},
}

// checkServer names the server, and what is special about it.
func checkServer(endpoint, region string, pathStyle bool) finding {
	if endpoint == "" {
		return finding{good, "AWS in " + region, ""}
	}
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" {
		return finding{bad, "AWS_ENDPOINT_URL_S3 is no URL", "write it as https://host[:port]"}
	}
	for _, s := range servers {
		if strings.HasSuffix(u.Hostname(), s.host) {
			return finding{good, s.name + " at " + u.Host, s.note}
		}
	}
	if pathStyle {
		return finding{good, "server " + u.Host, ""}
	}
	return finding{good, "server " + u.Host, "MinIO, Ceph and most servers of your own need CLIPFERRY_S3_PATH_STYLE=true"}
}

// s3Failure is what a failed check of S3 looks like: what was tried, S3's own code and
// words, what to do. The SDK's chain of errors, with ids of requests, is for logs.
func s3Failure(what string, err error, bucket, endpoint string) finding {
	hint := "see AWS_ENDPOINT_URL_S3, AWS_REGION, the credentials and the bucket's policy"
	text := err.Error()
	var f *fault.Fault
	if errors.As(err, &f) {
		text, hint = f.Message, cmp.Or(f.Hint, hint)
	}
	var api smithy.APIError
	var dial *net.OpError
	var dns *net.DNSError
	var notTLS tls.RecordHeaderError
	var unknownCA x509.UnknownAuthorityError
	switch {
	case errors.Is(err, http.ErrSchemeMismatch), errors.As(err, &notTLS):
		text += " (it does not speak TLS)"
		hint = "let AWS_ENDPOINT_URL_S3 begin with http://, not https://"
	case errors.As(err, &unknownCA):
		text += " (its certificate is signed by nobody that is trusted here)"
		hint = "let AWS_CA_BUNDLE name a file with the certificate of its CA"
	case errors.As(err, &api) && api.ErrorCode() == "NoSuchBucket" || strings.Contains(text, "does not exist"):
		hint = "create it: aws s3api create-bucket --bucket " + bucket + " (or correct CLIPFERRY_S3_BUCKET)"
	case errors.As(err, &api) && api.ErrorMessage() != "":
		text += fmt.Sprintf(" (%s)", api.ErrorMessage())
	case errors.Is(err, context.DeadlineExceeded):
		text += " (no answer in time)"
	case errors.As(err, &dns):
		text += fmt.Sprintf(" (nobody knows the host %s)", dns.Name)
	case errors.As(err, &dial):
		text += fmt.Sprintf(" (%v)", dial)
	}
	// A server that speaks TLS resets the connection, closes it, or answers 400, which to a
	// HEAD has no text.
	refusesPlain := errors.Is(err, syscall.ECONNRESET) || errors.Is(err, io.EOF) || errors.As(err, &api) && api.ErrorCode() == "BadRequest" ||
		strings.Contains(err.Error(), "HTTP request to an HTTPS server")
	if refusesPlain && strings.HasPrefix(endpoint, "http://") {
		hint = "if it speaks TLS, let AWS_ENDPOINT_URL_S3 begin with https://"
	}
	return finding{bad, what + ": " + text, hint}
}

// examineS3 tries everything that the archive needs of the bucket.
func examineS3(ctx context.Context, archive *storage.Archive, bucket, endpoint string) []finding {
	ctx, cancel := context.WithTimeout(ctx, s3CheckTimeout)
	defer cancel()
	var found []finding
	results := archive.SelfTest(ctx)
	if len(results) == 2 && results[0].Err != nil && results[1].Err != nil { // one fault, met twice
		var api smithy.APIError
		if errors.As(results[1].Err, &api) && api.ErrorCode() != "NoSuchBucket" {
			results = results[1:] // its response has a body that says more
		}
		results = results[:1]
	}
	for _, r := range results {
		f := finding{good, r.Name, r.Note}
		if r.Err != nil {
			f = s3Failure(r.Name, r.Err, bucket, endpoint)
		}
		if r.Note != "" {
			f.hint = r.Note
		}
		if r.Err != nil && r.Optional {
			f.verdict = warn
			if said := (*fault.Fault)(nil); errors.As(r.Err, &said) { // why does not matter
				f.text = r.Name + ": " + said.Message
			}
		}
		found = append(found, f)
	}
	return found
}

// s3CheckTimeout leaves room for the retries of a bucket that is slow.
const s3CheckTimeout = time.Minute

// checkProxies says what a proxy of the environment is used for, and what not.
func checkProxies(env []string) (finding, bool) {
	var set []string
	for _, name := range []string{"HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"} {
		if cli.Env(env, name) != "" {
			set = append(set, name)
		}
	}
	if len(set) == 0 {
		return finding{}, false
	}
	return finding{
		warn, strings.Join(set, " and ") + " is used for the provider and for S3, not for export links, webhooks and Redis",
		"let workers reach those directly: through a proxy nobody could guard the addresses that links lead to; NO_PROXY excepts hosts",
	}, true
}
