package main

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/clipferry/clipferry/cmd/internal/cli"
	"github.com/clipferry/clipferry/config"
	"github.com/clipferry/clipferry/internal/admin"
	"github.com/clipferry/clipferry/internal/preflight"
	"github.com/clipferry/clipferry/internal/queue"
	"github.com/clipferry/clipferry/internal/telemetry"
	"github.com/clipferry/clipferry/tasks"
)

func enqueueCommand(c *console) *cobra.Command {
	e := &enqueue{}
	cmd := &cobra.Command{
		Use: "enqueue [--file F | --project-id ID …]", Short: "put exports in the queue and print their ids",
		Long: `One export comes from flags named as the API's fields. With --file, each line
of F (or of standard input, for -) is one JSON object: the request body of
the API and, optionally, extra, job_id, priority, account, tenant, labels and
notify. A JSON array of such objects and objects over several lines do as
well. All are checked first; if any is wrong, nothing is enqueued.

The same job_id again prints the same id and enqueues nothing. With --batch,
the same file again does so too; --notify-webhook or --notify-task-type then
says who is notified once all are final. See clipferry status --batch.

--dry-run enqueues nothing and says what would be ordered: see clipferry
preflight. With --preflight, what that finds impossible is refused, with all
of the file.`,
		Args: cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return e.run(cmd.Context(), c) },
	}
	e.set = cmd.Flags()
	e.set.StringVarP(&e.file, "file", "f", "", "read exports from `F`, one JSON object a line; - is standard input")
	e.set.StringVar(&e.batch, "batch", "", "make the exports of --file a batch of that `NAME`; given again, it goes on where it stopped")
	e.set.BoolVarP(&e.wait, "wait", "w", false, "show progress until all are archived; fail if one is not")
	e.set.BoolVar(&e.dryRun, "dry-run", false, "order nothing, and say what it would come to; fail if something is impossible")
	e.set.BoolVar(&e.preflight, "preflight", false, "enqueue nothing if the provider would refuse one")
	e.set.BoolVar(&e.json, "json", false, "with --dry-run, print one JSON object")
	defineFields(cmd)
	return cmd
}

type enqueue struct {
	set         *pflag.FlagSet
	file, batch string
	wait        bool

	dryRun, preflight, json bool
}

// batch is what is to be enqueued. The exports of a file are parsed again whenever they
// are gone through: many are too large to be held.
type batch struct {
	export  tasks.Export // from flags, if there are no objects
	objects []object     // of the file

	// What was noted of the exports when they were first parsed.
	webhooks    webhooks
	issued      []string // the job_ids that look like one of our own ids …
	issuedAt    []int    // … and whose they are
	warnings    []string
	moreWarning int
}

// all yields the exports.
func (b *batch) all(yield func(tasks.Export) bool) {
	if len(b.objects) == 0 {
		yield(b.export)
		return
	}
	for _, object := range b.objects {
		e, err := tasks.ParseExport(object.text)
		if err != nil || !yield(e) { // it was parsed before
			return
		}
	}
}

func (b *batch) count() int { return max(1, len(b.objects)) }

// batchNotify returns who is notified of the batch, as the flags say; nil for nobody.
func (e *enqueue) batchNotify() *tasks.Notify {
	value := func(field string) string { return e.set.Lookup(notifyFlag(field)).Value.String() }
	n := tasks.Notify{Webhook: value("webhook"), TaskType: value("task_type"), Queue: value("queue")}
	if n == (tasks.Notify{}) {
		return nil
	}
	return &n
}

// gcOfFiles has garbage collected early: a large file is nearly all that is held.
const gcOfFiles = 25

// maxWarnings is how many warnings are printed before the rest is only counted.
const maxWarnings = 50

// note keeps what is to be said of an export, the last of the objects.
func (b *batch) note(e tasks.Export) {
	i := max(0, len(b.objects)-1)
	if e.Notify != nil {
		b.webhooks.note(b.where(i), e.Notify.Webhook)
	}
	if strings.HasPrefix(e.JobID, issued) {
		b.issued, b.issuedAt = append(b.issued, e.JobID), append(b.issuedAt, i)
	}
	for _, text := range e.Lint().Texts() {
		if len(b.warnings) == maxWarnings {
			b.moreWarning++
			continue
		}
		b.warnings = append(b.warnings, b.where(i)+text)
	}
}

func (e *enqueue) run(ctx context.Context, c *console) error {
	b, err := e.read(ctx, c)
	if err != nil {
		return err
	}
	var needs config.Needs
	if e.dryRun || e.preflight {
		needs = config.NeedsAPI
	}
	conn, err := c.connect(ctx, needs)
	if err != nil {
		return err
	}
	defer conn.close()
	if err := b.checkIssued(ctx, conn.exports); err != nil {
		return err
	}
	if e.dryRun {
		b.webhooks = webhooks{} // the report says it of each export
	}
	if n := e.batchNotify(); e.batch != "" && n != nil {
		b.webhooks.note("", n.Webhook)
	}
	for _, text := range b.webhooks.warnings(ctx, queue.New(conn.rdb), conn.cfg) {
		_ = c.msg.Printf("warning: %s\n", text)
	}
	if e.dryRun || e.preflight {
		exports := slices.Collect(b.all)
		report, err := c.check(ctx, conn, exports)
		switch {
		case err != nil:
			return err
		case e.dryRun:
			addWebhookWarnings(ctx, conn, exports, report)
			return c.printReport(report, b.where, e.json)
		case report.Impossible():
			return b.impossible(report)
		}
	}
	b.warn(c)
	tracing, flush, err := startTracing(ctx, c.logger(conn.cfg))
	if err != nil {
		return err
	}
	defer flush()
	client := tasks.NewClientFromRedis(conn.rdb, tasks.WithTraceHeaders(traceOfEach(tracing)))
	outliveReaders()
	taken, ids := 0, []string{}
	show := func(id string) error {
		taken++
		if e.wait {
			ids = append(ids, id)
		}
		if err := c.out.Printf("%s\n", id); err != nil {
			return fmt.Errorf("print id %s: %w", id, err)
		}
		return nil
	}
	if e.batch != "" {
		err = client.EnqueueBatchEach(ctx, tasks.Batch{Name: e.batch, Notify: e.batchNotify()}, b.all, show)
	} else {
		err = client.EnqueueEach(ctx, b.all, show)
	}
	if err != nil {
		return b.explain(c, taken, e.batch, err)
	}
	if !e.wait {
		return nil
	}
	return c.wait(ctx, conn, ids)
}

