package archiveui

import (
	"net/http"
	"net/http/cookiejar"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/clipferry/clipferry/storage"
)

func TestWhoMayLook(t *testing.T) {
	news := "news"
	s := newSite(t, func(o *Options) {
		o.Keys = []Key{{Credential{"news", "key-of-the-news-desk"}, &news}, {Credential{"ops", "key-of-an-admin-here"}, nil}}
	})
	s.add("news.1", "p", []clipOf{{Title: "Of the news"}}, ofTenant("news"))
	s.add("sport.1", "p", []clipOf{{Title: "Of sports"}}, ofTenant("sport"))
	basic := func(user, password string) []string {
		r, _ := http.NewRequest(http.MethodGet, "/", nil)
		r.SetBasicAuth(user, password)
		return []string{"Authorization", r.Header.Get("Authorization")}
	}
	for _, c := range []struct {
		who         string
		header      []string
		all         int
		news, sport int
	}{
		{"nobody", nobody, 401, 401, 401},
		{"a user", basic("mia", password), 200, 200, 200},
		{"a wrong password", basic("mia", password+"x"), 401, 401, 401},
		{"a wrong name", basic("ben", password), 401, 401, 401},
		{"no name", basic("", password), 401, 401, 401},
		{"a tenant", basic("news", "key-of-the-news-desk"), 200, 200, 404},
		{"a tenant's key", []string{"Authorization", "Bearer key-of-the-news-desk"}, 200, 200, 404},
		{"an admin's key", []string{"Authorization", "Bearer key-of-an-admin-here"}, 200, 200, 200},
		{"a user's password as a key", []string{"Authorization", "Bearer " + password}, 401, 401, 401},
		{"a header of nobody's proxy", append(nobody, "X-Forwarded-User", "mia"), 401, 401, 401},
		{"another scheme", []string{"Authorization", "Digest x"}, 401, 401, 401},
	} {
		s.pass(2 * time.Minute) // which forgives wrong logins
		for path, want := range map[string]int{
			"/archive/": c.all, "/archive/exports/news.1": c.news, "/archive/exports/sport.1": c.sport, "/archive/exports/sport.1/0": c.sport,
			"/archive/exports/sport.1/zip": c.sport, "/archive/exports/sport.1/0/share": c.sport, "/archive/exports/sport.1/share": c.sport,
			"/archive/nothing": map[bool]int{true: 401, false: 404}[c.all == 401],
		} {
			resp, body := s.get(path, c.header...)
			if resp.StatusCode != want {
				t.Errorf("%s: %s: %d, want %d", c.who, path, resp.StatusCode, want)
			}
			if want == 401 && (resp.Header.Get("WWW-Authenticate") == "" || !strings.Contains(body, "Sign in")) {
				t.Errorf("%s: %s: no way to sign in", c.who, path)
			}
			if (want == 401 || c.sport == 404) && strings.Contains(body, "Of sports") {
				t.Errorf("%s: %s shows what it must not", c.who, path)
			}
		}
		want := map[int]int{200: 302, 401: 401, 404: 404}[c.sport]
		for _, file := range []string{"play", "poster", "download"} {
			if resp, _ := s.get("/archive/exports/sport.1/0/"+file, c.header...); resp.StatusCode != want {
				t.Errorf("%s: %s: %d, want %d", c.who, file, resp.StatusCode, want)
			}
		}
	}
	if got := s.log.String(); strings.Contains(got, password) || strings.Contains(got, "key-of") || !strings.Contains(got, "wrong login to the archive") {
		t.Errorf("log:\n%s", got)
	}
}

