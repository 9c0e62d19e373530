package telemetry

import (
	"fmt"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/clipferry/clipferry/internal/budget"
	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/fault"
	"github.com/clipferry/clipferry/internal/notify"
	"github.com/clipferry/clipferry/internal/observe"
	"github.com/clipferry/clipferry/internal/pace"
)

// Buckets, in seconds unless said otherwise. A quantile may be wrong by as much as a
// bucket is wide, so none ends at more than two and a half times its begin.
var (
	// A seal takes milliseconds, a submit may wait for its turn for hours.
	stepBuckets    = []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600, 900, 1800, 3600, 2 * 3600, 4 * 3600}
	waitBuckets    = []float64{.05, .1, .25, .5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 900, 1800, 3600, 2 * 3600, 4 * 3600}
	requestBuckets = []float64{.05, .1, .25, .5, 1, 2.5, 5, 10, 25}
	renderBuckets  = []float64{10, 20, 30, 60, 120, 180, 300, 600, 900, 1800, 3600, 2 * 3600}
	wholeBuckets   = []float64{
		30, 60, 120, 300, 600, 900, 1200, 1800, 2700, 3600, 2 * 3600, 3 * 3600, 4 * 3600, 6 * 3600, 8 * 3600,
		12 * 3600, 18 * 3600, 24 * 3600, 36 * 3600, 48 * 3600, 72 * 3600,
	}
	lagBuckets = []float64{.5, 1, 2, 4, 8, 15, 30, 60, 120, 300}
	// Below zero: archived after its deadline, which the provider let pass. It keeps
	// clips for 72 hours, so what is archived at once lies in the last of them.
	headroomBuckets = []float64{
		0, 300, 600, 900, 1800, 3600, 2 * 3600, 3 * 3600, 6 * 3600, 12 * 3600, 24 * 3600, 36 * 3600, 48 * 3600,
		60 * 3600, 66 * 3600, 69 * 3600, 70 * 3600, 71 * 3600, 71.5 * 3600, 72 * 3600,
	}
	speedBuckets = prometheus.ExponentialBuckets(64<<10, 2, 17) // bytes a second: 64 KiB to 4 GiB
	s3Buckets    = []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 25, 60, 120, 300}
)

// instruments are what is counted in this process.
type instruments struct {
	stepDuration *prometheus.HistogramVec // step, outcome
	stepsRunning *prometheus.GaugeVec     // step
	turnWait     *prometheus.HistogramVec // kind
	faults       *prometheus.CounterVec   // step, class

	requests        *prometheus.CounterVec   // account, kind, result
	requestDuration *prometheus.HistogramVec // kind

	accepted   *prometheus.CounterVec // account
	inDoubt    *prometheus.CounterVec // account
	duplicates *prometheus.CounterVec // account
	units      *prometheus.CounterVec // account
	ended      *prometheus.CounterVec // state
	problems   *prometheus.CounterVec // reason
	whole      prometheus.Histogram
	render     prometheus.Histogram
	lag        prometheus.Histogram

	clipsArchived  prometheus.Counter
	clipsFailed    prometheus.Counter
	mirrorBytes    prometheus.Counter
	mirrorDuration *prometheus.HistogramVec // outcome
	mirrorSpeed    prometheus.Histogram
	headroom       prometheus.Histogram

	notified *prometheus.CounterVec // outcome

	redisErrors *prometheus.CounterVec   // reason
	s3Requests  *prometheus.CounterVec   // operation, result
	s3Duration  *prometheus.HistogramVec // operation
	s3Sent      prometheus.Counter

	sweepDuration *prometheus.HistogramVec // outcome
	sweepLast     prometheus.Gauge

	verifyOldest, verifyBad, verifyPeriod prometheus.Gauge
}

