package model

import (
	"errors"
	"fmt"
	"slices"

	"github.com/clipferry/clipferry/internal/export"
)

// stops adds how a submit leaves before its request: its worker stops, or Redis
// takes the intent and its answer is lost for good.
func (w *world) stops(p *proc, then outcomes) {
	if w.left.stop == 0 {
		return
	}
	switch {
	case p.at == adopt && p.snap.State == export.Submitting: // S3 doesn't answer, and a doubt can't be put back
		then("stops", true, func(w *world, p *proc) { w.left.stop--; p.at = retreat })
	case p.at == adopt, p.at == intend: // the same, or while it waits for its turn
		then("stops", true, func(w *world, p *proc) { w.left.stop--; p.token, p.at = "", putBack })
	}
	if p.at == intend && p.holds {
		then("the ledger's answer is lost", true, func(w *world, p *proc) {
			w.left.stop--
			w.beforePost(p)
			if p.at == post || p.at == announce {
				p.at = putBack
			}
		})
	}
}

// beforePost is the submit handler up to the paid request.
func (w *world) beforePost(p *proc) {
	switch p.at {
	case takeUp:
		if w.rec == nil && p.on.n == 0 {
			w.rec = freeze(newborn())
		}
		w.goDue(p, lease)
	case lease:
		if w.leased {
			p.at = retreat
			return
		}
		w.leased, w.mourned, p.holds, p.at = true, false, true, reload
	case reload:
		w.goDue(p, adopt)
	case adopt:
		switch {
		case w.receipt.intent != "" && p.snap.State == export.Queued && w.receipt.intent != p.snap.Settled:
			intent := w.receipt.intent
			w.record(p, func(r *export.Record) error {
				return r.Recall(noon, intent, noon, w.policy, export.Problem{Reason: export.ReasonAnswerLost, Detail: "dead"})
			}, leave)
		case w.receipt.task != "" && !slices.Contains(p.snap.Previous, w.receipt.task):
			p.answer, p.outcome, p.at = w.receipt.task, w.receipt.says, accepted
		case p.snap.State == export.Submitting:
			p.at = settle
		default:
			p.at = intend
		}
	case accepted:
		says := p.outcome
		w.record(p, func(r *export.Record) error {
			if says == export.ReceiptDone && w.manifest == p.answer {
				return r.Restore(noon, p.answer, "manifest", w.restored())
			}
			if err := r.Accept(noon, p.answer, "", ""); err != nil {
				return err
			}
			r.ReceiptWritten(says)
			return nil
		}, leave)
	case settle:
		w.lose(p, p.snap.IntentBy)
	case intend:
		if !p.holds { // the lease was lost while it waited: renewing fails
			p.at = retreat
			return
		}
		w.tokens++
		p.token = fmt.Sprint("token", w.tokens)
		w.record(p, func(r *export.Record) error { return r.Intend(noon, p.token) }, loadAll)
		if p.at == ensure {
			p.at, p.seen = post, p.snap.Receipts
			if w.policy == export.Hold {
				p.at = announce
			}
		}
	case announce:
		p.at = post
		if !w.receipt.doubt(p.token, p.snap.Settled, p.snap.Previous...) {
			p.at = putBack
		}
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
			w.receipt.put(p.answer, slices.Concat(p.snap.Previous, p.snap.Duplicates)...)
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
