package redistest

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// slots is the number of slots of every Redis Cluster.
const slots = 16384

// Cluster is a Redis Cluster of masters without replicas.
type Cluster struct {
	Nodes []*Server
	t     testing.TB
}

// StartCluster runs a cluster of so many masters, each with its share of the
// slots, until the test ends. Losing one takes only its share away.
func StartCluster(t testing.TB, masters int, opts ...Option) *Cluster {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	c := &Cluster{t: t}
	opts = append([]Option{
		Config("cluster-enabled", "yes"), Config("cluster-node-timeout", "2000"),
		Config("cluster-require-full-coverage", "no"),
	}, opts...)
	for range masters {
		c.Nodes = append(c.Nodes, Start(t, opts...))
	}
	for i, node := range c.Nodes {
		client := node.Client()
		first, last := i*slots/masters, (i+1)*slots/masters-1
		if err := client.ClusterAddSlotsRange(ctx, first, last).Err(); err != nil {
			t.Fatalf("give slots %d–%d to a node: %v", first, last, err)
		}
		// Each its own epoch from the start, so that none of them has to be found out by gossip.
		if err := client.Do(ctx, "cluster", "set-config-epoch", i+1).Err(); err != nil {
			t.Fatalf("set a node's epoch: %v", err)
		}
		if i == 0 {
			continue
		}
		if err := client.Do(ctx, "cluster", "meet", "127.0.0.1", c.Nodes[0].port).Err(); err != nil {
			t.Fatalf("introduce a node: %v", err)
		}
	}
	c.awaitWhole(ctx)
	return c
}

// awaitWhole waits until every node knows who has which slot.
func (c *Cluster) awaitWhole(ctx context.Context) {
	c.t.Helper()
	for _, node := range c.Nodes {
		client := node.Client()
		for {
			info, err := client.ClusterInfo(ctx).Result()
			if err == nil && strings.Contains(info, "cluster_state:ok") &&
				strings.Contains(info, fmt.Sprintf("cluster_slots_assigned:%d", slots)) &&
				strings.Contains(info, fmt.Sprintf("cluster_known_nodes:%d", len(c.Nodes))) {
				break
			}
			select {
			case <-ctx.Done():
				c.t.Fatalf("the cluster does not form: %v\n%s", err, info)
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
}

// Addrs are the nodes' addresses.
func (c *Cluster) Addrs() []string {
	addrs := make([]string, 0, len(c.Nodes))
	for _, n := range c.Nodes {
		addrs = append(addrs, n.Addr())
	}
	return addrs
}

// URL is the cluster's address as configuration has it.
func (c *Cluster) URL() string { return "redis-cluster://" + strings.Join(c.Addrs(), ",") }

// Client returns a new client of the cluster; it is closed when the test ends.
func (c *Cluster) Client() *redis.ClusterClient {
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: c.Addrs()})
	c.t.Cleanup(func() { _ = client.Close() })
	return client
}

// Move gives every slot of one node that holds keys, at most so many, to
// another node while clients go on, as a resharding does. It returns how many
// were moved.
func (c *Cluster) Move(ctx context.Context, from, to *Server, most int) int {
	c.t.Helper()
	src, dst := from.Client(), to.Client()
	srcID, err := src.ClusterMyID(ctx).Result()
	if err != nil {
		c.t.Fatal(err)
	}
	dstID, err := dst.ClusterMyID(ctx).Result()
	if err != nil {
		c.t.Fatal(err)
	}
	moved := 0
	for slot := range slots {
		if moved == most {
			break
		}
		n, err := src.ClusterCountKeysInSlot(ctx, slot).Result()
		if err != nil {
			c.t.Fatal(err)
		}
		if n == 0 {
			continue
		}
		if err := c.moveSlot(ctx, slot, src, dst, srcID, dstID, to.port); err != nil {
			c.t.Fatalf("move slot %d: %v", slot, err)
		}
		moved++
	}
	return moved
}

func (c *Cluster) moveSlot(ctx context.Context, slot int, src, dst *redis.Client, srcID, dstID string, port int) error {
	if err := dst.Do(ctx, "cluster", "setslot", slot, "importing", srcID).Err(); err != nil {
		return err
	}
	if err := src.Do(ctx, "cluster", "setslot", slot, "migrating", dstID).Err(); err != nil {
		return err
	}
	for {
		keys, err := src.ClusterGetKeysInSlot(ctx, slot, 100).Result()
		if err != nil {
			return err
		}
		if len(keys) == 0 {
			break
		}
		migrate := []any{"migrate", "127.0.0.1", port, "", 0, 5000, "keys"}
		for _, k := range keys {
			migrate = append(migrate, k)
		}
		if err := src.Do(ctx, migrate...).Err(); err != nil {
			return err
		}
	}
	for _, node := range append([]*redis.Client{dst, src}, c.others(src, dst)...) {
		if err := node.Do(ctx, "cluster", "setslot", slot, "node", dstID).Err(); err != nil {
			return err
		}
	}
	return nil
}

// others returns a client of each node that is neither.
func (c *Cluster) others(a, b *redis.Client) []*redis.Client {
	var out []*redis.Client
	for _, n := range c.Nodes {
		if n.Addr() != a.Options().Addr && n.Addr() != b.Options().Addr {
			out = append(out, n.Client())
		}
	}
	return out
}
