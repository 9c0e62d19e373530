package model

import (
	"context"
	"errors"
	"fmt"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/recovery"
)

// stops adds how a submit leaves before its request: its worker stops, S3 takes the
// intent or not and its answer is lost, or Redis does.
func (w *world) stops(p *proc, then outcomes) {
	if w.left.stop == 0 {
		return
	}
	leaves := func(do bool, at place) func(w *world, p *proc) {
		return func(w *world, p *proc) {
			w.left.stop--
			from := p.at
			if do {
				w.beforePost(p)
			}
			if p.at == from || p.at == next[from] {
				p.wrote = p.wrote && from != prepare
				p.at = at
			}
		}
	}
	switch p.at {
	case examine: // S3 does not say, and a doubt can't be put back
		then("stops", true, leaves(false, retreat))
	case prepare: // or S3 has taken the intent, and it does not know
		then("stops", true, leaves(false, putBack))
		then("S3's answer is lost", true, leaves(true, putBack))
	case intend: // while it waits for its request
		then("stops", true, leaves(false, putBack))
		then("the ledger's answer is lost", true, leaves(true, putBack))
	}
}

// next is where the places before the paid request lead if all goes well.
var next = map[place]place{prepare: intend, intend: post}

// beforePost is the submit handler up to the paid request.
func (w *world) beforePost(p *proc) {
	ctx := context.Background()
	switch p.at {
	case takeUp:
		if w.rec == nil && p.on.n == 0 {
			w.rec = freeze(newRecord())
		}
		w.goDue(p, lease)
	case lease:
		if w.leased {
			p.at = retreat
			return
		}
		w.leased, w.mourned, p.holds, p.at = true, false, true, reload
	case reload:
		w.goDue(p, prepare)
		if p.at == prepare && p.snap.State == export.Submitting {
			p.at = examine
		}
	case examine:
		f, err := recovery.Find(ctx, w, p.snap.Record, "", w.policy, noon)
		w.resolve(p, f, err)
	case prepare:
		if p.token == "" {
			w.tokens++
			p.token = fmt.Sprint("token", w.tokens)
		}
		intent := receiptOf(p.snap.Record, "")
		intent.Intent = p.token
		f, err := recovery.WriteAhead(ctx, w, p.snap.Record, intent, w.policy, noon)
		if err == nil && f.Action == recovery.Send {
			p.wrote, p.at = true, intend
			return
		}
		w.resolve(p, f, err)
	case intend:
		if !p.holds { // the lease was lost while it waited: renewing fails
			p.at = putBack
			return
		}
		w.record(p, func(r *export.Record) error {
			if r.Round != p.on.n {
				return export.ErrStale
			}
			return r.Intend(noon, p.token)
		}, putBack)
		if p.at == ensure {
			p.at, p.seen = post, p.snap.Receipts
		}
	}
}

// resolve carries out what follows from what S3 says.
func (w *world) resolve(p *proc, f recovery.Finding, err error) {
	if err != nil {
		panic(err)
	}
	switch f.Action {
	case recovery.Settle:
		w.lose(p, p.snap.IntentBy)
	case recovery.Adopt, recovery.Recall:
		w.record(p, func(r *export.Record) error { return f.Apply(r, noon, w.policy) }, leave)
	default:
		panic("nobody else has this id, and yet it is to " + string(f.Action))
	}
}

// posts sends the paid request.
func (w *world) posts(then outcomes) {
	take := func(w *world) string {
		task := fmt.Sprint("task", len(w.charges)+1)
		w.charges = append(w.charges, task)
		return task
	}
	then("taken", false, func(w *world, p *proc) { p.answer, p.at = take(w), answered })
	if w.left.answerLost > 0 {
		then("taken, answer lost", true, func(w *world, p *proc) {
			w.left.answerLost--
			take(w)
			w.lost++
			p.at = lose
		})
		then("not taken, answer lost", true, func(w *world, p *proc) { w.left.answerLost--; p.at = lose })
	}
	if w.left.refused > 0 {
		then("refused", true, func(w *world, p *proc) { w.left.refused--; p.at = putBack })
	}
	if w.left.rejected > 0 {
		then("rejected", true, func(w *world, p *proc) { w.left.rejected--; p.at = reject })
	}
}

// answeredBy records an answer in the ledger and in S3, in either order.
func (w *world) answeredBy(p *proc, then outcomes) {
	if !p.inLedger {
		then("ledger", false, func(w *world, p *proc) {
			task := p.answer
			accept := func(r *export.Record) error { return r.Accept(noon, task, "n", "CREATED") }
			r, err := w.swap(accept)
			if errors.Is(err, errUnknown) { // Redis lost everything in between
				anew := thaw(p.snap)
				err = accept(anew)
				r = freeze(anew)
				w.rec = r
			}
			p.inLedger, p.snap, p.resumes = true, r, err == nil
			p.done()
		})
	}
	if !p.inS3 {
		then("S3", false, func(w *world, p *proc) {
			paid := receiptOf(p.snap.Record, export.ReceiptOpen)
			paid.ExportTaskID, paid.Intent = p.answer, ""
			w.sync(paid)
			p.inS3 = true
			p.done()
		})
	}
}

func (p *proc) done() {
	switch {
	case !p.inLedger || !p.inS3:
	case p.resumes:
		p.at = mark
	default:
		p.at = leave
	}
}
