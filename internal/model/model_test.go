package model

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/clipferry/clipferry/internal/export"
)

// scenarios are what may go wrong together. Each is visited to its end.
var scenarios = []struct {
	name  string
	left  faults
	clips int // 1 where it does not say
	only  export.Policy
	// deep ones are visited only with TEST_DEEP set.
	deep bool
}{
	{name: "nothing goes wrong", left: faults{}, clips: 3},
	{name: "a crash", left: faults{crash: 1}, clips: 2},
	{name: "two crashes", left: faults{crash: 2}, deep: true},
	{name: "a lost answer", left: faults{answerLost: 1}},
	{name: "a lost answer and a crash", left: faults{answerLost: 1, crash: 1}},
	{name: "two lost answers", left: faults{answerLost: 2}},
	{name: "a refusal and a crash", left: faults{refused: 1, crash: 1}},
	{name: "a stop", left: faults{stop: 2}},
	{name: "a stop and a crash", left: faults{stop: 1, crash: 1}},
	{name: "a rejection and a crash", left: faults{rejected: 1, crash: 1}},
	{name: "a task that comes twice", left: faults{twice: 1}},
	{name: "a task that comes twice and a crash", left: faults{twice: 1, crash: 1}, deep: true},
	{name: "an ack lost", left: faults{ackLost: 1}},
	{name: "a dead link", left: faults{deadLink: 1}, clips: 2},
	{name: "a dead link and partial results", left: faults{deadLink: 1, ongoing: 1}, clips: 2, deep: true},
	{name: "a cut transfer and a crash", left: faults{transfer: 1, crash: 1}, deep: true},
	{name: "a cancel", left: faults{cancel: 1}},
	{name: "a cancel and a retry", left: faults{cancel: 1, retry: 1}},
	{name: "a cancel, a retry and a crash", left: faults{cancel: 1, retry: 1, crash: 1}, deep: true},
	{name: "a cancel, a retry and a lost answer", left: faults{cancel: 1, retry: 1, answerLost: 1}, only: export.Hold},
	{name: "a cancel, a retry and a lost answer", left: faults{cancel: 1, retry: 1, answerLost: 1}, only: export.Resubmit, deep: true},
	{name: "a step given up and a retry", left: faults{fail: 1, retry: 1}},
	{name: "a step given up, a retry and a crash", left: faults{fail: 1, retry: 1, crash: 1}, deep: true},
	{name: "a failed render, paid for again", left: faults{renderFailed: 1, payAgain: 1}},
	{name: "a failed render, paid for again, and a crash", left: faults{renderFailed: 1, payAgain: 1, crash: 1}, deep: true},
	{name: "a worker that stands still", left: faults{pause: 1, twice: 1}},
	{name: "a crash, and the step is taken over", left: faults{crash: 1, takeOver: 1}, only: export.Hold},
	{name: "a crash, and the step is taken over", left: faults{crash: 1, takeOver: 1}, only: export.Resubmit, deep: true},
	{name: "a step that is taken over from a worker that lives", left: faults{takeOver: 1}},
	{name: "two steps that are taken over from workers that live", left: faults{takeOver: 2}, deep: true},
	{name: "a refusal, and the step is taken over", left: faults{refused: 1, takeOver: 1}},
	{name: "a lost answer, and the step is taken over", left: faults{answerLost: 1, takeOver: 1}},
	{name: "a sweep in between", left: faults{sweep: 1}},
	{name: "Redis lost", left: faults{flush: 1, rescue: 1}},
	{name: "Redis lost, and enqueued again by itself", left: faults{flush: 1, again: 1}, only: export.Hold},
	{name: "a lost answer, Redis lost, and enqueued again", left: faults{answerLost: 1, flush: 1, again: 1}, only: export.Hold},
	{name: "Redis lost, and enqueued again", left: faults{flush: 1, rescue: 1, again: 1}, deep: true},
	{name: "a crash, Redis lost, and enqueued again", left: faults{crash: 1, flush: 1, again: 1}, only: export.Hold},
	{name: "a stop, Redis lost, and enqueued again", left: faults{stop: 1, flush: 1, again: 1}, only: export.Hold, deep: true},
	{name: "a refusal, Redis lost, and enqueued again", left: faults{refused: 1, flush: 1, again: 1}, only: export.Hold},
	{name: "a refusal, Redis lost, and recovered", left: faults{refused: 1, flush: 1, rescue: 1}},
	{name: "Redis lost and a crash", left: faults{flush: 1, crash: 1}},
}

