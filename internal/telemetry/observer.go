package telemetry

import (
	"context"
	"slices"
	"time"

	"github.com/clipferry/clipferry/internal/budget"
	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/fault"
	"github.com/clipferry/clipferry/internal/notify"
	"github.com/clipferry/clipferry/internal/observe"
)

// StepBegins counts the run and opens its span, as a part of the trace that the
// task's headers name.
func (t *Telemetry) StepBegins(ctx context.Context, run observe.Run) (context.Context, func(observe.Outcome, error)) {
	step := stepLabel(run.Kind)
	ctx, endSpan := t.tracing.step(ctx, run)
	running := t.stepsRunning.WithLabelValues(step)
	running.Inc()
	began := t.now()
	return ctx, func(outcome observe.Outcome, err error) {
		running.Dec()
		t.stepDuration.WithLabelValues(step, string(outcome)).Observe(t.now().Sub(began).Seconds())
		endSpan(outcome, err)
	}
}

// Trace returns the headers by which tasks join ctx's trace.
func (t *Telemetry) Trace(ctx context.Context) map[string]string { return t.tracing.Headers(ctx) }

// Requested counts a request to the provider.
func (t *Telemetry) Requested(ctx context.Context, r observe.Request) {
	kind, result := r.Kind.String(), results[r.Result]
	t.turnWait.WithLabelValues(kind).Observe(r.Waited.Seconds())
	t.requests.WithLabelValues(t.account(r.Account), kind, result).Inc()
	if r.Result != budget.NotSent {
		t.requestDuration.WithLabelValues(kind).Observe(r.Took.Seconds())
	}
	if r.Passed && r.Result == budget.InDoubt { // those of exports are counted with their records
		t.inDoubt.WithLabelValues(t.account(r.Account)).Inc()
	}
	t.tracing.request(ctx, r, kind, result, t.now())
}

// Transferred counts an attempt to carry a clip to S3.
func (t *Telemetry) Transferred(ctx context.Context, tr observe.Transfer) {
	outcome := outcomeOK
	if tr.Err != nil {
		outcome = outcomeError
	}
	t.mirrorDuration.WithLabelValues(outcome).Observe(tr.Took.Seconds())
	if tr.Err == nil {
		t.mirrorBytes.Add(float64(tr.Bytes))
	}
	if tr.Err == nil && tr.Fetched > 0 {
		t.mirrorSpeed.Observe(float64(tr.Fetched) / max(tr.Took, time.Millisecond).Seconds())
	}
	t.tracing.transfer(ctx, tr, t.now())
}

// Faulted counts the failure of a step.
func (t *Telemetry) Faulted(ctx context.Context, step export.Kind, err error) {
	t.faults.WithLabelValues(stepLabel(step), string(fault.ClassOf(err))).Inc()
	t.tracing.fault(ctx, err)
}

// Notified counts what became of a notification.
func (t *Telemetry) Notified(outcome notify.Outcome) {
	t.notified.WithLabelValues(string(outcome)).Inc()
}

// Swept keeps what a sweep found.
func (t *Telemetry) Swept(s observe.Sweep) {
	outcome := outcomeError
	if s.Err == nil {
		outcome = outcomeOK
		t.sweepLast.Set(float64(t.now().UnixMilli()) / 1000)
	}
	t.sweepDuration.WithLabelValues(outcome).Observe(s.Took.Seconds())
	if s.Err == nil || len(s.Open) > 0 { // else it saw nothing, which is not the same as nothing open
		t.found(s.Open)
	}
}

// Verified shows how far the rolling verification is.
func (t *Telemetry) Verified(v observe.Verification) {
	t.verifyPeriod.Set(v.Every.Seconds())
	t.verifyBad.Set(float64(v.BadFiles))
	if !v.Oldest.IsZero() {
		t.verifyOldest.Set(float64(v.Oldest.Unix()))
	}
}

// Changed counts what has happened, from the record before and after.
func (t *Telemetry) Changed(ctx context.Context, before, after *export.Record) {
	account := t.account(after.Account)
	if after.Doubts > before.Doubts {
		t.inDoubt.WithLabelValues(account).Inc()
	}
	if more := len(after.Duplicates) - len(before.Duplicates); more > 0 {
		t.duplicates.WithLabelValues(account).Add(float64(more))
	}
	// An export that was found again by its receipt was counted when it was paid for.
	if before.ExportTaskID == "" && after.ExportTaskID != "" && before.Attempts > 0 {
		t.accepted.WithLabelValues(account).Inc()
	}
	if before.ExportTaskID == after.ExportTaskID { // else the counts are another task's
		t.progressed(account, before, after)
	}
	if why := after.Problem.Reason; why != before.Problem.Reason && slices.Contains(export.Reasons(), why) {
		t.problems.WithLabelValues(string(why)).Inc()
	}
	if after.State != before.State {
		t.tracing.changed(ctx, before.State, after.State)
		t.moved(after)
	}
}

// progressed counts what became of one and the same provider's task.
func (t *Telemetry) progressed(account string, before, after *export.Record) {
	if more := after.CostUsage - before.CostUsage; more > 0 {
		t.units.WithLabelValues(account).Add(more)
	}
	if more := after.ArchivedCount - before.ArchivedCount; more > 0 {
		t.clipsArchived.Add(float64(more))
		if !after.ExpireAt.IsZero() {
			t.headroom.Observe(after.ExpireAt.Sub(after.UpdatedAt).Seconds())
		}
	}
	if more := after.FailedCount - before.FailedCount; more > 0 {
		t.clipsFailed.Add(float64(more))
	}
	if before.FinishedAt.IsZero() && !after.FinishedAt.IsZero() && after.Outcome != "" {
		t.render.Observe(after.FinishedAt.Sub(after.SubmittedAt).Seconds())
		// It ended some time after the read before; on average half way.
		since := after.SubmittedAt
		if before.ReadAt.After(since) {
			since = before.ReadAt
		}
		t.lag.Observe(after.FinishedAt.Sub(since).Seconds() / 2)
	}
}

// moved counts an export that reached a final state.
func (t *Telemetry) moved(r *export.Record) {
	if !r.State.Final() {
		return
	}
	t.ended.WithLabelValues(string(r.State)).Inc()
	if r.State == export.Archived {
		t.whole.Observe(r.UpdatedAt.Sub(r.CreatedAt).Seconds())
	}
}

func stepLabel(kind export.Kind) string {
	if slices.Contains(steps, kind) {
		return string(kind)
	}
	return "other"
}
