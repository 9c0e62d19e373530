package ledger

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/redistest"
	"github.com/clipferry/clipferry/tasks"
)

// usedMemory is what Redis uses, in bytes.
func usedMemory(t *testing.T, rdb *redis.Client) int64 {
	t.Helper()
	info, err := rdb.Info(t.Context(), "memory").Result()
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(info, "\nused_memory:")
	text, _, _ := strings.Cut(after, "\r\n")
	used, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return used
}

// logKinds logs what the keys of each kind take.
func logKinds(t *testing.T, rdb *redis.Client, exports int64) {
	t.Helper()
	sums := map[string]int64{}
	for it := rdb.Scan(t.Context(), 0, "*", 1000).Iterator(); it.Next(t.Context()); {
		kind := it.Val()
		for _, part := range []string{":t:", ":by:", ":of:", "clipferry:{exp_"} {
			if strings.Contains(kind, part) {
				kind = part
			}
		}
		sums[kind] += rdb.MemoryUsage(t.Context(), it.Val(), 0).Val()
	}
	for kind, sum := range sums {
		if sum >= exports {
			t.Logf("%5d bytes an export: %s", sum/exports, kind)
		}
	}
}

// What exports take in Redis, with all by which they are found: those that wait, and
// those of five clips that are archived; each of a project of its own, or a hundred of one.
// Redis is set up as docs/operations.md says, by which an Asynq task takes 180 bytes less.
func TestFootprint(t *testing.T) {
	const warm = 500 // what Redis needs once
	project := func(i, of int) string { return token(rand.New(rand.NewPCG(uint64(i/of), 1)), 20) }
	for _, c := range []struct {
		kind        string
		exports, of int
		most        int64
		fill        func(t *testing.T, rdb *redis.Client, projects []string)
	}{
		{"waiting", 10_000, 1, 810, fillWaiting},
		{"waiting", 10_000, 100, 690, fillWaiting},
		{"archived", 2_000, 1, 1500, fillArchived},
		{"archived", 2_000, 100, 1400, fillArchived},
	} {
		t.Run(fmt.Sprintf("%s, %d of a project", c.kind, c.of), func(t *testing.T) {
			rdb := redistest.Start(t, redistest.Config("hash-max-listpack-value", "512")).Client()
			var projects []string
			for i := range c.exports + warm {
				projects = append(projects, project(i, c.of))
			}
			c.fill(t, rdb, projects[:warm])
			before := usedMemory(t, rdb)
			c.fill(t, rdb, projects[warm:])
			each := (usedMemory(t, rdb) - before) / int64(c.exports)
			t.Logf("%d bytes an export", each)
			logKinds(t, rdb, int64(c.exports+warm))
			if each > c.most {
				t.Errorf("%d bytes an export, at most %d are wanted", each, c.most)
			}
		})
	}
}

func fillWaiting(t *testing.T, rdb *redis.Client, projects []string) {
	exports := make([]tasks.Export, len(projects))
	for i, project := range projects {
		exports[i].ProjectID = project
	}
	if _, err := tasks.NewClientFromRedis(rdb).EnqueueAll(t.Context(), exports); err != nil {
		t.Fatal(err)
	}
}

func fillArchived(t *testing.T, rdb *redis.Client, projects []string) {
	l := New(Options{Redis: rdb})
	one := func(ctx context.Context, i int) error {
		r := onItsWay(rand.New(rand.NewPCG(uint64(i), uint64(len(projects)))), projects[i], 5)
		if _, err := l.Create(ctx, r); err != nil {
			return err
		}
		if _, err := l.Update(ctx, r.ID, archived); err != nil {
			return err
		}
		_, err := l.Update(ctx, r.ID, func(r *export.Record) error {
			r.ReceiptPut(r.ExportTaskID, r.Receipts, export.ReceiptDone)
			return nil
		})
		return err
	}
	var wg sync.WaitGroup
	for first := range 8 {
		wg.Go(func() {
			for i := first; i < len(projects); i += 8 {
				if err := one(t.Context(), i); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}
