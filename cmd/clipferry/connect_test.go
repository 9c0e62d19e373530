package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/alicebob/miniredis/v2/server"
	"github.com/redis/go-redis/v9"

	"github.com/clipferry/clipferry/cmd/internal/cli"
	"github.com/clipferry/clipferry/internal/redistest"
	"github.com/clipferry/clipferry/tasks"
)

// A Redis that can't save refuses a PING, and is the one to be looked into.
func TestARedisThatCannotSaveIsReached(t *testing.T) {
	t.Parallel()
	m := miniredis.RunT(t)
	rdb := redis.NewClient(&redis.Options{Addr: m.Addr(), MaxRetries: -1, ContextTimeoutEnabled: true})
	t.Cleanup(func() { _ = rdb.Close() })
	at, err := tasks.ParseRedis("redis://" + m.Addr())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ says, want string }{
		{"", ""},
		{"MISCONF Errors writing to the AOF file: No space left on device", ""},
		{"READONLY You can't write against a read only replica.", "refuses: READONLY You can't write against a read only replica.; point CLIPFERRY_REDIS_URL at the master"},
	} {
		m.SetError(c.says)
		got := fmt.Sprint(reach(t.Context(), at, rdb, reachTimeout))
		if c.want == "" && got != "<nil>" || !strings.HasPrefix(got, c.want) {
			t.Errorf("%s: %s", c.says, got)
		}
	}
	m.SetError("LOADING Redis is loading the dataset in memory")
	if got := fmt.Sprint(reach(t.Context(), at, rdb, time.Second)); !strings.HasPrefix(got, "does not answer yet: LOADING") {
		t.Error(got)
	}
	var pings atomic.Int32
	m.Server().SetPreHook(func(c *server.Peer, cmd string, _ ...string) bool {
		if cmd != "PING" {
			return false
		}
		if pings.Add(1) > 1 { // it says no more within the time
			time.Sleep(2 * time.Second)
		}
		c.WriteError("LOADING Redis is loading the dataset in memory")
		return true
	})
	if got := fmt.Sprint(reach(t.Context(), at, rdb, time.Second)); !strings.HasPrefix(got, "does not answer yet: LOADING") {
		t.Error(got)
	}
	m.Server().SetPreHook(nil)
	m.SetError("LOADING Redis is loading the dataset in memory")
	time.AfterFunc(300*time.Millisecond, func() { m.SetError("") })
	if err := reach(t.Context(), at, rdb, reachTimeout); err != nil {
		t.Errorf("a Redis that reads its data is not waited for: %v", err)
	}
	m.Close()
	if got := fmt.Sprint(reach(t.Context(), at, rdb, reachTimeout)); !strings.HasPrefix(got, "does not answer: ") || !strings.HasSuffix(got, "see CLIPFERRY_REDIS_URL") {
		t.Error(got)
	}
}

