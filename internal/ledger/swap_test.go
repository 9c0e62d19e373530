package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/redistest"
)

func testFiftyWriters(t *testing.T, e *env) {
	const writers, each = 50, 2
	e.create(t, "a")
	before := e.version(t, "a")
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for range each {
				_, err := e.Update(t.Context(), "a", func(r *export.Record) error { r.Polls++; return nil })
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if got := e.load(t, "a").Polls; got != writers*each {
		t.Errorf("%d of %d changes are in the record", got, writers*each)
	}
	if got := e.version(t, "a") - before; got != writers*each {
		t.Errorf("%d versions for %d changes", got, writers*each)
	}
}

func testClipWriters(t *testing.T, e *env) {
	const clips = 50
	e.create(t, "a")
	e.update(t, "a", accept)
	e.update(t, "a", rendered(clips))
	var wg sync.WaitGroup
	for idx := range clips {
		wg.Go(func() {
			if _, err := e.UpdateClip(t.Context(), "a", idx, clipDone(idx)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	r := e.load(t, "a")
	if r.ArchivedCount != clips || r.ArchivedBytes != 10*clips || !r.Sealable() {
		t.Errorf("archived %d, %d bytes, sealable %v", r.ArchivedCount, r.ArchivedBytes, r.Sealable())
	}
	for idx, c := range r.Clips {
		if c.State != export.ClipArchived || c.Object.Key != fmt.Sprint("k", idx) {
			t.Errorf("clip %d: %s, %s", idx, c.State, c.Object.Key)
		}
	}
}

// A record must not be loaded with the clips of one version and the counters
// of another: a change based on that would count a clip twice.
func testLoadIsOfOneMoment(t *testing.T, e *env) {
	const clips = 150
	e.create(t, "a")
	e.update(t, "a", accept)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for n := 1; n <= clips; n++ {
			_, err := e.Update(t.Context(), "a", func(r *export.Record) error {
				a := export.Reading{Status: "ONGOING"}
				for i := range n {
					a.Clips = append(a.Clips, export.Clip{Idx: i})
				}
				return r.Answer(noon, r.ExportTaskID, r.Step, a, noon)
			})
			if err != nil {
				t.Error(err)
				return
			}
		}
	}()
	for {
		r := e.load(t, "a")
		if len(r.Clips) != r.ClipCount {
			<-done
			t.Fatalf("loaded %d clips and a count of %d", len(r.Clips), r.ClipCount)
		}
		select {
		case <-done:
			return
		default:
		}
	}
}

// spy records the commands that change a record.
type spy struct {
	mu    sync.Mutex
	off   bool
	swaps [][]any
	bytes int
}

func (s *spy) DialHook(next redis.DialHook) redis.DialHook { return next }

func (s *spy) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (s *spy) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.off {
			return err
		}
		if args := cmd.Args(); len(args) > 2 && args[1] == swapScript.Hash() {
			s.swaps = append(s.swaps, args)
		}
		s.bytes += len(fmt.Sprint(cmd.Args()...)) + len(cmd.String())
		return err
	}
}

func testTwoThousandClips(t *testing.T, e *env) {
	const clips = 2000
	e.create(t, "a")
	e.update(t, "a", accept)
	e.update(t, "a", rendered(clips))
	r := e.load(t, "a")
	if len(r.Clips) != clips || r.Clips[clips-1].Title != fmt.Sprint("clip ", clips-1) {
		t.Fatalf("loaded %d of %d clips", len(r.Clips), clips)
	}
	s := &spy{}
	e.rdb.AddHook(s)
	if _, err := e.UpdateClip(t.Context(), "a", 7, clipDone(7)); err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.swaps) == 0 {
		t.Fatal("no swap was seen")
	}
	for _, args := range s.swaps {
		for _, a := range args {
			if text, ok := a.(string); ok && strings.HasPrefix(text, "clip:") && text != "clip:7" {
				t.Errorf("the swap writes %s", text)
			}
		}
	}
	if s.bytes > 20_000 {
		t.Errorf("one clip's change moved %d bytes", s.bytes)
	}
	s.off = true // the client is shared
}

// A reply that is lost after Redis carried out the swap must not look like a
// rival's change: the caller would believe that its own step was not recorded.
func TestLostReplyIsRecognised(t *testing.T) {
	server := redistest.Start(t)
	mini := onMiniredis(t)
	for name, addr := range map[string]string{
		"redis": server.Addr(), "miniredis": mini.rdb.(*redis.Client).Options().Addr,
	} {
		// go-redis sends again by itself three times; beyond these it is us.
		for _, lost := range []int{1, 3, 6} {
			t.Run(fmt.Sprint(name, " ", lost), func(t *testing.T) {
				p := newProxy(t, addr)
				c := redis.NewClient(&redis.Options{Addr: p.addr()})
				t.Cleanup(func() { _ = c.Close() })
				e := &env{rdb: c, Ledger: New(Options{Redis: c})}
				id := fmt.Sprint("lost", lost)

				p.dropReplies(swapScript.Hash(), lost)
				e.create(t, id)
				if left := p.left(); left != 0 {
					t.Fatalf("%d replies were not lost", left)
				}
				p.dropReplies(swapScript.Hash(), lost)
				calls := 0
				r := e.update(t, id, func(r *export.Record) error { calls++; return r.Intend(noon, "me") })
				if r.State != export.Submitting || r.Attempts != 1 || calls != 1 {
					t.Errorf("state %s, attempts %d, change called %d times", r.State, r.Attempts, calls)
				}
				if v := e.version(t, id); v != 2 {
					t.Errorf("version %d after two swaps", v)
				}

				p.dropReplies(id+"}:lease:", 1)
				if _, err := e.Lease(t.Context(), id, "submit", time.Minute); err != nil {
					t.Errorf("a lease whose reply was lost: %v", err)
				}
				if _, err := e.Lease(t.Context(), id, "submit", time.Minute); !errors.Is(err, ErrLeased) {
					t.Errorf("a second lease: %v", err)
				}
			})
		}
	}
}

// A swap that a rival overtakes while its reply is lost is a conflict: the
// change is made anew, on what stands then.
func TestLostReplyAndARival(t *testing.T) {
	mini := onMiniredis(t)
	mini.Ledger = New(Options{Redis: mini.rdb})
	mini.create(t, "a")
	p := newProxy(t, mini.rdb.(*redis.Client).Options().Addr)
	c := redis.NewClient(&redis.Options{Addr: p.addr(), MaxRetries: -1})
	t.Cleanup(func() { _ = c.Close() })
	p.onDrop = func() { // between the swap and its being sent again
		mini.update(t, "a", func(r *export.Record) error { r.Polls++; return nil })
	}
	p.dropReplies(swapScript.Hash(), 1)
	calls := 0
	_, err := New(Options{Redis: c}).Update(t.Context(), "a", func(r *export.Record) error {
		calls++
		return r.Intend(noon, "me")
	})
	if !errors.Is(err, export.ErrNotNow) || calls != 2 {
		t.Fatalf("Update = %v after %d calls; want ErrNotNow of the second", err, calls)
	}
	// And the caller finds itself by its token.
	if r := mini.load(t, "a"); r.IntentBy != "me" || r.Attempts != 1 || r.Polls != 1 {
		t.Errorf("by %q, attempts %d, polls %d", r.IntentBy, r.Attempts, r.Polls)
	}
}

func TestUpdateGivesUpWithItsContext(t *testing.T) {
	p := newProxy(t, onMiniredis(t).rdb.(*redis.Client).Options().Addr)
	c := redis.NewClient(&redis.Options{Addr: p.addr(), MaxRetries: -1})
	t.Cleanup(func() { _ = c.Close() })
	l := New(Options{Redis: c})
	if _, err := l.Create(t.Context(), newRecord("a")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	p.onDrop = cancel
	p.dropReplies(swapScript.Hash(), 1000)
	_, err := l.Update(ctx, "a", func(r *export.Record) error { return r.Intend(noon, "me") })
	if err == nil || errors.Is(err, export.ErrNotNow) || errors.Is(err, ErrUnknown) {
		t.Fatalf("Update = %v, want an error of Redis", err)
	}
}

func TestBrokenRecordIsNamed(t *testing.T) {
	e := onMiniredis(t)
	e.Ledger = New(Options{Redis: e.rdb})
	for field, value := range map[string]string{"doc": "{", "ver": "x", "clip:0": "["} {
		e.clear(t)
		e.create(t, "a")
		must(t, e.rdb.HSet(t.Context(), Key("a"), field, value).Err())
		_, err := e.Load(t.Context(), "a")
		if err == nil || !strings.Contains(err.Error(), "export a") {
			t.Errorf("%s: %v", field, err)
		}
		var syntax *json.SyntaxError
		if field != "ver" && !errors.As(err, &syntax) {
			t.Errorf("%s: the cause is lost: %v", field, err)
		}
	}
}

// proxy is a network that loses replies: what is asked arrives and is carried
// out, and the connection ends before the answer is through.
type proxy struct {
	l      net.Listener
	target string
	onDrop func() // called for each reply lost

	mu    sync.Mutex
	match string
	times int
	conns map[net.Conn]bool
}

func newProxy(t *testing.T, target string) *proxy {
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	p := &proxy{l: l, target: target, conns: map[net.Conn]bool{}}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { p.serve(c) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		p.mu.Lock()
		for c := range p.conns {
			_ = c.Close()
		}
		p.mu.Unlock()
		wg.Wait()
	})
	return p
}

func (p *proxy) addr() string { return p.l.Addr().String() }

// dropReplies loses the replies to the next so many requests that contain the text.
func (p *proxy) dropReplies(match string, times int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.match, p.times = match, times
}

func (p *proxy) left() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.times
}

