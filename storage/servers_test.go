package storage

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go/middleware"

	"github.com/clipferry/clipferry/internal/fault"
	"github.com/clipferry/clipferry/internal/s3test"
)

// Clips and thumbnails are retained where that was asked for; what is written
// again, a receipt, is not.
func TestObjectLock(t *testing.T) {
	srv := s3test.Start(t)
	ctx := t.Context()
	bucket := aws.String("locked")
	if _, err := srv.Client().CreateBucket(ctx, &s3.CreateBucketInput{Bucket: bucket, ObjectLockEnabledForBucket: aws.Bool(true)}); err != nil {
		t.Fatal(err)
	}
	a := newArchive(t, srv, func(o *Options) {
		o.Bucket = *bucket
		o.Object.LockMode, o.Object.LockFor = "GOVERNANCE", time.Hour
	})
	for _, size := range []int{50_000, minPartSize + 5} {
		clip := clipOf(size, 61)
		job := Job{Export: "e", Key: a.Folder("p", "t") + fmt.Sprintf("clip-%d.mp4", size), Link: serveFile(t, clip)}
		obj, err := a.Mirror(ctx, job)
		if err != nil || obj.SHA256 != sum(clip) {
			t.Fatalf("%+v, %v", obj, err)
		}
		kept, err := srv.Client().GetObjectRetention(ctx, &s3.GetObjectRetentionInput{Bucket: bucket, Key: &obj.Key})
		if err != nil {
			t.Fatal(err)
		}
		left := time.Until(aws.ToTime(kept.Retention.RetainUntilDate))
		if kept.Retention.Mode != types.ObjectLockRetentionModeGovernance || left < 50*time.Minute || left > time.Hour {
			t.Errorf("%d bytes: retained as %s for %s", size, kept.Retention.Mode, left)
		}
		if _, err := srv.Client().DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: bucket, Key: &obj.Key}); err == nil {
			t.Errorf("%d bytes: could be removed", size)
		}
		if again, err := a.Mirror(ctx, job); err != nil || !again.Found || again.SHA256 != obj.SHA256 {
			t.Errorf("again: %+v, %v", again, err)
		}
	}
	for _, r := range a.SelfTest(ctx) {
		if r.Err != nil && !r.Optional {
			t.Errorf("%s: %v", r.Name, r.Err)
		}
	}
}

// Ceph takes the retention of an upload and forgets it: it is asked for again where
// the object shows none.
func TestALockThatAnUploadForgets(t *testing.T) {
	srv := s3test.Start(t)
	ctx := t.Context()
	bucket := aws.String("forgetful")
	if _, err := srv.Client().CreateBucket(ctx, &s3.CreateBucketInput{Bucket: bucket, ObjectLockEnabledForBucket: aws.Bool(true)}); err != nil {
		t.Fatal(err)
	}
	var asked atomic.Int32
	forget := middleware.InitializeMiddlewareFunc("forget", func(ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler) (middleware.InitializeOutput, middleware.Metadata, error) {
		switch p := in.Parameters.(type) {
		case *s3.CreateMultipartUploadInput:
			without := *p
			without.ObjectLockMode, without.ObjectLockRetainUntilDate = "", nil
			in.Parameters = &without
		case *s3.PutObjectRetentionInput:
			asked.Add(1)
		}
		return next.HandleInitialize(ctx, in)
	})
	a := newArchive(t, srv, func(o *Options) {
		o.Bucket = *bucket
		o.Object.LockMode, o.Object.LockFor = "GOVERNANCE", time.Hour
		o.Client = s3.New(srv.Client().Options(), func(so *s3.Options) {
			so.APIOptions = append(so.APIOptions, func(s *middleware.Stack) error { return s.Initialize.Add(forget, middleware.Before) })
		})
	})
	unlocked := newArchive(t, srv, func(o *Options) { o.Bucket = *bucket })
	for _, c := range []struct {
		size  int
		found bool // as by a worker that was killed before it could lock it
		times int32
	}{{50_000, false, 0}, {minPartSize + 5, false, 1}, {60_000, true, 1}, {minPartSize + 6, true, 1}} {
		job := Job{Export: "e", Key: a.Folder("p", "t") + fmt.Sprintf("clip-%d.mp4", c.size), Link: serveFile(t, clipOf(c.size, 65))}
		if c.found {
			if _, err := unlocked.Mirror(ctx, job); err != nil {
				t.Fatal(err)
			}
		}
		asked.Store(0)
		obj, err := a.Mirror(ctx, job)
		if err != nil || obj.Found != c.found {
			t.Fatalf("%+v, %v", obj, err)
		}
		kept, err := srv.Client().GetObjectRetention(ctx, &s3.GetObjectRetentionInput{Bucket: bucket, Key: &obj.Key})
		if err != nil || kept.Retention.Mode != types.ObjectLockRetentionModeGovernance || time.Until(aws.ToTime(kept.Retention.RetainUntilDate)) < 50*time.Minute {
			t.Errorf("%d bytes: %+v, %v", c.size, kept, err)
		}
		if asked.Load() != c.times {
			t.Errorf("%d bytes: asked for again %d times, want %d", c.size, asked.Load(), c.times)
		}
	}
}

