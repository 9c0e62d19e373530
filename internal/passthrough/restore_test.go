package passthrough

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/clipferry/clipferry/internal/emulator"
)

// TestS3KnowsAnAnswerThatRedisDoesNot: Redis was away when the answer came, and is back
// with what was written ahead.
func TestS3KnowsAnAnswerThatRedisDoesNot(t *testing.T) {
	r := newRig(t)
	r.answered = r.redis.Kill
	first, _ := r.must("web", "POST", "clips", talk, "one")
	r.answered = nil
	r.back()
	r.o.Receipts = down{}
	if f := r.refused("web", "POST", "clips", talk, "one"); f.Status != 503 {
		t.Errorf("without S3 nobody knows: %+v", f)
	}
	r.o.Receipts = r.archive
	again, _ := r.must("web", "POST", "clips", talk, "one")
	if string(again.Body) != string(first.Body) || !again.Again || len(r.emulator.State().Submits) != 1 {
		t.Errorf("%s, %d orders", again.Body, len(r.emulator.State().Submits))
	}
	r.o.Receipts = down{} // Redis knows it by now
	r.must("web", "POST", "clips", talk, "one")
}

// TestWhatCameToNothingIsSentAgain: S3 knows, and Redis has lost its last moments.
func TestWhatCameToNothingIsSentAgain(t *testing.T) {
	r := newRig(t)
	key, about := r.store.prefix+"key:"+hash("web", "one"), ""
	r.answered = func() { about = r.rdb.Get(t.Context(), key).Val() }
	_, err := r.emulator.Inject(emulator.Fault{Kind: emulator.FaultStatus, Route: emulator.RouteCreate, Status: 400, Count: 1})
	must(t, err)
	if a, err := r.do("web", "POST", "clips", talk, "one"); err != nil || a.Status != 400 {
		t.Fatalf("%d, %v", a.Status, err)
	}
	r.answered = nil
	must(t, r.rdb.Set(t.Context(), key, about, keepKey).Err())
	if a, _ := r.must("web", "POST", "clips", talk, "one"); a.Again || len(r.emulator.State().Submits) != 1 {
		t.Errorf("%+v, %d orders", a, len(r.emulator.State().Submits))
	}
}

// TestALongAnswerOutlivesRedisInShort: its receipt keeps what a client needs of it.
func TestALongAnswerOutlivesRedisInShort(t *testing.T) {
	r := newRig(t)
	long := strings.Replace(talk, "talk~", strings.Repeat("talk", maxKept/4)+"~", 1)
	first, made := r.must("web", "POST", "clips", long, "one")
	if len(first.Body) <= maxKept {
		t.Fatalf("an answer of %d bytes", len(first.Body))
	}
	r.forget()
	again, restored := r.must("web", "POST", "clips", long, "one")
	if restored.Data.ID != made.Data.ID || restored.Data.Status != "CREATED" || again.Header.Get("Content-Type") != "application/json" {
		t.Errorf("%s", again.Body)
	}
	if a, said := r.must("web", "GET", "clips/results/"+made.Data.ID, ""); said.Data.Status != "CREATED" || len(a.Body) > maxKept {
		t.Errorf("%d bytes: %+v", len(a.Body), said)
	}
}

// TestAFirstReadThatFailsIsTriedAgain, of a task that came back without its answer.
func TestAFirstReadThatFailsIsTriedAgain(t *testing.T) {
	r := newRig(t)
	r.o.Receipts = noTasks{r.archive}
	_, made := r.must("web", "POST", "clips", talk)
	r.o.Receipts = r.archive
	r.pass(30 * time.Second)
	r.steps()
	r.forget()
	r.recovered()
	_, err := r.emulator.Inject(emulator.Fault{Kind: emulator.FaultStatus, Route: emulator.RouteResults, Status: 503, Count: 2})
	must(t, err)
	r.pass(100 * time.Second)
	for range 3 {
		if n := r.steps(); n != 1 {
			t.Fatalf("%d steps", n)
		}
	}
	if _, said := r.must("web", "GET", "clips/results/"+made.Data.ID, ""); said.Data.Status != "SUCCEEDED" || r.slots() != 0 || r.steps() != 0 {
		t.Errorf("%+v, %d slots", said, r.slots())
	}
}

// TestWhatCouldNotBeTakenUpIsTriedAgain, with the next read.
func TestWhatCouldNotBeTakenUpIsTriedAgain(t *testing.T) {
	busy := true
	r := newRig(t, func(o *Options) {
		o.TakeUp = func(_ context.Context, a Accepted) (string, error) {
			if busy {
				return "", errDown
			}
			return "import-" + a.TaskID, nil
		}
	})
	_, made := r.must("web", "POST", "clips", talk)
	busy = false
	r.pass(30 * time.Second)
	r.steps()
	held, err := r.gate.Slots(t.Context())
	if id := "import-" + made.Data.ID; err != nil || len(held) != 1 || held[0] != id || r.sent(emulator.RouteResults) != 0 {
		t.Errorf("%v hold slots, %v", held, err)
	}
	if n := r.steps(); n != 0 {
		t.Errorf("%d steps", n)
	}
}
