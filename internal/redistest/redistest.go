// Package redistest runs real redis-server processes for tests: one with an
// append-only file that survives [Server.Kill], or a cluster of masters. They
// listen on random loopback ports, keep their data in the test's temporary
// directory, and are gone with the test, even if the test process is killed.
//
// The program is CLIPFERRY_TEST_REDIS, another version or a compatible server, or
// else the PATH's redis-server.
//
// It is for what miniredis cannot show: durability, restarts, cluster slots,
// the real scripting engine. It is not for production code.
package redistest

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/clipferry/clipferry/internal/freeport"
	"github.com/redis/go-redis/v9"
)

// How long a server may take to come up or to go, and how many ports are tried.
const (
	patience = 15 * time.Second
	maxPorts = 5
)

// Option adds to a server's configuration.
type Option func(*Server)

// Appendfsync sets when the append-only file reaches the disk: "always",
// "everysec" (the default) or "no".
func Appendfsync(when string) Option { return Config("appendfsync", when) }

// Config sets any directive of redis.conf.
func Config(directive string, values ...string) Option {
	return func(s *Server) { s.config = append(append(s.config, "--"+directive), values...) }
}

// Server is one redis-server process. Its methods are for one goroutine; the
// clients it hands out are for any.
type Server struct {
	t      testing.TB
	binary string
	dir    string
	port   int
	// tlsPort is 0 where no TLS is spoken.
	tlsPort int
	config  []string
	// sentinel is the configuration file of a sentinel, empty for a server.
	sentinel string

	process *exec.Cmd
	ended   chan struct{} // closed when the process has gone
	log     lockedBuffer
}

// Start runs a redis-server with an append-only file until the test ends. The
// test fails at once if that is not possible.
func Start(t testing.TB, opts ...Option) *Server {
	t.Helper()
	program := cmp.Or(os.Getenv("CLIPFERRY_TEST_REDIS"), "redis-server")
	binary, err := exec.LookPath(program)
	if err != nil {
		t.Fatal("this test needs a real Redis and " + program + " is not installed: install redis-server (Debian: apt-get install redis-server) or put it on the PATH; CLIPFERRY_TEST_REDIS names another one")
	}
	s := &Server{
		t: t, binary: binary, dir: t.TempDir(),
		config: []string{"--appendonly", "yes", "--maxmemory-policy", "noeviction"},
	}
	for _, o := range opts {
		o(s)
	}
	t.Cleanup(s.Kill)
	for range maxPorts { // somebody else may take the port between our look and redis's
		s.port = freePort(t)
		if err = s.start(); err == nil {
			return s
		}
		s.Kill()
	}
	t.Fatalf("redis-server does not start: %v\n%s", err, s.log.String())
	return nil
}

// freePort leaves room for the ports of a cluster's own connections, 10,000 above.
func freePort(t testing.TB) int {
	t.Helper()
	return freeport.Take(t, 10_000)
}

func (s *Server) start() error {
	args := append([]string{
		"--bind", "127.0.0.1", "--port", strconv.Itoa(s.port), "--dir", s.dir, "--save", "", "--daemonize", "no",
		"--dbfilename", "dump-" + strconv.Itoa(s.port) + ".rdb",
	}, s.config...)
	if s.sentinel != "" {
		args = []string{s.sentinel, "--sentinel", "--bind", "127.0.0.1", "--port", strconv.Itoa(s.port), "--dir", s.dir}
	}
	cmd := exec.CommandContext(context.Background(), s.binary, args...) // ended by Kill and Stop
	cmd.Stdout, cmd.Stderr = &s.log, &s.log
	dieWithParent(cmd)
	started, ended := make(chan error), make(chan struct{})
	go func() {
		defer close(ended)
		// "With its parent" means with the thread that started it.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // killed or told to stop: the status says nothing new
		}
	}()
	if err := <-started; err != nil {
		return err
	}
	s.process, s.ended = cmd, ended
	return s.awaitReady()
}

// awaitReady waits until the server has loaded its data and answers.
func (s *Server) awaitReady() error {
	c := redis.NewClient(&redis.Options{Addr: s.Addr(), MaxRetries: -1, DialerRetries: 1})
	defer func() { _ = c.Close() }()
	deadline := time.Now().Add(patience)
	for {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		info, err := c.Info(ctx, "server").Result()
		cancel()
		if err == nil {
			if strings.Contains(info, "process_id:"+strconv.Itoa(s.process.Process.Pid)+"\r\n") {
				return nil
			}
			return fmt.Errorf("port %d belongs to another Redis", s.port)
		}
		select {
		case <-s.ended:
			return errors.New("it ended at once")
		case <-time.After(10 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("no answer within %s: %w", patience, err)
		}
	}
}

// Addr is the server's host:port.
func (s *Server) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// URL is the server's address as configuration has it.
func (s *Server) URL() string { return "redis://" + s.Addr() + "/0" }

// Client returns a new client with go-redis's own defaults; it is closed when
// the test ends.
func (s *Server) Client() *redis.Client {
	c := redis.NewClient(&redis.Options{Addr: s.Addr()})
	s.t.Cleanup(func() { _ = c.Close() })
	return c
}

// Kill ends the process by SIGKILL and waits until it has gone. Its data stay.
func (s *Server) Kill() { s.end(syscall.SIGKILL) }

// Stop ends the process in an orderly way and waits until it has gone.
func (s *Server) Stop() { s.end(syscall.SIGTERM) }

func (s *Server) end(signal syscall.Signal) {
	if s.process == nil {
		return
	}
	_ = s.process.Process.Signal(signal) // it may have ended by itself
	select {
	case <-s.ended:
	case <-time.After(patience):
		_ = s.process.Process.Kill()
		<-s.ended
		s.t.Errorf("redis-server did not end within %s of %v", patience, signal)
	}
	s.process = nil
}

// Restart starts the server again on its port with its data, killing it first
// if it runs.
func (s *Server) Restart() {
	s.t.Helper()
	s.Kill()
	if err := s.start(); err != nil {
		s.t.Fatalf("redis-server does not start again: %v\n%s", err, s.log.String())
	}
}

// Pause freezes the process, as a machine that hangs does, until [Server.Resume].
func (s *Server) Pause() { s.signal(syscall.SIGSTOP) }

// Resume lets a paused process go on.
func (s *Server) Resume() { s.signal(syscall.SIGCONT) }

func (s *Server) signal(signal syscall.Signal) {
	s.t.Helper()
	if err := s.process.Process.Signal(signal); err != nil {
		s.t.Fatalf("send %v to redis-server: %v", signal, err)
	}
}

// lockedBuffer keeps a process's output.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