// A browser gets our form, not its own prompt.
func TestSignIn(t *testing.T) {
	s := newSite(t)
	s.add("e", "p", []clipOf{{Title: "A clip"}})
	jar, _ := cookiejar.New(nil)
	client := &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	send := func(method, path string, form url.Values, header ...string) *http.Response {
		t.Helper()
		req, _ := http.NewRequestWithContext(t.Context(), method, s.URL+path, strings.NewReader(form.Encode()))
		req.Header.Set("Accept", "text/html")
		if form != nil {
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		for i := 0; i+1 < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		return resp
	}
	if resp := send("GET", "/archive/exports/e", nil); resp.StatusCode != 401 || resp.Header.Get("WWW-Authenticate") != "" {
		t.Errorf("without a login: %d, %q", resp.StatusCode, resp.Header.Get("WWW-Authenticate"))
	}
	login := func(name, password, next string) *http.Response {
		return send("POST", "/archive/login", url.Values{"name": {name}, "password": {password}, "next": {next}})
	}
	if resp := login("mia", "wrong", "/archive/"); resp.StatusCode != 401 || len(resp.Cookies()) > 0 {
		t.Errorf("a wrong password: %d", resp.StatusCode)
	}
	if resp := send("POST", "/archive/login", url.Values{"name": {"mia"}, "password": {password}}, "Sec-Fetch-Site", "cross-site"); resp.StatusCode != 403 {
		t.Errorf("from another site: %d", resp.StatusCode)
	}
	resp := login("mia", password, "/archive/exports/e?x=1")
	if resp.StatusCode != 303 || resp.Header.Get("Location") != "/archive/exports/e?x=1" {
		t.Fatalf("signed in: %d, to %s", resp.StatusCode, resp.Header.Get("Location"))
	}
	cookie := resp.Cookies()[0]
	if !cookie.HttpOnly || cookie.SameSite != http.SameSiteLaxMode || cookie.Path != "/archive/" {
		t.Errorf("cookie %+v", cookie)
	}
	if resp := send("GET", "/archive/exports/e", nil); resp.StatusCode != 200 {
		t.Errorf("with a session: %d", resp.StatusCode)
	}
	changed := []byte(cookie.Value)
	changed[3] ^= 1
	for what, value := range map[string]string{"changed": string(changed), "cut": cookie.Value[:20], "empty": "", "none": "x"} {
		if resp, _ := s.get("/archive/", append(nobody, "Cookie", sessionCookie+"="+value)...); resp.StatusCode != 401 {
			t.Errorf("a cookie that is %s: %d", what, resp.StatusCode)
		}
	}
	s.pass(sessionLifetime + time.Second)
	if resp := send("GET", "/archive/", nil); resp.StatusCode != 401 {
		t.Errorf("after its end: %d", resp.StatusCode)
	}
	for _, next := range []string{"https://evil.example/archive/", "//evil.example/archive/", "/monitor/", "/archive/login", "\\\\evil", "/archive/\\..\\", "javascript:alert(1)", ""} {
		if resp := login("mia", password, next); resp.Header.Get("Location") != "/archive/" {
			t.Errorf("next %q leads to %q", next, resp.Header.Get("Location"))
		}
	}
	if resp := send("POST", "/archive/logout", nil); resp.StatusCode != 303 {
		t.Errorf("signing out: %d", resp.StatusCode)
	}
	if resp := send("GET", "/archive/", nil); resp.StatusCode != 401 {
		t.Errorf("signed out: %d", resp.StatusCode)
	}
}

// A session ends with the password that it came from, on all servers.
func TestSessionsOfAChangedPassword(t *testing.T) {
	o := Options{Users: []Credential{{"mia", password}}, Secrets: []string{signingSecret}, Now: time.Now}
	r, _ := http.NewRequest(http.MethodGet, "/archive/", nil)
	a := newAuthenticator(o)
	cookie := a.session(r, &a.accounts[0])
	for _, c := range []struct {
		what   string
		change func(*Options)
		ok     bool
	}{
		{"another server", func(*Options) {}, true},
		{"a rotated secret", func(o *Options) { o.Secrets = []string{"another-one-" + signingSecret, signingSecret} }, true},
		{"another secret", func(o *Options) { o.Secrets = []string{"another-one-" + signingSecret} }, false},
		{"another password", func(o *Options) { o.Users = []Credential{{"mia", "another-password"}} }, false},
		{"no such user", func(o *Options) { o.Users = nil }, false},
	} {
		o := o
		c.change(&o)
		r, _ := http.NewRequest(http.MethodGet, "/archive/", nil)
		r.AddCookie(cookie)
		if _, ok := newAuthenticator(o).viewer(r); ok != c.ok {
			t.Errorf("%s: let in: %t", c.what, ok)
		}
	}
}

func TestAProxyNamesTheUser(t *testing.T) {
	s := newSite(t, func(o *Options) {
		o.Proxy = Proxy{Header: "X-Forwarded-User", From: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}}
	})
	for _, c := range []struct {
		from, user string
		ok         bool
	}{
		{"10.1.2.3:4000", "mia", true},
		{"[fd00::1]:4000", "mia", true},
		{"[::ffff:10.1.2.3]:4000", "mia", true},
		{"10.1.2.3:4000", "", false},
		{"192.168.1.1:4000", "mia", false},
		{"127.0.0.1:1", "mia", false},
		{"@", "mia", false},
	} {
		r, _ := http.NewRequest(http.MethodGet, "/archive/", nil)
		r.RemoteAddr = c.from
		r.Header.Set("X-Forwarded-User", c.user)
		if v, ok := s.ui.auth.viewer(r); ok != c.ok || ok && v.name != "mia" {
			t.Errorf("%s from %s: %t, %+v", c.user, c.from, ok, v)
		}
	}
}