// takes reports whether the reply to the request is to be lost.
func (p *proxy) takes(request string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.times == 0 || !strings.Contains(request, p.match) {
		return false
	}
	p.times--
	return true
}

func (p *proxy) track(c net.Conn, on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if on {
		p.conns[c] = true
	} else {
		delete(p.conns, c)
	}
}

// serve relays one connection; go-redis waits for each reply before it asks on.
func (p *proxy) serve(client net.Conn) {
	server, err := new(net.Dialer).DialContext(context.Background(), "tcp", p.target)
	if err != nil {
		_ = client.Close()
		return
	}
	for _, c := range []net.Conn{client, server} {
		p.track(c, true)
		defer p.track(c, false)
		defer func() { _ = c.Close() }()
	}
	var lose atomic.Bool
	var replies sync.WaitGroup
	defer replies.Wait()
	replies.Go(func() {
		defer func() { _ = client.Close() }()
		relay(client, server, func([]byte) bool {
			if !lose.Load() {
				return true
			}
			if p.onDrop != nil {
				p.onDrop()
			}
			return false
		})
	})
	relay(server, client, func(request []byte) bool {
		if p.takes(string(request)) {
			lose.Store(true)
		}
		return true
	})
	_ = server.Close()
}

// relay copies until an end closes or pass says no.
func relay(to, from net.Conn, pass func([]byte) bool) {
	b := make([]byte, 1<<16)
	for {
		n, err := from.Read(b)
		if err != nil || !pass(b[:n]) {
			return
		}
		if _, err := to.Write(b[:n]); err != nil {
			return
		}
	}
}
