package model

import (
	"context"
	"errors"
	"fmt"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/recovery"
	"github.com/clipferry/clipferry/storage"
	"github.com/clipferry/clipferry/tasks"
)

var errUnknown = errors.New("no record")

// place is where in a handler a worker is: what it does next.
type place string

const (
	idle place = ""

	takeUp   place = "take up"  // submit: find or make the record
	lease    place = "lease"    // submit: one run at a time
	reload   place = "reload"   // submit: load again, under the lease
	examine  place = "examine"  // submit: what a dead worker sent, its receipt may tell
	prepare  place = "prepare"  // submit: write the intent to S3
	intend   place = "intend"   // submit: write the intent to the ledger
	post     place = "post"     // submit: the paid request goes out
	answered place = "answered" // submit: it was taken; ledger and receipt
	mark     place = "mark"     // submit: the receipt is known to stand
	lose     place = "lose"     // submit: the answer did not come
	putBack  place = "put back" // submit: it was refused
	reject   place = "reject"   // submit: it never will be taken
	settle   place = "settle"   // submit: the receipt says that the request came to nothing
	load     place = "load"     // poll, mirror, seal: is the step due?
	read     place = "read"     // poll: the request
	merge    place = "merge"    // poll: its answer is recorded
	transfer place = "transfer" // mirror
	outcome  place = "outcome"  // mirror: what came of it is recorded
	manifest place = "manifest" // seal
	seal     place = "seal"     // seal: recorded
	desk     place = "desk"     // what a person asks for is recorded
	loadAll  place = "load all" // a step that came late looks what is due
	ensure   place = "ensure"   // every due task exists
	receipts place = "receipts" // the receipt says what it must
	noted    place = "noted"    // … and is known to
	leave    place = "leave"    // the lease goes back, the task is done
	retreat  place = "retreat"  // the task is to come again
	rescue   place = "rescue"   // recover: rebuild from the receipt
	born     place = "born"     // recover: the record that it found
)

// edge is one thing that may happen.
type edge struct {
	name  string
	fault bool // a fault, or a person's doing: not part of a fair run
	to    *world
}

// begin maps a task to where its handler begins.
func begin(s step) place {
	switch s.kind {
	case string(export.StepSubmit):
		return takeUp
	case "cancel", "retry", "pay", "fail":
		return desk
	case "sweep":
		return loadAll
	case "recover":
		return rescue
	default:
		return load
	}
}

// run does the next effect of a worker and returns all that may come of it.
func (w *world) run(i int) []edge {
	var edges []edge
	p := &w.procs[i]
	name := fmt.Sprintf("%d %s %s", i, p.on.id(), p.at)
	// then adds an outcome.
	then := func(how string, fault bool, f func(w *world, p *proc)) {
		c := w.clone()
		f(c, &c.procs[i])
		if how != "" {
			how = ": " + how
		}
		edges = append(edges, edge{name + how, fault, c})
	}
	switch p.at {
	case takeUp, lease, reload, examine, prepare, intend:
		then("", false, (*world).beforePost)
		w.stops(p, then)
	case post:
		w.posts(then)
	case answered:
		w.answeredBy(p, then)
	case read:
		w.reads(p, then)
	case transfer:
		w.transfers(p, then)
	case leave:
		then("", false, func(w *world, p *proc) { w.leaveWith(p, true) })
		if w.left.ackLost > 0 && w.queue[p.on] == active {
			then("ack lost", true, func(w *world, p *proc) { w.left.ackLost--; w.leaveWith(p, false) })
		}
	default:
		then("", false, (*world).afterwards)
	}
	return edges
}

// record carries out a change; what the record refuses is settled, and the
// handler goes to the place for that.
func (w *world) record(p *proc, change func(*export.Record) error, refused place) {
	r, err := w.swap(change)
	if err != nil {
		p.at = refused
		return
	}
	p.snap, p.at, p.due = r, ensure, 0
}

// goDue loads the record and goes on if the step is the current one.
func (w *world) goDue(p *proc, on place) {
	p.snap, p.at = w.rec, on
	step := export.Step{Kind: export.Kind(p.on.kind), N: p.on.n, Clip: p.on.clip}
	if w.rec == nil || !export.IsDue(w.rec.Record, step) {
		p.at = loadAll
	}
}

