package provider

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// listen runs handle for each connection to an address of its own.
func listen(t *testing.T, handle func(net.Conn)) (base string, connections *atomic.Int32) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	connections = new(atomic.Int32)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			connections.Add(1)
			handle(conn)
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return "http://" + l.Addr().String(), connections
}

// reset makes closing conn send RST instead of FIN.
func reset(conn net.Conn) { _ = conn.(*net.TCPConn).SetLinger(0) }

// takeRequest reads one whole request off conn.
func takeRequest(conn net.Conn) bool {
	req, err := http.ReadRequest(bufio.NewReader(conn))
	if err != nil {
		return false
	}
	_, err = io.Copy(io.Discard, req.Body)
	return err == nil
}

// takeByte waits until the request is on its way. (A connection that is reset
// before that is, to the client, one that never came about.)
func takeByte(conn net.Conn) { _, _ = conn.Read(make([]byte, 1)) }

var body = json.RawMessage(`{"project_id":"p"}`)

func TestProvenUnsent(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close()
	mute, _ := listen(t, func(conn net.Conn) { // accepts, and never shakes hands
		_, _ = io.Copy(io.Discard, conn)
	})
	plain, _ := listen(t, func(conn net.Conn) { _, _ = conn.Write([]byte("I don't speak TLS")) })
	for _, tc := range []struct{ name, base string }{
		{"connection refused", "http://" + closed.Addr().String()},
		{"no such host", "http://nowhere.invalid"},
		{"TLS handshake stalls", strings.Replace(mute, "http:", "https:", 1)},
		{"no TLS at all", strings.Replace(plain, "http:", "https:", 1)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := clientOf(t, tc.base, func(o *Options) { o.Timeout = 300 * time.Millisecond })
			_, err := c.Submit(t.Context(), body)
			wantKind(t, err, NotSent)
			_, err = c.Read(t.Context(), "", "id")
			wantKind(t, err, NotSent)
		})
	}
	t.Run("canceled before", func(t *testing.T) {
		c := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("something was sent") })
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := c.Submit(ctx, body)
		wantKind(t, err, NotSent)
		if !errors.Is(err, context.Canceled) {
			t.Errorf("the cause is lost: %v", err)
		}
	})
}

func TestLostAnswers(t *testing.T) {
	for _, tc := range []struct {
		name   string
		handle func(net.Conn)
		read   Kind
	}{
		{"reset before the request was read", func(conn net.Conn) { takeByte(conn); reset(conn) }, Unavailable},
		{"closed before the request was read", takeByte, Unavailable},
		{"reset after the request was read", func(conn net.Conn) { takeRequest(conn); reset(conn) }, Unavailable},
		{"closed after the request was read", func(conn net.Conn) { takeRequest(conn) }, Unavailable},
		{"cut in the status line", func(conn net.Conn) {
			takeRequest(conn)
			_, _ = io.WriteString(conn, "HTTP/1.1 20")
		}, Unavailable},
		{"cut in the body", func(conn net.Conn) {
			takeRequest(conn)
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{\"data\":{\"export_")
		}, Unavailable},
		{"not HTTP", func(conn net.Conn) {
			takeRequest(conn)
			_, _ = io.WriteString(conn, "220 mail.example ESMTP "+testKey+"\r\n\r\n")
		}, Unavailable},
		{"endless header", func(conn net.Conn) {
			takeRequest(conn)
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nX: "+strings.Repeat("x", 4*maxHeader)+"\r\n\r\n")
		}, Unavailable},
	} {
		t.Run(tc.name, func(t *testing.T) {
			base, connections := listen(t, tc.handle)
			c := clientOf(t, base)
			_, err := c.Submit(t.Context(), body)
			wantKind(t, err, InDoubt)
			if n := connections.Load(); n != 1 {
				t.Errorf("one submit made %d connections", n)
			}
			_, err = c.Read(t.Context(), "", "id")
			wantKind(t, err, tc.read)
		})
	}
}

func TestAnswerThatIsWholeThoughItsConnectionIsNot(t *testing.T) {
	base, _ := listen(t, func(conn net.Conn) {
		takeRequest(conn)
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n"+`{"data":{"export_task_id":"t1","status":"CREATED"}}`)
	})
	c := clientOf(t, base)
	if task, err := c.Submit(t.Context(), body); err != nil || task.ExportTaskID != "t1" {
		t.Errorf("submit: task %+v, error %v", task, err)
	}
	if task, err := c.Read(t.Context(), "", "t1"); err != nil || task.Status != StatusCreated {
		t.Errorf("read: task %+v, error %v", task, err)
	}
}

func TestTimeouts(t *testing.T) {
	for _, tc := range []struct {
		name   string
		handle http.HandlerFunc
	}{
		{"no answer", func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
		}},
		{"slow body", func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			_, _ = io.WriteString(w, `{"data":{`)
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := serve(t, tc.handle, func(o *Options) { o.Timeout = 200 * time.Millisecond })
			_, err := c.Submit(t.Context(), body)
			wantKind(t, err, InDoubt)
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("the cause is lost: %v", err)
			}
			_, err = c.Read(t.Context(), "", "id")
			wantKind(t, err, Unavailable)
		})
	}
}

