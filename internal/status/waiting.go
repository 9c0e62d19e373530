package status

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/clipferry/clipferry/internal/budget"
	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/ledger"
	"github.com/clipferry/clipferry/internal/pace"
	"github.com/clipferry/clipferry/internal/queue"
)

// waitingFor says what an open export waits for.
func waitingFor(r *export.Record, s *AccountStatus, line *lines, now time.Time) Waiting {
	switch r.State {
	case export.Queued:
		return queuedFor(r, s, line, now)
	case export.Submitting:
		return Waiting{WaitAnswer, "the provider's answer to the order"}.but(line.blocker())
	case export.Rendering:
		return renderingFor(r, s.Budget, line, now)
	default:
		if o := line.halted(); o != nil {
			return storageFor(*o, now)
		}
		return mirroringFor(r, line)
	}
}

func queuedFor(r *export.Record, s *AccountStatus, line *lines, now time.Time) Waiting {
	q, _ := taskOf(r)
	place, inLine := line.place[r.ID]
	switch {
	case len(line.served) == 0:
		return Waiting{WaitWorker, "a worker: none is running"}
	case !line.served[q] || r.Unserved:
		return Waiting{WaitAccountWorker, fmt.Sprintf("a worker with account %s: none of those running has it", r.Account)}
	case line.paused[q]:
		return Waiting{WaitQueue, fmt.Sprintf("queue %s, which is paused", q)}
	case line.halted() != nil: // nothing is ordered that could not be archived
		return storageFor(*line.halted(), now)
	case r.NotBefore.Sub(now) > time.Second:
		return Waiting{WaitRetry, "another try in " + roughly(r.NotBefore.Sub(now))}
	case s.Today.Reached():
		return Waiting{WaitDailyUnits, fmt.Sprintf("the next day, in %s: account %s has spent %s of its %s units of today",
			roughly(s.Today.Ends.Sub(now)), s.Name, amount(s.Today.Spent), amount(s.Today.Cap))}
	case s.Budget.Halted != "":
		return halted(s.Budget)
	case !inLine && line.looked[r.ID]:
		return Waiting{WaitTurn, "its turn in a worker"}
	case !inLine:
		return Waiting{WaitSlot, "a slot"} // too many were asked about to say more
	}
	slow := slowReceipts(s.Budget)
	if took, own := slow[r.ID]; own {
		return Waiting{WaitStorage, "S3 to take its receipt, for " + roughly(took) + " so far"}
	}
	reason, what, when := WaitSlot, "a slot", "in about "+roughly(line.starts[r.ID])
	if s.Budget.Slots == 0 {
		reason, what = WaitRequest, "a request"
	}
	switch {
	case len(slow) > 0: // when it starts, S3 decides
		return Waiting{WaitStorage, fmt.Sprintf("%s, %s in line; S3 has not taken the receipts of those before it for %s",
			what, ordinal(place+1), roughly(slices.Max(slices.Collect(maps.Values(slow)))))}
	case line.starts[r.ID] < 5*time.Second:
		when = "in a moment"
	}
	return Waiting{reason, fmt.Sprintf("%s, %s in line, starts %s", what, ordinal(place+1), when)}
}

// slowReceipt is how long S3 takes for a receipt that it is slow with.
const slowReceipt = 5 * time.Second

// slowReceipts returns the exports whose receipts S3 is slow with, and for how long.
func slowReceipts(st budget.Status) map[string]time.Duration {
	slow := map[string]time.Duration{}
	for id, began := range st.Preparing {
		if took := st.At.Sub(began); took >= slowReceipt {
			slow[id] = took
		}
	}
	return slow
}

func renderingFor(r *export.Record, st budget.Status, line *lines, now time.Time) Waiting {
	w := Waiting{WaitRender, "its render"}
	if r.Imported() && r.Polls == 0 {
		w.Text = "its first read"
	}
	for _, slot := range st.Held {
		if left := slot.Expected.Sub(st.At); slot.Export == r.ID && left > 0 {
			w.Text += ", likely done in about " + roughly(left)
		}
	}
	if st.Halted != "" && !st.HaltedOrders {
		return w.but(halted(st))
	}
	if in := line.blocker(queue.Poll); in.Text != "" {
		return w.but(in)
	}
	next := r.PollAt
	if st.RequestsPerMinute > 0 {
		last := r.ReadAt
		if last.Before(r.SubmittedAt) {
			last = r.SubmittedAt
		}
		// However little it is worth, no read waits longer than the gap.
		if latest := last.Add(pace.Gap); latest.After(next) {
			next = latest
		}
	}
	w.Text += "; read again within " + roughly(next.Sub(now))
	return w
}

