package telemetry_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/clipferry/clipferry/internal/control"
	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/ledger"
	"github.com/clipferry/clipferry/internal/notify"
	"github.com/clipferry/clipferry/internal/telemetry"
	"github.com/clipferry/clipferry/internal/units"
	"github.com/clipferry/clipferry/tasks"
)

// TestWhatIsDoneByHandIsCounted: cancel and retry run in a process that nobody
// scrapes, or in one of several; whichever is asked counts them, once.
func TestWhatIsDoneByHandIsCounted(t *testing.T) {
	rdb := redis.NewClient(&redis.Options{Addr: miniredis.RunT(t).Addr()})
	t.Cleanup(func() { _ = rdb.Close() })
	l := ledger.New(ledger.Options{Redis: rdb})
	desk := control.New(rdb, l, time.Now) // of a command
	for _, id := range []string{"a", "b", "held"} {
		if _, err := tasks.NewClientFromRedis(rdb).Enqueue(t.Context(), tasks.Export{
			JobID: id, ProjectID: "p", Notify: &tasks.Notify{Webhook: "https://example.com/?token=hush"},
		}); err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range []string{"a", "a", "b"} { // the second time is no second end
		if _, err := desk.Cancel(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	hold(t, desk, l)
	if _, err := desk.Retry(t.Context(), "held", export.RetryOptions{SubmittedAs: "task_9"}); err != nil {
		t.Fatal(err)
	}
	processes := []*telemetry.Telemetry{telemetry.New(telemetry.Options{}), telemetry.New(telemetry.Options{})}
	for _, tel := range processes {
		tel.Watch(telemetry.Sources{Changes: control.Changes(rdb)})
		scrape(t, tel)
	}
	for range 2 {
		wantLines(t, scrape(t, processes[0]), `clipferry_exports_ended_total{state="canceled"} 2`,
			`clipferry_exports_accepted_total{account="default"} 1`, `clipferry_source_up{source="changes"} 1`)
		wantLines(t, scrape(t, processes[1]), `clipferry_exports_ended_total{state="canceled"} 0`)
	}
}

// hold makes the queued export "held" one that waits for a person.
func hold(t *testing.T, desk *control.Desk, l *ledger.Ledger) {
	t.Helper()
	r, err := desk.Get(t.Context(), "held")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	if err := errors.Join(r.Intend(now, "run"), r.Lose(now, "run", export.Hold, "the answer was lost")); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Create(t.Context(), r); err != nil {
		t.Fatal(err)
	}
}

func TestChangesThatCannotBeReadAreSaid(t *testing.T) {
	tel := telemetry.New(telemetry.Options{})
	tel.Watch(telemetry.Sources{Changes: func(context.Context) ([]control.Change, error) { return nil, errors.New("redis is down") }})
	wantLines(t, scrape(t, tel), `clipferry_source_up{source="changes"} 0`)
}

// day is an account's meter.
type day units.Day

func (d day) Today(context.Context, time.Time) (units.Day, error) { return units.Day(d), nil }

func TestTheDaysCapIsShown(t *testing.T) {
	tel := telemetry.New(telemetry.Options{})
	tel.Watch(telemetry.Sources{Units: map[string]telemetry.Units{"eu": day{Spent: 48, Cap: 40, Held: true}, "us": day{Spent: 7}}})
	wantLines(t, scrape(t, tel),
		`clipferry_budget_units_today{account="eu"} 48`, `clipferry_budget_units_cap{account="eu"} 40`, `clipferry_budget_units_held{account="eu"} 1`,
		`clipferry_budget_units_today{account="us"} 7`, `clipferry_budget_units_cap{account="us"} 0`, `clipferry_budget_units_held{account="us"} 0`,
	)
}

func TestNotificationsAreCounted(t *testing.T) {
	tel := telemetry.New(telemetry.Options{})
	tel.Told(notify.GaveUp)
	tel.Told(notify.Enqueued)
	wantLines(t, scrape(t, tel), `clipferry_notifications_total{outcome="gave_up"} 1`,
		`clipferry_notifications_total{outcome="enqueued"} 1`, `clipferry_notifications_total{outcome="put_off"} 0`)
}
