package storage

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/logging"
)

// ClientOptions is what clipferry says of S3 itself; credentials, region,
// endpoint, acceleration and FIPS come from the SDK's own environment variables
// and profiles.
type ClientOptions struct {
	// PathStyle puts the bucket in the path instead of the host name.
	PathStyle bool
}

// NewClient returns an S3 client made for large bodies, with checksums only
// where they were asked for: the Archive sets its own on every request.
func NewClient(ctx context.Context, o ClientOptions) (*s3.Client, error) {
	cfg, err := config.LoadDefaultConfig(ctx,
		config.WithHTTPClient(httpClient()),
		config.WithLogger(logging.Nop{}), // it writes to standard error as it likes; what fails is in errors, too
		config.WithRequestChecksumCalculation(aws.RequestChecksumCalculationWhenRequired),
		config.WithResponseChecksumValidation(aws.ResponseChecksumValidationWhenRequired),
	)
	if missing := (config.SharedConfigProfileNotExistError{}); errors.As(err, &missing) {
		return nil, fmt.Errorf("there is no profile %s in the AWS configuration; see AWS_PROFILE, AWS_CONFIG_FILE and AWS_SHARED_CREDENTIALS_FILE", missing.Profile)
	}
	if err != nil {
		return nil, fmt.Errorf("load the AWS configuration: %w; see AWS_CA_BUNDLE, AWS_PROFILE and AWS_CONFIG_FILE", err)
	}
	if cfg.Region == "" {
		cfg.Region = "us-east-1" // what S3 look-alikes expect of a client that names none
	}
	return s3.NewFromConfig(cfg, func(so *s3.Options) {
		so.UsePathStyle = o.PathStyle
		so.Retryer = aws.NopRetryer{} // see retry.go
	}), nil
}

// httpClient is the SDK's own, with connections that take a body whole, enough of
// them idle for every part in flight, and one part on a connection at a time:
// HTTP/2 would squeeze them all through the flow control of one.
func httpClient() *awshttp.BuildableClient {
	return awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
		t.MaxIdleConnsPerHost = 64
		t.WriteBufferSize = 128 << 10
		t.DisableCompression = true
		t.ForceAttemptHTTP2 = false
		t.Protocols = new(http.Protocols)
		t.Protocols.SetHTTP1(true)
		dial := t.DialContext
		t.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := dial(ctx, network, address)
			if tcp, ok := c.(*net.TCPConn); ok {
				c = bulkConn{tcp}
			}
			return c, err
		}
	})
}
