package model

import (
	"fmt"
	"slices"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/storage"
)

// edges returns everything that may happen next.
func (w *world) edges() []edge {
	var edges []edge
	add := func(name string, fault bool, f func(*world)) {
		c := w.clone()
		f(c)
		edges = append(edges, edge{name, fault, c})
	}
	for i := range w.procs {
		if w.procs[i].at != idle {
			edges = append(edges, w.run(i)...)
			w.disturb(i, add)
			continue
		}
		if i == 1 && w.procs[0].at == idle {
			continue // two idle workers are one
		}
		for _, s := range w.sorted() {
			if w.queue[s] == pending {
				add(fmt.Sprint(i, " takes ", s.id()), false, func(w *world) {
					w.queue[s] = active
					w.procs[i] = proc{at: begin(s), on: s}
				})
			}
		}
		w.asked(i, add)
	}
	if w.mourned {
		add("the lease of a dead worker ends", false, func(w *world) { w.leased, w.mourned = false, false })
	}
	for _, s := range w.sorted() {
		if w.queue[s] == orphan {
			add(s.id()+" comes again", false, func(w *world) { w.queue[s] = pending })
		}
		if w.left.takeOver > 0 && w.queue[s] != pending { // its worker may be alive, and only slow
			add(s.id()+" is taken over", true, func(w *world) { w.takeOver(s) })
		}
	}
	if w.left.flush > 0 && w.rec != nil {
		add("Redis loses everything", true, (*world).flush)
	}
	if w.left.again > 0 && w.rec == nil {
		add("the producer enqueues again", true, func(w *world) { w.left.again--; w.enqueue(step{kind: "submit"}) })
	}
	return edges
}

// takeOver has a step go on under its next number.
func (w *world) takeOver(s step) {
	w.left.takeOver--
	r, err := w.swap(func(r *export.Record) error {
		return r.TakeOver(noon, export.Step{Kind: export.Kind(s.kind), N: s.n, Clip: s.clip})
	})
	if err != nil {
		return
	}
	for _, due := range export.Due(r.Record) {
		w.enqueue(stepOf(due))
	}
}

func (w *world) sorted() []step {
	all := make([]step, 0, len(w.queue))
	for s := range w.queue {
		all = append(all, s)
	}
	slices.SortFunc(all, step.compare)
	return all
}

// disturb adds what may befall a worker in the middle of a handler.
func (w *world) disturb(i int, add func(string, bool, func(*world))) {
	p := w.procs[i]
	if w.left.crash > 0 {
		add(fmt.Sprint(i, " dies"), true, func(w *world) {
			w.left.crash--
			w.bury(i)
		})
	}
	if w.left.twice > 0 && w.queue[p.on] == active {
		if _, there := w.queue[p.on]; there {
			add(p.on.id()+" comes a second time", true, func(w *world) { w.left.twice--; w.queue[p.on] = pending })
		}
	}
	if w.left.pause > 0 && p.holds {
		add(fmt.Sprint(i, " stands still beyond its lease"), true, func(w *world) {
			w.left.pause--
			if w.procs[i].at == post || w.procs[i].at == answered {
				w.lost++ // whoever is next takes its answer for lost
			}
			w.leased, w.procs[i].holds = false, false
		})
	}
}

func (w *world) bury(i int) {
	p := w.procs[i]
	w.harmed = true
	if begin(p.on) == desk || begin(p.on) == rescue {
		w.dropped = true
	}
	if state, there := w.queue[p.on]; there && state == active {
		w.queue[p.on] = orphan
	}
	if p.holds {
		w.mourned = true
	}
	if p.at == answered && !w.pointsTo(p.answer) {
		w.lost++
	}
	w.procs[i] = proc{}
}

// asked adds what people and the sweeper may begin, each a handler of its own.
func (w *world) asked(i int, add func(string, bool, func(*world))) {
	ask := func(kind string, left func(*world) *int8, may bool) {
		if !may || *left(w) == 0 {
			return
		}
		add(fmt.Sprint(i, " begins ", kind), true, func(w *world) {
			*left(w)--
			s := step{kind: kind}
			w.procs[i] = proc{at: begin(s), on: s}
		})
	}
	r := w.rec
	ask("cancel", func(w *world) *int8 { return &w.left.cancel }, r != nil && export.Allowed(r.State, export.EvCancel))
	ask("fail", func(w *world) *int8 { return &w.left.fail }, r != nil && export.Allowed(r.State, export.EvFail))
	ask("retry", func(w *world) *int8 { return &w.left.retry }, r != nil && export.Allowed(r.State, export.EvRetry))
	ask("pay", func(w *world) *int8 { return &w.left.payAgain }, r != nil && export.Allowed(r.State, export.EvRetry))
	ask("sweep", func(w *world) *int8 { return &w.left.sweep }, r != nil && r.NeedsCare())
	ask("recover", func(w *world) *int8 { return &w.left.rescue }, true)
}

