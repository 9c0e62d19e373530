package telemetry

import (
	"context"
	"math"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/clipferry/clipferry/internal/budget"
	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/pace"
	"github.com/clipferry/clipferry/internal/queue"
	"github.com/clipferry/clipferry/internal/telemetry/logkey"
	"github.com/clipferry/clipferry/internal/units"
	"github.com/clipferry/clipferry/storage"
)

const (
	// freshFor is how often one process reads a source at most.
	freshFor = 10 * time.Second
	// scrapeWait is how long a scrape waits for a source.
	scrapeWait = 3 * time.Second
)

// Ledger knows how many exports are in which state.
type Ledger interface {
	Counts(ctx context.Context) (map[export.State]int64, error)
}

// Queues knows how full the queues are; *queue.Queue does.
type Queues interface {
	Depths(ctx context.Context, kinds []string) (map[string]queue.Depth, error)
}

// Budget knows the state of an account's budget; *budget.Gate does.
type Budget interface {
	Status(ctx context.Context) (budget.Status, error)
}

// Units knows what an account may spend, and spent, today; *units.Meter does.
type Units interface {
	Today(ctx context.Context, now time.Time) (units.Day, error)
}

// Bucket knows whether S3 fails this process; *storage.Archive does, and of the catalog
// alone *catalog.Store.
type Bucket interface {
	Health() storage.Health
}

// Sources are where the truth about the fleet is. Those that are nil are not
// shown.
type Sources struct {
	Ledger  Ledger
	Queues  Queues
	Budgets map[string]Budget // by account
	Units   map[string]Units  // by account
	Bucket  Bucket
	Catalog Bucket
	Redis   RedisInfo
	// Ready says whether this process is: what /readyz answers. It may ask
	// others, who may be slow.
	Ready func(context.Context) bool
}

// Watch adds the fleet's truth to the metrics. Call it once.
func (t *Telemetry) Watch(s Sources) {
	c := &collector{t: t}
	if s.Ready != nil {
		c.addReady(s.Ready)
	}
	if s.Ledger != nil {
		c.add("ledger", read(t, s.Ledger.Counts, c.exports))
	}
	if s.Queues != nil {
		c.add("queues", read(t, t.queueDepths(s.Queues), c.queues))
	}
	c.addBucket(descBucket, s.Bucket)
	c.addBucket(descCatalog, s.Catalog)
	if len(s.Budgets) > 0 {
		c.add("budget", read(t, ofEach(s.Budgets, Budget.Status), showBudgets))
	}
	if len(s.Units) > 0 {
		c.add("units", read(t, ofEach(s.Units, func(u Units, ctx context.Context) (units.Day, error) {
			return u.Today(ctx, t.now())
		}), showDays))
	}
	if s.Redis != nil {
		c.add("redis", read(t, s.Redis.read, c.redis))
	}
	t.registry.MustRegister(c)
}

// collector reads the sources when Prometheus asks.
type collector struct {
	t     *Telemetry
	parts []func(chan<- prometheus.Metric)
}

// add adds a source, and the metric that says whether it could be read.
func (c *collector) add(source string, collect func(chan<- prometheus.Metric) error) {
	c.parts = append(c.parts, func(out chan<- prometheus.Metric) {
		err := collect(out)
		if err != nil {
			c.t.log.Warn("metrics of the fleet can't be read", logkey.Source, source, logkey.Error, err)
		}
		gauge(out, descSourceUp, flag(err == nil), source)
	})
}

// addReady adds whether the process is ready; one that can't say in time is not.
func (c *collector) addReady(ready func(context.Context) bool) {
	cache := &cached[bool]{fresh: freshFor, timeout: scrapeWait, now: c.t.now, load: func(ctx context.Context) (bool, error) {
		return ready(ctx), nil
	}}
	c.parts = append(c.parts, func(out chan<- prometheus.Metric) {
		is, err := cache.get()
		gauge(out, descReady, flag(is && err == nil))
	})
}

// addBucket adds whether S3 fails a part of the process.
func (c *collector) addBucket(d *prometheus.Desc, b Bucket) {
	if b != nil {
		c.parts = append(c.parts, func(out chan<- prometheus.Metric) { gauge(out, d, flag(b.Health().Open)) })
	}
}

