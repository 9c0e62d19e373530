package telemetry_test

import (
	"context"
	"testing"
	"time"

	"github.com/clipferry/clipferry/internal/notify"
	"github.com/clipferry/clipferry/internal/telemetry"
	"github.com/clipferry/clipferry/internal/units"
)

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
	tel.Notified(notify.GaveUp)
	tel.Notified(notify.Enqueued)
	wantLines(t, scrape(t, tel), `clipferry_notifications_total{outcome="gave_up"} 1`,
		`clipferry_notifications_total{outcome="enqueued"} 1`, `clipferry_notifications_total{outcome="put_off"} 0`)
}