func TestBodiesWithoutEnd(t *testing.T) {
	const limit = 1 << 20
	filler := bytes.Repeat([]byte(" "), 64<<10)
	endless := func(w http.ResponseWriter, _ *http.Request) {
		for {
			if _, err := w.Write(filler); err != nil {
				return
			}
		}
	}
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	for range 32 * limit / len(filler) {
		_, _ = z.Write(filler)
	}
	_ = z.Close()
	for _, tc := range []struct {
		name   string
		handle http.HandlerFunc
	}{
		{"chunked", endless},
		{"announced", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "300000000")
			endless(w, r)
		}},
		{"gzip bomb", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(bomb.Bytes())
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := serve(t, tc.handle, func(o *Options) { o.MaxBody = limit })
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := c.Read(t.Context(), "", "id")
			runtime.ReadMemStats(&after)
			wantKind(t, err, NotUnderstood)
			if grown := after.TotalAlloc - before.TotalAlloc; grown > 16*limit {
				t.Errorf("allocated %d bytes for a limit of %d", grown, limit)
			}
			_, err = c.Submit(t.Context(), body)
			wantKind(t, err, InDoubt)
		})
	}
}

func TestCompressedAnswers(t *testing.T) {
	const answer = `{"data":{"export_task_id":"t1","status":"CREATED"}}`
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, _ = io.WriteString(z, answer)
	_ = z.Close()
	for _, tc := range []struct {
		encoding, body string
		want           Kind
	}{
		{"identity", answer, ""},
		{"gzip", packed.String(), ""},
		{"gzip", answer, ""},
		{"br", answer, ""},
		{"none", answer, ""},
		{"", packed.String(), ""},
		{"br", "\x1b\x03", AcceptedUnknown},
	} {
		c := serve(t, answering(200, tc.body, "Content-Encoding", tc.encoding))
		task, err := c.Submit(t.Context(), body)
		if tc.want != "" {
			wantKind(t, err, tc.want)
		} else if err != nil || task.ExportTaskID != "t1" {
			t.Errorf("%s: task %+v, error %v", tc.encoding, task, err)
		}
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	var elsewhere atomic.Int32
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
	t.Cleanup(other.Close)
	for _, status := range []int{301, 302, 307, 308} {
		c := serve(t, answering(status, "", "Location", other.URL+"/x"))
		_, err := c.Submit(t.Context(), body)
		if e := wantKind(t, err, InDoubt); !strings.Contains(e.Message, other.URL) {
			t.Errorf("the operator isn't told where to: %s", e.Message)
		}
		_, err = c.Read(t.Context(), "", "id")
		wantKind(t, err, Unavailable)
	}
	if n := elsewhere.Load(); n != 0 {
		t.Errorf("%d requests, with the key, went elsewhere", n)
	}
}

// A connection that was kept may be closed by the other side just when a submit
// uses it; so none is used.
func TestEverySubmitHasItsOwnConnection(t *testing.T) {
	base, connections := listen(t, func(conn net.Conn) {
		takeRequest(conn)
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 52\r\n\r\n"+`{"data":{"export_task_id":"t1","status":"CREATED"}} `)
		// It announced keep-alive and closes all the same.
	})
	c := clientOf(t, base)
	for range 5 {
		if _, err := c.Submit(t.Context(), body); err != nil {
			t.Fatal(err)
		}
	}
	if n := connections.Load(); n != 5 {
		t.Errorf("five submits made %d connections", n)
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// What the caller's own RoundTripper does can't be proven by us.
func TestForeignRoundTripper(t *testing.T) {
	for _, tc := range []struct {
		err  error
		want Kind
	}{
		{errors.New("something"), InDoubt},
		{io.EOF, InDoubt},
		{&net.OpError{Op: "read", Err: errors.New("reset")}, InDoubt},
		{&net.OpError{Op: "dial", Err: errors.New("refused")}, NotSent},
	} {
		given := &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
			if r.GetBody != nil {
				t.Error("the body can be sent again")
			}
			return nil, tc.err
		})}
		c := clientOf(t, "http://h.example", func(o *Options) { o.HTTPClient = given })
		_, err := c.Submit(t.Context(), body)
		wantKind(t, err, tc.want)
		if given.CheckRedirect != nil {
			t.Error("the caller's client was changed")
		}
	}
}

func TestCallersTransportIsHardened(t *testing.T) {
	srv := httptest.NewUnstartedServer(answering(200, `{"data":{"export_task_id":"t1","status":"CREATED"}}`))
	srv.EnableHTTP2 = true
	srv.StartTLS()
	t.Cleanup(srv.Close)
	given := srv.Client()
	t.Cleanup(given.CloseIdleConnections)
	c := clientOf(t, srv.URL, func(o *Options) { o.HTTPClient = given })
	for _, client := range []*http.Client{c.reads, c.submits} {
		resp, err := client.Get(srv.URL)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.ProtoMajor != 1 {
			t.Errorf("speaks %s", resp.Proto)
		}
	}
}
