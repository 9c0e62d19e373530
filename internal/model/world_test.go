package model

import (
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/maphash"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/storage"
)

var noon = time.Date(2026, 4, 7, 12, 0, 0, 0, time.UTC)

// record is a stored version of the export; it never changes.
type record struct {
	*export.Record
	key string
}

func freeze(r *export.Record) *record {
	r.TakenOver = export.Record{}.TakenOver // steps are not taken over often enough here for it to matter
	for _, c := range r.Clips {
		c.TakenOver = r.TakenOver
	}
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
	c.Duplicates, c.Previous, c.Settled = slices.Clone(r.Duplicates), slices.Clone(r.Previous), slices.Clone(r.Settled)
	c.Clips = make(map[int]*export.Clip, len(r.Clips))
	for idx, clip := range r.Clips {
		k := *clip
		c.Clips[idx] = &k
	}
	return &c
}

// faults is what may still go wrong, and what people may still do.
type faults struct {
	crash, ackLost, twice, pause, takeOver       int8 // workers and queue
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

// world is all there is. It is copied before it is changed.
type world struct {
	rec      *record
	queue    map[step]task
	receipt  storage.Receipt   // the one object in S3 that says what was paid for; no ID for none
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
	holds          bool            // the submit lease, as it believes
	token, answer  string          // of its paid request
	wrote          bool            // the intent, for all that it knows
	found          storage.Receipt // what recover has read
	inLedger, inS3 bool            // where the answer is recorded already
	outcome        string          // of a request or a transfer
	due            int             // steps that Ensure has seen to
	seen           int             // receipts written before its own
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
	b = append(append(b, y...), w.receipt.ExportTaskID...)
	b = append(append(append(b, w.receipt.State...), w.receipt.Intent...), '/')
	for _, tasks := range [][]string{w.receipt.Earlier, w.receipt.Duplicates, {w.manifest}} {
		b = append(append(b, strings.Join(tasks, " ")...), '/')
	}
	for _, task := range w.charges {
		b = append(append(b, task...), flags(w.objects[task]...)...)
	}
	b = append(b, flags(w.leased, w.mourned, w.harmed, w.dropped)...)
	l := &w.left
	for _, n := range []int8{
		l.crash, l.ackLost, l.twice, l.pause, l.takeOver, l.answerLost, l.refused, l.rejected, l.ongoing, l.renderFailed,
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
	b = append(p.on.append(b), flags(p.holds, p.inLedger, p.inS3, p.resumes, p.wrote)...)
	b = append(append(b, p.found.ExportTaskID...), p.found.Intent...)
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
	if r := w.receipt; r.ExportTaskID == task || slices.Contains(r.Earlier, task) || slices.Contains(r.Duplicates, task) {
		return true
	}
	r := w.rec
	return r != nil && (r.ExportTaskID == task || slices.Contains(r.Duplicates, task) || slices.Contains(r.Previous, task))
}

func (w *world) archived(task string) bool {
	o := w.objects[task]
	return len(o) == w.clips && !slices.Contains(o, false)
}

// The archive as package recovery sees it: what it finds there, and what follows
// from that, is the real decision.

func (w *world) Receipt(context.Context, string) (storage.Receipt, bool, error) {
	return w.receipt, w.receipt.ID != "", nil
}

func (w *world) WriteReceipt(_ context.Context, r, was storage.Receipt) (bool, error) {
	if was.ID != w.receipt.ID {
		return false, nil
	}
	w.receipt = r
	return true, nil
}

// sync is [storage.Archive.SyncReceipt].
func (w *world) sync(r storage.Receipt) {
	if next, due := r.Over(w.receipt); due {
		w.receipt = next
	}
}

func (w *world) ManifestKey(_, task string) string { return task }

func (w *world) ReadManifest(_ context.Context, key string) (storage.Manifest, bool, error) {
	var m storage.Manifest
	for idx := range w.clips {
		m.Clips = append(m.Clips, storage.ManifestClip{Idx: idx})
	}
	return m, key != "" && key == w.manifest, nil
}

// receiptOf is what a worker says of the record's export in S3.
func receiptOf(r *export.Record, says string) storage.Receipt {
	receipt := storage.Receipt{
		ID: r.ID, ExportTaskID: r.ExportTaskID, ProjectID: r.ProjectID, Request: r.Request, Submitted: noon,
		State: storage.ReceiptState(says), Earlier: r.Previous, Duplicates: r.Duplicates,
	}
	if r.ExportTaskID == "" {
		receipt.Settled = r.Settled
	}
	return receipt
}
