package passthrough

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/clipferry/clipferry/internal/budget"
	"github.com/clipferry/clipferry/internal/emulator"
	"github.com/clipferry/clipferry/internal/fault"
	"github.com/clipferry/clipferry/internal/retry"
	"github.com/clipferry/clipferry/storage"
)

// forget loses Redis for good, and with it whatever the budget knows.
func (r *rig) forget() {
	r.t.Helper()
	r.gate.Close()
	must(r.t, r.rdb.FlushAll(r.t.Context()).Err())
	gate, err := budget.New(budget.Options{Redis: r.rdb, Account: "default", MaxActive: 2, Logger: r.Service.log})
	must(r.t, err)
	r.t.Cleanup(gate.Close)
	r.gate, r.o.Gate = gate, gate
}

// back starts Redis again, with what it knew.
func (r *rig) back() {
	r.t.Helper()
	r.redis.Restart()
	for r.rdb.Ping(r.t.Context()).Err() != nil { // the client gives a server that was away a moment
		must(r.t, retry.Wait(r.t.Context(), 20*time.Millisecond))
	}
}

// recovered is what `recover` does of all receipts.
func (r *rig) recovered() int {
	r.t.Helper()
	n := 0
	for receipt, err := range r.archive.Receipts(r.t.Context(), time.Time{}) {
		must(r.t, err)
		restored, err := r.restore.Restore(r.t.Context(), receipt)
		must(r.t, err)
		if restored {
			n++
		}
	}
	return n
}

// TestWhatWasPaidForOutlivesRedis: a repeat gets the same answer, the task is its
// tenant's, holds its slot and is read to its end, by whatever comes first.
func TestWhatWasPaidForOutlivesRedis(t *testing.T) {
	for name, comeBack := range map[string]func(r *rig, task string){
		"the repeat":     func(*rig, string) {},
		"a read":         func(r *rig, task string) { r.must("web", "GET", "clips/results/"+task, "") },
		"another's read": func(r *rig, task string) { r.refused("batch", "GET", "clips/results/"+task, "") },
		"recover": func(r *rig, _ string) {
			if n := r.recovered(); n != 4 {
				r.t.Errorf("%d documents came back", n)
			}
			if n := r.recovered(); n != 0 {
				r.t.Errorf("%d came back twice", n)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			first, made := r.must("web", "POST", "clips", talk, "order 1")
			_, keyless := r.must("web", "POST", "clips", talk)
			r.forget()
			comeBack(r, made.Data.ID)
			again, _ := r.must("web", "POST", "clips", talk, "order 1")
			if string(again.Body) != string(first.Body) || !again.Again || len(r.emulator.State().Submits) != 2 {
				t.Errorf("%s, %d orders", again.Body, len(r.emulator.State().Submits))
			}
			if f := r.refused("web", "POST", "clips", strings.Replace(talk, "talk", "walk", 1), "order 1"); f.Status != 422 {
				t.Errorf("%+v", f)
			}
			for _, task := range []string{made.Data.ID, keyless.Data.ID} {
				if f := r.refused("batch", "GET", "clips/results/"+task, ""); f.Status != 404 {
					t.Errorf("%+v", f)
				}
				if owner, err := r.Tenant(t.Context(), task); err != nil || owner != "web" {
					t.Errorf("project of %q, %v", owner, err)
				}
			}
			r.pass(30 * time.Second)
			if n := r.steps(); n != 2 || r.slots() != 2 {
				t.Errorf("%d steps, %d slots", n, r.slots())
			}
			r.pass(100 * time.Second)
			r.steps()
			if _, said := r.must("web", "GET", "clips/results/"+keyless.Data.ID, ""); said.Data.Status != "SUCCEEDED" || r.slots() != 0 {
				t.Errorf("%+v, %d slots", said, r.slots())
			}
			// What is over comes back without a slot.
			r.forget()
			r.recovered()
			if n := r.steps(); n != 0 || r.slots() != 0 {
				t.Errorf("%d steps, %d slots", n, r.slots())
			}
		})
	}
}

// TestADoubtOutlivesRedis: nobody knows whether it was taken, and it is not sent again
// before its key has ended.
func TestADoubtOutlivesRedis(t *testing.T) {
	r := newRig(t)
	_, err := r.emulator.Inject(emulator.Fault{Kind: emulator.FaultLost, Route: emulator.RouteCreate, Count: 1})
	must(t, err)
	r.refused("web", "POST", "clips", talk, "one")
	r.forget()
	for range 2 {
		if f := r.refused("web", "POST", "clips", talk, "one"); f.Status != 409 || f.Reason != "answer_lost" {
			t.Errorf("%+v", f)
		}
	}
	if n := len(r.emulator.State().Submits); n != 1 {
		t.Errorf("%d orders", n)
	}
	r.forget()
	r.pass(keepKey)
	r.must("web", "POST", "clips", talk, "one")
}

