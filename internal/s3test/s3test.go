// Package s3test starts real S3 servers for tests: versitygw, which does nearly
// all that S3 does, and rclone's "serve s3" as a weak one, which lists no part
// checksums, verifies little, and forgets uploads when it restarts. Beside them
// there is internal/embeds3, the server of clipferry-dev, in the test's own process.
//
// Each other server is a process of its own on a loopback port with its objects in a
// temporary directory; it can be stopped, killed and restarted in the middle of
// a test, and never outlives it. The programs are built once, into
// <user cache>/clipferry-test/bin, unless CLIPFERRY_TEST_VERSITYGW,
// CLIPFERRY_TEST_RCLONE or the PATH has them.
package s3test

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/clipferry/clipferry/internal/embeds3"
	"github.com/clipferry/clipferry/internal/freeport"
)

const (
	// AccessKey is, with [SecretKey], the credential of every server here.
	AccessKey = "clipferrytest"
	// SecretKey belongs to [AccessKey].
	SecretKey = "clipferrytest-secret"
	// Bucket exists on every server when it starts.
	Bucket = "clips"

	startTimeout = 20 * time.Second
)

// Server is a running S3 server.
type Server struct {
	// Name is the program's.
	Name string
	// Endpoint is its URL, without a slash at the end.
	Endpoint string
	// Dir holds a directory for each bucket.
	Dir string

	addr     string
	embedded http.Handler // instead of a command
	command  func(s *Server) *exec.Cmd
	process  *exec.Cmd
	listener *http.Server // of the embedded server
	exited   chan struct{}
	log      *os.File
}

// Start starts versitygw for the duration of the test. It keeps connections open,
// as S3 does; the other kinds here close each after its answer.
func Start(t testing.TB) *Server {
	t.Helper()
	return StartIn(t, dataDir(t))
}

// StartIn is Start with the objects below dir, for benchmarks that want them in memory.
func StartIn(t testing.TB, dir string) *Server {
	t.Helper()
	bin := versitygw(t)
	return start(t, "versitygw", dir, func(s *Server) *exec.Cmd {
		c := exec.Command(bin, "--port", s.addr, "--quiet", "--keep-alive", "--region", "us-east-1", "posix", s.Dir)
		c.Env = append(os.Environ(), "ROOT_ACCESS_KEY="+AccessKey, "ROOT_SECRET_KEY="+SecretKey)
		return c
	})
}

// StartTLS is Start with a certificate and its key, both PEM files; a client
// has to trust who signed it.
func StartTLS(t testing.TB, certFile, keyFile string) *Server {
	t.Helper()
	bin := versitygw(t)
	return startAt(t, "https://", "versitygw", dataDir(t), func(s *Server) *exec.Cmd {
		c := exec.Command(bin, "--port", s.addr, "--quiet", "--region", "us-east-1", "--cert", certFile, "--key", keyFile, "posix", s.Dir)
		c.Env = append(os.Environ(), "ROOT_ACCESS_KEY="+AccessKey, "ROOT_SECRET_KEY="+SecretKey)
		return c
	})
}

// StartVirtual is Start with the bucket in the host name, below domain. The
// server takes paths as well.
func StartVirtual(t testing.TB, domain string) *Server {
	t.Helper()
	bin := versitygw(t)
	return start(t, "versitygw", dataDir(t), func(s *Server) *exec.Cmd {
		c := exec.Command(bin, "--port", s.addr, "--quiet", "--region", "us-east-1", "--virtual-domain", domain, "posix", s.Dir)
		c.Env = append(os.Environ(), "ROOT_ACCESS_KEY="+AccessKey, "ROOT_SECRET_KEY="+SecretKey)
		return c
	})
}

// StartWithUser is Start with a second account that may do nothing until a
// bucket policy lets it.
func StartWithUser(t testing.TB, access, secret string) *Server {
	t.Helper()
	bin, iam := versitygw(t), t.TempDir()
	s := start(t, "versitygw", dataDir(t), func(s *Server) *exec.Cmd {
		c := exec.Command(bin, "--port", s.addr, "--quiet", "--region", "us-east-1", "--iam-dir", iam, "posix", s.Dir)
		c.Env = append(os.Environ(), "ROOT_ACCESS_KEY="+AccessKey, "ROOT_SECRET_KEY="+SecretKey)
		return c
	})
	// a bucket that was made as a directory has no owner, and so takes no policy
	if err := os.Remove(filepath.Join(s.Dir, Bucket)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Client().CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String(Bucket)}); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(bin, "admin", "--access", AccessKey, "--secret", SecretKey, "--endpoint-url", s.Endpoint,
		"--region", "us-east-1", "create-user", "--access", access, "--secret", secret, "--role", "user").CombinedOutput()
	if err != nil {
		t.Fatalf("creating a user: %v\n%s", err, out)
	}
	return s
}

// StartWeak starts rclone serve s3 for the duration of the test. Where
// CLIPFERRY_TEST_SKIP_WEAK is set the test is skipped instead.
func StartWeak(t testing.TB) *Server {
	t.Helper()
	if os.Getenv("CLIPFERRY_TEST_SKIP_WEAK") != "" {
		t.Skip("CLIPFERRY_TEST_SKIP_WEAK is set: not tested against rclone serve s3")
	}
	bin := Rclone(t)
	return start(t, "rclone", dataDir(t), func(s *Server) *exec.Cmd {
		c := exec.Command(bin, "serve", "s3", "--config", os.DevNull, "--addr", s.addr,
			"--auth-key", AccessKey+","+SecretKey, s.Dir)
		c.Env = withoutRclone(os.Environ())
		return c
	})
}