func TestPromisesHoldInEveryOrder(t *testing.T) {
	for _, s := range scenarios {
		for _, policy := range []export.Policy{export.Resubmit, export.Hold} {
			if s.only != "" && s.only != policy {
				continue
			}
			t.Run(s.name+", "+string(policy), func(t *testing.T) {
				if s.deep && os.Getenv("TEST_DEEP") == "" {
					t.Skip("set TEST_DEEP")
				}
				t.Parallel()
				w := &world{policy: policy, left: s.left, clips: max(1, s.clips), queue: map[step]task{{kind: "submit"}: pending}}
				visit(t, w)
			})
		}
	}
}

type visited struct {
	from int
	name string
	w    *world
}

// visit looks at every world that can be reached, and from each follows the
// fair run to its rest.
func visit(t *testing.T, first *world) {
	t.Helper()
	seen := map[[2]uint64]bool{first.fingerprint(): true}
	good := map[bool]map[[2]uint64]bool{true: {}, false: {}}
	all := []visited{{from: -1, w: first}}
	for i := 0; i < min(len(all), maxWorlds); i++ { //nolint:intrange // all grows on the way
		w := all[i].w
		all[i].w = nil // only its story is needed from here on
		if why := w.broken(); why != "" {
			t.Fatalf("%s%s\n%s", why, story(all, i, nil), w.describe())
		}
		for swept, good := range good {
			// The sweeper is a net, not a crutch: only lost tasks need it.
			if !swept && w.dropped {
				continue
			}
			if why, names, end := follow(w, swept, good); why != "" {
				t.Fatalf("%s (swept %v)%s\n%s", why, swept, story(all, i, names), end.describe())
			}
		}
		for _, e := range w.edges() {
			f := e.to.fingerprint()
			if !seen[f] {
				seen[f] = true
				all = append(all, visited{i, e.name, e.to})
			}
		}
	}
	t.Logf("%d worlds", min(len(all), maxWorlds))
}

// follow lets a world run on without faults; good are those known to end well.
func follow(w *world, swept bool, good map[[2]uint64]bool) (why string, names []string, end *world) {
	var path [][2]uint64
	for range 400 {
		f := w.fingerprint()
		if good[f] {
			break
		}
		path = append(path, f)
		e, ok := w.fair(swept)
		if !ok {
			if why := w.resting(swept); why != "" {
				return why, names, w
			}
			break
		}
		names = append(names, e.name)
		w = e.to
		if why := w.broken(); why != "" {
			return why, names, w
		}
		if len(names) == 400 {
			return "the fair run does not end", names, w
		}
	}
	for _, f := range path {
		good[f] = true
	}
	return "", nil, nil
}

func story(all []visited, i int, then []string) string {
	var lines []string
	for ; i > 0; i = all[i].from {
		lines = append([]string{all[i].name}, lines...)
	}
	if len(then) > 0 {
		lines = append(append(lines, "-- from here on nothing fails:"), then...)
	}
	return "\n  " + strings.Join(lines, "\n  ")
}

func (w *world) describe() string {
	state := "no record"
	if w.rec != nil {
		state = fmt.Sprintf("%+v", w.rec.Record)
	}
	return fmt.Sprintf("%s\nqueue %v, receipt %v, manifest %q, objects %v, leased %v, charges %v, lost %d, allowed %d",
		state, w.queue, w.receipt, w.manifest, w.objects, w.leased, w.charges, w.lost, w.allowed)
}
