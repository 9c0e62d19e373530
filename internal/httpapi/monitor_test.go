package httpapi

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/clipferry/clipferry/tasks"
	"github.com/hibiken/asynq"
)

const (
	loopbackHost = "127.0.0.1"
	queuesPath   = "/monitor/api/queues"
)

// TestWhoSeesTheMonitor goes through every way to ask for it.
func TestWhoSeesTheMonitor(t *testing.T) {
	open := Monitor{Loopback: true, Open: true}
	with := Monitor{Username: "ops", Password: "hunter2-hunter2"}
	for what, c := range map[string]struct {
		monitor Monitor
		headers []string
		host    string
		want    int
	}{
		"no credentials, public address": {Monitor{Open: true}, nil, loopbackHost, 403},
		"no credentials, not opened":     {Monitor{Loopback: true}, nil, loopbackHost, 403},
		"opened":                         {open, nil, loopbackHost, 200},
		"opened, by another name":        {open, nil, "evil.example.com", 403},
		"opened, a browser":              {open, []string{"Sec-Fetch-Site", "none", "Accept-Language", "en", "Upgrade-Insecure-Requests", "1", "Cache-Control", "no-cache"}, loopbackHost, 200},
		"opened, a proxy":                {open, []string{"X-Forwarded-For", "203.0.113.7"}, loopbackHost, 403},
		"opened, an empty header first":  {open, []string{"X-Forwarded-For", ""}, loopbackHost, 403},
		"opened, a proxy's own spelling": {open, []string{"X_Forwarded_For", "203.0.113.7"}, loopbackHost, 403},
		"opened, a proxy's request id":   {open, []string{"X-Request-Id", "1"}, loopbackHost, 403},
		"opened, a content network":      {open, []string{"Cf-Connecting-Ip", "203.0.113.7"}, loopbackHost, 403},
		"credentials, none given":        {with, nil, loopbackHost, 401},
		"credentials, given":             {with, []string{"Authorization", basic("ops", "hunter2-hunter2")}, "clips.example.com", 200},
		"wrong password":                 {with, []string{"Authorization", basic("ops", "hunter3-hunter3")}, loopbackHost, 401},
		"wrong user":                     {with, []string{"Authorization", basic("root", "hunter2-hunter2")}, loopbackHost, 401},
		"the API's key":                  {with, []string{"Authorization", "Bearer " + webSecret}, loopbackHost, 401},
		"loopback with credentials": {
			Monitor{Username: "ops", Password: "hunter2-hunter2", Loopback: true}, nil, loopbackHost, 401,
		},
	} {
		t.Run(what, func(t *testing.T) {
			f := newFixture(t, func(o *Options) {
				rdb := o.Monitor.Redis
				o.Monitor = c.monitor
				o.Monitor.Redis = rdb
				if o.Monitor.Open {
					o.Keys, o.Secrets = nil, nil
				}
			})
			req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, f.URL+queuesPath, nil)
			req.Host = c.host
			for i := 0; i+1 < len(c.headers); i += 2 {
				req.Header.Set(c.headers[i], c.headers[i+1])
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != c.want || (c.want == 401) != (resp.Header.Get("WWW-Authenticate") != "") {
				t.Errorf("%s, WWW-Authenticate %q", resp.Status, resp.Header.Get("WWW-Authenticate"))
			}
		})
	}
}

// openMonitor shows Asynqmon without credentials, which rules the API out.
func openMonitor(o *Options) {
	o.Monitor.Loopback, o.Monitor.Open = true, true
	o.Keys, o.Secrets = nil, nil
}

// TestTheMonitorIsNeverOpenBesideTheAPI: who has a public address or keys has a
// proxy or clients, and no browser of the same machine is meant.
func TestTheMonitorIsNeverOpenBesideTheAPI(t *testing.T) {
	for what, change := range map[string]func(*Options){
		"a public URL": func(o *Options) { o.PublicURL = "https://clips.example.com" },
		"API keys":     func(o *Options) { o.Keys, o.Secrets = []Key{{Name: "web", Secret: webSecret}}, []string{signingSecret} },
	} {
		o := Options{Logger: slog.New(slog.DiscardHandler), Monitor: Monitor{Loopback: true, Open: true}}
		change(&o)
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), "monitor: open") {
			t.Errorf("beside %s: %v", what, err)
		}
	}
}