func mirroringFor(r *export.Record, line *lines) Waiting {
	reason := WaitTransfer
	var parts, queues []string
	switch r.Read {
	case export.ReadRefresh:
		parts = append(parts, "a fresh link from the provider")
	case export.ReadMissing:
		parts = append(parts, "links that the provider has not given yet")
	case export.ReadSettle:
		reason, parts = WaitRender, append(parts, fmt.Sprintf("further clips: the last came at %s, and it is complete once none has for CLIPFERRY_IMPORT_QUIET",
			r.NewsAt.UTC().Format("15:04 MST")))
	}
	if len(parts) > 0 && reason != WaitRender {
		reason, queues = WaitLink, append(queues, queue.Poll)
	}
	clips := []string{queue.Urgent, queue.Mirror, queue.Bulk}
	switch n := r.ClipCount - r.ArchivedCount - r.FailedCount; {
	case n == 1:
		parts, queues = append(parts, "1 clip on its way"), append(queues, clips...)
	case n > 1:
		parts, queues = append(parts, fmt.Sprintf("%d clips on their way", n)), append(queues, clips...)
	case len(parts) == 0:
		reason, parts, queues = WaitManifest, append(parts, "its manifest"), append(queues, queue.Seal)
	}
	return Waiting{reason, strings.Join(parts, ", ")}.but(line.blocker(queues...))
}

// haltedFor says what a halted account waits for.
var haltedFor = map[string]string{
	pace.HaltDown:      "the provider, which does not answer",
	pace.HaltForbidden: "the provider to accept the API key again, which it refuses (401 or 403)",
	pace.HaltUnits:     "units: the provider says that the account has none left",
	pace.HaltRefusals:  "the provider to accept orders again: it refuses those of several projects in the same words",
	pace.HaltDoubts:    "the provider to answer orders: the outcome of the last ones is unknown",
	pace.HaltAnswers:   "answers of the provider that can be understood: the last ones could not be",
	pace.HaltResults:   "results of the provider that can be understood: those of several exports have a form that is not known; orders go on with one that is understood",
}

// Halted says for people what an account that halts waits for, in words that follow
// "waits for"; empty where none is halted.
func Halted(st budget.Status) string {
	if st.Halted == "" {
		return ""
	}
	return halted(st).Text
}

// halted says why nothing is spent.
func halted(st budget.Status) Waiting {
	text := haltedFor[st.Halted]
	switch left := st.Probe.Sub(st.At); {
	case left > 0:
		text += "; next try in " + roughly(left)
	case st.Halted == pace.HaltAnswers && st.HaltedOrders: // each was paid for
		text += "; no order is sent until an operator lets one go"
	}
	return Waiting{Reason(st.Halted), text}
}

// storageFor says that S3 is waited for, in words that follow "waits for".
func storageFor(o ledger.Outage, now time.Time) Waiting {
	text := "S3, which fails since " + o.Since.UTC().Format("15:04 MST")
	if what, says := strings.CutPrefix(o.Sentence, "S3 fails "); says { // what, since when and why
		text = "S3, which fails " + strings.Replace(what, " of this process", "", 1)
	}
	if left := o.Next.Sub(now); left > 0 {
		text += "; next try in " + roughly(left)
	}
	return Waiting{WaitStorage, text}
}

// roughly is a duration for people, so coarse that a line that shows it does not
// change with each look.
func roughly(d time.Duration) string {
	const step = 10 * time.Second
	switch {
	case d <= step:
		return "10 s"
	case d <= 90*time.Second:
		return fmt.Sprintf("%d s", (d+step-1).Truncate(step)/time.Second)
	case d < 90*time.Minute:
		return fmt.Sprintf("%d min", d.Round(time.Minute)/time.Minute)
	default:
		d = d.Round(time.Minute)
		return fmt.Sprintf("%d h %d min", d/time.Hour, d%time.Hour/time.Minute)
	}
}

func ordinal(n int) string {
	suffix := "th"
	if n%100 < 11 || n%100 > 13 {
		switch n % 10 {
		case 1:
			suffix = "st"
		case 2:
			suffix = "nd"
		case 3:
			suffix = "rd"
		}
	}
	return strconv.Itoa(n) + suffix
}

func amount(units float64) string { return strconv.FormatFloat(units, 'f', -1, 64) }
