package model

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/maphash"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/clipferry/clipferry/internal/export"
)

var noon = time.Date(2026, 4, 7, 12, 0, 0, 0, time.UTC)

// record is a stored version of the export; it never changes.
type record struct {
	*export.Record
	key string
}

func freeze(r *export.Record) *record {
	doc, err := json.Marshal(r)
	if err != nil {
		panic(err)
	}
	c, err := json.Marshal(r.Clips)
	if err != nil {
		panic(err)
	}
	text := slices.Concat(doc, c)
	var key [16]byte
	binary.LittleEndian.PutUint64(key[:], maphash.Bytes(seeds[0], text))
	binary.LittleEndian.PutUint64(key[8:], maphash.Bytes(seeds[1], text))
	return &record{Record: r, key: string(key[:])}
}

func thaw(r *record) *export.Record {
	c := *r.Record
	c.Duplicates, c.Previous = slices.Clone(r.Duplicates), slices.Clone(r.Previous)
	c.Clips = make(map[int]*export.Clip, len(r.Clips))
	for idx, clip := range r.Clips {
		k := *clip
		c.Clips[idx] = &k
	}
	return &c
}

// faults is what may still go wrong, and what people may still do.
type faults struct {
	crash, ackLost, twice, pause                 int8 // workers and queue
	answerLost, refused, rejected, stop          int8 // the paid request
	ongoing, renderFailed                        int8 // reads
	deadLink, transfer                           int8 // mirrors
	cancel, retry, payAgain, fail, sweep, rescue int8
	flush, again                                 int8 // Redis loses everything; the producer enqueues once more
}

// task is where a task stands in the queue.
type task int8

const (
	pending task = iota
	active       // some worker has it
	orphan       // the worker that had it has gone; it comes again
)

// step is what a handler works on: an asynq task, or what a person asks for.
type step struct {
	kind string // export.Kind, or "cancel", "retry", "pay", "sweep", "recover", "fail"
	n    int
	clip int
}

func (s step) id() string { return fmt.Sprint(s.kind, ":", s.clip, ":", s.n) }

func (s step) append(b []byte) []byte { return append(append(b, s.kind...), byte(s.clip), byte(s.n)) }

func (s step) compare(t step) int {
	return cmp.Or(strings.Compare(s.kind, t.kind), cmp.Compare(s.clip, t.clip), cmp.Compare(s.n, t.n))
}

// receipt is the one object in S3 that names what was paid for.
type receipt struct {
	task, says string
	intent     string // of a paid request in doubt
	earlier    string // tasks before it, each with a space behind it
}

// is reports whether the receipt says that of the task.
func (r receipt) is(task, says string) bool { return r.task == task && r.says == says }

// put opens the receipt for a task; knows are the others that its writer knows of.
func (r *receipt) put(task string, knows ...string) {
	late := strings.Contains(r.earlier, task+" ") && !slices.Contains(knows, r.task)
	if r.task == task || late {
		return
	}
	if r.task != "" {
		r.earlier += r.task + " "
	}
	r.earlier = strings.ReplaceAll(r.earlier, task+" ", "")
	r.task, r.says, r.intent = task, export.ReceiptOpen, ""
}

// doubt says ahead of a paid request that it may have been taken; it reports
// false, and changes nothing, if the export is paid for as a task that the writer
// does not know, or may be by another request than the settled one.
func (r *receipt) doubt(intent, settled string, knows ...string) bool {
	if r.intent != "" && r.intent != intent && r.intent != settled {
		return false
	}
	if r.task != "" && !slices.Contains(knows, r.task) {
		return false
	}
	if r.task != "" {
		r.earlier += r.task + " "
	}
	r.task, r.says, r.intent = "", "", intent
	return true
}

// clear says that the request of the intent was not taken.
func (r *receipt) clear(intent string) {
	if r.intent == intent {
		r.intent = ""
	}
}

// say closes or reopens the receipt of a task; done is the last word.
func (r *receipt) say(task, says string) {
	if r.task == task && r.says != export.ReceiptDone {
		r.says = says
	}
}

// world is all there is. It is copied before it is changed.
type world struct {
	rec      *record
	queue    map[step]task
	receipt  receipt
	manifest string            // the task whose manifest stands
	objects  map[string][]bool // clips in S3, of each task
	leased   bool              // the submit lease is taken …
	harmed   bool              // a worker has died, or Redis was lost
	dropped  bool              // tasks were lost: with Redis, or with a person's process before it added them
	mourned  bool              // … by a worker that has died
	procs    [2]proc
	left     faults
	policy   export.Policy
	clips    int // how many the provider renders

	charges []string // tasks that the provider took and charged
	lost    int      // of these, answers that reached nobody who could record them
	allowed int      // further charges that a person or a lost Redis accounts for
	unnamed int      // tasks that a lost Redis had to name, where that accounts for no further charge
	tokens  int
}

