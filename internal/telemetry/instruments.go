package telemetry

import (
	"github.com/prometheus/client_golang/prometheus"

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
}

func newInstruments() instruments {
	return instruments{
		stepDuration: histograms("step_duration_seconds", stepBuckets,
			"Runs of a step's handler, the wait for its turn included.", "step", "outcome"),
		stepsRunning: gauges("steps_running", "Handlers at work in this process.", "step"),
		turnWait: histograms("turn_wait_seconds", waitBuckets,
			"How long a request waited for its turn at the provider.", "kind"),
		faults: counters("faults_total",
			"Failures of a step by class; all but terminal ones are tried again.", "step", "class"),

		requests: counters("provider_requests_total",
			"Requests to the provider, by what for and how they ended; refused is 429, forbidden 401 or 403.", "account", "kind", "result"),
		requestDuration: histograms("provider_request_duration_seconds", requestBuckets,
			"Requests to the provider.", "kind"),

		accepted:   counters("exports_accepted_total", "Exports that the provider accepted, and so charged.", "account"),
		inDoubt:    counters("submits_in_doubt_total", "Paid requests whose answer was lost after they were sent.", "account"),
		duplicates: counters("submits_duplicate_total", "Exports found to have been accepted, and charged, once more.", "account"),
		units:      counters("units_spent_total", "Units charged, as the provider reports them (cost_usage).", "account"),
		ended:      counters("exports_ended_total", "Exports that reached a final state.", "state"),
		problems: counters("export_problems_total",
			"Exports that something began to be wrong with, by its code; the same again while it goes on does not count.", "reason"),
		whole: histogram("export_duration_seconds", wholeBuckets,
			"From an export's take-up by a worker to its manifest."),
		render: histogram("render_duration_seconds", renderBuckets,
			"From the provider's acceptance to the read that saw the render's end."),
		lag: histogram("detection_lag_seconds", lagBuckets,
			"Estimated time from a render's end to the read that saw it: half the gap between two reads."),

		clipsArchived: counter("clips_archived_total", "Clips brought into S3 and proven."),
		clipsFailed:   counter("clips_failed_total", "Clips that could not be archived."),
		mirrorBytes:   counter("mirror_bytes_total", "Bytes of archived clips."),
		mirrorDuration: histograms("mirror_duration_seconds", stepBuckets,
			"Transfers of one clip, from its link to the proven object.", "outcome"),
		mirrorSpeed: histogram("mirror_speed_bytes_per_second", speedBuckets,
			"Speed of transfers that archived their clip."),
		headroom: histogram("headroom_at_archive_seconds", headroomBuckets,
			"Time left to the provider's expire_at when a clip was archived."),

		notified: counters("notifications_total",
			"What became of notifying producers that their exports have ended, one for each call of a webhook; enqueued are their own tasks.", "outcome"),

		redisErrors: counters("redis_errors_total", "Redis commands of this process that failed.", "reason"),
		s3Requests:  counters("s3_requests_total", "Requests to S3, each attempt, by how they ended.", "operation", "result"),
		s3Duration:  histograms("s3_request_duration_seconds", s3Buckets, "Requests to S3, each attempt.", "operation"),
		s3Sent:      counter("s3_sent_bytes_total", "Bytes of the bodies sent to S3, those sent again included."),

		sweepDuration: histograms("sweep_duration_seconds", stepBuckets,
			"Sweeps of the whole fleet's exports that this process made.", "outcome"),
		sweepLast: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "clipferry_sweep_last_success_timestamp_seconds",
			Help: "When this process last completed a sweep, as Unix time; 0 if it has not.",
		}),
	}
}

func (i *instruments) all() []prometheus.Collector {
	return []prometheus.Collector{
		i.stepDuration, i.stepsRunning, i.turnWait, i.faults, i.requests, i.requestDuration,
		i.accepted, i.inDoubt, i.duplicates, i.units, i.ended, i.problems, i.whole, i.render, i.lag,
		i.clipsArchived, i.clipsFailed, i.mirrorBytes, i.mirrorDuration, i.mirrorSpeed, i.headroom,
		i.notified, i.redisErrors, i.s3Requests, i.s3Duration, i.s3Sent, i.sweepDuration, i.sweepLast,
	}
}

// start begins every series at zero: a counter that appears with its
// first event hides just that event from rate and increase, and the first submit
// in doubt is the one that matters.
func (i *instruments) start(accounts []string) {
	for _, step := range steps {
		i.stepsRunning.WithLabelValues(string(step))
		for _, outcome := range outcomes {
			i.stepDuration.WithLabelValues(string(step), string(outcome))
		}
		for _, class := range classes {
			i.faults.WithLabelValues(string(step), string(class))
		}
	}
	for _, kind := range pace.Kinds {
		i.turnWait.WithLabelValues(kind.String())
		i.requestDuration.WithLabelValues(kind.String())
	}
	for _, account := range accounts {
		for _, perAccount := range []*prometheus.CounterVec{i.accepted, i.inDoubt, i.duplicates, i.units} {
			perAccount.WithLabelValues(account)
		}
		for _, kind := range pace.Kinds {
			for _, result := range results {
				i.requests.WithLabelValues(account, kind.String(), result)
			}
		}
	}
	for _, state := range export.States() {
		if state.Final() {
			i.ended.WithLabelValues(string(state))
		}
	}
	for _, reason := range export.Reasons() {
		i.problems.WithLabelValues(string(reason))
	}
	for _, outcome := range notify.Outcomes {
		i.notified.WithLabelValues(string(outcome))
	}
	for _, reason := range redisReasons {
		i.redisErrors.WithLabelValues(reason)
	}
	for _, operation := range s3Operations {
		i.s3Duration.WithLabelValues(operation)
		for _, result := range s3Results {
			i.s3Requests.WithLabelValues(operation, result)
		}
	}
	for _, outcome := range []string{outcomeOK, outcomeError} {
		i.mirrorDuration.WithLabelValues(outcome)
		i.sweepDuration.WithLabelValues(outcome)
	}
}

// The values of bounded labels that their owners don't list.
var (
	steps    = []export.Kind{export.StepSubmit, export.StepPoll, export.StepMirror, export.StepSeal, stepNotify}
	outcomes = []observe.Outcome{observe.Done, observe.PutOff, observe.Failed}
	classes  = []fault.Class{fault.Retry, fault.Terminal, fault.LinkExpired}
	results  = []string{"answered", "refused", "forbidden", "out_of_units", "not_understood", "failed", "not_sent", "in_doubt"}
)

// stepNotify is the call of a producer's webhook; the machine of exports knows
// nothing of it.
const stepNotify export.Kind = "notify"

const (
	outcomeOK    = "ok"
	outcomeError = "error"
)

func counter(name, help string) prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{Name: "clipferry_" + name, Help: help})
}

func counters(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "clipferry_" + name, Help: help}, labels)
}

func gauges(name, help string, labels ...string) *prometheus.GaugeVec {
	return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "clipferry_" + name, Help: help}, labels)
}

func histogram(name string, buckets []float64, help string) prometheus.Histogram {
	return prometheus.NewHistogram(prometheus.HistogramOpts{Name: "clipferry_" + name, Help: help, Buckets: buckets})
}

func histograms(name string, buckets []float64, help string, labels ...string) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "clipferry_" + name, Help: help, Buckets: buckets}, labels)
}
