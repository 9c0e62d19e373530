// Package embeds3 is an S3 server over a local directory inside the process,
// for clipferry-dev and for tests. It is versitygw; nothing of it belongs into
// production, where S3 is S3.
package embeds3

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/versity/versitygw/backend/meta"
	"github.com/versity/versitygw/backend/posix"
	"github.com/versity/versitygw/embedgw"
)

// Options says where the server listens and keeps its objects.
type Options struct {
	// Addr is host:port; the port must be a given one.
	Addr string
	// Dir holds a directory for each bucket. It is created. Its file system must
	// have extended attributes, as all but a few Linux ones do; SidecarDir, when
	// set, is used instead of them.
	Dir        string
	SidecarDir string
	// AccessKey and SecretKey are the only credentials.
	AccessKey, SecretKey string
}

// Serve runs the server until ctx is done. It changes the process's working
// directory, and only one can run in a process: run it in one of its own.
func Serve(ctx context.Context, o Options) error {
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return fmt.Errorf("embedded S3: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("embedded S3: %w", err)
	}
	be, err := backend(dir, o.SidecarDir)
	if err != nil {
		return fmt.Errorf("embedded S3: %w", err)
	}
	err = embedgw.RunVersityGW(ctx, be, &embedgw.Config{
		RootUserAccess: o.AccessKey, RootUserSecret: o.SecretKey,
		Ports: []string{o.Addr}, MaxConnections: 1024, MaxRequests: 1024, MultipartMaxParts: 10_000,
		Region: "us-east-1", Quiet: true, KeepAlive: true,
	})
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("embedded S3: %w", err)
	}
	return nil
}

func backend(dir, sidecar string) (*posix.Posix, error) {
	var store meta.MetadataStorer = meta.XattrMeta{}
	opts := posix.PosixOpts{}
	if sidecar != "" {
		sc, err := meta.NewSideCar(sidecar)
		if err != nil {
			return nil, err
		}
		store, opts.SideCarDir = sc, sidecar
	} else if err := (meta.XattrMeta{}).Test(dir); err != nil {
		return nil, fmt.Errorf("%s: extended attributes: %w", dir, err)
	}
	return posix.New(dir, store, opts)
}