// TestARefusalOutlivesNothing: it cost nothing, and is asked for again.
func TestARefusalOutlivesNothing(t *testing.T) {
	r := newRig(t)
	for range 2 {
		if a, err := r.do("web", "POST", "clips", `{}`, "bad"); err != nil || a.Status != 400 {
			t.Errorf("%d, %v", a.Status, err)
		}
		r.forget()
	}
	if n := r.sent(emulator.RouteCreate); n != 2 {
		t.Errorf("%d requests", n)
	}
}

// TestNothingIsSentThatS3TakesNoReceiptOf.
func TestNothingIsSentThatS3TakesNoReceiptOf(t *testing.T) {
	r := newRig(t)
	r.o.Receipts = down{}
	if f := r.refused("web", "POST", "clips", talk, "one"); f.Status != 503 || r.sent(emulator.RouteCreate) != 0 || r.slots() != 0 {
		t.Errorf("%+v, %d requests, %d slots", f, r.sent(emulator.RouteCreate), r.slots())
	}
	if owner, err := r.Tenant(t.Context(), "elsewhere"); err != nil || owner != "" {
		t.Errorf("%q, %v", owner, err)
	}
	r.o.Receipts = r.archive
	r.must("web", "POST", "clips", talk, "one")
}

// TestReadsWithoutS3: whose a task is that Redis does not know, S3 alone may say. Without it
// an admin and the only tenant read all the same, and nothing is remembered of that; others
// are refused, and nobody waits long for an S3 that is silent.
func TestReadsWithoutS3(t *testing.T) {
	r := newRig(t)
	_, made := r.must("web", "POST", "clips", talk)
	r.forget()
	read := Request{Tenant: "ops", Method: "GET", Path: "/api/v2/clips/results/" + made.Data.ID, Header: versionHeader()}
	mute := &silent{}
	for name, without := range map[string]struct {
		Receipts
		wait time.Duration
	}{"down": {down{}, time.Hour}, "silent": {mute, 10 * time.Millisecond}} {
		r.o.Receipts, r.receiptWait = without.Receipts, without.wait
		for range 3 {
			if f := r.refused("batch", "GET", "clips/results/"+made.Data.ID, ""); f.Status != 503 {
				t.Errorf("%s: %+v", name, f)
			}
		}
		all, alone := read, read
		all.All, alone.Alone = true, true
		for _, q := range []Request{all, alone} {
			if a, err := r.Do(t.Context(), q); err != nil || a.Status != 200 || a.TaskID != made.Data.ID {
				t.Errorf("%s: %d %s, %v", name, a.Status, a.Body, err)
			}
		}
	}
	if n := mute.asked.Load(); n != 1 {
		t.Errorf("the silent one was asked %d times", n)
	}
	r.o.Receipts, r.receiptWait = r.archive, receiptWait
	r.pass(receiptPause)
	if f := r.refused("batch", "GET", "clips/results/"+made.Data.ID, ""); f.Status != 404 {
		t.Errorf("%+v", f)
	}
}

// TestAReceiptIsWrittenLate: S3 is down when the task is made.
func TestAReceiptIsWrittenLate(t *testing.T) {
	r := newRig(t)
	late := &lateReceipts{Receipts: r.archive}
	r.o.Receipts = late
	_, made := r.must("web", "POST", "clips", talk, "one")
	r.pass(30 * time.Second)
	late.up = true
	r.steps()
	r.o.Receipts = r.archive
	r.forget()
	if f := r.refused("batch", "GET", "clips/results/"+made.Data.ID, ""); f.Status != 404 {
		t.Errorf("%+v", f)
	}
}

// TestAnExportThatLeftNoReceiptIsTakenUpAgain: Redis is lost before a worker has begun it.
func TestAnExportThatLeftNoReceiptIsTakenUpAgain(t *testing.T) {
	var taken []Accepted
	r := newRig(t, func(o *Options) {
		o.TakeUp = func(_ context.Context, a Accepted) (string, error) {
			taken = append(taken, a)
			return "import-" + a.TaskID, nil
		}
	})
	_, made := r.must("web", "POST", "clips", strings.TrimSuffix(talk, "}")+`,"enable_export":true}`)
	r.forget()
	r.recovered()
	if len(taken) != 2 || taken[1].TaskID != made.Data.ID || taken[1].Tenant != "web" || !taken[1].Inline || !strings.Contains(string(taken[1].Request), "enable_export") {
		t.Errorf("%+v", taken)
	}
	if _, err := r.archive.WriteReceipt(t.Context(), storage.Receipt{ID: "import-" + made.Data.ID}, storage.Receipt{}); err != nil {
		t.Fatal(err)
	}
	r.forget()
	if a, _ := r.must("web", "GET", "clips/results/"+made.Data.ID, ""); a.Export == "" || len(taken) != 2 {
		t.Errorf("%+v, taken up %d times", a, len(taken))
	}
}