// TestAProxyThatDoesNotSayItIsOne: nginx, left as it comes, names our address as
// the host and adds no header, but speaks HTTP/1.0, which no browser does.
func TestAProxyThatDoesNotSayItIsOne(t *testing.T) {
	f := newFixture(t, openMonitor)
	for proto, want := range map[string]string{"HTTP/1.0": "403", "HTTP/1.1": "200"} {
		conn, err := net.Dial("tcp", f.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "GET %s %s\r\nHost: %s\r\nConnection: close\r\n\r\n", queuesPath, proto, loopbackHost)
		answer, err := io.ReadAll(conn)
		conn.Close()
		if err != nil || !strings.HasPrefix(string(answer), proto+" "+want) {
			t.Errorf("%s: %.60s %v", proto, answer, err)
		}
	}
}

func basic(user, password string) string {
	r := &http.Request{Header: http.Header{}}
	r.SetBasicAuth(user, password)
	return r.Header.Get("Authorization")
}

func TestTheMonitorIsReadOnlyUnlessAllowed(t *testing.T) {
	auth := basic("ops", "hunter2-hunter2")
	for _, writable := range []bool{false, true} {
		f := newFixture(t, func(o *Options) {
			o.Monitor.Username, o.Monitor.Password, o.Monitor.Writable = "ops", "hunter2-hunter2", writable
		})
		f.submit(`{"project_id":"p"}`)
		pause := queuesPath + "/clipferry-submit:pause"
		want := map[bool]int{false: 405, true: 204}[writable]
		if got := f.call("POST", pause, "", "Authorization", auth); got.status != want {
			t.Errorf("writable %v: %d %s", writable, got.status, got.body)
		}
		if got := f.call("POST", pause, "", "Authorization", auth, "Sec-Fetch-Site", "cross-site"); got.status != 403 {
			t.Errorf("another site's page: %d", got.status)
		}
		if got := f.call("POST", pause, "", "Authorization", auth, "Origin", "https://evil.example.com"); got.status != 403 {
			t.Errorf("another site's page in an old browser: %d", got.status)
		}
	}
}

// TestTheMonitorShowsPayloadsAndNoSecrets asks Asynqmon's own API.
func TestTheMonitorShowsPayloadsAndNoSecrets(t *testing.T) {
	auth := basic("ops", "hunter2-hunter2")
	f := newFixture(t, func(o *Options) { o.Monitor.Username, o.Monitor.Password = "ops", "hunter2-hunter2" })
	id := f.submit(`{"project_id":"proj_abc","resolution":"UHD_4K","notify":{"webhook":"https://hooks.example.com/T00/hush?token=hush"}}`)
	foreign := asynq.NewTask("mail:send", []byte(`{"to":"a@b.c","smtp":{"user":"u","password":"hush"},"link":"https://cdn.example.com/x.mp4?X-Amz-Signature=hush"}`))
	if _, err := asynq.NewClientFromRedisClient(f.rdb).Enqueue(foreign); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Tasks []struct{ ID, Payload string }
	}
	raw := f.call("GET", queuesPath+"/clipferry-submit/pending_tasks", "", "Authorization", auth).body
	if err := json.Unmarshal([]byte(raw), &got); err != nil || len(got.Tasks) != 1 {
		t.Fatalf("%s (%v)", raw, err)
	}
	if want := `{"project_id":"proj_abc","resolution":"UHD_4K","job_id":"` + id + `","tenant":"web","notify":{"webhook":"https://hooks.example.com/…"}}`; got.Tasks[0].Payload != want {
		t.Errorf("payload %s", got.Tasks[0].Payload)
	}
	raw += f.call("GET", queuesPath+"/default/pending_tasks", "", "Authorization", auth).body
	raw += f.call("GET", queuesPath+"/clipferry-submit/tasks/submit:"+id, "", "Authorization", auth).body
	if strings.Contains(raw, "hush") || !strings.Contains(raw, "mail:send") {
		t.Errorf("a secret is shown: %s", raw)
	}
}

