package e2e_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"github.com/clipferry/clipferry/internal/index"
	"github.com/clipferry/clipferry/tasks"
)

// batchEvent is the event of a batch in its producer's queue.
type batchEvent struct {
	ID   string
	Data struct {
		Members int
		States  map[string]int
	}
}

// A producer is killed again and again in the middle of a file, a worker in the middle of
// its members; some are canceled, one of these is taken up again. No member is enqueued or
// ordered twice, and each end of the batch is one event.
func TestABatchWhoseProducersAndWorkersAreKilled(t *testing.T) {
	const members, ordered = 1200, 12
	h := newHouse(t, "--requests-per-minute", "0", "--max-active", "0")
	h.env = append(h.env, "CLIPFERRY_API_MAX_ACTIVE_EXPORTS=0")
	rdb := h.redis.Client()
	must(t, tasks.PublishQueues(t.Context(), rdb, "mine")) // as the producer's own worker does
	var lines strings.Builder
	for i := range members {
		label := "no"
		if i%(members/ordered) == 0 {
			label = "yes"
		}
		_, _ = fmt.Fprintf(&lines, `{"project_id":"p%d~clips=1~render=2s","labels":{"order":%q}}`+"\n", i, label)
	}
	file := filepath.Join(t.TempDir(), "season.jsonl")
	must(t, os.WriteFile(file, []byte(lines.String()), 0o600))
	command := []string{"enqueue", "--file", file, "--batch", "season-1", "--notify-task-type", "mine:done", "--notify-queue", "mine"}

	// Killed while the members are entered, as soon as the record is there, and after so
	// many ids.
	entered := func() bool { return rdb.ZCard(t.Context(), index.Members("season-1")).Val() > 0 }
	recorded := func() bool {
		_, err := index.LoadBatch(t.Context(), rdb, "season-1")
		return !errors.Is(err, index.ErrNoBatch)
	}
	for _, when := range []func() bool{entered, recorded} {
		producer := exec.Command(binaries.clipferry, command...)
		producer.Env = h.env
		h.start(producer)
		h.eventually("the producer is on its way", time.Minute, when)
		must(t, producer.Process.Kill())
		_ = producer.Wait()
	}
	for _, after := range []int{1, 501} {
		producer := exec.Command(binaries.clipferry, command...)
		producer.Env = h.env
		out, err := producer.StdoutPipe()
		must(t, err)
		h.start(producer)
		ids := bufio.NewScanner(out)
		for n := 0; n < after && ids.Scan(); n++ {
		}
		must(t, producer.Process.Kill())
		_ = producer.Wait()
	}
	out, code := h.clipferry("", command...)
	again, _ := h.clipferry("", command...)
	ids := strings.Fields(out)
	if code != 0 || again != out || len(slices.Compact(slices.Sorted(slices.Values(ids)))) != members {
		t.Fatalf("exit %d, %d ids, the same again: %v", code, len(ids), again == out)
	}
	info, err := asynq.NewInspectorFromRedisClient(rdb).GetQueueInfo(tasks.QueueSubmit)
	must(t, err)
	if info.Size != members {
		t.Errorf("%d tasks for %d exports", info.Size, members)
	}

	if _, code = h.clipferry("", "cancel", "--batch", "season-1", "--label", "order=no"); code != 0 {
		t.Fatalf("cancel: exit %d", code)
	}
	killed := h.worker()
	h.worker()
	h.eventually("some are archived", time.Minute, func() bool { return h.stored(manifests) >= 3 })
	must(t, killed.Process.Kill())
	_ = killed.Wait()
	h.worker()
	h.eventually("what was to be ordered is archived", 2*time.Minute, func() bool { return h.stored(manifests) == ordered })
	h.eventually("S3 has the batch", time.Minute, func() bool { return h.stored("exports/_batches/season-1.json") == 1 })

	events := h.awaitBatchEvents(1)
	if fmt.Sprint(events[0].Data) != fmt.Sprintf("{%d map[archived:%d canceled:%d]}", members, ordered, members-ordered) {
		t.Errorf("%+v", events)
	}
	if _, code = h.clipferry("", "retry", "--", ids[1]); code != 0 {
		t.Fatalf("retry: exit %d", code)
	}
	h.awaitAll(ids[1:2], "archived", time.Minute)
	events = h.awaitBatchEvents(2)
	if events[0].ID == events[1].ID || events[1].Data.States["archived"] != ordered+1 {
		t.Errorf("%+v", events)
	}
	if n := h.submits(); n != ordered+1 {
		t.Errorf("%d orders for %d members", n, ordered+1)
	}
}

// awaitBatchEvents waits for so many events of batches in the queue mine. It has the
// fleet swept now: a new worker sweeps as it starts.
func (h *house) awaitBatchEvents(n int) (events []batchEvent) {
	h.t.Helper()
	rdb := h.redis.Client()
	inspector := asynq.NewInspectorFromRedisClient(rdb)
	h.eventually(fmt.Sprintf("%d events", n), 2*time.Minute, func() bool {
		must(h.t, rdb.Del(h.t.Context(), "clipferry:{fleet}:lease:sweep").Err())
		sweeper := h.worker()
		defer func() {
			_ = sweeper.Process.Kill()
			_ = sweeper.Wait()
		}()
		for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
			infos, err := inspector.ListPendingTasks("mine")
			if err != nil && !errors.Is(err, asynq.ErrQueueNotFound) {
				h.t.Fatal(err)
			}
			if len(infos) >= n {
				events = make([]batchEvent, len(infos))
				for i, info := range infos {
					must(h.t, json.Unmarshal(info.Payload, &events[i]))
				}
				return true
			}
		}
		return false
	})
	if len(events) != n {
		h.t.Fatalf("%d events, not %d: %+v", len(events), n, events)
	}
	return events
}