type outcomes func(how string, fault bool, f func(*world, *proc))

// reads is the status read.
func (w *world) reads(p *proc, then outcomes) {
	go2merge := func(how string) func(w *world, p *proc) {
		return func(w *world, p *proc) { p.outcome, p.at = how, merge }
	}
	then("succeeded", false, go2merge("succeeded"))
	if p.snap.Outcome != "" {
		return // it was over once and stays so
	}
	if w.left.ongoing > 0 {
		then("ongoing", true, func(w *world, p *proc) { w.left.ongoing--; go2merge("ongoing")(w, p) })
	}
	if w.left.renderFailed > 0 {
		then("failed", true, func(w *world, p *proc) { w.left.renderFailed--; go2merge("failed")(w, p) })
	}
}

// transfers carries a clip.
func (w *world) transfers(p *proc, then outcomes) {
	then("carried", false, func(w *world, p *proc) {
		task := p.snap.ExportTaskID
		if w.objects[task] == nil {
			w.objects[task] = make([]bool, w.clips)
		}
		w.objects[task][p.on.clip] = true
		p.outcome, p.at = "done", outcome
	})
	if w.left.deadLink > 0 {
		then("dead link", true, func(w *world, p *proc) { w.left.deadLink--; p.outcome, p.at = "stale", outcome })
	}
	if w.left.transfer > 0 {
		then("cut", true, func(w *world, p *proc) { w.left.transfer--; p.outcome, p.at = "retry", outcome })
	}
}

// afterwards is every place with one outcome, from the paid request on.
func (w *world) afterwards(p *proc) {
	s := p.on
	switch p.at {
	case mark:
		task, seen := p.answer, p.seen
		w.record(p, func(r *export.Record) error {
			r.ReceiptPut(task, seen, export.ReceiptOpen)
			return nil
		}, leave)
	case lose:
		by := p.token
		w.lose(p, by)
	case putBack:
		w.record(p, func(r *export.Record) error {
			if p.token != "" {
				r.Unsent(p.token, p.wrote)
			}
			if r.Round != s.n && r.IntentBy != p.token {
				return nil
			}
			return r.PutBack(noon, p.token, noon, export.Problem{Reason: export.ReasonProviderUnavailable, Detail: "refused"})
		}, loadAll)
		if p.at == ensure && p.token != "" {
			p.at = settle
		}
	case settle:
		settled := receiptOf(p.snap.Record, string(storage.ReceiptUnsent))
		settled.ExportTaskID, settled.Settled = "", []string{p.token}
		w.sync(settled)
		p.at = ensure
	case reject:
		by := p.token
		w.record(p, func(r *export.Record) error {
			return r.Reject(noon, by, export.Problem{Reason: export.ReasonRequestRejected, Detail: "rejected"})
		}, loadAll)
	case load:
		w.goDue(p, map[export.Kind]place{
			export.StepPoll: read, export.StepMirror: transfer, export.StepSeal: manifest,
		}[export.Kind(s.kind)])
	case merge:
		w.record(p, func(r *export.Record) error {
			return r.Answer(noon, p.snap.ExportTaskID, s.n, w.reading(p.outcome, s.n), noon)
		}, loadAll)
	case outcome:
		w.record(p, func(r *export.Record) error { return p.ofTransfer(r) }, leave)
	case manifest:
		w.manifest, p.at = p.snap.ExportTaskID, seal
	case seal:
		w.record(p, func(r *export.Record) error { return r.Seal(noon, "manifest") }, loadAll)
	case desk:
		w.record(p, func(r *export.Record) error { return w.ask(r, s.kind) }, leave)
	case rescue, born:
		w.recover(p)
	case loadAll:
		p.snap, p.at, p.due = w.rec, ensure, 0
		if w.rec == nil {
			p.at = leave
		}
	case ensure:
		if due := export.Due(p.snap.Record); p.due < len(due) {
			w.enqueue(stepOf(due[p.due]))
			p.due++
			return
		}
		p.at = leave
		if _, due := p.snap.ReceiptDue(); due && s.kind != "recover" && begin(s) != desk {
			p.at = receipts
		}
	case receipts:
		says, _ := p.snap.ReceiptDue()
		w.sync(receiptOf(p.snap.Record, says))
		p.at = noted
	case noted:
		says, _ := p.snap.ReceiptDue()
		task, seen := p.snap.ExportTaskID, p.snap.Receipts
		w.record(p, func(r *export.Record) error {
			r.ReceiptPut(task, seen, says)
			return nil
		}, leave)
		p.at = leave
	case retreat:
		w.giveBack(p)
		if _, there := w.queue[s]; there {
			w.queue[s] = pending
		}
		*p = proc{}
	}
}

