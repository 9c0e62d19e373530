package embeds3_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/clipferry/clipferry/internal/embeds3"
	"github.com/clipferry/clipferry/internal/link"
	"github.com/clipferry/clipferry/internal/s3test"
	"github.com/clipferry/clipferry/storage"
)

// The server runs in this test binary, executed again: one a process, and it
// changes the working directory.
func TestMain(m *testing.M) {
	if addr := os.Getenv("CLIPFERRY_EMBEDS3_ADDR"); addr != "" {
		err := embeds3.Serve(context.Background(), embeds3.Options{
			Addr: addr, Dir: os.Getenv("CLIPFERRY_EMBEDS3_DIR"), SidecarDir: os.Getenv("CLIPFERRY_EMBEDS3_SIDECAR"),
			AccessKey: s3test.AccessKey, SecretKey: s3test.SecretKey,
		})
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// Everything that the archive needs of S3 works on the embedded server.
func TestArchive(t *testing.T) {
	for name, sidecar := range map[string]string{"attributes": "", "sidecar": t.TempDir()} {
		t.Run(name, func(t *testing.T) {
			client := start(t, sidecar)
			src, err := link.New(link.Options{AllowedCIDRs: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
			if err != nil {
				t.Fatal(err)
			}
			a, err := storage.New(storage.Options{Client: client, Bucket: "clips", Prefix: "exports", Source: src, PartSize: 5 << 20})
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range a.SelfTest(t.Context()) {
				if r.Err != nil && r.Name != "lifecycle rule" {
					t.Errorf("%s: %v", r.Name, r.Err)
				}
			}
			for _, size := range []int{1000, 12 << 20} {
				clip := append([]byte("\x00\x00\x00\x10ftypisom0000\x00\x00\x00\x08moov\x00\x00\x00\x00mdat"), bytes.Repeat([]byte{9}, size)...)
				hs := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("ETag", `"v"`)
					http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(clip))
				}))
				defer hs.Close()
				want := sha256.Sum256(clip)
				job := storage.Job{Export: "e", Key: a.Folder("p", "t") + storage.ClipName(size, "Tïtle") + ".mp4", Link: hs.URL}
				for range 2 {
					obj, err := a.Mirror(t.Context(), job)
					if err != nil || obj.SHA256 != hex.EncodeToString(want[:]) {
						t.Errorf("%+v, %v", obj, err)
					}
				}
			}
		})
	}
}

func start(t *testing.T, sidecar string) *s3.Client {
	t.Helper()
	addr := s3test.FreeAddr(t)
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), "CLIPFERRY_EMBEDS3_ADDR="+addr, "CLIPFERRY_EMBEDS3_DIR="+t.TempDir(), "CLIPFERRY_EMBEDS3_SIDECAR="+sidecar)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait()
	})
	client := s3.New(s3.Options{
		BaseEndpoint: aws.String("http://" + addr), UsePathStyle: true, Region: "us-east-1",
		Credentials: credentials.NewStaticCredentialsProvider(s3test.AccessKey, s3test.SecretKey, ""),
	})
	var err error
	for range 200 {
		if _, err = client.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String("clips")}); err == nil {
			return client
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatal(err)
	return nil
}
