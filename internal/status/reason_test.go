package status

import (
	"testing"
	"time"

	"github.com/clipferry/clipferry/internal/budget"
	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/pace"
	"github.com/clipferry/clipferry/internal/queue"
	"github.com/clipferry/clipferry/internal/units"
	"github.com/clipferry/clipferry/tasks"
)

// TestWhatIsWaitedForHasACode goes through what each code stands for.
func TestWhatIsWaitedForHasACode(t *testing.T) {
	now := time.Date(2026, 4, 7, 12, 0, 0, 0, time.UTC)
	submit := tasks.QueueSubmit
	idle := func() *lines {
		return &lines{
			length: map[string]int{}, paused: map[string]bool{}, served: map[string]bool{submit: true},
			looked: map[string]bool{"a": true}, place: map[string]int{}, starts: map[string]time.Duration{},
		}
	}
	for name, c := range map[string]struct {
		record export.Record
		status AccountStatus
		line   func(*lines)
		want   Reason
	}{
		"no worker":         {export.Record{State: export.Queued}, AccountStatus{}, func(l *lines) { l.served = map[string]bool{} }, WaitWorker},
		"no such account":   {export.Record{State: export.Queued, Account: "eu"}, AccountStatus{}, nil, WaitAccountWorker},
		"paused":            {export.Record{State: export.Queued}, AccountStatus{}, func(l *lines) { l.paused[submit] = true }, WaitQueue},
		"another try":       {export.Record{State: export.Queued, NotBefore: now.Add(time.Minute)}, AccountStatus{}, func(l *lines) { l.served[queue.Front] = true }, WaitRetry},
		"units of the day":  {export.Record{State: export.Queued}, AccountStatus{Today: units.Day{Cap: 1, Spent: 1, Held: true}}, nil, WaitDailyUnits},
		"its turn":          {export.Record{State: export.Queued}, AccountStatus{}, nil, WaitTurn},
		"a slot":            {export.Record{State: export.Queued}, AccountStatus{Budget: budget.Status{Slots: 5}}, func(l *lines) { l.place["a"] = 1 }, WaitSlot},
		"its receipt":       {export.Record{State: export.Queued}, AccountStatus{Budget: preparing("a", 20*time.Second)}, func(l *lines) { l.place["a"] = 0 }, WaitStorage},
		"others' receipts":  {export.Record{State: export.Queued}, AccountStatus{Budget: preparing("b", 20*time.Second)}, func(l *lines) { l.place["a"] = 1 }, WaitStorage},
		"a slot, next":      {export.Record{State: export.Queued}, AccountStatus{Budget: preparing("b", time.Second)}, func(l *lines) { l.place["a"] = 1 }, WaitSlot},
		"a request":         {export.Record{State: export.Queued}, AccountStatus{}, func(l *lines) { l.place["a"] = 1 }, WaitRequest},
		"the answer":        {export.Record{State: export.Submitting}, AccountStatus{}, nil, WaitAnswer},
		"the render":        {export.Record{State: export.Rendering}, AccountStatus{}, nil, WaitRender},
		"a render, halted":  {export.Record{State: export.Rendering}, AccountStatus{Budget: budget.Status{Halted: pace.HaltForbidden}}, nil, "key_refused"},
		"a render, paused":  {export.Record{State: export.Rendering}, AccountStatus{}, func(l *lines) { l.paused[queue.Poll] = true }, WaitQueue},
		"a link":            {export.Record{State: export.Mirroring, Read: export.ReadRefresh, ClipCount: 2}, AccountStatus{}, nil, WaitLink},
		"transfers":         {export.Record{State: export.Mirroring, ClipCount: 2}, AccountStatus{}, nil, WaitTransfer},
		"the manifest":      {export.Record{State: export.Mirroring}, AccountStatus{}, nil, WaitManifest},
		"transfers, paused": {export.Record{State: export.Mirroring, ClipCount: 1}, AccountStatus{}, func(l *lines) { l.paused[queue.Bulk] = true }, WaitQueue},
	} {
		t.Run(name, func(t *testing.T) {
			line := idle()
			if c.line != nil {
				c.line(line)
			}
			c.record.ID = "a"
			if got := waitingFor(&c.record, &c.status, line, now); got.Reason != c.want || got.Text == "" {
				t.Errorf("%+v, want %s", got, c.want)
			}
		})
	}
	for _, why := range pace.HaltReasons {
		if got := halted(budget.Status{Halted: why}); got.Reason == "" || got.Text == "" {
			t.Errorf("halted by %s: %+v", why, got)
		}
	}
}

// preparing is a budget in which S3 has had the export's receipt for so long.
func preparing(id string, took time.Duration) budget.Status {
	return budget.Status{At: time.Unix(0, 0).Add(took), Slots: 5, Preparing: map[string]time.Time{id: time.Unix(0, 0)}}
}
