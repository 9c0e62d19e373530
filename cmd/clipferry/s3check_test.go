package main

import (
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/clipferry/clipferry/cmd/internal/cli"
	"github.com/clipferry/clipferry/internal/ledger"
)

// No worker reaches S3, and this machine does.
func TestDoctorTellsOfAFleetThatWaitsForABucketThatAnswers(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	address, _ := fakeProvider(t, http.StatusNotFound)
	b.env = append(b.env, "CLIPFERRY_API_BASE_URL="+address)
	err := ledger.New(ledger.Options{Redis: b.redis.Client()}).ReportOutage(t.Context(), ledger.Outage{Worker: "w:1", SaidAt: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	out, _ := b.clipferry(cli.Failed, "doctor")
	if !strings.Contains(out, "FAIL S3: workers that wait for it, though it answers from here: 1, the first (w:1) since ") || !strings.Contains(out, "/readyz of each says so") {
		t.Error(out)
	}
}

// A policy that forgets the catalog's folder stops nothing, and is named.
func TestDoctorAndListNameACatalogThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	address, _ := fakeProvider(t, http.StatusNotFound)
	b.env = append(b.env, "CLIPFERRY_API_BASE_URL="+address)
	err := ledger.New(ledger.Options{Redis: b.redis.Client()}).ReportOutage(t.Context(), ledger.Outage{
		Worker: "w:1", Catalog: true, Sentence: "S3 fails all writes under exports/_catalog/", SaidAt: time.Now(),
	})
	if err != nil {
		t.Fatal(err)
	}
	out, _ := b.clipferry(cli.Done, "doctor")
	for _, want := range []string{"\nok   S3: catalog\n", "\nwarn S3: the catalog: workers that can't write it: 1; archived clips are not found; grant them"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if strings.Contains(out, "workers that wait for it") {
		t.Errorf("workers do not wait for the catalog:\n%s", out)
	}
	b.clipferry(cli.Done, "enqueue", "--project-id", "p")
	_, msg := b.clipferry(cli.Done, "list")
	if !strings.Contains(msg, "catalog: worker w:1 can't add archived clips") {
		t.Error(msg)
	}
}

// resetting is a server that ends each connection once it hears what it does not
// understand, as some do to whom no TLS is spoken.
func resetting(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.(*net.TCPConn).SetLinger(0)
			_, _ = c.Read(make([]byte, 1))
			_ = c.Close()
		}
	}()
	return l.Addr().String()
}

func TestDoctorSaysWhatS3Lacks(t *testing.T) {
	t.Parallel()
	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	secure.StartTLS()
	t.Cleanup(secure.Close)
	// A machine without a role: the SDK has a line of its own for that.
	refuses := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }))
	t.Cleanup(refuses.Close)
	b := newBench(t)
	address, _ := fakeProvider(t, http.StatusNotFound)
	b.env = append(b.env, "CLIPFERRY_API_BASE_URL="+address, "AWS_EC2_METADATA_DISABLED=true")
	env := b.env
	for _, c := range []struct {
		set   []string
		lines []string
	}{
		{[]string{"AWS_ACCESS_KEY_ID=", "AWS_SECRET_ACCESS_KEY="}, []string{
			"FAIL S3: there are no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or give this machine a role\n",
		}},
		{[]string{"AWS_ACCESS_KEY_ID=", "AWS_SECRET_ACCESS_KEY=", "AWS_EC2_METADATA_DISABLED=false", "AWS_EC2_METADATA_SERVICE_ENDPOINT=" + refuses.URL}, []string{
			"FAIL S3: there are no credentials; set AWS_ACCESS_KEY_ID",
		}},
		{[]string{"CLIPFERRY_S3_BUCKET=nowhere"}, []string{
			"ok   S3: credentials from AWS_ACCESS_KEY_ID\n",
			"FAIL S3: bucket: the bucket nowhere does not exist; create it: aws s3api create-bucket --bucket nowhere (or correct CLIPFERRY_S3_BUCKET)\n",
		}},
		{[]string{"AWS_SECRET_ACCESS_KEY=wrong"}, []string{"failed in S3 with SignatureDoesNotMatch (The request", "check the AWS credentials\n"}},
		{[]string{"AWS_PROFILE=nope", "AWS_ACCESS_KEY_ID=", "AWS_SECRET_ACCESS_KEY="}, []string{
			"FAIL S3: there is no profile nope in the AWS configuration; see AWS_PROFILE, AWS_CONFIG_FILE and AWS_SHARED_CREDENTIALS_FILE\n",
		}},
		{[]string{"AWS_CA_BUNDLE=nofile.pem"}, []string{"nofile.pem: no such file or directory; see AWS_CA_BUNDLE"}},
		{[]string{"AWS_ENDPOINT_URL_S3=https" + strings.TrimPrefix(b.s3.Endpoint, "http")}, []string{
			"FAIL S3: bucket: looking at the bucket clips failed in S3 (it does not speak TLS); let AWS_ENDPOINT_URL_S3 begin with http://, not https://\n",
		}},
		{[]string{"AWS_ENDPOINT_URL_S3=" + secure.URL}, []string{
			"(its certificate is signed by nobody that is trusted here); let AWS_CA_BUNDLE name a file with the certificate of its CA\n",
		}},
		{[]string{"AWS_ENDPOINT_URL_S3=http" + strings.TrimPrefix(secure.URL, "https")}, []string{
			"let AWS_ENDPOINT_URL_S3 begin with https://",
		}},
		{[]string{"AWS_ENDPOINT_URL_S3=http://" + resetting(t)}, []string{
			"let AWS_ENDPOINT_URL_S3 begin with https://",
		}},
		{[]string{"AWS_ENDPOINT_URL_S3=http://127.0.0.1:1"}, []string{"connection refused); "}},
		{[]string{"HTTPS_PROXY=http://127.0.0.1:1"}, []string{"warn proxy: HTTPS_PROXY is used for the provider and for S3, not for export links, webhooks and Redis; "}},
	} {
		b.env = append(slices.Clone(env), c.set...)
		cmd := b.command("doctor")
		var said strings.Builder
		cmd.Stderr = &said
		out, _ := cmd.Output()
		if said.Len() > 0 {
			t.Errorf("%v: on standard error: %s", c.set, said.String())
		}
		for _, want := range c.lines {
			if !strings.Contains(string(out), want) {
				t.Errorf("%v: no %q in\n%s", c.set, want, out)
			}
		}
		if n := strings.Count(string(out), "FAIL S3"); n > 1 {
			t.Errorf("%v: one fault is named %d times:\n%s", c.set, n, out)
		}
		for _, raw := range []string{"operation error", "StatusCode", "RequestID"} {
			if strings.Contains(string(out), raw) {
				t.Errorf("%v: the SDK's own words:\n%s", c.set, out)
			}
		}
	}
}

func TestServersByName(t *testing.T) {
	for endpoint, want := range map[string]string{
		"": "AWS in eu-west-1", "https://storage.googleapis.com": "Google Cloud Storage", "https://a.r2.cloudflarestorage.com": "Cloudflare R2",
		"https://s3.eu-central-003.backblazeb2.com": "Backblaze B2", "http://minio:9000": "server minio:9000", "minio:9000": "is no URL",
	} {
		if f := checkServer(endpoint, "eu-west-1", false); !strings.Contains(f.text, want) {
			t.Errorf("%s: %+v", endpoint, f)
		}
	}
}