// Encryption that was asked for is asked of the server with every object.
// versitygw takes any and rclone AES256, and neither says what it did with it;
// rclone refuses a KMS key and embeds3 any encryption, which is not to be taken for
// a lack of conditional writes.
func TestEncryption(t *testing.T) {
	servers(t, func(t *testing.T, srv *s3test.Server) {
		for _, o := range []ObjectOptions{{SSE: "AES256"}, {SSE: "aws:kms", KMSKeyID: "alias/clips"}, {StorageClass: "STANDARD_IA"}} {
			a := newArchive(t, srv, func(opts *Options) { opts.Object = o })
			for _, size := range []int{50_000, minPartSize + 5} {
				clip := clipOf(size, 62)
				job := Job{Export: "e", Key: fmt.Sprintf("%s%s-%d.mp4", strings.ReplaceAll(o.SSE, ":", "-"), o.StorageClass, size), Link: serveFile(t, clip)}
				obj, err := a.Mirror(t.Context(), job)
				if o.KMSKeyID != "" && srv.Name == "rclone" || o.SSE != "" && srv.Name == "embeds3" {
					if err == nil || !strings.Contains(fault.SentenceOf(err), "NotImplemented; this server lacks") {
						t.Errorf("%d bytes: %+v, %v", size, obj, err)
					}
					continue
				}
				if err != nil || obj.SHA256 != sum(clip) {
					t.Errorf("%+v: %+v, %v", o, obj, err)
					continue
				}
				out, err := srv.Client().HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: aws.String(s3test.Bucket), Key: &job.Key})
				if err != nil {
					t.Fatal(err)
				}
				if out.ServerSideEncryption != "" || (srv.Name == "rclone" && string(out.StorageClass) != o.StorageClass) {
					t.Errorf("%+v, %d bytes: answers %q %q", o, size, out.ServerSideEncryption, out.StorageClass)
				}
			}
		}
	})
}

// authority signs a certificate for loopback; it returns the files of the
// authority, the certificate and its key.
func authority(t *testing.T) (ca, cert, key string) {
	t.Helper()
	newKey := func() *ecdsa.PrivateKey {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	dir := t.TempDir()
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	signer, own := newKey(), newKey()
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "clipferry tests"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "s3"},
		NotBefore: root.NotBefore, NotAfter: root.NotAfter,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	rootDER, err := x509.CreateCertificate(rand.Reader, root, root, signer.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, root, own.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(own)
	if err != nil {
		t.Fatal(err)
	}
	return write("ca.pem", "CERTIFICATE", rootDER), write("cert.pem", "CERTIFICATE", leafDER), write("key.pem", "PRIVATE KEY", keyDER)
}

// S3 over TLS, signed by an authority of one's own: by the SDK's AWS_CA_BUNDLE or
// Go's SSL_CERT_FILE; without either nothing is sent.
func TestTLS(t *testing.T) {
	ca, cert, key := authority(t)
	srv := s3test.StartTLS(t, cert, key)
	clip := clipOf(minPartSize+tooMuch, 63)
	for _, trust := range []string{"AWS_CA_BUNDLE=" + ca, "SSL_CERT_FILE=" + ca, "NONE="} {
		name, _, _ := strings.Cut(trust, "=")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			spec, err := json.Marshal(mirrorSpec{
				Link: serveFile(t, clip), Key: name + ".mp4", Checkpoints: t.TempDir(), PartSize: minPartSize,
			})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, os.Args[0])
			cmd.Env = append(os.Environ(), append(srv.Env(), childEnv+"=mirror", "CLIPFERRY_MIRROR_SPEC="+string(spec),
				"AWS_CA_BUNDLE=", "SSL_CERT_FILE=", trust)...)
			said, err := cmd.CombinedOutput()
			file := filepath.Join(srv.Dir, s3test.Bucket, name+".mp4")
			got, rerr := os.ReadFile(file)
			if name == "NONE" {
				if err == nil || !strings.Contains(string(said), "certificate") || !errors.Is(rerr, os.ErrNotExist) {
					t.Errorf("sent to a server that nobody vouches for: %v, %s", err, said)
				}
				return
			}
			if err != nil || rerr != nil || !bytes.Equal(got, clip) {
				t.Errorf("%v, %v: %s", err, rerr, said)
			}
		})
	}
}

// The bucket in the host name, as AWS wants it; the rest of the tests have it in the path.
func TestVirtualHosts(t *testing.T) {
	const domain = "s3.clipferry.test"
	srv := s3test.StartVirtual(t, domain)
	_, port, err := net.SplitHostPort(strings.TrimPrefix(srv.Endpoint, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	hosts := make(chan string, 100)
	transport := &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		hosts <- address
		return new(net.Dialer).DialContext(ctx, network, "127.0.0.1:"+port)
	}}
	t.Cleanup(transport.CloseIdleConnections)
	a := newArchive(t, srv, func(o *Options) {
		o.Client = s3.New(srv.Client().Options(), func(so *s3.Options) {
			so.UsePathStyle, so.BaseEndpoint = false, aws.String("http://"+domain+":"+port)
			so.HTTPClient = &http.Client{Transport: transport}
		})
	})
	for _, size := range []int{50_000, minPartSize + 5} {
		clip := clipOf(size, 64)
		job := Job{Export: "e", Key: a.Folder("ü p", "t") + fmt.Sprintf("clip-%d.mp4", size), Link: serveFile(t, clip)}
		if obj, err := a.Mirror(t.Context(), job); err != nil || obj.SHA256 != sum(clip) {
			t.Fatalf("%+v, %v", obj, err)
		}
		got, err := os.ReadFile(filepath.Join(srv.Dir, s3test.Bucket, filepath.FromSlash(job.Key)))
		if err != nil || !bytes.Equal(got, clip) {
			t.Errorf("stored %d bytes, %v", len(got), err)
		}
	}
	close(hosts)
	for h := range hosts {
		if h != s3test.Bucket+"."+domain+":"+port {
			t.Errorf("asked %s", h)
		}
	}
}
