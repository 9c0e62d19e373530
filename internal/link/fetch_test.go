package link

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/net/dns/dnsmessage"

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

func TestRedirects(t *testing.T) {
	var referers []string
	mux := http.NewServeMux()
	mux.HandleFunc("/{n}", func(w http.ResponseWriter, r *http.Request) {
		referers = append(referers, r.Referer())
		if r.PathValue("n") == "0" {
			_, _ = w.Write([]byte("clip"))
			return
		}
		var n int
		_, _ = fmt.Sscan(r.PathValue("n"), &n)
		http.Redirect(w, r, fmt.Sprintf("/%d", n-1), http.StatusFound)
	})
	mux.HandleFunc("/to", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", r.URL.Query().Get("u"))
		w.WriteHeader(http.StatusFound)
	})
	link := serve(t, mux.ServeHTTP)
	b, err := newClient(t).Open(t.Context(), link+"/5?sig=SECRET", whole)
	if err != nil {
		t.Fatal(err)
	}
	_ = b.Close()
	if got := strings.Join(referers, ""); got != "" {
		t.Errorf("referrers leak the link: %q", got)
	}
	for bad, hint := range map[string]string{
		"/6": wrongHint, "/to?u=http://169.254.169.254/latest/meta-data": allowHint, "/to?u=file:///etc/passwd": wrongHint,
		"/to?u=http://user:pw@127.0.0.1/": wrongHint, "/to?u=gopher://127.0.0.1:70/": wrongHint,
	} {
		_, err := newClient(t).Open(t.Context(), link+bad, whole)
		if fault.ClassOf(err) != fault.LinkExpired || !errors.Is(err, ErrUnusable) || !strings.Contains(fault.SentenceOf(err), hint) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func TestHostileLinks(t *testing.T) {
	c := newClient(t, func(o *Options) { o.AllowedCIDRs = nil })
	for _, link := range []string{
		"http://127.0.0.1/", "http://localhost/", "http://127.1/", "http://0.0.0.0/", "http://10.1.2.3/", "http://172.16.0.1/",
		"http://192.168.1.1/", "http://169.254.169.254/latest/meta-data/", "http://100.64.0.1/", "http://192.0.0.170/",
		"http://198.18.0.1/", "http://224.0.0.1/", "http://255.255.255.255/", "http://[::1]/", "http://[::]/",
		"http://[::ffff:127.0.0.1]/", "http://[::ffff:169.254.169.254]/", "http://[64:ff9b::7f00:1]/", "http://[2002:7f00:1::]/",
		"http://[2001::1]/", "http://[fc00::1]/", "http://[fe80::1%25lo]/", "http://[fd00:ec2::254]/", "http://[ff02::1]/",
		"http://1.1.1.1:8080/", "https://1.1.1.1:22/", "http://1.1.1.1:6379/",
		"ftp://1.1.1.1/", "file:///etc/passwd", "http://user@1.1.1.1/", "http:///x", "", "::", "//1.1.1.1/x", "javascript:1", "http://[::1",
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		_, err := c.Open(ctx, link, whole)
		cancel()
		// a form that the resolver doesn't take as an address is a name that isn't found
		notFound := link == "http://127.1/" && fault.ClassOf(err) == fault.Retry
		if err == nil || (!errors.Is(err, ErrUnusable) || fault.ClassOf(err) != fault.LinkExpired) && !notFound {
			t.Errorf("%s: %v", link, err)
		}
	}
}

// A name that answers with a good address first and with a bad one later is
// judged by the address that is dialed.
func TestRebinding(t *testing.T) {
	link := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Connection", "close") })
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(link, "http://"))
	var bad atomic.Bool
	resolver := &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		client, server := net.Pipe()
		addr := [4]byte{127, 0, 0, 1}
		if bad.Load() {
			addr = [4]byte{169, 254, 169, 254}
		}
		go answerDNS(server, addr)
		return client, nil
	}}
	c := newClient(t, func(o *Options) { o.Resolver = resolver })
	open := func() error {
		b, err := c.Open(t.Context(), "http://clips.example:"+port+"/", whole)
		if err == nil {
			_ = b.Close()
		}
		return err
	}
	if err := open(); err != nil {
		t.Fatal(err)
	}
	bad.Store(true)
	if err := open(); !errors.Is(err, ErrUnusable) {
		t.Errorf("got %v", err)
	}
}

