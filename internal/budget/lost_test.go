package budget

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/clipferry/clipferry/internal/pace"
	"github.com/clipferry/clipferry/internal/redistest"
)

// cutter is a TCP proxy before Redis that lets one request through and breaks
// the connection instead of passing the answer on.
type cutter struct {
	listener net.Listener
	to       string

	mu   sync.Mutex
	mark func(request []byte) bool // what to cut, nil if nothing
	cut  int
	wg   sync.WaitGroup
}

func startCutter(t *testing.T, to string) *cutter {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cutter{listener: l, to: to}
	t.Cleanup(func() { _ = l.Close(); c.wg.Wait() })
	c.wg.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			c.wg.Go(func() { c.carry(client) })
		}
	})
	return c
}

// next cuts the answer to the next request that is marked.
func (c *cutter) next(mark func(request []byte) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mark = mark
}

func (c *cutter) cuts() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cut
}

// marked says whether the answer to the request is to be cut.
func (c *cutter) marked(request []byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mark == nil || !c.mark(request) {
		return false
	}
	c.mark = nil
	c.cut++
	return true
}

func (c *cutter) carry(client net.Conn) {
	defer func() { _ = client.Close() }()
	server, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(context.Background(), "tcp", c.to)
	if err != nil {
		return
	}
	defer func() { _ = server.Close() }()
	var cut bool
	var mu sync.Mutex
	c.wg.Go(func() { // answers
		defer func() { _ = client.Close() }()
		buffer := make([]byte, 64<<10)
		for {
			n, err := server.Read(buffer)
			mu.Lock()
			stop := cut
			mu.Unlock()
			if err != nil || stop { // it has been done, and nobody hears of it
				return
			}
			if _, err := client.Write(buffer[:n]); err != nil {
				return
			}
		}
	})
	buffer := make([]byte, 64<<10) // a change of these tests comes in one piece
	for {
		n, err := client.Read(buffer)
		if err != nil {
			return
		}
		if c.marked(buffer[:n]) {
			mu.Lock()
			cut = true
			mu.Unlock()
		}
		if _, err := server.Write(buffer[:n]); err != nil {
			return
		}
	}
}

// The changes of a turn, by what they look like on the wire.
func joins(request []byte) bool {
	return bytes.Contains(request, []byte(`"set":{"`)) && set(request, "w:")
}
func claims(request []byte) bool { return set(request, "t:") }
func ends(request []byte) bool {
	_, del, _ := bytes.Cut(request, []byte(`"del":[`))
	return bytes.Contains(del, []byte(`"t:`))
}

func set(request []byte, prefix string) bool {
	_, body, _ := bytes.Cut(request, []byte(`"set":{`))
	body, _, _ = bytes.Cut(body, []byte(`"del":[`))
	return bytes.Contains(body, []byte(`"`+prefix))
}

// TestLostAnswer loses the answer to each change of a turn, with a client that
// asks again by itself, and with one that reports it. Whatever was lost, the
// request is counted once, and so is its failure.
func TestLostAnswer(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("starts a Redis")
	}
	server := redistest.Start(t)
	for name, mark := range map[string]func([]byte) bool{"join": joins, "claim": claims, "done": ends} {
		for again, retries := range map[string]int{"asked again": 3, "reported": -1} {
			t.Run(name+" "+again, func(t *testing.T) {
				t.Parallel()
				account := strings.ReplaceAll(name+again, " ", "")
				cutter := startCutter(t, server.Addr())
				client := redis.NewClient(&redis.Options{Addr: cutter.listener.Addr().String(), MaxRetries: retries})
				t.Cleanup(func() { _ = client.Close() })
				g, err := New(Options{Redis: client, Account: account, RequestsPerMinute: 60, MaxActive: 2, Logger: quiet()})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(g.Close)
				// Scripts are known to the server from here on, and a first request is counted.
				mustDone(t, mustWait(t, g, Request{Export: "a", Kind: Submit}), accepted)

				cutter.next(mark)
				turn := mustWait(t, g, Request{Export: "a", Kind: Read})
				for tries := 0; turn.Done(t.Context(), Outcome{Result: Failed}) != nil; tries++ {
					if tries > 20 {
						t.Fatal("its end can't be recorded")
					}
					time.Sleep(50 * time.Millisecond)
				}
				if cutter.cuts() != 1 {
					t.Fatalf("%d answers were cut", cutter.cuts())
				}
				snap, err := newRedisStore(server.Client(), account).Load(t.Context(), g.id)
				if err != nil {
					t.Fatal(err)
				}
				var log pace.Log
				var gate pace.Gate
				for field, into := range map[string]any{"log": &log, "spent": &gate.Spent, "gate": &gate} {
					if err := json.Unmarshal([]byte(snap.Fields[field]), into); err != nil {
						t.Fatal(err)
					}
				}
				if len(log.Times) != 2 || gate.Fails != 1 || gate.Spent.Failed[Read] != 1 || gate.Spent.Sent[Read] != 1 {
					t.Errorf("%d answers, %d failures in a row, %+v", len(log.Times), gate.Fails, gate.Spent)
				}
				for field := range snap.Fields {
					if strings.HasPrefix(field, "t:") || strings.HasPrefix(field, "w:") {
						t.Errorf("left over: %s", field)
					}
				}
			})
		}
	}
}