// newInstruments registers the metrics, each with all its series: a counter that
// appears with its first event hides just that event from rate and increase, and
// the first submit in doubt is the one that matters.
func newInstruments(registry prometheus.Registerer, accounts []string) instruments {
	f := factory{promauto.With(registry)}
	account := label{"account", accounts}
	step := label{"step", texts(steps)}
	kind := label{"kind", texts(pace.Kinds[:])}
	operation := label{"operation", s3Operations}
	outcome := label{"outcome", []string{outcomeOK, outcomeError}}
	return instruments{
		stepDuration: f.histograms("step_duration_seconds", stepBuckets,
			"Runs of a step's handler, the wait for its turn included.", step, label{"outcome", texts(outcomes)}),
		stepsRunning: f.gauges("steps_running", "Handlers at work in this process.", step),
		turnWait: f.histograms("turn_wait_seconds", waitBuckets,
			"How long a request waited for its turn at the provider.", kind),
		faults: f.counters("faults_total",
			"Failures of a step by class; all but terminal ones are tried again.", step, label{"class", texts(classes)}),

		requests: f.counters("provider_requests_total",
			"Requests to the provider, by what for and how they ended; refused is 429, forbidden 401 or 403.", account, kind, label{"result", results[:]}),
		requestDuration: f.histograms("provider_request_duration_seconds", requestBuckets,
			"Requests to the provider.", kind),

		accepted:   f.counters("exports_accepted_total", "Exports that the provider accepted, and so charged.", account),
		inDoubt:    f.counters("submits_in_doubt_total", "Paid requests whose answer was lost after they were sent.", account),
		duplicates: f.counters("submits_duplicate_total", "Exports found to have been accepted, and charged, once more.", account),
		units:      f.counters("units_spent_total", "Units charged, as the provider reports them (cost_usage).", account),
		ended:      f.counters("exports_ended_total", "Exports that reached a final state.", label{"state", texts(finalStates())}),
		problems: f.counters("export_problems_total",
			"Exports that something began to be wrong with, by its code; the same again while it goes on does not count.", label{"reason", texts(export.Reasons())}),
		whole: f.histogram("export_duration_seconds", wholeBuckets,
			"From an export's take-up by a worker to its manifest."),
		render: f.histogram("render_duration_seconds", renderBuckets,
			"From the provider's acceptance to the read that saw the render's end."),
		lag: f.histogram("detection_lag_seconds", lagBuckets,
			"Estimated time from a render's end to the read that saw it: half the gap between two reads."),

		clipsArchived: f.counter("clips_archived_total", "Clips brought into S3 and proven."),
		clipsFailed:   f.counter("clips_failed_total", "Clips that could not be archived."),
		mirrorBytes:   f.counter("mirror_bytes_total", "Bytes of archived clips."),
		mirrorDuration: f.histograms("mirror_duration_seconds", stepBuckets,
			"Transfers of one clip, from its link to the proven object.", outcome),
		mirrorSpeed: f.histogram("mirror_speed_bytes_per_second", speedBuckets,
			"Speed of transfers that archived their clip."),
		headroom: f.histogram("headroom_at_archive_seconds", headroomBuckets,
			"Time left to the provider's expire_at when a clip was archived."),

		notified: f.counters("notifications_total",
			"What became of notifying producers that their exports have ended, one for each call of a webhook; enqueued are their own tasks.",
			label{"outcome", texts(notify.Outcomes)}),

		redisErrors: f.counters("redis_errors_total", "Redis commands of this process that failed.", label{"reason", redisReasons}),
		s3Requests: f.counters("s3_requests_total", "Requests to S3, each attempt, by how they ended.",
			operation, label{"result", s3Results}),
		s3Duration: f.histograms("s3_request_duration_seconds", s3Buckets, "Requests to S3, each attempt.", operation),
		s3Sent:     f.counter("s3_sent_bytes_total", "Bytes of the bodies sent to S3, those sent again included."),

		sweepDuration: f.histograms("sweep_duration_seconds", stepBuckets,
			"Sweeps of the whole fleet's exports that this process made.", outcome),
		sweepLast: f.NewGauge(prometheus.GaugeOpts{
			Name: "clipferry_sweep_last_success_timestamp_seconds",
			Help: "When this process last completed a sweep, as Unix time; 0 if it has not.",
		}),

		verifyOldest: f.NewGauge(prometheus.GaugeOpts{
			Name: "clipferry_verify_oldest_timestamp_seconds",
			Help: "Since when some part of the archive was not verified, as Unix time; 0 where that is not known.",
		}),
		verifyBad: f.NewGauge(prometheus.GaugeOpts{
			Name: "clipferry_verify_bad_files",
			Help: "Archived files that were missing or changed when they were last verified.",
		}),
		verifyPeriod: f.NewGauge(prometheus.GaugeOpts{
			Name: "clipferry_verify_period_seconds",
			Help: "How long a round of the rolling verification takes; 0 where it is off.",
		}),
	}
}