// A name with addresses of both kinds is not refused because a good one does not
// answer just now.
func TestMixedAddresses(t *testing.T) {
	dead := httptest.NewServer(nil)
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(dead.URL, "http://"))
	dead.Close()
	link := serve(t, func(http.ResponseWriter, *http.Request) {})
	_, alive, _ := net.SplitHostPort(strings.TrimPrefix(link, "http://"))
	good, bad := [4]byte{127, 0, 0, 1}, [4]byte{127, 0, 0, 2}
	for name, c := range map[string]struct {
		port  string
		addrs [][4]byte
		want  fault.Class
	}{
		"bad, then dead":  {port, [][4]byte{bad, good}, fault.Retry},
		"dead, then bad":  {port, [][4]byte{good, bad}, fault.Retry},
		"bad, then alive": {alive, [][4]byte{bad, bad, good}, ""},
		"bad alone":       {alive, [][4]byte{bad, bad}, fault.LinkExpired},
	} {
		resolver := &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
			client, server := net.Pipe()
			go answerDNS(server, c.addrs...)
			return client, nil
		}}
		b, err := newClient(t, func(o *Options) {
			o.Resolver, o.AllowedCIDRs = resolver, []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
		}).Open(t.Context(), "http://clips.example:"+c.port+"/", whole)
		if err == nil {
			_ = b.Close()
		}
		if (err == nil) != (c.want == "") || (err != nil && fault.ClassOf(err) != c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// answerDNS answers one question over a stream: A records for A, nothing for others.
func answerDNS(conn net.Conn, addrs ...[4]byte) {
	defer conn.Close()
	var n [2]byte
	if _, err := io.ReadFull(conn, n[:]); err != nil {
		return
	}
	q := make([]byte, int(n[0])<<8|int(n[1]))
	if _, err := io.ReadFull(conn, q); err != nil {
		return
	}
	var m dnsmessage.Message
	if err := m.Unpack(q); err != nil {
		return
	}
	m.Response, m.Additionals = true, nil
	if m.Questions[0].Type == dnsmessage.TypeA {
		for _, addr := range addrs {
			m.Answers = append(m.Answers, dnsmessage.Resource{
				Header: dnsmessage.ResourceHeader{Name: m.Questions[0].Name, Class: dnsmessage.ClassINET},
				Body:   &dnsmessage.AResource{A: addr},
			})
		}
	}
	b, err := m.Pack()
	if err != nil {
		return
	}
	_, _ = conn.Write(append([]byte{byte(len(b) >> 8), byte(len(b))}, b...))
}

// No error says more of a link than its host.
func TestErrorsKeepSecrets(t *testing.T) {
	dead := httptest.NewServer(nil)
	dead.Close()
	mux := http.NewServeMux()
	mux.HandleFunc("/loop", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/loop?sig=SECRET", http.StatusFound)
	})
	mux.HandleFunc("/bad", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", "http://host:badport/?sig=SECRET")
		w.WriteHeader(http.StatusFound)
	})
	mux.HandleFunc("/cut", func(w http.ResponseWriter, _ *http.Request) { panic(http.ErrAbortHandler) })
	link := serve(t, mux.ServeHTTP)
	for _, l := range []string{
		dead.URL + "/?sig=SECRET", link + "/loop?sig=SECRET", link + "/bad?sig=SECRET", link + "/cut?sig=SECRET",
		link + "/none?sig=SECRET", "http://u:SECRET@h/", "http://h:port/?sig=SECRET", "https://" + strings.TrimPrefix(link, "http://") + "/?sig=SECRET",
	} {
		_, err := newClient(t).Open(t.Context(), l, whole)
		if err == nil || strings.Contains(err.Error(), "SECRET") || strings.Contains(fault.SentenceOf(err), "SECRET") {
			t.Errorf("%s: %v", l, err)
		}
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
