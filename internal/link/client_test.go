package link

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/clipferry/clipferry/internal/fault"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}

func newClient(t *testing.T, change ...func(*Options)) *Client {
	t.Helper()
	o := Options{AllowedCIDRs: loopback, StallTimeout: 300 * time.Millisecond}
	for _, c := range change {
		c(&o)
	}
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func serve(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

var whole = Range{From: 0, To: -1}

func TestOpenRange(t *testing.T) {
	file := []byte("0123456789")
	var got atomic.Value
	link := serve(t, func(w http.ResponseWriter, r *http.Request) {
		got.Store(r.Clone(context.Background()))
		w.Header().Set("ETag", `"v1"`)
		http.ServeContent(w, r, "clip.mp4", time.Time{}, bytes.NewReader(file))
	})
	c := newClient(t)
	for _, tc := range []struct {
		rg   Range
		want string
		from int64
	}{
		{whole, "0123456789", 0},
		{Range{From: 4, To: -1}, "456789", 4},
		{Range{From: 4, To: 6, IfRange: `"v1"`}, "456", 4},
		{Range{From: 8, To: 100}, "89", 8},
		{Range{From: 4, To: 6, IfRange: `"v0"`}, "0123456789", 0},
	} {
		b, err := c.Open(t.Context(), link, tc.rg)
		if err != nil {
			t.Fatal(err)
		}
		all, err := io.ReadAll(b)
		if err != nil || string(all) != tc.want || b.From != tc.from || b.Info.Size != 10 || b.Info.Validator() != `"v1"` {
			t.Errorf("%+v: %q, %v, from %d, %+v", tc.rg, all, err, b.From, b.Info)
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}
	r := got.Load().(*http.Request)
	if r.Method != "GET" || r.Header.Get("Accept-Encoding") != "identity" || r.Header.Get("If-Range") != `"v0"` || r.ProtoMajor != 1 {
		t.Errorf("asked %s %s %v", r.Method, r.Proto, r.Header)
	}
}

// Every status has one class.
func TestStatuses(t *testing.T) {
	for status, want := range map[int]fault.Class{
		403: fault.LinkExpired, 404: fault.LinkExpired, 410: fault.LinkExpired, 400: fault.LinkExpired, 401: fault.LinkExpired,
		500: fault.Retry, 503: fault.Retry, 429: fault.Retry, 408: fault.Retry, 416: fault.Retry, 204: fault.Retry,
		405: fault.Retry, 501: fault.Retry,
	} {
		link := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(status)
		})
		_, err := newClient(t).Open(t.Context(), link+"/clip.mp4?sig=SECRET", whole)
		if fault.ClassOf(err) != want {
			t.Errorf("%d: %v", status, err)
		}
		if (status == 429 || status == 503) && fault.RetryAfterOf(err) != 7*time.Second {
			t.Errorf("%d: retry after %s", status, fault.RetryAfterOf(err))
		}
		if (status == 416) != errors.Is(err, ErrChanged) {
			t.Errorf("%d: changed: %v", status, err)
		}
	}
}

// Answers that contradict what was asked, or themselves.
func TestWrongAnswers(t *testing.T) {
	for name, h := range map[string]http.HandlerFunc{
		"another range": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Range", "bytes 1-4/10")
			w.WriteHeader(206)
		},
		"no range": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(206) },
		"unknown total": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Range", "bytes 0-4/*")
			w.WriteHeader(206)
		},
		"shorter than its range": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Range", "bytes 0-9/10")
			w.Header().Set("Content-Length", "4")
			w.WriteHeader(206)
			_, _ = w.Write([]byte("1234"))
		},
		"multipart": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "multipart/byteranges; boundary=x")
			w.WriteHeader(206)
		},
	} {
		_, err := newClient(t).Open(t.Context(), serve(t, h), whole)
		if !errors.Is(err, ErrContent) || fault.ClassOf(err) != fault.Retry {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A source that answers ranges in its own way is asked for the file without one.
func TestOddRangesAreDoneWithout(t *testing.T) {
	file := "0123456789"
	for name, span := range map[string]string{"a piece at a time": "bytes 0-3/10", "no total": "bytes 0-3/*", "no range": ""} {
		asked := 0
		link := serve(t, func(w http.ResponseWriter, r *http.Request) {
			asked++
			w.Header().Set("ETag", `"v1"`)
			if r.Header.Get("Range") == "" {
				_, _ = io.WriteString(w, file)
				return
			}
			if span != "" {
				w.Header().Set("Content-Range", span)
			}
			w.WriteHeader(http.StatusPartialContent)
			_, _ = io.WriteString(w, file[:4])
		})
		b, err := newClient(t).Open(t.Context(), link, whole)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got, err := io.ReadAll(b)
		_ = b.Close()
		if err != nil || string(got) != file || b.Info.Ranges || b.Info.Size != 10 || asked != 2 {
			t.Errorf("%s: %q, %v, %+v, after %d requests", name, got, err, b.Info, asked)
		}
		// a range in the middle is no such question
		if _, err := newClient(t).Open(t.Context(), link, Range{From: 4, To: -1, IfRange: `"v1"`}); !errors.Is(err, ErrContent) {
			t.Errorf("%s: from the middle: %v", name, err)
		}
	}
}

func TestTooLarge(t *testing.T) {
	small := func(o *Options) { o.MaxSize = 5 }
	announced := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Length", "6") })
	_, err := newClient(t, small).Open(t.Context(), announced, whole)
	if fault.ClassOf(err) != fault.Terminal {
		t.Errorf("announced: %v", err)
	}
	unannounced := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("123"))
		w.(http.Flusher).Flush()
		_, _ = w.Write([]byte("456"))
	})
	b, err := newClient(t, small).Open(t.Context(), unannounced, whole)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if _, err = io.ReadAll(b); fault.ClassOf(err) != fault.Terminal {
		t.Errorf("unannounced: %v", err)
	}
}

func TestHugeHeadersAreRefused(t *testing.T) {
	link := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Big", strings.Repeat("x", 2*maxHeaderBytes))
	})
	if _, err := newClient(t).Open(t.Context(), link, whole); fault.ClassOf(err) != fault.Retry || err == nil {
		t.Errorf("got %v", err)
	}
}

func TestOptions(t *testing.T) {
	for name, o := range map[string]Options{
		"size": {MaxSize: -1}, "timeout": {StallTimeout: -1}, "prefix": {AllowedCIDRs: []netip.Prefix{{}}},
	} {
		if _, err := New(o); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
