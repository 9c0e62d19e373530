package telemetry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// TracingOptions configures a Tracing.
type TracingOptions struct {
	// Version is the program's.
	Version string
	Logger  *slog.Logger
	// NewExporter makes what sends the spans, when the environment asks for them;
	// a program that never exports needs none, and is spared the weight of OTLP.
	NewExporter func(context.Context) (sdk.SpanExporter, error)
	// Exporter takes the spans, one by one as they end; for tests. When nil the
	// environment decides.
	Exporter sdk.SpanExporter
}

// Tracing makes the spans of one export one trace, however many processes it
// passes: the context travels in the headers of asynq tasks and in the ledger,
// in W3C's form (traceparent, tracestate). A nil *Tracing makes none, and one
// that is off still passes on the trace that it is given.
type Tracing struct {
	tracer     trace.Tracer
	propagator propagation.TextMapPropagator
	provider   *sdk.TracerProvider // nil when off
}

// NewTracing returns the Tracing that the standard OTEL_* variables ask for. It
// is off unless OTEL_TRACES_EXPORTER is otlp or an OTLP endpoint is set
// (OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT). Spans go
// out by OTLP over HTTP. Sampler, batches, service name and resource are those
// of the SDK's variables. It does not wait for the collector; one that is down
// costs spans, nothing else.
func NewTracing(ctx context.Context, o TracingOptions) (*Tracing, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	t := &Tracing{propagator: propagation.TraceContext{}}
	var take sdk.TracerProviderOption
	switch {
	case o.Exporter != nil:
		take = sdk.WithSyncer(o.Exporter)
	default:
		on, err := tracingWanted(os.Getenv)
		if err != nil {
			return nil, err
		}
		if !on {
			t.tracer = noop.NewTracerProvider().Tracer("")
			return t, nil
		}
		exporter, err := o.NewExporter(ctx)
		if err != nil {
			return nil, fmt.Errorf("tracing: %w", err)
		}
		take = sdk.WithBatcher(exporter)
		otel.SetErrorHandler(&onceAMinute{log: o.Logger, message: "traces are not complete", now: time.Now})
	}
	about, err := resource.New(ctx,
		resource.WithAttributes(attribute.String("service.name", "clipferry"), attribute.String("service.version", o.Version)),
		resource.WithTelemetrySDK(), resource.WithHost(), resource.WithFromEnv(), // the last word has the environment
	)
	if err != nil {
		return nil, fmt.Errorf("tracing: OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	t.provider = sdk.NewTracerProvider(take, sdk.WithResource(about))
	t.tracer = t.provider.Tracer("github.com/clipferry/clipferry", trace.WithInstrumentationVersion(o.Version))
	return t, nil
}

// tracingWanted reads what the environment says about exporting.
func tracingWanted(getenv func(string) string) (bool, error) {
	if strings.EqualFold(getenv("OTEL_SDK_DISABLED"), "true") {
		return false, nil
	}
	on := getenv("OTEL_EXPORTER_OTLP_ENDPOINT") != "" || getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") != ""
	switch exporter := getenv("OTEL_TRACES_EXPORTER"); exporter {
	case "":
	case "none":
		return false, nil
	case "otlp":
		on = true
	default:
		return false, fmt.Errorf("OTEL_TRACES_EXPORTER: %q is not supported; it is otlp or none", exporter)
	}
	for _, name := range []string{"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"} {
		if p := getenv(name); on && p != "" && p != "http/protobuf" {
			return false, fmt.Errorf("%s: %q is not supported; it is http/protobuf, usually on port 4318", name, p)
		}
	}
	return on, nil
}

// On reports whether spans are made.
func (t *Tracing) On() bool { return t != nil && t.provider != nil }

// Shutdown sends what is left and ends the export.
func (t *Tracing) Shutdown(ctx context.Context) error {
	if !t.On() {
		return nil
	}
	if err := t.provider.Shutdown(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("send the last traces: %w", err)
	}
	return nil
}

// Headers returns ctx's trace as headers of a task, nil without one. It is what
// tasks.WithTraceHeaders wants.
func (t *Tracing) Headers(ctx context.Context) map[string]string {
	if t == nil || !trace.SpanContextFromContext(ctx).IsValid() {
		return nil
	}
	headers := propagation.MapCarrier{}
	t.propagator.Inject(ctx, headers)
	return headers
}

// joined returns ctx as a part of the trace that the headers name, if they do.
func (t *Tracing) joined(ctx context.Context, headers map[string]string) context.Context {
	return t.propagator.Extract(ctx, propagation.MapCarrier(headers))
}

// Enqueue opens the span of putting an export in the queue: the beginning of
// its trace, or the first of ours in the caller's.
func (t *Tracing) Enqueue(ctx context.Context) (context.Context, func(error)) {
	if t == nil {
		return ctx, func(error) {}
	}
	ctx, span := t.tracer.Start(ctx, "enqueue export", trace.WithSpanKind(trace.SpanKindProducer))
	return ctx, func(err error) { end(span, err) }
}
