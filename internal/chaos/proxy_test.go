package main

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// echo is a server that says everything back.
func echo(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = c.Close() }()
				_, _ = io.Copy(c, c)
			}()
		}
	}()
	return l.Addr().String()
}

// say sends a word and returns what comes back within the time.
func say(c net.Conn, word string, within time.Duration) (string, error) {
	_ = c.SetDeadline(time.Now().Add(within))
	if _, err := io.WriteString(c, word); err != nil {
		return "", err
	}
	answer := make([]byte, len(word))
	_, err := io.ReadFull(c, answer)
	return string(answer), err
}

func TestTheWireStallsDelaysAndBreaks(t *testing.T) {
	w, err := newWire(echo(t))
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	c, err := net.Dial("tcp", w.addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got, err := say(c, "one", time.Minute); got != "one" {
		t.Fatalf("%q, %v", got, err)
	}
	w.set(delay)
	began := time.Now()
	if got, err := say(c, "two", time.Minute); got != "two" || time.Since(began) < 2*lag {
		t.Errorf("%q, %v after %s", got, err, time.Since(began))
	}
	w.set(stall)
	var timeout net.Error
	if got, err := say(c, "three", 200*time.Millisecond); !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("%q, %v while it stalls", got, err)
	}
	w.set(pass)
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	late := make([]byte, len("three"))
	if _, err := io.ReadFull(c, late); string(late) != "three" {
		t.Errorf("%q, %v: what stalled is to arrive", late, err)
	}
	w.set(reset)
	if got, err := say(c, "four", time.Minute); err == nil {
		t.Errorf("%q through a broken connection", got)
	}
	fresh, err := net.Dial("tcp", w.addr())
	if err == nil {
		defer fresh.Close()
		if got, err := say(fresh, "five", time.Minute); err == nil {
			t.Errorf("%q through a new connection while all break", got)
		}
	}
	w.set(pass)
	again, err := net.Dial("tcp", w.addr())
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if got, err := say(again, "six", time.Minute); got != "six" {
		t.Errorf("%q, %v after the end of it", got, err)
	}
}

func TestTheGatewayMisbehavesAsOrdered(t *testing.T) {
	var whole, begun atomic.Int64
	behind := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begun.Add(1)
		if body, err := io.ReadAll(r.Body); err == nil && len(body) == 1000 {
			whole.Add(1)
		}
	}))
	defer behind.Close()
	g, err := newGateway(behind.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer g.close()
	for _, c := range []struct {
		mode          mode
		status        int // 0: the connection breaks
		begun, arrive int64
	}{
		{pass, 200, 1, 1},
		{delay, 200, 1, 1},
		{fail500, 500, 0, 0},
		{slowDown, 503, 0, 0},
		{reset, 0, 0, 0},
		{lost, 0, 1, 1},
		{cut, 0, 1, 0},
	} {
		t.Run(string(c.mode), func(t *testing.T) {
			whole.Store(0)
			begun.Store(0)
			g.set(c.mode, 1)
			client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
			// A PUT with a body is not sent again by net/http itself.
			resp, err := client.Post(g.url(), "text/plain", strings.NewReader(strings.Repeat("x", 1000)))
			status := 0
			if err == nil {
				status = resp.StatusCode
				_ = resp.Body.Close()
			}
			if status != c.status || whole.Load() != c.arrive || begun.Load() > c.begun {
				t.Errorf("status %d (%v), %d of %d requests arrived whole", status, err, whole.Load(), begun.Load())
			}
		})
	}
	g.set(stall, 1)
	client := &http.Client{Timeout: 200 * time.Millisecond, Transport: &http.Transport{DisableKeepAlives: true}}
	if resp, err := client.Get(g.url()); err == nil {
		_ = resp.Body.Close()
		t.Error("an answer while it stalls")
	}
}
