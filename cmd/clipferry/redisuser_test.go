package main

import (
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/clipferry/clipferry/cmd/internal/cli"
	"github.com/clipferry/clipferry/internal/emulator"
	"github.com/clipferry/clipferry/internal/redistest"
	"github.com/clipferry/clipferry/tasks"
)

// TestTheLeastRedisUser: the user that docs/operations.md gives clipferry can do
// all that clipferry does, and Redis has refused it nothing meanwhile.
func TestTheLeastRedisUser(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`(?m)^ACL SETUSER clipferry .*$`).Find(page)
	if line == nil {
		t.Fatal("docs/operations.md has no line ACL SETUSER clipferry …")
	}
	b := newBench(t)
	var words []any
	for _, word := range strings.Fields(string(line)) {
		words = append(words, word)
	}
	if err := b.redis.Client().Do(t.Context(), words...).Err(); err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	provider, err := emulator.New(emulator.Options{Speed: 100, Render: emulator.Render{Fixed: 100 * time.Second}})
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(provider)
	defer web.Close()
	b.env = append(b.env, "CLIPFERRY_REDIS_URL="+strings.Replace(b.redis.URL(), "://", "://clipferry:PASSWORD@", 1),
		"CLIPFERRY_API_BASE_URL="+web.URL, "CLIPFERRY_API_REQUESTS_PER_MINUTE=0", "CLIPFERRY_LINK_ALLOWED_CIDRS=127.0.0.0/8")
	r := start(t, b.command("worker"))
	r.await(r.stderr, `"msg":"worker started"`)
	b.clipferry(cli.Done, "enqueue", "--project-id", "p~clips=1", "--job-id", "a", "--wait")
	b.clipferry(cli.Done, "enqueue", "--project-id", "p~clips=1", "--job-id", "b", "--account", "nobodys")
	for _, args := range []string{
		"status a", "list", "list --state archived", "cancel b", "retry b", "pause", "resume", "recover", "verify a", "doctor",
	} {
		b.clipferry(cli.Done, strings.Fields(args)...)
	}
	r.signal(syscall.SIGTERM)
	r.ends(cli.Done)
	refused, err := b.redis.Client().ACLLog(t.Context(), 10).Result()
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range refused {
		if entry.Object == "config|get" { // doctor's, which says what it could not read
			continue
		}
		t.Errorf("Redis refused %s of %s", entry.Object, entry.Username)
	}
}

// TestTheDocumentedTLS: what docs/operations.md puts at the end of an address reaches a
// Redis that has an authority of its own and asks for client certificates.
func TestTheDocumentedTLS(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	certs := redistest.NewCertificates(t)
	here, err := url.ParseQuery(certs.Query())
	if err != nil {
		t.Fatal(err)
	}
	here.Set("tls_server_name", "127.0.0.1")
	query := url.Values{}
	for _, m := range regexp.MustCompile(`(?m)^\| .([?&]tls_[^ |]*). \|`).FindAllSubmatch(page, -1) {
		shown, err := url.ParseQuery(string(m[1][1:]))
		if err != nil {
			t.Fatal(err)
		}
		for name := range shown {
			query.Set(name, here.Get(name))
		}
	}
	if len(query) != 4 {
		t.Fatalf("it shows %v", query)
	}
	server := redistest.Start(t, redistest.TLS(t, certs))
	address, err := tasks.ParseRedis("rediss://" + server.TLSAddr() + "/0?" + query.Encode())
	if err != nil {
		t.Fatal(err)
	}
	rdb := address.NewClient()
	defer rdb.Close()
	if err := reach(t.Context(), address, rdb, reachTimeout); err != nil {
		t.Error(err)
	}
}
