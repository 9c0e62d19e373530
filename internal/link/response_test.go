package link

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/clipferry/clipferry/internal/fault"
)

// A header says nothing of the bytes: they come as they are, whatever it names.
func TestCodingsAreNotBelieved(t *testing.T) {
	for _, coding := range []string{"identity", "aws-chunked", "none", "utf-8", "binary", "gzip", "br", "aws-chunked, gzip"} {
		b, err := newClient(t).Open(t.Context(), serve(t, func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Accept-Encoding") != "identity" {
				t.Errorf("a coding was asked for: %v", r.Header)
			}
			w.Header().Set("Content-Encoding", coding)
			_, _ = w.Write([]byte("1234"))
		}), whole)
		if err != nil {
			t.Errorf("%s: %v", coding, err)
			continue
		}
		if got, err := io.ReadAll(b); string(got) != "1234" || err != nil {
			t.Errorf("%s: %q, %v", coding, got, err)
		}
		_ = b.Close()
	}
}

// A source may refuse ranges in any way; without one it may serve the file.
func TestRefusedRangesAreDoneWithout(t *testing.T) {
	for status, again := range map[int]bool{
		400: true, 403: true, 404: true, 405: true, 406: true, 412: true, 416: true, 501: true,
		408: false, 429: false, 500: false, 503: false,
	} {
		asked := 0
		link := serve(t, func(w http.ResponseWriter, r *http.Request) {
			asked++
			if r.Header.Get("Range") != "" {
				w.WriteHeader(status)
				return
			}
			_, _ = io.WriteString(w, "clip")
		})
		b, err := newClient(t).Open(t.Context(), link, whole)
		if (err == nil) != again {
			t.Errorf("%d: %v after %d requests", status, err, asked)
		}
		if err == nil {
			_ = b.Close()
		}
		if _, err := newClient(t).Open(t.Context(), link, Range{From: 2, To: -1}); err == nil {
			t.Errorf("%d: a range in the middle is no such question", status)
		}
	}
}

func TestTextsAroundALink(t *testing.T) {
	link := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.RequestURI != "/clip.mp4?sig=1" {
			t.Errorf("asked for %q", r.RequestURI)
		}
	})
	for _, text := range []string{"%s\n", "  %s", "\t%s\r\n", "\u00a0%s\u2003"} {
		b, err := newClient(t).Open(t.Context(), fmt.Sprintf(text, link+"/clip.mp4?sig=1"), whole)
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		_ = b.Close()
	}
}

// Who reaches the world through a proxy alone reads why no link works.
func TestAProxyIsNamed(t *testing.T) {
	defer func(was func(*http.Request) (*url.URL, error)) { proxyFor = was }(proxyFor)
	proxyFor = func(*http.Request) (*url.URL, error) { return url.Parse("http://proxy.example:3128") }
	closed := httptest.NewServer(nil)
	closed.Close()
	_, err := newClient(t).Open(t.Context(), closed.URL, whole)
	if !strings.Contains(fault.SentenceOf(err), "never through the proxy") || fault.ClassOf(err) != fault.Retry {
		t.Errorf("%v", fault.SentenceOf(err))
	}
}

// A proxy that changed something says 203; whether it is the file, the bytes tell.
func TestNonAuthoritativeIsASuccess(t *testing.T) {
	b, err := newClient(t).Open(t.Context(), serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusNonAuthoritativeInfo)
		_, _ = io.WriteString(w, "clip")
	}), whole)
	if err != nil {
		t.Fatal(err)
	}
	_ = b.Close()
}
