package e2e_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/clipferry/clipferry/internal/emulator"
	"github.com/clipferry/clipferry/internal/ledger"
	"github.com/clipferry/clipferry/internal/redistest"
	"github.com/clipferry/clipferry/internal/s3test"
)

// batch is n exports with ids of their own that render for least to a spread more.
func batch(n int, least, spread time.Duration) string {
	var lines []string
	for i := range n {
		lines = append(lines, fmt.Sprintf(`{"project_id":"p%d~clips=2~render=%s","job_id":"job-%d"}`,
			i, least+spread*time.Duration(i*7%21)/20, i))
	}
	return strings.Join(lines, "\n")
}

// enqueue has the exports taken up, however long Redis takes.
func (h *house) enqueue(lines string) []string {
	h.t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		out, code := h.clipferry(lines, "enqueue", "--file", "-")
		if code == 0 {
			return strings.Fields(out)
		}
		if time.Now().After(deadline) {
			h.t.Fatalf("enqueue: exit %d for a minute", code)
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// eventually waits until the condition holds.
func (h *house) eventually(what string, within time.Duration, ok func() bool) {
	h.t.Helper()
	for deadline := time.Now().Add(within); !ok(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			h.t.Fatalf("not within %s: %s", within, what)
		}
	}
}

// stored counts the objects whose path below the bucket fits the pattern.
func (h *house) stored(pattern string) int {
	h.t.Helper()
	found, err := filepath.Glob(filepath.Join(h.s3.Dir, s3test.Bucket, filepath.FromSlash(pattern)))
	must(h.t, err)
	return len(found)
}

const (
	receipts  = "exports/_receipts/*.json"
	manifests = "exports/*/*/manifest.json"
)

// books are the provider's.
func (h *house) books() emulator.State {
	h.t.Helper()
	req, err := http.NewRequest(http.MethodGet, h.provider+"/_emulator/state", nil)
	must(h.t, err)
	var state emulator.State
	must(h.t, json.Unmarshal(h.get(req), &state))
	return state
}

// paidOnce asserts that the provider charged each project once, and once more
// at most for each time that its export says to have been in doubt.
func (h *house) paidOnce(rdb redis.UniversalClient, all []status) {
	h.t.Helper()
	charged := map[string]int{}
	for _, s := range h.books().Submits {
		charged[s.ProjectID]++
	}
	l := ledger.New(ledger.Options{Redis: rdb})
	for _, s := range all {
		rec, err := l.LoadHead(h.t.Context(), s.ID)
		must(h.t, err)
		if n := charged[s.ProjectID]; n < 1 || n > 1+rec.Doubts {
			h.t.Errorf("%s: charged %d times with %d doubts", s.ID, n, rec.Doubts)
		}
	}
}

func TestRedisGoneForGoodInTheMiddle(t *testing.T) {
	const n = 50
	h := newHouse(t, "--requests-per-minute", "0", "--max-active", "0")
	h.env = append(h.env, "CLIPFERRY_API_MAX_ACTIVE_EXPORTS=0")
	h.worker()
	h.worker()
	lines := batch(n, 15*time.Second, 20*time.Second)
	h.enqueue(lines)
	h.eventually("all are paid for, and some archived", 2*time.Minute, func() bool {
		return h.stored(receipts) == n && h.stored(manifests) >= 3
	})
	if done := h.stored(manifests); done > n-10 {
		t.Fatalf("%d of %d are archived already: nothing is left to lose", done, n)
	}
	must(t, h.redis.Client().FlushAll(t.Context()).Err())
	for range 2 { // twice is as good as once
		out, code := h.clipferry("", "recover")
		t.Log(strings.TrimSpace(out))
		if code != 0 {
			t.Fatalf("recover: exit %d", code)
		}
	}
	h.eventually("all are archived", 3*time.Minute, func() bool { return h.stored(manifests) == n })
	// A producer that asks again meets what was paid for.
	for _, s := range h.awaitAll(h.enqueue(lines), "archived", time.Minute) {
		h.compare(s)
	}
	if charged := h.submits(); charged != n {
		t.Errorf("the provider charged %d exports, %d were asked for", charged, n)
	}
}

func TestASentinelFailoverInTheMiddle(t *testing.T) {
	t.Parallel()
	sentinel := redistest.StartSentinel(t, 2)
	h := newHouseOn(t, sentinel.URL(), "--requests-per-minute", "0")
	h.worker()
	h.worker()
	lines := batch(12, 4*time.Second, 6*time.Second)
	h.enqueue(lines)
	h.eventually("some are paid for", time.Minute, func() bool { return h.submits() >= 4 })
	old := sentinel.Failover()
	// Replication does not wait: what was enqueued in the last moment may be
	// gone, and an idempotency key is for just that.
	ids := h.enqueue(lines)
	old.Restart() // as a replica of the new master
	all := h.awaitAll(ids, "archived", 4*time.Minute)
	for _, s := range all {
		h.compare(s)
	}
	h.paidOnce(sentinel.Client(), all)
}

func TestAClusterThatIsReshardedAndLosesAMaster(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 3)
	h := newHouseOn(t, cluster.URL(), "--requests-per-minute", "0")
	h.worker()
	h.worker()
	lines := batch(12, 4*time.Second, 6*time.Second)
	h.enqueue(lines)
	h.eventually("some are paid for", time.Minute, func() bool { return h.submits() >= 4 })
	for i := range cluster.Nodes { // around, so that whatever is busy moves while it is
		if moved := cluster.Move(t.Context(), cluster.Nodes[i], cluster.Nodes[(i+1)%3], 40); moved == 0 {
			t.Errorf("node %d had no slot with keys to move", i)
		}
	}
	cluster.Nodes[2].Kill()
	time.Sleep(5 * time.Second) // the cluster's own timeout, and the workers', pass
	cluster.Nodes[2].Restart()
	ids := h.enqueue(lines)
	all := h.awaitAll(ids, "archived", 4*time.Minute)
	for _, s := range all {
		h.compare(s)
	}
	h.paidOnce(cluster.Client(), all)
}