// proc is a worker: idle, or at a place in a handler.
type proc struct {
	at   place
	on   step
	snap *record // the record as it was loaded, or as the last change left it
	// what the handler carries along
	holds          bool   // the submit lease, as it believes
	token, answer  string // of its paid request
	inLedger, inS3 bool   // where the answer is recorded already
	outcome        string // of a request or a transfer
	due            int    // steps that Ensure has seen to
	seen           int    // receipts written before its own
	resumes        bool
}

func (w *world) clone() *world {
	c := *w
	c.queue = maps.Clone(w.queue)
	c.objects = make(map[string][]bool, len(w.objects))
	for k, v := range w.objects {
		c.objects[k] = slices.Clone(v)
	}
	c.charges = slices.Clone(w.charges)
	return &c
}

var seeds = [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}

// fingerprint tells worlds apart. Which of two workers is which plays no part.
func (w *world) fingerprint() [2]uint64 {
	b := make([]byte, 0, 1024)
	if w.rec != nil {
		b = append(b, w.rec.key...)
	}
	for _, s := range w.sorted() {
		b = append(s.append(b), byte(w.queue[s]))
	}
	x, y := w.procs[0].key(), w.procs[1].key()
	if x > y {
		x, y = y, x
	}
	b = append(append(append(b, '|'), x...), '|')
	b = append(append(b, y...), w.receipt.task...)
	b = append(append(append(b, w.receipt.says...), (w.receipt.intent+"/"+w.receipt.earlier)...), w.manifest...)
	for _, task := range w.charges {
		b = append(append(b, task...), flags(w.objects[task]...)...)
	}
	b = append(b, flags(w.leased, w.mourned, w.harmed, w.dropped)...)
	l := &w.left
	for _, n := range []int8{
		l.crash, l.ackLost, l.twice, l.pause, l.answerLost, l.refused, l.rejected, l.ongoing, l.renderFailed,
		l.deadLink, l.transfer, l.cancel, l.retry, l.payAgain, l.fail, l.stop, l.sweep, l.rescue, l.flush, l.again,
		int8(w.lost), int8(w.allowed), int8(w.unnamed),
	} {
		b = append(b, byte(n))
	}
	return [2]uint64{maphash.Bytes(seeds[0], b), maphash.Bytes(seeds[1], b)}
}

func flags(on ...bool) []byte {
	b := make([]byte, len(on))
	for i, f := range on {
		if f {
			b[i] = 1
		}
	}
	return b
}

func (p *proc) key() string {
	if p.at == idle {
		return ""
	}
	b := make([]byte, 0, 512)
	for _, s := range []string{string(p.at), p.token, p.answer, p.outcome} {
		b = append(append(b, s...), ' ')
	}
	b = append(p.on.append(b), flags(p.holds, p.inLedger, p.inS3, p.resumes)...)
	b = append(b, byte(p.due), byte(p.seen))
	if p.snap != nil {
		b = append(b, p.snap.key...)
	}
	return string(b)
}

// swap is the ledger's compare-and-swap: the change runs on what stands.
func (w *world) swap(change func(*export.Record) error) (*record, error) {
	if w.rec == nil {
		return nil, errUnknown
	}
	r := thaw(w.rec)
	if err := change(r); err != nil {
		return w.rec, err
	}
	w.rec = freeze(r)
	return w.rec, nil
}

// enqueue adds a task unless one of that name is there.
func (w *world) enqueue(s step) {
	if _, there := w.queue[s]; !there {
		w.queue[s] = pending
	}
}

func stepOf(s export.Step) step { return step{kind: string(s.Kind), n: s.N, clip: s.Clip} }

// pointsTo reports whether the record or the receipt names the task.
func (w *world) pointsTo(task string) bool {
	if w.receipt.task == task {
		return true
	}
	r := w.rec
	return r != nil && (r.ExportTaskID == task || slices.Contains(r.Duplicates, task) || slices.Contains(r.Previous, task))
}

func (w *world) archived(task string) bool {
	o := w.objects[task]
	return len(o) == w.clips && !slices.Contains(o, false)
}