// lose settles a paid request whose answer did not come; a record that is lost as
// well is born anew.
func (w *world) lose(p *proc, by string) {
	lose := func(r *export.Record) error {
		return r.Lose(noon, by, noon, w.policy, export.Problem{Reason: export.ReasonAnswerLost, Detail: "lost"})
	}
	if w.rec == nil {
		anew := thaw(p.snap)
		if lose(anew) == nil {
			w.rec = freeze(anew)
			p.snap, p.at, p.due = w.rec, ensure, 0
			return
		}
	}
	w.record(p, lose, leave)
}

func (p *proc) ofTransfer(r *export.Record) error {
	idx, n := p.on.clip, p.on.n
	switch p.outcome {
	case "done":
		return r.ClipDone(noon, p.snap.ExportTaskID, idx, n, export.Object{Key: p.snap.ExportTaskID}, nil, "")
	case "stale":
		return r.ClipRefused(noon, idx, n, p.snap.Clips[idx].Link, export.Problem{Reason: export.ReasonLinkRefused, Detail: "dead"})
	default:
		return r.ClipRetry(noon, idx, n, export.Problem{Reason: export.ReasonTransferFailed, Detail: "cut"}, false, noon)
	}
}

// ask is what a person may want of an export.
func (w *world) ask(r *export.Record, what string) error {
	switch what {
	case "cancel":
		return r.Cancel(noon)
	case "fail": // asynq gave its current step up
		return r.Fail(noon, export.Problem{Reason: export.ReasonStepGivenUp, Detail: "given up"})
	case "retry":
		return r.Retry(noon, export.RetryOptions{}) // which never pays twice
	default:
		before, suspect := r.ExportTaskID, r.Suspect()
		err := r.Retry(noon, export.RetryOptions{PayAgain: true})
		if err == nil && before == "" && suspect || before != "" && r.ExportTaskID == "" {
			w.allowed++
		}
		return err
	}
}

// recover rebuilds a lost record from the receipt.
func (w *world) recover(p *proc) {
	if p.at == rescue {
		p.at = leave
		if w.receipt.ID != "" && !w.receipt.Ended() {
			p.found, p.at = w.receipt, born
		}
		return
	}
	if w.rec == nil {
		r, err := recovery.Rebuilt(context.Background(), w, p.found, noon)
		if err != nil {
			panic(err)
		}
		w.rec = freeze(r)
	}
	p.snap, p.at, p.due = w.rec, ensure, 0
}

func (w *world) giveBack(p *proc) {
	if p.holds {
		w.leased, w.mourned = false, false
	}
}

func (w *world) leaveWith(p *proc, acked bool) {
	w.giveBack(p)
	if acked {
		delete(w.queue, p.on)
	} else {
		w.queue[p.on] = orphan
	}
	*p = proc{}
}

var request = tasks.Export{ProjectID: "p"}

func newRecord() *export.Record {
	return export.New("x", request.Body(), request.Digest(), "p", noon)
}

func (w *world) reading(how string, n int) export.Reading {
	a := export.Reading{Status: how, Succeeded: how == "succeeded", Failed: how == "failed", CostUsage: 48}
	ready := w.clips
	if how == "ongoing" {
		ready = 1
	}
	for idx := range ready {
		a.Clips = append(a.Clips, export.Clip{Idx: idx, Link: fmt.Sprint("link", n)})
	}
	return a
}