func TestReadable(t *testing.T) {
	for in, want := range map[string]string{
		`{"b":1,"a":[true,null,1.50,"x"],"e":{}}`:              `{"b":1,"a":[true,null,1.50,"x"],"e":{}}`,
		"{\n  \"a\": 1\n}":                                     `{"a":1}`,
		`{"api_key":"k","Token":5,"secrets":{"a":["b",7]}}`:    `{"api_key":"[hidden]","Token":"[hidden]","secrets":{"a":["[hidden]","[hidden]"]}}`,
		`{"callback_url":"https://u:p@h.example/path?x#y"}`:    `{"callback_url":"https://h.example/…"}`,
		`{"u":"see https://u:p@h.example/a?b=c and <d>"}`:      `{"u":"see https://h.example/a?… and <d>"}`,
		`{"h":"Authorization: Bearer abcdefghijkl"}`:           `{"h":"Authorization: Bearer [hidden]"}`,
		`{"https://h/x?k=v":1}`:                                `{"https://h/x?…":1}`,
		`"redis://:hunter2@h:6379/0"`:                          `"redis://h:6379/0"`,
		"plain text, https://h/x?k=v":                          "plain text, https://h/x?…",
		"\x00\x01":                                             "2 bytes, not text",
		"\xff":                                                 "1 bytes, not text",
		"":                                                     "",
		`{"a":1}{"b":2}`:                                       `{"a":1}{"b":2}`,
		strings.Repeat("x", maxReadable+1):                     "65537 bytes, too many to show",
		`{"project_id":"p","ai_hook_keywords":"secret sauce"}`: `{"project_id":"p","ai_hook_keywords":"secret sauce"}`,
	} {
		if got := readable("t", []byte(in)); got != want {
			t.Errorf("%.80s\n got %s\nwant %s", in, got, want)
		}
	}
}

func FuzzReadable(f *testing.F) {
	f.Add([]byte(`{"a":[1,{"token":"x"}]}`))
	f.Add([]byte(`https://u:p@h/x?k=v`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		got := readable("t", payload)
		if json.Valid(payload) && !json.Valid([]byte(got)) && len(payload) <= maxReadable {
			t.Errorf("%q became %q", payload, got)
		}
	})
}

// TestTheMonitorShowsTheQueuesOfTenants by their names.
func TestTheMonitorShowsTheQueuesOfTenants(t *testing.T) {
	auth := basic("ops", "hunter2-hunter2")
	f := newFixture(t, func(o *Options) { o.Monitor.Username, o.Monitor.Password = "ops", "hunter2-hunter2" })
	tenants := []string{"news", "sport", "art", "kids"}
	if err := tasks.PublishServed(t.Context(), f.rdb, tasks.DefaultAccount, tenants, time.Now()); err != nil {
		t.Fatal(err)
	}
	client := tasks.NewClientFromRedis(f.rdb)
	for _, tenant := range tenants {
		if _, err := client.Enqueue(t.Context(), tasks.Export{JobID: tenant + "-1", ProjectID: "p", Tenant: tenant}); err != nil {
			t.Fatal(err)
		}
	}
	list := f.call("GET", queuesPath, "", "Authorization", auth).body
	for _, tenant := range tenants {
		name := "clipferry-submit@" + tenant
		if !strings.Contains(list, `"`+name+`"`) {
			t.Errorf("%s is not listed: %s", name, list)
		}
		if got := f.call("GET", queuesPath+"/"+name+"/pending_tasks", "", "Authorization", auth); !strings.Contains(got.body, "submit:"+tenant+"-1") {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
	}
}