// StartEmbedded starts the server of clipferry-dev for the duration of the test.
// Stop and Kill only take it off the network.
func StartEmbedded(t testing.TB) *Server {
	t.Helper()
	s := &Server{Name: "embeds3", Dir: filepath.Join(dataDir(t), "objects"), addr: FreeAddr(t)}
	s.Endpoint = "http://" + s.addr
	handler, err := embeds3.New(embeds3.Options{Dir: s.Dir, AccessKey: AccessKey, SecretKey: SecretKey})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(s.Dir, Bucket), 0o755); err != nil {
		t.Fatal(err)
	}
	s.embedded = handler
	t.Cleanup(s.Kill)
	s.Restart(t)
	return s
}

// dataDir is a temporary directory, in memory where there is plenty: the servers
// copy what they are given, and disks are slow.
func dataDir(t testing.TB) string {
	t.Helper()
	if freeBytes("/dev/shm") < 4<<30 {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp("/dev/shm", "clipferry-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func withoutRclone(env []string) []string {
	var out []string
	for _, e := range env {
		if !strings.HasPrefix(e, "RCLONE_") {
			out = append(out, e)
		}
	}
	return out
}

func start(t testing.TB, name, dir string, command func(*Server) *exec.Cmd) *Server {
	t.Helper()
	return startAt(t, "http://", name, dir, command)
}

func startAt(t testing.TB, scheme, name, dir string, command func(*Server) *exec.Cmd) *Server {
	t.Helper()
	s := &Server{Name: name, Dir: filepath.Join(dir, "objects"), addr: FreeAddr(t), command: command}
	s.Endpoint = scheme + s.addr
	if err := os.MkdirAll(filepath.Join(s.Dir, Bucket), 0o755); err != nil {
		t.Fatal(err)
	}
	var err error
	if s.log, err = os.Create(filepath.Join(t.TempDir(), name+".log")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Kill()
		if t.Failed() {
			if b, err := os.ReadFile(s.log.Name()); err == nil && len(b) > 0 {
				t.Logf("%s said:\n%s", name, b[max(0, len(b)-4096):])
			}
		}
		_ = s.log.Close()
	})
	s.Restart(t)
	return s
}

// Restart starts the server again on the same address, after Stop or Kill.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	s.Kill()
	if s.embedded != nil {
		s.listen(t)
		return
	}
	c := s.command(s)
	c.Dir = filepath.Dir(s.Dir)
	c.Stdout, c.Stderr = s.log, s.log
	dieWithParent(c)
	if err := c.Start(); err != nil {
		t.Fatalf("starting %s: %v", s.Name, err)
	}
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		_ = c.Wait() // how it ended is in its log
	}()
	s.process, s.exited = c, exited
	if err := s.await(); err != nil {
		t.Fatal(err)
	}
}

// listen serves the embedded server on its address.
func (s *Server) listen(t testing.TB) {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(context.Background(), "tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	s.listener = &http.Server{Handler: s.embedded, ReadHeaderTimeout: startTimeout}
	s.exited = make(chan struct{})
	go func() {
		defer close(s.exited)
		_ = s.listener.Serve(l) // until it is closed
	}()
}

// await returns once the server answers HTTP.
func (s *Server) await() error {
	client := &http.Client{Timeout: time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // it is only asked whether it answers
	}}
	for deadline := time.Now().Add(startTimeout); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		select {
		case <-s.exited:
			return fmt.Errorf("%s ended while it started; see %s", s.Name, s.log.Name())
		default:
		}
		resp, err := client.Get(s.Endpoint)
		if err == nil {
			_ = resp.Body.Close()
			return nil
		}
	}
	return fmt.Errorf("%s does not answer after %s", s.Name, startTimeout)
}

// Stop ends the server as an operator would.
func (s *Server) Stop() { s.end(os.Interrupt) }

// Kill ends the server at once.
func (s *Server) Kill() { s.end(os.Kill) }

func (s *Server) end(sig os.Signal) {
	if s.listener != nil {
		_ = s.listener.Close()
		<-s.exited
		s.listener = nil
	}
	if s.process == nil {
		return
	}
	_ = s.process.Process.Signal(sig)
	select {
	case <-s.exited:
	case <-time.After(5 * time.Second):
		_ = s.process.Process.Kill()
		<-s.exited
	}
	s.process = nil
}

// PID is the server's process id, 0 when it has none or does not run.
func (s *Server) PID() int {
	if s.process == nil {
		return 0
	}
	return s.process.Process.Pid
}

// Client returns an S3 client of the server.
func (s *Server) Client() *s3.Client { return s.ClientAt(s.Endpoint) }

// ClientAt is Client through another address, a proxy's.
func (s *Server) ClientAt(endpoint string) *s3.Client {
	return s3.New(s3.Options{
		BaseEndpoint: &endpoint, UsePathStyle: true, Region: "us-east-1",
		Credentials:                credentials.NewStaticCredentialsProvider(AccessKey, SecretKey, ""),
		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenRequired,
		ResponseChecksumValidation: aws.ResponseChecksumValidationWhenRequired,
	})
}

// Env is the environment with which the AWS SDK reaches the server, as in os.Environ.
func (s *Server) Env() []string {
	return []string{
		"AWS_REGION=us-east-1", "AWS_ACCESS_KEY_ID=" + AccessKey, "AWS_SECRET_ACCESS_KEY=" + SecretKey,
		"AWS_ENDPOINT_URL_S3=" + s.Endpoint, "AWS_EC2_METADATA_DISABLED=true",
		"AWS_CONFIG_FILE=" + os.DevNull, "AWS_SHARED_CREDENTIALS_FILE=" + os.DevNull,
	}
}

// FreeAddr returns a loopback address that nobody listened on a moment ago, see
// [freeport.Take].
func FreeAddr(t testing.TB) string {
	t.Helper()
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(freeport.Take(t, 26_000)))
}
