package link

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/clipferry/clipferry/internal/fault"
)

// However a body breaks off, the reader hears of it.
func TestBrokenBodies(t *testing.T) {
	hijack := func(raw string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				panic(err)
			}
			_, _ = io.WriteString(conn, raw)
			_ = conn.Close()
		}
	}
	for name, h := range map[string]http.HandlerFunc{
		"short":             hijack("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n1234"),
		"chunks cut":        hijack("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n1234\r\n"),
		"chunked 206, less": hijack("HTTP/1.1 206 P\r\nContent-Range: bytes 0-9/10\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n1234\r\n0\r\n\r\n"),
		"chunked 206, more": hijack("HTTP/1.1 206 P\r\nContent-Range: bytes 0-1/2\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n1234\r\n0\r\n\r\n"),
		"stalled": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "10")
			_, _ = w.Write([]byte("1234"))
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		},
	} {
		b, err := newClient(t).Open(t.Context(), serve(t, h), whole)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		_, err = io.ReadAll(b)
		if fault.ClassOf(err) != fault.Retry || err == nil {
			t.Errorf("%s: %v", name, err)
		}
		_ = b.Close()
	}
}

// A source that drips is as good as a silent one, however long it drips.
func TestDrippingSourceIsCutOff(t *testing.T) {
	link := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "1000000")
		for r.Context().Err() == nil {
			_, _ = w.Write([]byte{1})
			_ = http.NewResponseController(w).Flush()
			time.Sleep(5 * time.Millisecond)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	b, err := newClient(t).Open(ctx, link, whole)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	got, err := io.ReadAll(b)
	if !errors.Is(err, errStalled) || fault.ClassOf(err) != fault.Retry || len(got) == 0 {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// A caller that takes its time over a source that does not is no stall.
func TestSlowReaderIsNoStall(t *testing.T) {
	file := bytes.Repeat([]byte("0123456789"), 100_000)
	link := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(file) })
	b, err := newClient(t, func(o *Options) { o.StallTimeout = 100 * time.Millisecond }).Open(t.Context(), link, whole)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	var got []byte
	for p := make([]byte, 1000); err == nil; { // less than has to come within the timeout
		var n int
		n, err = b.Read(p)
		if got = append(got, p[:n]...); len(got) < 5000 {
			time.Sleep(50 * time.Millisecond)
		}
	}
	if !errors.Is(err, io.EOF) || !bytes.Equal(got, file) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

func TestSilentSourceIsCutOff(t *testing.T) {
	link := serve(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	_, err := newClient(t).Open(t.Context(), link, whole)
	if fault.ClassOf(err) != fault.Retry || err == nil || !strings.Contains(err.Error(), "timeout awaiting response headers") {
		t.Errorf("got %v", err)
	}
}
