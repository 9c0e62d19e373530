package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/clipferry/clipferry/cmd/internal/cli"
	"github.com/clipferry/clipferry/internal/budget"
	"github.com/clipferry/clipferry/internal/pace"
	"github.com/clipferry/clipferry/internal/redistest"
)

// fakeProvider answers every status read with one status, in the shape of the API,
// and counts the reads.
func fakeProvider(t *testing.T, status int) (address string, reads *int) {
	reads = new(int)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer k" || r.Method != http.MethodGet {
			t.Errorf("%s with %q", r.Method, r.Header.Get("Authorization"))
		}
		*reads++
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"timestamp":"2026-03-10T15:52:01.610+00:00","status":%d,"error":%q,"path":%q}`, status, http.StatusText(status), r.URL.Path)
	}))
	t.Cleanup(s.Close)
	return s.URL, reads
}

func TestDoctor(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	address, reads := fakeProvider(t, http.StatusNotFound)
	b.env = append(b.env, "CLIPFERRY_API_BASE_URL="+address)
	out, _ := b.clipferry(cli.Done, "doctor")
	for _, want := range []string{
		"ok   configuration: every variable is right\n", "ok   Redis: " + b.redis.URL() + " answers\n", "ok   Redis: version ",
		"ok   Redis: maxmemory-policy noeviction\n", "ok   Redis: appendonly yes\n", "ok   Redis: clocks differ by ", "ok   Redis: takes writes\n",
		"warn fleet: no worker is running; start `clipferry worker`\n", "ok   S3: put\n", "ok   S3: get\n", "ok   S3: multipart\n",
		"ok   S3: delete\n", "ok   provider: " + address + " accepts the key\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no line %q in\n%s", want, out)
		}
	}
	if *reads != 1 {
		t.Errorf("%d requests to the provider, want 1", *reads)
	}
	b.clipferry(cli.Usage, "doctor", "please")
}

// TestDoctorNamesAHaltedAccount which has stopped ordering though its key is accepted.
func TestDoctorNamesAHaltedAccount(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	address, _ := fakeProvider(t, http.StatusNotFound)
	b.env = append(b.env, "CLIPFERRY_API_BASE_URL="+address)
	rdb := redis.NewClient(&redis.Options{Addr: b.redis.Addr()})
	t.Cleanup(func() { _ = rdb.Close() })
	gate, err := budget.New(budget.Options{Redis: rdb, Account: "default", RequestsPerMinute: 15, MaxActive: 5, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer gate.Close()
	for _, export := range []string{"a", "b"} {
		if err := gate.RecallOdd(t.Context(), export, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	out, _ := b.clipferry(cli.Done, "doctor")
	if want := "warn fleet: account default is halted (answers_not_understood): it waits for "; !strings.Contains(out, want) {
		t.Errorf("no line begins with %q:\n%s", want, out)
	}
}

func TestDoctorFindsFaults(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	address, _ := fakeProvider(t, http.StatusForbidden)
	lossy := redistest.Start(t, redistest.Config("maxmemory-policy", "allkeys-lru"), redistest.Config("appendonly", "no"))
	b.env = append(b.env, "CLIPFERRY_API_BASE_URL="+address, "CLIPFERRY_REDIS_URL="+lossy.URL(), "CLIPFERRY_S3_BUCKET=nowhere")
	out, _ := b.clipferry(cli.Failed, "doctor")
	for _, want := range []string{
		"FAIL Redis: maxmemory-policy allkeys-lru; set maxmemory-policy noeviction", "warn Redis: appendonly no; set appendonly yes",
		"FAIL S3: bucket: ", "FAIL provider: " + address + " refuses the key; see CLIPFERRY_API_KEY\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no line %q in\n%s", want, out)
		}
	}

	// A handshake that such a server never answers takes its client 25 seconds.
	began := time.Now()
	b.env = append(b.env, "CLIPFERRY_REDIS_URL=rediss"+strings.TrimPrefix(lossy.URL(), "redis"))
	out, _ = b.clipferry(cli.Failed, "doctor")
	if took := time.Since(began); !strings.Contains(out, " does not answer: it does not speak TLS; let CLIPFERRY_REDIS_URL begin with redis://, not rediss://\n") || took > 20*time.Second {
		t.Errorf("TLS to a server without, after %s:\n%s", took, out)
	}

	b.env = append(b.env, "CLIPFERRY_REDIS_URL=redis://:hunter2@127.0.0.1:1", "CLIPFERRY_API_BASE_URL=http://127.0.0.1:1")
	out, _ = b.clipferry(cli.Failed, "doctor")
	if !strings.Contains(out, "FAIL Redis: redis://127.0.0.1:1 does not answer: ") || !strings.Contains(out, "FAIL provider: ") || strings.Contains(out, "hunter2") {
		t.Errorf("nobody there:\n%s", out)
	}

	b.env = append(b.env, "CLIPFERRY_S3_BUCKET=", "CLIPFERRY_REDIS_URL="+b.redis.URL())
	out, _ = b.clipferry(cli.Failed, "doctor")
	if !strings.HasPrefix(out, "FAIL configuration: CLIPFERRY_S3_BUCKET: required\nok   Redis: ") || !strings.Contains(out, "FAIL provider: ") || strings.Contains(out, " S3: ") {
		t.Errorf("without a bucket:\n%s", out)
	}

	b.env = append(b.env, "CLIPFERRY_LOG_LEVEL=loud")
	out, _ = b.clipferry(cli.Failed, "doctor")
	want := "FAIL configuration: CLIPFERRY_S3_BUCKET: required\n" +
		"FAIL configuration: CLIPFERRY_LOG_LEVEL: must be debug, info, warn or error, not \"loud\"\n"
	if out != want {
		t.Errorf("got  %s\nwant %s", out, want)
	}
}

func TestExamineRedisOnACluster(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("needs a real Redis")
	}
	cluster := redistest.StartCluster(t, 3, redistest.Config("maxmemory-policy", "allkeys-lru"))
	found := examineRedis(t.Context(), cluster.Client())
	faults := 0
	for _, f := range found {
		if f.verdict == bad && strings.Contains(f.text, "allkeys-lru") {
			faults++
		}
	}
	if faults != 3 {
		t.Errorf("%d of 3 masters are found at fault: %+v", faults, found)
	}
}

func TestExamineRedisThatTellsLittle(t *testing.T) {
	m := miniredis.RunT(t)
	rdb := redis.NewClient(&redis.Options{Addr: m.Addr()})
	defer rdb.Close()
	for _, f := range examineRedis(t.Context(), rdb) {
		if f.verdict == bad {
			t.Errorf("what is not known is no fault: %+v", f)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if found := examineRedis(ctx, rdb); len(found) != 3 || found[0].verdict != bad || found[1].verdict != bad || found[2].verdict != bad {
		t.Errorf("no answer: %+v", found)
	}
}

// Such a Redis answers every question, and takes nothing.
func TestExamineRedisThatTakesNoWrites(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("needs a real Redis")
	}
	s := redistest.Start(t)
	rdb := s.Client()
	set := func(name, value string) {
		if err := rdb.ConfigSet(t.Context(), name, value).Err(); err != nil {
			t.Fatal(err)
		}
	}
	acl := func(args ...any) {
		if err := rdb.Do(t.Context(), append([]any{"ACL", "SETUSER", "default"}, args...)...).Err(); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name, hint string
		harm, mend func()
	}{
		{"full", "give it more memory", func() { set("maxmemory", "1") }, func() { set("maxmemory", "0") }},
		{
			"too few replicas", "bring its replicas back",
			func() { set("min-replicas-to-write", "1") }, func() { set("min-replicas-to-write", "0") },
		},
		{"a replica", "at the master", func() {
			if err := rdb.ReplicaOf(t.Context(), "127.0.0.1", "1").Err(); err != nil {
				t.Fatal(err)
			}
		}, func() { rdb.ReplicaOf(t.Context(), "NO", "ONE") }},
		{
			"no rights on asynq's keys", "asynq:*",
			func() { acl("resetkeys", "~clipferry:*") }, func() { acl("allkeys") },
		},
		{"no rights on our channels", "same channels", func() { acl("resetchannels", "&asynq:*") }, func() { acl("allchannels") }},
		{"no rights on asynq's channels", "same channels", func() { acl("resetchannels", "&clipferry:*") }, func() { acl("allchannels") }},
		{"no rights to INFO", "and INFO", func() { acl("-info") }, func() { acl("+info") }},
	} {
		c.harm()
		found := examineRedis(t.Context(), rdb)
		c.mend()
		if !slices.ContainsFunc(found, func(f finding) bool { return f.verdict == bad && strings.Contains(f.hint, c.hint) }) {
			t.Errorf("%s: %+v", c.name, found)
		}
	}
	if f := checkWrite(t.Context(), rdb); f.verdict != good {
		t.Errorf("mended: %+v", f)
	}
	b := newBench(t)
	address, _ := fakeProvider(t, http.StatusNotFound)
	b.env = append(b.env, "CLIPFERRY_API_BASE_URL="+address, "CLIPFERRY_REDIS_URL="+s.URL())
	acl("-@scripting")
	out, _ := b.clipferry(cli.Failed, "doctor")
	if n := strings.Count(out, "FAIL"); n != 1 || strings.Contains(out, "script:") {
		t.Errorf("one fault is named %d times:\n%s", n, out)
	}
}

func TestRedisChecks(t *testing.T) {
	for _, c := range []struct {
		check func(map[string]string) finding
		info  string
		want  verdict
	}{
		{checkVersion, "redis_version:7.0.15\r\n", good},
		{checkVersion, "redis_version:6.2.0", good},
		{checkVersion, "redis_version:6.0.16", bad},
		{checkVersion, "redis_version:10.0", good},
		{checkVersion, "", warn},
		{checkEviction, "maxmemory_policy:volatile-lru", bad},
		{checkEviction, "", warn},
		{checkPersistence, "aof_enabled:1\naof_last_write_status:err", bad},
		{checkPersistence, "", warn},
		{checkReplicas, "role:master\nconnected_slaves:0", good},
		{checkReplicas, "role:master\nconnected_slaves:2", warn},
		{checkReplicas, "role:master\nconnected_slaves:2\nmin_slaves_good_slaves:2", good},
		{checkReplicas, "role:slave", bad},
		{checkReplicas, "", good},
		{checkMemory, "used_memory:71\nmaxmemory:100", warn},
		{checkMemory, "used_memory:69\nmaxmemory:100", good},
		{checkMemory, "used_memory:69\nmaxmemory:0", warn},
		{checkMemory, "", warn},
		{firstOf(checkClients), "connected_clients:8\nmaxclients:10", good},
		{firstOf(checkClients), "connected_clients:9\nmaxclients:10", warn},
	} {
		if got := c.check(infoOf(c.info)); got.verdict != c.want || got.text == "" || (c.want != good) != (got.hint != "") {
			t.Errorf("%q: %+v, want %s", c.info, got, c.want)
		}
	}
}

// What is compatible with Redis is named, too.
func TestForksOfRedisAreNamed(t *testing.T) {
	for info, want := range map[string]string{
		"redis_version:7.2.4\nvalkey_version:8.1.1": "version 7.2.4 (Valkey 8.1.1)", "redict_version:7.3.6\nredis_version:7.2.4": "version 7.2.4 (Redict 7.3.6)",
		"redis_version:8.0.2": "version 8.0.2",
	} {
		if got := checkVersion(infoOf(info)); got != (finding{good, want, ""}) {
			t.Errorf("%q: %+v", info, got)
		}
	}
}

func firstOf(check func(map[string]string) []finding) func(map[string]string) finding {
	return func(info map[string]string) finding { return check(info)[0] }
}

func TestExamineRedisWithReplicas(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("needs a real Redis")
	}
	verdicts := func(s *redistest.Sentinel) (v []string) {
		for _, f := range examineRedis(t.Context(), s.Client()) {
			v = append(v, string(f.verdict)+" "+f.text)
		}
		return v
	}
	bare := redistest.StartSentinel(t, 1, redistest.Appendfsync("no"))
	for _, want := range []string{"warn 1 replicas, and min-replicas-to-write is not set", "warn appendfsync no"} {
		if got := verdicts(bare); !slices.Contains(got, want) {
			t.Errorf("no %q in %q", want, got)
		}
	}
	guarded := redistest.StartSentinel(t, 1, redistest.Config("min-replicas-to-write", "1"))
	if got := verdicts(guarded); !slices.Contains(got, "ok 1 replicas, writes need one") ||
		!slices.Contains(got, "ok appendfsync everysec (if its machine dies, the last second is lost)") {
		t.Errorf("%q", got)
	}
}

func TestKeyFinding(t *testing.T) {
	if f := keyFinding("https://x", errors.New("boom")); f.verdict != bad || f.text != "boom" {
		t.Errorf("%+v", f)
	}
	if f := keyFinding("https://x", nil); f.verdict != good {
		t.Errorf("%+v", f)
	}
}

func TestALongErrorKeepsItsCause(t *testing.T) {
	if got := shorten("é"+strings.Repeat("x", 100)+"refused", 9); got != "éxx … efused" {
		t.Error(got)
	}
	if got := shorten("refused", 7); got != "refused" {
		t.Error(got)
	}
}

// infoOf reads what INFO says.
func infoOf(text string) map[string]string {
	info := map[string]string{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			info[name] = value
		}
	}
	return info
}

// What doctor names for a halted account is in the section that it names.
func TestEachHaltIsInTheRunbook(t *testing.T) {
	page, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, halt := range pace.HaltReasons {
		_, section, found := strings.Cut(string(page), "\n### "+runbookOf(halt)+"\n")
		section, _, _ = strings.Cut(section, "\n### ")
		own := runbookOf(halt) != "ClipferryOrdersHalted" || strings.Contains(section, "\n| `"+halt+"` | ")
		if !found || !own {
			t.Errorf("%s is not in the section %s", halt, runbookOf(halt))
		}
	}
}
