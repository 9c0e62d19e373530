package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/spf13/cobra"

	"github.com/clipferry/clipferry/cmd/internal/cli"
	"github.com/clipferry/clipferry/internal/embeds3"
	"github.com/clipferry/clipferry/storage"
)

// serveS3Name is the hidden command that runs the S3 server: it changes the
// working directory of its process, so it gets one of its own.
const serveS3Name = "serve-s3"

// The credentials of the embedded S3 server, which listens on loopback only.
const (
	accessKey = "clipferry-dev"
	secretKey = "clipferry-dev-secret"
)

// startRedis runs an embedded Redis until ctx ends, and returns its URL.
func startRedis(ctx context.Context) (string, error) {
	m := miniredis.NewMiniRedis()
	if err := m.StartAddr("127.0.0.1:0"); err != nil {
		return "", fmt.Errorf("start the embedded Redis: %w", err)
	}
	go func() {
		// miniredis lets keys age only when it is asked to.
		const step = 100 * time.Millisecond
		tick := time.NewTicker(step)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				m.Close()
				return
			case <-tick.C:
				m.FastForward(step)
			}
		}
	}()
	return "redis://" + m.Addr() + "/0", nil
}

// serveS3Command runs the embedded S3 server until its standard input ends, which
// it does with the program that started it, however that ends.
func serveS3Command(c *console) *cobra.Command {
	o := embeds3.Options{AccessKey: accessKey, SecretKey: secretKey}
	cmd := &cobra.Command{
		Use: serveS3Name, Hidden: true, Args: cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithCancel(cmd.Context())
			defer cancel()
			go func() {
				_, _ = io.Copy(io.Discard, c.stdin)
				cancel()
			}()
			return embeds3.Serve(ctx, o)
		},
	}
	cmd.Flags().StringVar(&o.Addr, "addr", "", "host:port")
	cmd.Flags().StringVar(&o.Dir, "dir", "", "directory of the buckets")
	return cmd
}

// startS3 runs the S3 server over dir in a process of its own, makes the
// bucket, and returns the endpoint. The AWS SDK of this process is pointed at it.
func startS3(ctx context.Context, dir, bucket string) (endpoint string, stop func(), err error) {
	self, err := os.Executable()
	if err != nil {
		return "", nil, fmt.Errorf("start the embedded S3 server: %w", err)
	}
	addr, err := freeAddr(ctx)
	if err != nil {
		return "", nil, err
	}
	// It ends with its standard input, after the worker: not with ctx.
	cmd := exec.CommandContext(context.WithoutCancel(ctx), self, serveS3Name, "--addr", addr, "--dir", dir)
	life, err := cmd.StdinPipe()
	if err != nil {
		return "", nil, fmt.Errorf("start the embedded S3 server: %w", err)
	}
	said := &bytes.Buffer{} // of interest only if it does not come up: it complains at its end, too
	cmd.Stderr = said
	if err := cmd.Start(); err != nil {
		return "", nil, fmt.Errorf("start the embedded S3 server: %w", err)
	}
	stop = func() {
		_ = life.Close()
		_ = cmd.Wait()
	}
	endpoint = "http://" + addr
	others := []string{"AWS_SESSION_TOKEN=", "AWS_PROFILE=", "AWS_CONFIG_FILE=" + os.DevNull, "AWS_SHARED_CREDENTIALS_FILE=" + os.DevNull}
	for _, pair := range append(others, s3Env(endpoint)...) {
		name, value, _ := strings.Cut(pair, "=")
		if err := os.Setenv(name, value); err != nil {
			stop()
			return "", nil, fmt.Errorf("set %s: %w", name, err)
		}
	}
	if err := makeBucket(ctx, bucket); err != nil {
		stop()
		return "", nil, fmt.Errorf("%w\n%s", err, said)
	}
	return endpoint, stop, nil
}

// s3Env is what the AWS SDK needs to use the embedded server.
func s3Env(endpoint string) []string {
	return []string{
		"AWS_ENDPOINT_URL_S3=" + endpoint, "AWS_REGION=us-east-1",
		"AWS_ACCESS_KEY_ID=" + accessKey, "AWS_SECRET_ACCESS_KEY=" + secretKey,
	}
}

// makeBucket waits for the server and creates the bucket if it is not there.
func makeBucket(ctx context.Context, bucket string) error {
	client, err := storage.NewClient(ctx, storage.ClientOptions{PathStyle: true})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	for {
		if _, err = client.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: aws.String(bucket)}); err == nil {
			return nil
		}
		if _, err = client.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String(bucket)}); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the embedded S3 server does not answer: %w", errors.Join(ctx.Err(), err))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// freeAddr returns a loopback address that nobody listens on.
func freeAddr(ctx context.Context) (string, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	defer l.Close()
	return l.Addr().String(), nil
}
