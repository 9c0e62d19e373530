package storage

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// payload is the body of one S3 request that is in memory whole. It is sent as it
// is, past the readers that the SDK lays around it, and left out of the signature:
// its checksum, which is part of the signed headers, protects it at a tenth of
// the cost.
type payload struct {
	body []byte
	now  *memoryBody // of the attempt under way
}

// option has a request send the body.
func (p *payload) option(o *s3.Options) {
	o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
	o.APIOptions = append(o.APIOptions, v4.SwapComputePayloadSHA256ForUnsignedPayloadMiddleware)
	o.HTTPClient = memoryClient{o.HTTPClient, p}
}

// end returns once nobody reads the body any more. The transport may still be
// sending when the request is over, refused early or given up, and the memory
// is about to hold another file.
func (p *payload) end() {
	if p.now != nil {
		p.now.end()
	}
}

// memoryClient sends the body of a payload with each attempt of its request.
type memoryClient struct {
	s3.HTTPClient
	*payload
}

func (c memoryClient) Do(req *http.Request) (*http.Response, error) {
	if req.Body != nil && req.ContentLength == int64(len(c.body)) {
		c.end()
		c.now = &memoryBody{}
		c.now.rest.Reset(c.body)
		req.Body = c.now
	}
	return c.HTTPClient.Do(req)
}

// errOver is what a transport reads that comes too late.
var errOver = errors.New("the request is over")

// memoryBody is the body of one attempt. Its lock is held while it is read, or
// written from.
type memoryBody struct {
	mu   sync.Mutex
	rest bytes.Reader
	over bool
}

// Read implements io.Reader.
func (b *memoryBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.over {
		return 0, errOver
	}
	return b.rest.Read(p)
}

// WriteTo implements io.WriterTo.
func (b *memoryBody) WriteTo(w io.Writer) (int64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.over {
		return 0, errOver
	}
	return b.rest.WriteTo(w)
}

// holds says whether the body has exactly n bytes left.
func (b *memoryBody) holds(n int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return int64(b.rest.Len()) == n
}

// end waits for a read under way, and lets none begin. It does not wait for long:
// what is being written to a connection ends with it, and the transport closes
// one whose request is over.
func (b *memoryBody) end() {
	b.mu.Lock()
	b.over = true
	b.mu.Unlock()
}

// Close implements io.Closer.
func (*memoryBody) Close() error { return nil }

// bulkConn is a connection that takes a body that is in memory from where it is.
// What net/http does by itself is to copy it in pieces of 32 KiB, each of which
// wakes the other side.
type bulkConn struct{ *net.TCPConn }

// ReadFrom implements io.ReaderFrom, which net/http uses for bodies.
func (c bulkConn) ReadFrom(r io.Reader) (int64, error) {
	if l, ok := r.(*io.LimitedReader); ok {
		if b, ok := l.R.(*memoryBody); ok && b.holds(l.N) {
			n, err := b.WriteTo(c.TCPConn)
			l.N -= n
			return n, err
		}
	}
	return c.TCPConn.ReadFrom(r)
}