func TestNobodyTriesPasswordsByTheThousand(t *testing.T) {
	s := newSite(t)
	try := func(password string) int {
		r, _ := http.NewRequest(http.MethodGet, "/", nil)
		r.SetBasicAuth("mia", password)
		resp, _ := s.get("/archive/", "Authorization", r.Header.Get("Authorization"))
		return resp.StatusCode
	}
	for n := range maxFailures {
		want := http.StatusUnauthorized
		if n == maxFailures-1 {
			want = http.StatusTooManyRequests
		}
		if got := try("wrong"); got != want {
			t.Fatalf("try %d: %d", n+1, got)
		}
	}
	if got := try(password); got != http.StatusTooManyRequests {
		t.Errorf("the right one after too many wrong ones: %d", got)
	}
	s.pass(time.Minute)
	if got := try(password); got != http.StatusOK {
		t.Errorf("a minute later: %d", got)
	}
}

// Many people come from the address of one proxy. Whoever tries passwords there shuts
// out nobody else: neither another user, nor another address behind a proxy that is
// known, nor a browser that was signed in before.
func TestWrongLoginsShutOutNobodyElse(t *testing.T) {
	s := newSite(t, func(o *Options) {
		o.Users = []Credential{{"mia", password}, {"ben", password + "2"}}
		o.Keys = []Key{{Credential{"news", "key-of-the-news-desk"}, new(string)}}
		o.Proxy.From = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	})
	request := func(from, forwarded string) *http.Request {
		r, _ := http.NewRequest(http.MethodGet, "/archive/", nil)
		r.RemoteAddr = from + ":4000"
		if forwarded != "" {
			r.Header.Set("X-Forwarded-For", forwarded)
		}
		return r
	}
	in := func(r *http.Request, name, password string) bool {
		r.SetBasicAuth(name, password)
		_, ok := s.ui.auth.viewer(r)
		return ok
	}
	was := s.ui.auth.session(request("10.1.1.1", "203.0.113.9"), &s.ui.auth.accounts[0])
	s.pass(sessionLifetime + time.Minute)
	for range maxFailures {
		in(request("10.1.1.1", "198.51.100.1, 203.0.113.9"), "mia", "wrong")
		in(request("10.1.1.1", "203.0.113.9"), "nobody", "wrong")
	}
	known := request("10.1.1.1", "203.0.113.9")
	known.AddCookie(was)
	bearer := request("10.1.1.1", "203.0.113.9")
	bearer.Header.Set("Authorization", "Bearer key-of-the-news-desk")
	_, keyWorks := s.ui.auth.viewer(bearer)
	for what, c := range map[string]struct{ got, want bool }{
		"the right one after too many wrong ones":    {in(request("10.1.1.1", "203.0.113.9"), "mia", password), false},
		"the same by another proxy":                  {in(request("10.1.1.2", "203.0.113.9, 10.9.9.9"), "mia", password), false},
		"with an address of the client's own making": {in(request("10.1.1.1", "192.0.2.7, 203.0.113.9"), "mia", password), false},
		"another user":                            {in(request("10.1.1.1", "203.0.113.9"), "ben", password+"2"), true},
		"another address":                         {in(request("10.1.1.1", "203.0.113.10"), "mia", password), true},
		"an address with a port":                  {in(request("10.1.1.1", "203.0.113.11:500"), "mia", password), true},
		"from elsewhere, the header says nothing": {in(request("192.0.2.1", "203.0.113.9"), "mia", password), true},
		"a browser that was signed in":            {in(known, "mia", password), true},
		"a key":                                   {keyWorks, true},
	} {
		if c.got != c.want {
			t.Errorf("%s: let in: %t", what, c.got)
		}
	}
	for range maxFailures { // such a browser is limited, too
		in(known, "mia", "wrong")
	}
	if in(known, "mia", password) {
		t.Error("a browser that was signed in may try as many passwords as it likes")
	}
}

func ofTenant(tenant string) func(*storage.Manifest) {
	return func(m *storage.Manifest) { m.Tenant = tenant }
}