// TestWhatRedisSaysIsSaidPlainly: each of the ways in which a Redis can't be used
// says what is wrong and which part of the address it is about.
func TestWhatRedisSaysIsSaidPlainly(t *testing.T) {
	if testing.Short() {
		t.Skip("needs a real Redis")
	}
	t.Parallel()
	certs := redistest.NewCertificates(t)
	server := redistest.Start(t, redistest.TLS(t, certs))
	sentinel := "rediss-sentinel://" + redistest.StartTLSSentinel(t, server, certs) + "/0?master_name=" + redistest.MasterName + "&" + certs.Query()
	full := redistest.Start(t, redistest.Config("maxclients", "1"))
	taken := full.Client()
	defer taken.Close()
	if err := taken.Ping(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	plain := server.Client()
	defer plain.Close()
	if err := plain.ConfigSet(t.Context(), "requirepass", "pw").Err(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ address, want string }{
		{"redis://" + server.TLSAddr(), "does not answer: it speaks TLS; let CLIPFERRY_REDIS_URL begin with rediss://"},
		{"rediss://" + server.Addr(), "does not answer: it does not speak TLS; let CLIPFERRY_REDIS_URL begin with redis://"},
		{"rediss-cluster://127.0.0.1:1," + server.Addr(), "does not answer: it does not speak TLS; let CLIPFERRY_REDIS_URL begin with redis-cluster://, not rediss-cluster://"},
		{"rediss-sentinel://" + server.Addr() + "?master_name=m", "does not answer: it does not speak TLS; let CLIPFERRY_REDIS_URL begin with redis-sentinel://, not rediss-sentinel://"},
		{"redis-cluster://" + server.TLSAddr(), "does not answer: it speaks TLS; let CLIPFERRY_REDIS_URL begin with rediss-cluster://, not redis-cluster://"},
		{"rediss://" + server.TLSAddr() + "?tls_ca_file=" + certs.CAFile, "does not answer: it asks for a client certificate; add ?tls_cert_file="},
		{"rediss://" + server.TLSAddr(), "does not answer: its certificate is of an authority that is not trusted here; add ?tls_ca_file="},
		{"redis://" + server.Addr(), "refuses: it asks for a password; "},
		{"redis://:hunter2@" + server.Addr(), "refuses: it refuses the user name or the password; "},
		{"redis://" + full.Addr(), "refuses: it has as many clients as it takes (maxclients); raise"},
		{sentinel, "refuses: behind the sentinels it asks for a password; its own are ?username=…&password=…"},
		{sentinel + "&password=hunter2", "refuses: behind the sentinels it refuses the user name or the password; "},
		{strings.Replace(sentinel, "://", "://:pw@", 1), "refuses: behind the sentinels it asks for a password; its own are ?username=…&password=…"},
		{"redis-sentinel://127.0.0.1:1/0?master_name=m", "does not answer: no answer in time; see whether the sentinels and the server"},
	} {
		address, err := tasks.ParseRedis(c.address)
		if err != nil {
			t.Fatal(err)
		}
		rdb := address.NewClient()
		began := time.Now()
		got := fmt.Sprint(reach(t.Context(), address, rdb, 2*time.Second))
		_ = rdb.Close()
		if !strings.HasPrefix(got, c.want) {
			t.Errorf("%s: %s", c.address, got)
		}
		if took := time.Since(began); strings.Contains(c.want, "does not speak TLS") && took > probeTimeout {
			t.Errorf("%s: took %v", c.address, took)
		}
	}
}

func TestBareWordsAreNoMessages(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{fmt.Errorf("list the queues: %w", io.EOF), "list the queues: the connection was closed"},
		{fmt.Errorf("read: %w", io.ErrUnexpectedEOF), "read: the connection was closed"},
		{fmt.Errorf("look: %w", redis.Nil), "look: what was there is gone"},
		{errors.New("boom"), "boom"},
	} {
		if got := plainly(c.err); got != c.want {
			t.Errorf("%v: %q", c.err, got)
		}
	}
}

// TestAServerThatSaysTooMuchIsNoMessage: Swift ends an answer without a body with a
// chunk all the same, and Go's HTTP client remarks on it on standard error.
func TestAServerThatSaysTooMuchIsNoMessage(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			if _, err := http.ReadRequest(bufio.NewReader(conn)); err != nil {
				continue
			}
			const body = `{"timestamp":"2026-03-10T15:52:01.610+00:00","status":404,"error":"Not Found","path":"/"}`
			fmt.Fprintf(conn, "HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
			time.Sleep(50 * time.Millisecond) // until the answer has been read
			_, _ = io.WriteString(conn, "0\r\n\r\n")
		}
	}()
	b.env = append(b.env, "CLIPFERRY_API_BASE_URL=http://"+listener.Addr().String())
	worker := start(t, b.command("worker"))
	worker.await(worker.stderr, `"msg":"worker started"`)
	b.clipferry(cli.Done, "import", "task_1")
	b.awaitStatus("import-task_1", func(v waitingView) bool { return v.State == "failed" })
	if out, msg := b.clipferry(cli.Done, "doctor"); strings.Contains(msg, "Unsolicited") {
		t.Errorf("%s%s", out, msg)
	}
	time.Sleep(100 * time.Millisecond)
	worker.signal(syscall.SIGTERM)
	if rest := worker.ends(cli.Done); strings.Contains(rest, "Unsolicited") {
		t.Errorf("the worker: %s", rest)
	}
}
