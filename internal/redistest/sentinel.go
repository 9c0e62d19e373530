package redistest

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// MasterName is what the sentinels of [StartSentinel] call their master.
const MasterName = "clipferry"

// sentinels is how many there are; two of them must agree.
const sentinels = 3

// Sentinel is a master, its replicas and three sentinels that watch over them.
type Sentinel struct {
	// Nodes are the master and its replicas, in the order in which they started.
	Nodes []*Server

	sentinels []*Server
	t         testing.TB
}

// StartSentinel runs a master with so many replicas and three sentinels, which
// put a replica in its place a second or two after it has gone, until the test
// ends.
func StartSentinel(t testing.TB, replicas int, opts ...Option) *Sentinel {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	s := &Sentinel{t: t, Nodes: []*Server{Start(t, opts...)}}
	master := s.Nodes[0]
	for range replicas {
		of := Config("replicaof", "127.0.0.1", fmt.Sprint(master.port))
		s.Nodes = append(s.Nodes, Start(t, append([]Option{of}, opts...)...))
	}
	for range sentinels {
		s.sentinels = append(s.sentinels, startSentinel(t, master.port))
	}
	s.await(ctx, "the replicas and sentinels know each other", s.whole)
	return s
}

// StartTLSSentinel runs one sentinel that watches a server over TLS and speaks
// nothing else to clients, and returns its host:port.
func StartTLSSentinel(t testing.TB, master *Server, c *Certificates) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "sentinel.conf")
	port := freePort(t)
	text := fmt.Sprintf(`sentinel monitor %s 127.0.0.1 %d 1
tls-port %d
tls-ca-cert-file %s
tls-cert-file %s
tls-key-file %s
tls-replication yes
`, MasterName, master.tlsPort, port, c.CAFile, c.CertFile, c.KeyFile)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	Start(t, func(s *Server) { s.config, s.sentinel, s.tlsPort = nil, file, port })
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
}

// startSentinel runs one; it rewrites its own configuration file.
func startSentinel(t testing.TB, master int) *Server {
	t.Helper()
	file := filepath.Join(t.TempDir(), "sentinel.conf")
	text := fmt.Sprintf(`sentinel monitor %[1]s 127.0.0.1 %[2]d 2
sentinel down-after-milliseconds %[1]s 1000
sentinel failover-timeout %[1]s 5000
`, MasterName, master)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return Start(t, func(s *Server) { s.config = nil; s.sentinel = file })
}

// whole reports whether each sentinel sees all replicas and both other sentinels.
func (s *Sentinel) whole(ctx context.Context) error {
	for _, server := range s.sentinels {
		var info map[string]string
		err := s.ask(server, func(c *redis.SentinelClient) (err error) {
			info, err = c.Master(ctx, MasterName).Result()
			return err
		})
		if err != nil {
			return err
		}
		if info["num-slaves"] != fmt.Sprint(len(s.Nodes)-1) || info["num-other-sentinels"] != fmt.Sprint(sentinels-1) {
			return fmt.Errorf("%s replicas, %s other sentinels", info["num-slaves"], info["num-other-sentinels"])
		}
	}
	master, err := s.Master(ctx)
	if err != nil {
		return err
	}
	for _, node := range s.Nodes {
		if node == master {
			continue
		}
		client := redis.NewClient(&redis.Options{Addr: node.Addr()})
		info, err := client.Info(ctx, "replication").Result()
		_ = client.Close()
		if err != nil || !strings.Contains(info, "master_link_status:up") {
			return fmt.Errorf("a replica does not follow: %w", err)
		}
	}
	return nil
}

func (s *Sentinel) ask(server *Server, f func(*redis.SentinelClient) error) error {
	c := redis.NewSentinelClient(&redis.Options{Addr: server.Addr()})
	defer func() { _ = c.Close() }()
	return f(c)
}

func (s *Sentinel) await(ctx context.Context, what string, ok func(context.Context) error) {
	s.t.Helper()
	for {
		err := ok(ctx)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			s.t.Fatalf("not so: %s: %v", what, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Master is the node that the sentinels name as the master.
func (s *Sentinel) Master(ctx context.Context) (*Server, error) {
	var addr []string
	err := s.ask(s.sentinels[0], func(c *redis.SentinelClient) (err error) {
		addr, err = c.GetMasterAddrByName(ctx, MasterName).Result()
		return err
	})
	if err != nil {
		return nil, err
	}
	for _, n := range s.Nodes {
		if n.Addr() == strings.Join(addr, ":") {
			return n, nil
		}
	}
	return nil, fmt.Errorf("the sentinels name %v", addr)
}

// Failover kills the master and returns it once another one is in its place.
func (s *Sentinel) Failover() (old *Server) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	old, err := s.Master(ctx)
	if err != nil {
		s.t.Fatal(err)
	}
	old.Kill()
	s.await(ctx, "another node is the master", func(ctx context.Context) error {
		now, err := s.Master(ctx)
		switch {
		case err != nil:
			return err
		case now == old:
			return fmt.Errorf("%s still is", old.Addr())
		}
		client := redis.NewClient(&redis.Options{Addr: now.Addr()})
		defer func() { _ = client.Close() }()
		info, err := client.Info(ctx, "replication").Result()
		if err == nil && !strings.Contains(info, "role:master") {
			err = fmt.Errorf("%s does not know yet", now.Addr())
		}
		return err
	})
	return old
}

// URL is the address as configuration has it.
func (s *Sentinel) URL() string {
	addrs := make([]string, 0, len(s.sentinels))
	for _, server := range s.sentinels {
		addrs = append(addrs, server.Addr())
	}
	return "redis-sentinel://" + strings.Join(addrs, ",") + "/0?master_name=" + MasterName
}

// Client returns a new client that follows the master; it is closed when the test ends.
func (s *Sentinel) Client() *redis.Client {
	addrs := make([]string, 0, len(s.sentinels))
	for _, server := range s.sentinels {
		addrs = append(addrs, server.Addr())
	}
	client := redis.NewFailoverClient(&redis.FailoverOptions{MasterName: MasterName, SentinelAddrs: addrs})
	s.t.Cleanup(func() { _ = client.Close() })
	return client
}
