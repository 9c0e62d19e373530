package storage

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/clipferry/clipferry/internal/link"
	"github.com/clipferry/clipferry/internal/s3test"
)

// onDisk is a Checkpoints that outlives its process.
type onDisk string

func (d onDisk) path(key string) string {
	return filepath.Join(string(d), hex.EncodeToString([]byte(key)))
}

func (d onDisk) Load(_ context.Context, key string) ([]byte, error) {
	b, err := os.ReadFile(d.path(key))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	return b, err
}

func (d onDisk) Save(_ context.Context, key string, b []byte) error {
	tmp := d.path(key) + ".tmp"
	if err := os.WriteFile(tmp, b, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, d.path(key))
}

func (d onDisk) Delete(_ context.Context, key string) error {
	if err := os.Remove(d.path(key)); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// mirrorSpec is what a process that will be killed is told.
type mirrorSpec struct {
	Link, Key, Checkpoints string
	PartSize               int64
}

func (m mirrorSpec) archive(client *s3.Client) (*Archive, error) {
	src, err := link.New(link.Options{AllowedCIDRs: loopback})
	if err != nil {
		return nil, err
	}
	return New(Options{
		Client: client, Bucket: s3test.Bucket, Source: src,
		Checkpoints: onDisk(m.Checkpoints), PartSize: m.PartSize,
	})
}

func mirrorChild() error {
	var spec mirrorSpec
	if err := json.Unmarshal([]byte(os.Getenv("CLIPFERRY_MIRROR_SPEC")), &spec); err != nil {
		return err
	}
	client, err := NewClient(context.Background(), ClientOptions{PathStyle: true})
	if err != nil {
		return err
	}
	a, err := spec.archive(client)
	if err != nil {
		return err
	}
	_, err = a.Mirror(context.Background(), Job{Export: "e", Key: spec.Key, Link: spec.Link})
	return err
}

// killMidway runs Mirror in a process and kills it once its checkpoint tells of so many
// parts. Little more is served before the kill, however late the test sees the checkpoint.
func killMidway(t testing.TB, srv *s3test.Server, spec *mirrorSpec, origin http.Handler, parts int) {
	t.Helper()
	killed := make(chan struct{})
	hs := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p := &pausingWriter{ResponseWriter: w, until: int64(parts+1) * spec.PartSize, resume: killed, ctx: r.Context()}
		_, _ = fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &p.at)
		origin.ServeHTTP(p, r)
	}))
	t.Cleanup(hs.Close)
	spec.Link = hs.URL + "/0.mp4"
	b, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), append(srv.Env(), childEnv+"=mirror", "CLIPFERRY_MIRROR_SPEC="+string(b))...)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-exited:
			t.Fatalf("the process ended before it was killed: %v", err)
		case <-tick.C:
		}
		b, _ := onDisk(spec.Checkpoints).Load(t.Context(), spec.Key)
		if rec, err := parseRecord(b); err == nil && rec.Parts >= parts {
			break
		}
	}
	_ = cmd.Process.Kill()
	<-exited
	close(killed)
}

// pausingWriter writes a file up to a place and what is behind it only after resume.
type pausingWriter struct {
	http.ResponseWriter
	at, until int64
	resume    <-chan struct{}
	ctx       context.Context
}

func (p *pausingWriter) Write(b []byte) (int, error) {
	if p.at += int64(len(b)); p.at > p.until {
		select {
		case <-p.resume:
		case <-p.ctx.Done():
			return 0, p.ctx.Err()
		}
	}
	return p.ResponseWriter.Write(b)
}