// flush loses Redis: the record, the queue, the leases. What may be lost with
// it, or paid for again, is a request whose receipt does not stand yet: the
// moment around its answer, longer only if its worker died in that moment or
// its answer was lost. Under hold S3 knows of that moment, and nothing may be paid
// for again.
func (w *world) flush() {
	accounts := &w.allowed
	if w.policy == export.Hold {
		accounts = &w.unnamed
	}
	for _, task := range w.charges {
		if w.receipt.ExportTaskID != task {
			*accounts++
		}
	}
	for i := range w.procs {
		w.procs[i].holds = false
		if w.procs[i].at == post {
			*accounts++
		}
	}
	w.left.flush--
	w.harmed, w.dropped = true, true
	w.rec, w.leased, w.mourned = nil, false, false
	clear(w.queue)
}

// broken returns what promise the world breaks, empty if none.
func (w *world) broken() string {
	may := 1 + w.allowed
	if w.policy == export.Resubmit {
		may += w.lost
	}
	if len(w.charges) > may {
		return fmt.Sprintf("paid %d times; %d answers were lost and people or a lost Redis account for %d", len(w.charges), w.lost, w.allowed)
	}
	nowhere := 0
	for _, task := range w.charges {
		held := slices.ContainsFunc(w.procs[:], func(p proc) bool { return p.at == answered && p.answer == task })
		if !held && !w.pointsTo(task) {
			nowhere++
		}
	}
	if nowhere > w.lost+w.allowed+w.unnamed {
		return fmt.Sprintf("%d paid tasks are in no record and no receipt; %d answers were lost", nowhere, w.lost)
	}
	if w.manifest != "" && !w.archived(w.manifest) {
		return "a manifest stands for clips that are not in S3"
	}
	if r := w.rec; r != nil {
		if r.State == export.Archived && w.manifest != r.ExportTaskID {
			return "archived without a manifest"
		}
		if !r.State.Final() && len(export.Due(r.Record)) == 0 {
			return "nothing is due for an open export"
		}
		for _, c := range r.Clips {
			if r.State == export.Failed && r.Problem.Reason == export.ReasonRenderFailed && c.State == export.ClipReady {
				return "the link of a paid clip was not followed"
			}
		}
		if r.ArchivedCount > 0 && w.objects[r.ExportTaskID] == nil {
			return "clips are called archived that are not in S3"
		}
	}
	return ""
}

// resting returns what is wrong with a world in which nothing moves any more,
// after the sweeper has looked or without it.
func (w *world) resting(swept bool) string {
	r := w.rec
	switch {
	case r == nil && len(w.charges) == 0:
		return "" // a lost Redis before anything was paid for: the producer's to repeat
	case r == nil && w.receipt.State == storage.ReceiptDone && w.manifest != w.receipt.ExportTaskID:
		return "the receipt says done and there is no manifest"
	case r == nil && w.receipt.ExportTaskID != "" && w.receipt.State != storage.ReceiptOpen:
		return "" // it was over, and is known to be
	case r == nil && w.receipt.ExportTaskID == "" && len(w.charges) <= w.lost+w.allowed+w.unnamed:
		return "" // paid for in the very moment: its answer reached nobody
	case r == nil:
		return "paid for, and Redis knows nothing"
	case !r.State.Final():
		return fmt.Sprintf("stranded: still %s", r.State)
	case r.Read != export.ReadNone:
		return "at rest, and still to be read"
	}
	says, due := r.ReceiptDue()
	if !swept {
		return ""
	}
	if r.ExportTaskID == "" && due {
		return "its receipt does not say that it came to nothing"
	}
	is := func(says string) bool {
		return w.receipt.ExportTaskID == r.ExportTaskID && string(w.receipt.State) == says
	}
	if r.ExportTaskID == "" || is(says) {
		return ""
	}
	if w.harmed && (r.State == export.Archived || is(export.ReceiptOpen)) {
		// A write that was under way when its worker died, or when Redis was
		// lost, has the last word. To call too much open costs a look; to call
		// something closed that is paid for and not archived would lose it.
		return ""
	}
	return fmt.Sprintf("%s as %s, and its receipt says %q of %s", r.State, r.ExportTaskID, w.receipt.State, w.receipt.ExportTaskID)
}

// fair returns what happens next when nothing fails any more: who is at work
// goes on, then what waits is taken up, and in the end the sweeper looks, if
// there is one.
func (w *world) fair(swept bool) (edge, bool) {
	if w.mourned { // fair also means that time goes on
		c := w.clone()
		c.leased, c.mourned = false, false
		return edge{name: "the lease of a dead worker ends", to: c}, true
	}
	for i := range w.procs {
		if w.procs[i].at != idle {
			return w.run(i)[0], true
		}
	}
	for _, e := range w.edges() {
		if !e.fault {
			return e, true
		}
	}
	if swept && w.rec != nil && w.rec.NeedsCare() {
		c := w.clone()
		s := step{kind: "sweep"}
		c.procs[0] = proc{at: begin(s), on: s}
		return edge{name: "sweep", to: c}, true
	}
	if w.rec == nil && w.receipt.State == storage.ReceiptOpen {
		c := w.clone()
		s := step{kind: "recover"}
		c.procs[0] = proc{at: begin(s), on: s}
		return edge{name: "recover", to: c}, true
	}
	return edge{}, false
}
