package httpapi

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// TestIdleConnectionsKeepNobodyOut: connections without a request, or between two,
// give way to new ones, and there are never more than the limit.
func TestIdleConnectionsKeepNobodyOut(t *testing.T) {
	const limit = 8
	sv := serveSlowly(t, func(s *Server) {
		s.MaxConnections = limit
		s.Handler = http.HandlerFunc(serveNothing)
	})
	addr := strings.TrimPrefix(sv.url, "http://")
	var idle []net.Conn
	for i := range 50 {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		if i%2 == 0 { // one request, then nothing more
			fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
			_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
			if _, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil {
				t.Fatalf("connection %d: %v", i, err)
			}
		}
		idle = append(idle, conn)
	}
	client := http.Client{Timeout: 5 * time.Second}
	defer client.CloseIdleConnections()
	resp, err := client.Get(sv.url + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	open := 0
	for _, conn := range idle {
		_ = conn.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
			open++
		}
	}
	if open >= limit {
		t.Errorf("%d of %d idle connections are still open", open, len(idle))
	}
}

func serveNothing(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }

// TestRequestsUnderWayAreNotCutForNewConnections: only what is quiet gives way.
func TestRequestsUnderWayAreNotCutForNewConnections(t *testing.T) {
	sv := serveSlowly(t, func(s *Server) { s.MaxConnections = 4 })
	first := sv.get()
	<-sv.arrived
	for range 20 {
		conn, err := net.Dial("tcp", strings.TrimPrefix(sv.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	close(sv.letGo)
	if got := <-first; got != "done" {
		t.Error(got)
	}
}

func TestTheLimitIsAShareOfTheFiles(t *testing.T) {
	files, known := openFiles()
	got := defaultMaxConnections()
	if got < minConnections || got > maxConnections || known && files >= 64 && uint64(got) > files/connectionShare {
		t.Errorf("%d connections of %d files", got, files)
	}
}
