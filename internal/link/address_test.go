package link

import (
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

	"golang.org/x/net/dns/dnsmessage"

	"github.com/clipferry/clipferry/internal/fault"
)

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
		"ftp://1.1.1.1/", "file:///etc/passwd", "http://user@1.1.1.1/", "http:///x", "", "::", "//", "//127.0.0.1/x", "javascript:1", "http://[::1",
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

// A link without a scheme is one of the page that it is on, which comes over TLS.
func TestALinkWithoutASchemeIsHTTPS(t *testing.T) {
	u, err := parseLink("//cdn.example/a.mp4?s=1")
	if err != nil || u.String() != "https://cdn.example/a.mp4?s=1" {
		t.Errorf("%v, %v", u, err)
	}
	if u, err := parseLink("cdn.example/a.mp4"); err == nil {
		t.Errorf("%v", u)
	}
}