// The values of bounded labels that their owners don't list.
var (
	steps    = []export.Kind{export.StepSubmit, export.StepPoll, export.StepMirror, export.StepSeal, stepNotify}
	outcomes = []observe.Outcome{observe.Done, observe.PutOff, observe.Failed}
	classes  = []fault.Class{fault.Retry, fault.Terminal, fault.LinkExpired}
	results  = [...]string{
		budget.Answered: "answered", budget.Refused: "refused", budget.Forbidden: "forbidden", budget.OutOfUnits: "out_of_units",
		budget.NotUnderstood: "not_understood", budget.Failed: "failed", budget.NotSent: "not_sent", budget.InDoubt: "in_doubt",
	}
)

// stepNotify is the call of a producer's webhook; the machine of exports knows
// nothing of it.
const stepNotify export.Kind = "notify"

const (
	outcomeOK    = "ok"
	outcomeError = "error"
)

// finalStates are the states that exports end in.
func finalStates() []export.State {
	return slices.DeleteFunc(export.States(), func(s export.State) bool { return !s.Final() })
}

// texts are the values of a label.
func texts[T any](values []T) []string {
	var all []string
	for _, v := range values {
		all = append(all, fmt.Sprint(v))
	}
	return all
}

// label is the name of a label, and all values that it takes.
type label struct {
	name   string
	values []string
}

// factory makes metrics whose series all begin at zero.
type factory struct{ promauto.Factory }

func (f factory) counter(name, help string) prometheus.Counter {
	return f.NewCounter(prometheus.CounterOpts{Name: "clipferry_" + name, Help: help})
}

func (f factory) counters(name, help string, labels ...label) *prometheus.CounterVec {
	v := f.NewCounterVec(prometheus.CounterOpts{Name: "clipferry_" + name, Help: help}, names(labels))
	eachSeries(labels, func(values []string) { v.WithLabelValues(values...) })
	return v
}

func (f factory) gauges(name, help string, labels ...label) *prometheus.GaugeVec {
	v := f.NewGaugeVec(prometheus.GaugeOpts{Name: "clipferry_" + name, Help: help}, names(labels))
	eachSeries(labels, func(values []string) { v.WithLabelValues(values...) })
	return v
}

func (f factory) histogram(name string, buckets []float64, help string) prometheus.Histogram {
	return f.NewHistogram(prometheus.HistogramOpts{Name: "clipferry_" + name, Help: help, Buckets: buckets})
}

func (f factory) histograms(name string, buckets []float64, help string, labels ...label) *prometheus.HistogramVec {
	v := f.NewHistogramVec(prometheus.HistogramOpts{Name: "clipferry_" + name, Help: help, Buckets: buckets}, names(labels))
	eachSeries(labels, func(values []string) { v.WithLabelValues(values...) })
	return v
}

func names(labels []label) []string {
	var all []string
	for _, l := range labels {
		all = append(all, l.name)
	}
	return all
}

// eachSeries calls begin with each combination of the labels' values.
func eachSeries(labels []label, begin func(values []string), chosen ...string) {
	if len(labels) == 0 {
		begin(chosen)
		return
	}
	for _, value := range labels[0].values {
		eachSeries(labels[1:], begin, append(slices.Clip(chosen), value)...)
	}
}
