package pace

import (
	"slices"
	"time"
)

const (
	// oddExports is how many exports whose results have a form that nobody knows halt
	// orders: one may be odd by itself. No more than oddKept are remembered.
	oddExports, oddKept = 2, 16
	// oddLife is for how long a result counts that is not read again: its export is
	// canceled, or forgotten.
	oddLife = 30 * time.Minute
	// oddCounts is for how long it counts since it was first read: if the form has
	// changed, the results of orders that went since then say so.
	oddCounts = 2 * time.Hour
	// oddProbe is after how long one order goes.
	oddProbe = 30 * time.Minute
)

// oddResult is an export whose result has a form that nobody knows.
type oddResult struct {
	Export string  `json:"x"`
	Status string  `json:"s,omitempty"` // where that is what nobody knows
	At     Instant `json:"t"`
	Until  Instant `json:"u"` // when it ceases to count
}

// result takes in whether a result has a form that is known. Orders whose results
// would have another are paid for and lead to nothing, so they are halted until an
// export is read in a known form again; those that were odd before count no more then.
// A new status may be one of those on the way: it counts no more once an export that had
// it has ended well. A render that failed says nothing of the form of clips, nor does
// what was made elsewhere.
func (s *State) result(t Turn, o Outcome, now Instant, dice float64) {
	g := &s.Gate
	var was oddResult
	kept := slices.DeleteFunc(slices.Clone(g.Signs.OddResults), func(x oddResult) bool {
		if x.Export == t.Export {
			was = x
		}
		return x.Export == t.Export || now >= x.At.Add(oddLife)
	})
	switch {
	case o.Imported:
	case o.Odd && (o.Status == "" || o.Status != g.Signs.Passing):
		until := was.Until
		if was.Export == "" {
			until = now.Add(oddCounts)
		}
		kept = append(kept, oddResult{t.Export, o.Status, now, until})
		kept = kept[max(0, len(kept)-oddKept):]
	case !o.Odd && o.Succeeded:
		for i := range kept {
			kept[i].Until = min(kept[i].Until, now)
		}
		if was.Status != "" {
			g.Signs.Passing = was.Status
		}
	}
	g.Signs.OddResults = kept
	switch odd, h := s.resultsOdd(now), &g.Halts[orders]; {
	case odd && h.Why == "":
		s.halt(HaltResults, orders, now, dice)
	case !odd && h.Why == HaltResults:
		*h = Halt{}
	}
}

// resultsOdd says whether so many results are odd that orders are halted.
func (s *State) resultsOdd(now Instant) bool {
	n := 0
	for _, x := range s.Gate.Signs.OddResults {
		if now < min(x.Until, x.At.Add(oddLife)) {
			n++
		}
	}
	return n >= oddExports
}
