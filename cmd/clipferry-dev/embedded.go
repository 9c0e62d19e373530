package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/clipferry/clipferry/internal/embeds3"
)

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

// startS3 runs the S3 server over dir until ctx ends, with a bucket, and returns
// the endpoint. The AWS SDK of this process is pointed at it.
func startS3(ctx context.Context, dir, bucket string) (endpoint string, err error) {
	server, err := embeds3.New(embeds3.Options{Dir: dir, AccessKey: accessKey, SecretKey: secretKey})
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Join(dir, bucket), 0o755); err != nil {
		return "", fmt.Errorf("make the bucket: %w", err)
	}
	if endpoint, _, err = serve(ctx, "127.0.0.1:0", server); err != nil {
		return "", fmt.Errorf("start the embedded S3 server: %w", err)
	}
	others := []string{"AWS_SESSION_TOKEN=", "AWS_PROFILE=", "AWS_CONFIG_FILE=" + os.DevNull, "AWS_SHARED_CREDENTIALS_FILE=" + os.DevNull}
	for _, pair := range append(others, s3Env(endpoint)...) {
		name, value, _ := strings.Cut(pair, "=")
		if err := os.Setenv(name, value); err != nil {
			return "", fmt.Errorf("set %s: %w", name, err)
		}
	}
	return endpoint, nil
}

// s3Env is what the AWS SDK needs to use the embedded server.
func s3Env(endpoint string) []string {
	return []string{
		"AWS_ENDPOINT_URL_S3=" + endpoint, "AWS_REGION=us-east-1",
		"AWS_ACCESS_KEY_ID=" + accessKey, "AWS_SECRET_ACCESS_KEY=" + secretKey,
	}
}
