package telemetry

import (
	"context"
	"net/http"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/fault"
	"github.com/clipferry/clipferry/internal/observe"
)

// The attributes of our spans; the rest are OpenTelemetry's own for messaging
// and HTTP. Traces may name exports; secrets are in neither.
const (
	attrExport   = "clipferry.export.id"
	attrAccount  = "clipferry.account"
	attrClip     = "clipferry.clip"
	attrBytes    = "clipferry.bytes"
	attrResult   = "clipferry.result"
	attrOutcome  = "clipferry.outcome"
	attrWaited   = "clipferry.waited_seconds"
	attrRetried  = "clipferry.retried"
	attrFrom     = "clipferry.state.from"
	attrTo       = "clipferry.state.to"
	attrClass    = "clipferry.fault.class"
	attrSentence = "clipferry.fault.sentence"
)

// end ends a span, as failed if there is an error.
func end(span trace.Span, err error) {
	if err != nil {
		span.SetStatus(codes.Error, fault.SentenceOf(err))
	}
	span.End()
}

// step opens the span of one run of a handler.
func (t *Tracing) step(ctx context.Context, run observe.Run) (context.Context, func(observe.Outcome, error)) {
	if t == nil {
		return ctx, func(observe.Outcome, error) {}
	}
	ctx, span := t.tracer.Start(t.joined(ctx, run.Headers), string(run.Kind)+" export",
		trace.WithSpanKind(trace.SpanKindConsumer), trace.WithAttributes(
			attribute.String("messaging.system", "asynq"),
			attribute.String("messaging.operation.type", "process"),
			attribute.String("messaging.destination.name", run.Queue),
			attribute.String("messaging.message.id", run.TaskID),
			attribute.Int(attrRetried, run.Retried),
		))
	if run.Export != "" {
		span.SetAttributes(attribute.String(attrExport, run.Export))
	}
	return ctx, func(outcome observe.Outcome, err error) {
		span.SetAttributes(attribute.String(attrOutcome, string(outcome)))
		if outcome == observe.PutOff {
			err = nil
		}
		end(span, err)
	}
}

// request adds the span of a request to the provider that has just ended.
func (t *Tracing) request(ctx context.Context, r observe.Request, kind, result string, now time.Time) {
	if !t.On() {
		return
	}
	_, span := t.tracer.Start(ctx, "provider "+kind, trace.WithSpanKind(trace.SpanKindClient),
		trace.WithTimestamp(now.Add(-r.Took)), trace.WithAttributes(
			attribute.String(attrAccount, r.Account), attribute.String(attrResult, result),
			attribute.Float64(attrWaited, r.Waited.Seconds()),
		))
	if r.Err != nil {
		span.SetStatus(codes.Error, fault.SentenceOf(r.Err))
	}
	span.End(trace.WithTimestamp(now))
}

// transfer adds the span of a transfer that has just ended.
func (t *Tracing) transfer(ctx context.Context, tr observe.Transfer, now time.Time) {
	if !t.On() {
		return
	}
	_, span := t.tracer.Start(ctx, "transfer clip", trace.WithTimestamp(now.Add(-tr.Took)),
		trace.WithAttributes(attribute.Int(attrClip, tr.Clip), attribute.Int64(attrBytes, tr.Bytes)))
	if tr.Err != nil {
		span.SetStatus(codes.Error, fault.SentenceOf(tr.Err))
	}
	span.End(trace.WithTimestamp(now))
}

// fault notes a failure on the span of the run that met it.
func (t *Tracing) fault(ctx context.Context, err error) {
	if t.On() {
		trace.SpanFromContext(ctx).AddEvent("fault", trace.WithAttributes(
			attribute.String(attrClass, string(fault.ClassOf(err))), attribute.String(attrSentence, fault.SentenceOf(err))))
	}
}

// changed notes a new state on the span of the run that brought it about.
func (t *Tracing) changed(ctx context.Context, from, to export.State) {
	if t.On() {
		trace.SpanFromContext(ctx).AddEvent("state", trace.WithAttributes(
			attribute.String(attrFrom, string(from)), attribute.String(attrTo, string(to))))
	}
}

// Handler makes each request to next a span, as a part of the caller's trace if
// it names one. The span is named by the route's pattern, never by the path.
func (t *Tracing) Handler(next http.Handler) http.Handler {
	if t == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := t.propagator.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
		if !t.On() {
			next.ServeHTTP(w, r.WithContext(ctx))
			return
		}
		ctx, span := t.tracer.Start(ctx, r.Method, trace.WithSpanKind(trace.SpanKindServer),
			trace.WithAttributes(attribute.String("http.request.method", r.Method)))
		defer span.End()
		seen := &answered{ResponseWriter: w, status: http.StatusOK}
		r = r.WithContext(ctx)
		next.ServeHTTP(seen, r)
		if r.Pattern != "" { // set by the mux; starts with the method where that is part of it
			span.SetName(r.Pattern)
			span.SetAttributes(attribute.String("http.route", r.Pattern))
		}
		span.SetAttributes(attribute.Int("http.response.status_code", seen.status))
		if seen.status >= http.StatusInternalServerError {
			span.SetStatus(codes.Error, http.StatusText(seen.status))
		}
	})
}

// answered remembers the status of an answer.
type answered struct {
	http.ResponseWriter
	status int
}

// WriteHeader is the http.ResponseWriter's.
func (a *answered) WriteHeader(status int) {
	a.status = status
	a.ResponseWriter.WriteHeader(status)
}

// Unwrap lets http.ResponseController through, for flushes and deadlines.
func (a *answered) Unwrap() http.ResponseWriter { return a.ResponseWriter }
