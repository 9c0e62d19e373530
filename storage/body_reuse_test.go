package storage

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/clipferry/clipferry/internal/s3test"
)

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

// The end of a body waits for whoever sends from it, and lets nobody begin.
func TestABodyEndsOnceNobodyReadsIt(t *testing.T) {
	p := payload{body: []byte("123")}
	p.end() // of nothing
	p.now = &memoryBody{}
	p.now.rest.Reset(p.body)
	var sent atomic.Bool
	ended := make(chan struct{})
	_, err := p.now.WriteTo(writerFunc(func(b []byte) (int, error) {
		go func() {
			defer close(ended)
			p.end()
			if !sent.Load() {
				t.Error("ended under a write")
			}
		}()
		time.Sleep(10 * time.Millisecond) // so that an end that does not wait is seen
		sent.Store(true)
		return len(b), nil
	}))
	<-ended
	if err != nil {
		t.Error(err)
	}
	if _, err := p.now.Read(make([]byte, 1)); !errors.Is(err, errOver) {
		t.Errorf("read afterwards: %v", err)
	}
	if _, err := p.now.WriteTo(io.Discard); !errors.Is(err, errOver) {
		t.Errorf("written afterwards: %v", err)
	}
}

// hasty is a server that answers each request after its head, and reads the
// body after that, as far as it comes.
func hasty(t *testing.T, answer string) (endpoint string, got <-chan []byte) {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	bodies := make(chan []byte, 10)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				r := bufio.NewReader(conn)
				req, err := http.ReadRequest(r)
				if err != nil {
					return
				}
				if req.Header.Get("Expect") != "" {
					_, _ = io.WriteString(conn, "HTTP/1.1 100 Continue\r\n\r\n")
				}
				time.Sleep(50 * time.Millisecond) // what lies between the two is full by then
				_, _ = io.WriteString(conn, answer)
				time.Sleep(20 * time.Millisecond)
				b, _ := io.ReadAll(io.LimitReader(r, req.ContentLength))
				bodies <- b
			}()
		}
	}()
	return "http://" + l.Addr().String(), bodies
}

// A server that answers before it has read the body, and a request that is given
// up, get nothing of the file that the buffer holds next.
func TestABodyIsNotReadPastItsRequest(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]string{
		"refused":  "HTTP/1.1 412 Precondition Failed\r\nContent-Length: 46\r\n\r\n<Error><Code>PreconditionFailed</Code></Error>",
		"taken":    "HTTP/1.1 200 OK\r\nETag: \"e\"\r\nContent-Length: 0\r\n\r\n",
		"given up": "",
	} {
		endpoint, got := hasty(t, answer)
		srv := &s3test.Server{Endpoint: endpoint}
		a := newArchive(t, srv, func(o *Options) {
			o.Client = s3.New(srv.Client().Options(), func(so *s3.Options) { so.HTTPClient = httpClient() })
		})
		body, key := bytes.Repeat([]byte{1}, 48<<20), "k"
		next := bytes.Repeat([]byte{2}, len(body))
		ctx, cancel := context.WithCancel(t.Context())
		if answer == "" {
			time.AfterFunc(60*time.Millisecond, cancel)
		}
		_, err := a.put(ctx, &s3.PutObjectInput{Bucket: &a.opts.Bucket, Key: &key}, body, a.sumOf(body, 0))
		copy(body, next)
		cancel()
		if (err == nil) != (name == "taken") {
			t.Errorf("%s: %v", name, err)
		}
		if b := <-got; bytes.IndexByte(b, 2) >= 0 {
			t.Errorf("%s: byte %d of %d was another file's", name, bytes.IndexByte(b, 2), len(b))
		}
	}
}