// read returns a function that shows what is loaded, through a cache.
func read[T any](t *Telemetry, load func(context.Context) (T, error), show func(chan<- prometheus.Metric, T)) func(chan<- prometheus.Metric) error {
	cache := &cached[T]{load: load, fresh: freshFor, timeout: scrapeWait, now: t.now}
	return func(out chan<- prometheus.Metric) error {
		value, err := cache.get()
		if err == nil {
			show(out, value)
		}
		return err
	}
}

// Describe sends nothing: which series there are depends on what is found.
func (c *collector) Describe(chan<- *prometheus.Desc) {}

// Collect reads all sources at once, so that the slowest one bounds the scrape.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	var all sync.WaitGroup
	for _, part := range c.parts {
		all.Go(func() { part(out) })
	}
	all.Wait()
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("clipferry_"+name, help, labels, nil)
}

func gauge(out chan<- prometheus.Metric, d *prometheus.Desc, value float64, labels ...string) {
	out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
}

func flag(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// The fleet's truth. Each process reports the same: take the maximum.
var (
	descReady    = desc("ready", "Whether this worker is ready, as /readyz says; absent from a server without one.")
	descSourceUp = desc("source_up", "Whether this process could read a source of the fleet's metrics.", "source")

	descExports = desc("exports", "Exports in the ledger by state; those that no worker has taken up yet are in the submit queues.", "state")

	descQueueTasks  = desc("queue_tasks", "Tasks in a queue by asynq's state; archived are dead letters.", "queue", "state")
	descQueueOldest = desc("queue_oldest_seconds", "Age of the oldest task that is due and not begun, 0 without one.", "queue")
	descQueuePaused = desc("queue_paused", "Whether a person has paused the queue.", "queue")

	descCredits    = desc("budget_credits", "Requests that could go to the provider back to back now; absent without a limit.", "account")
	descRate       = desc("budget_requests_per_minute", "The provider's request limit, as configured and as believed to be ours at the moment; 0 is none.", "account", "limit")
	descSlots      = desc("budget_slots", "The provider's limit of running exports, as configured and as believed to be ours at the moment; 0 is none.", "account", "limit")
	descSlotsUsed  = desc("budget_slots_used", "Slots held by exports.", "account")
	descSlotsDoubt = desc("budget_slots_in_doubt", "Slots kept for exports whose submit's answer was lost.", "account")
	descWaiting    = desc("budget_waiting", "Handlers of the fleet that wait for a turn.", "account", "kind")
	descInFlight   = desc("budget_in_flight", "Requests of the fleet that are in flight.", "account", "kind")
	descHalted     = desc("budget_halted", "Whether spending is halted, and why: key_refused; provider_unavailable, it doesn't answer; of orders alone: out_of_units; orders_refused, all in the same words; orders_in_doubt, their outcomes are unknown; answers_not_understood; results_not_understood, those that are read have a form that is not known.", "account", "reason")
	descLag        = desc("budget_detection_lag_seconds", "Mean estimated time from a render's end to the read that saw it, over recent exports of the fleet.", "account")
	descRender     = desc("budget_render_seconds", "Mean render duration over recent exports of the fleet, real and as it was predicted.", "account", "which")
	descUnitsToday = desc("budget_units_today", "Units charged for exports that the provider accepted on this UTC day.", "account")
	descUnitsCap   = desc("budget_units_cap", "Units that may be spent on a UTC day; 0 is no cap.", "account")
	descUnitsHeld  = desc("budget_units_held", "Whether the day's cap holds submits back at the moment.", "account")
	descBucket     = desc("archive_halted", "Whether this process leaves the bucket alone but for probes, because it fails all reads, all writes or all clips.")
	descCatalog    = desc("catalog_failing", "Whether S3 fails what this worker writes of the catalog: clips are archived, and not found.")
	descCrashed    = desc("budget_crashed_total", "Requests whose holder died before it said how they ended.", "account")
)

func (c *collector) exports(out chan<- prometheus.Metric, counts map[export.State]int64) {
	for _, state := range export.States() {
		gauge(out, descExports, float64(counts[state]), string(state))
	}
}

// queueDepths reads the queues that exist; asynq makes one with its first task.
// Those of a named account are its own; what producers have put into queues of
// accounts that are not configured here counts as one, so that no producer can
// make up label values.
func (t *Telemetry) queueDepths(q Queues) func(context.Context) (map[string]queue.Depth, error) {
	return func(ctx context.Context) (map[string]queue.Depth, error) {
		found, err := q.Depths(ctx, queue.All())
		if err != nil {
			return nil, err
		}
		depths := map[string]queue.Depth{}
		for _, name := range queue.All() {
			depths[name] = queue.Depth{}
		}
		for name, d := range found {
			label := t.queueLabel(name)
			depths[label] = sum(depths[label], d)
		}
		return depths, nil
	}
}

func sum(a, b queue.Depth) queue.Depth {
	return queue.Depth{
		Pending: a.Pending + b.Pending, Active: a.Active + b.Active, Scheduled: a.Scheduled + b.Scheduled,
		Retry: a.Retry + b.Retry, Archived: a.Archived + b.Archived,
		Oldest: max(a.Oldest, b.Oldest), Paused: a.Paused || b.Paused,
	}
}

func (c *collector) queues(out chan<- prometheus.Metric, depths map[string]queue.Depth) {
	for name, d := range depths {
		for _, s := range []struct {
			state string
			tasks int
		}{
			{"pending", d.Pending},
			{"active", d.Active},
			{"scheduled", d.Scheduled},
			{"retry", d.Retry},
			{"archived", d.Archived},
		} {
			gauge(out, descQueueTasks, float64(s.tasks), name, s.state)
		}
		gauge(out, descQueueOldest, d.Oldest.Seconds(), name)
		gauge(out, descQueuePaused, flag(d.Paused), name)
	}
}

// ofEach asks what is kept for each account. One that can't be read spoils the
// source: half a picture of the money is none.
func ofEach[S, V any](sources map[string]S, ask func(S, context.Context) (V, error)) func(context.Context) (map[string]V, error) {
	return func(ctx context.Context) (map[string]V, error) {
		all := map[string]V{}
		for account, source := range sources {
			v, err := ask(source, ctx)
			if err != nil {
				return nil, err
			}
			all[account] = v
		}
		return all, nil
	}
}

func showBudgets(out chan<- prometheus.Metric, all map[string]budget.Status) {
	for account, st := range all {
		showBudget(out, account, st)
	}
}

func showBudget(out chan<- prometheus.Metric, account string, st budget.Status) {
	if !math.IsInf(st.Credit, 0) {
		gauge(out, descCredits, st.Credit, account)
	}
	gauge(out, descRate, float64(st.RequestsPerMinute), account, "configured")
	gauge(out, descRate, st.Rate, account, "believed")
	gauge(out, descSlots, float64(st.MaxActive), account, "configured")
	gauge(out, descSlots, float64(st.Slots), account, "believed")
	gauge(out, descSlotsUsed, float64(len(st.Held)), account)
	doubtful := 0
	for _, slot := range st.Held {
		if slot.InDoubt {
			doubtful++
		}
	}
	gauge(out, descSlotsDoubt, float64(doubtful), account)
	for _, kind := range pace.Kinds {
		gauge(out, descWaiting, float64(st.Waiting[kind]), account, kind.String())
		gauge(out, descInFlight, float64(st.InFlight[kind]), account, kind.String())
	}
	for _, reason := range pace.HaltReasons {
		gauge(out, descHalted, flag(st.Halted == reason), account, reason)
	}
	gauge(out, descLag, st.Lag.Seconds(), account)
	gauge(out, descRender, st.Duration.Seconds(), account, "real")
	gauge(out, descRender, st.Predicted.Seconds(), account, "predicted")
	out <- prometheus.MustNewConstMetric(descCrashed, prometheus.CounterValue, float64(st.Crashed), account)
}

func showDays(out chan<- prometheus.Metric, days map[string]units.Day) {
	for account, day := range days {
		gauge(out, descUnitsToday, day.Spent, account)
		gauge(out, descUnitsCap, day.Cap, account)
		gauge(out, descUnitsHeld, flag(day.Held), account)
	}
}