// TestATaskIsFollowedThatNobodyCouldRecord: Redis was away when it was made, or whoever
// made it died after its answer. It is its tenant's and taken up all the same, by
// whatever comes first.
func TestATaskIsFollowedThatNobodyCouldRecord(t *testing.T) {
	archived := strings.TrimSuffix(talk, "}") + `,"enable_export":true}`
	for name, c := range map[string]struct {
		away     bool
		comeBack func(r *rig, task string)
	}{
		"away, then a read":   {true, func(r *rig, task string) { r.must("web", "GET", "clips/results/"+task, "") }},
		"away, then recover":  {true, func(r *rig, _ string) { r.recovered() }},
		"died, then a repeat": {false, func(r *rig, _ string) { r.must("web", "POST", "clips", archived, "order 1") }},
		"died, then recover":  {false, func(r *rig, _ string) { r.recovered() }},
	} {
		t.Run(name, func(t *testing.T) {
			var taken []Accepted
			up := c.away
			r := newRig(t, func(o *Options) {
				rdb := o.Redis
				o.TakeUp = func(ctx context.Context, a Accepted) (string, error) {
					if !up {
						return "", errDown
					}
					if err := rdb.Ping(ctx).Err(); err != nil {
						return "", err
					}
					taken = append(taken, a)
					return "import-" + a.TaskID, nil
				}
			})
			if c.away {
				r.answered = r.redis.Kill
			} else {
				r.o.Receipts = noTasks{r.archive}
			}
			_, made := r.must("web", "POST", "clips", archived, "order 1")
			if len(taken) != 0 {
				t.Errorf("taken up too early: %+v", taken)
			}
			up, r.answered, r.o.Receipts = true, nil, r.archive
			if c.away {
				r.back()
			} else {
				r.forget()
			}
			c.comeBack(r, made.Data.ID)
			if len(taken) != 1 || taken[0].TaskID != made.Data.ID || taken[0].Tenant != "web" || !taken[0].Inline || !strings.Contains(string(taken[0].Request), "enable_export") {
				t.Fatalf("%+v", taken)
			}
			if f := r.refused("batch", "GET", "clips/results/"+made.Data.ID, ""); f.Status != 404 {
				t.Errorf("%+v", f)
			}
			if a, _ := r.must("web", "GET", "clips/results/"+made.Data.ID, ""); a.Export != "import-"+made.Data.ID {
				t.Errorf("%+v", a)
			}
			held, err := r.gate.Slots(t.Context())
			if err != nil || slices.ContainsFunc(held, func(name string) bool { return name != "import-"+made.Data.ID }) {
				t.Errorf("%v hold slots, %v", held, err)
			}
		})
	}
}

// noTasks is an S3 that takes no receipt of a task.
type noTasks struct{ Receipts }

func (n noTasks) SyncReceipt(ctx context.Context, r storage.Receipt) error {
	if strings.Contains(r.ID, "/task:") {
		return errDown
	}
	return n.Receipts.SyncReceipt(ctx, r)
}

// down is an S3 that takes and gives nothing; lateReceipts takes the intent, and the
// rest only once it is up.
// silent is one that takes requests and does not answer.
type (
	down   struct{}
	silent struct {
		down
		asked atomic.Int32
	}
	lateReceipts struct {
		Receipts
		up bool
	}
)

var errDown = fault.New(fault.Retry, "S3 is down", errors.New("connection refused"))

func (down) Receipt(context.Context, string) (storage.Receipt, bool, error) {
	return storage.Receipt{}, false, errDown
}

func (s *silent) Receipt(ctx context.Context, _ string) (storage.Receipt, bool, error) {
	s.asked.Add(1)
	<-ctx.Done()
	return storage.Receipt{}, false, ctx.Err()
}
func (down) SyncReceipt(context.Context, storage.Receipt) error { return errDown }
func (down) WriteReceipt(context.Context, storage.Receipt, storage.Receipt) (bool, error) {
	return false, errDown
}

func (l *lateReceipts) SyncReceipt(ctx context.Context, r storage.Receipt) error {
	if !l.up {
		return errDown
	}
	return l.Receipts.SyncReceipt(ctx, r)
}

// bothAsked answers once it is asked for two receipts at a time.
type bothAsked struct {
	down
	two sync.WaitGroup
}

func (b *bothAsked) Receipt(ctx context.Context, _ string) (storage.Receipt, bool, error) {
	b.two.Done()
	done := make(chan struct{})
	go func() { b.two.Wait(); close(done) }()
	select {
	case <-done:
		return storage.Receipt{}, false, nil
	case <-ctx.Done():
		return storage.Receipt{}, false, ctx.Err()
	}
}

// TestAProjectIsLookedUpByBothNamesAtOnce: S3 may be slow, and many are asked for.
func TestAProjectIsLookedUpByBothNamesAtOnce(t *testing.T) {
	s3 := &bothAsked{}
	s3.two.Add(2)
	r := newRig(t, func(o *Options) { o.Receipts = s3 })
	r.receiptWait = time.Minute
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if owner, err := r.Tenant(ctx, "elsewhere"); err != nil || owner != "" || ctx.Err() != nil {
		t.Errorf("%q, %v, %v", owner, err, ctx.Err())
	}
}