// traceOfEach begins a trace for each export: one export is one trace.
func traceOfEach(tracing *telemetry.Tracing) func(context.Context) map[string]string {
	return func(ctx context.Context) map[string]string {
		ctx, end := tracing.Enqueue(ctx)
		defer end(nil)
		return tracing.Headers(ctx)
	}
}

// usage names all flags that don't go together.
func (e *enqueue) usage() error {
	var faults []error
	wrong := func(format string, args ...any) { faults = append(faults, cli.Usagef(format, args...)) }
	file, batch := e.set.Changed("file"), e.set.Changed("batch")
	if batch && !tasks.ValidBatch(e.batch) {
		wrong("--batch must be %s, not %q", tasks.BatchRule, e.batch)
	}
	if batch && !file {
		wrong("--batch goes with --file")
	}
	if file && e.file == "" {
		wrong("--file must not be empty; - is standard input")
	}
	if e.json && !e.dryRun {
		wrong("--json goes with --dry-run")
	}
	for _, name := range fieldsGiven(e.set) {
		ofBatch := batch && strings.HasPrefix(name, "notify-") // whom to notify of it
		if file && !ofBatch {
			wrong("--file and --%s exclude each other", name)
		}
	}
	return errors.Join(faults...)
}

func (e *enqueue) read(ctx context.Context, c *console) (*batch, error) {
	if err := e.usage(); err != nil {
		return nil, err
	}
	if !e.set.Changed("file") {
		export, err := exportFromFlags(e.set)
		if err != nil {
			return nil, err
		}
		b := &batch{export: export}
		b.note(export)
		return b, nil
	}
	debug.SetGCPercent(gcOfFiles)
	return readFile(ctx, c, e.file)
}

// impossible names what the provider would refuse.
func (b *batch) impossible(report preflight.Report) error {
	input := &inputError{}
	for i, x := range report.Exports {
		for _, text := range x.Impossible {
			input.lines = append(input.lines, b.where(i)+text)
		}
	}
	return input
}

// warn says what is odd about the exports. They are enqueued all the same.
func (b *batch) warn(c *console) {
	for _, text := range b.warnings {
		_ = c.msg.Printf("warning: %s\n", text)
	}
	if b.moreWarning > 0 {
		_ = c.msg.Printf("and %d more warnings\n", b.moreWarning)
	}
}

// issued is what ids begin with that we have given.
const issued = "exp_"

// checkIssued refuses a job_id that looks like one of our own ids and is none.
func (b *batch) checkIssued(ctx context.Context, exports *admin.Service) error {
	input := &inputError{}
	for i, id := range b.issued {
		_, err := exports.Get(ctx, id)
		switch {
		case errors.Is(err, admin.ErrUnknown):
			input.lines = append(input.lines, b.where(b.issuedAt[i])+"job_id: ids that begin with "+issued+" are ours to give; choose another, or leave it out")
		case err != nil:
			return err
		}
	}
	if len(input.lines) > 0 {
		return input
	}
	return nil
}

// where names the place of an export in a file.
func (b *batch) where(i int) string {
	if len(b.objects) == 0 {
		return ""
	}
	return fmt.Sprintf("line %d: ", b.objects[i].line)
}

// explain turns what EnqueueEach returned into something to act upon.
func (b *batch) explain(c *console, taken int, name string, err error) error {
	var wrong tasks.BatchError
	var faults tasks.Faults
	if errors.As(err, &wrong) {
		return b.inputError(wrong)
	}
	switch {
	case errors.As(err, &faults):
		return &inputError{faultLines("", err)}
	case errors.Is(err, tasks.ErrDifferentBatch):
		return &inputError{[]string{err.Error() + "; choose another name"}}
	case name != "":
		_ = c.msg.Printf("%d of %d exports are in the queue; give the same command again to go on\n", taken, b.count())
	case taken > 0:
		_ = c.msg.Printf("%d of %d exports are in the queue, in the file's order; to go on give the others alone, since those without job_id would be paid for again\n", taken, b.count())
	}
	return err
}

// inputError names each fault with its line.
func (b *batch) inputError(wrong tasks.BatchError) error {
	input := &inputError{}
	for _, item := range wrong {
		input.lines = append(input.lines, b.faults(item)...)
	}
	return input
}

func (b *batch) faults(item tasks.ItemError) []string {
	return faultLines(b.where(item.Index), item.Err)
}

// faultLines has one line for each fault in err.
func faultLines(where string, err error) []string {
	var faults tasks.Faults
	if !errors.As(err, &faults) {
		return []string{where + err.Error()}
	}
	lines := make([]string, len(faults))
	for i, f := range faults {
		lines[i] = where + f.Error()
	}
	return lines
}
