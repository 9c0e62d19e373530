package worker_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/clipferry/clipferry/internal/budget"
	"github.com/clipferry/clipferry/internal/catalog"
	"github.com/clipferry/clipferry/internal/emulator"
	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/ledger"
	"github.com/clipferry/clipferry/internal/provider"
	"github.com/clipferry/clipferry/internal/redistest"
	"github.com/clipferry/clipferry/internal/s3test"
	"github.com/clipferry/clipferry/storage"
	"github.com/clipferry/clipferry/tasks"
	"github.com/clipferry/clipferry/worker"
)

// The moments at which a worker process kills itself, as SIGKILL would.
const (
	beforeIntent   = "before the intent is in S3"
	afterIntent    = "after the intent is in S3, not in the ledger"
	beforePost     = "before the POST"
	afterPost      = "after the POST, its answer not recorded"
	afterRecord    = "after the id is recorded, no receipt yet"
	afterReceipt   = "after the receipt"
	afterRead      = "after a read, its answer not recorded"
	midMirror      = "in the middle of a mirror"
	afterMirror    = "after a mirror, not recorded"
	beforeSeal     = "before the seal"
	afterManifest  = "after the manifest, not recorded"
	afterCatalog   = "after the catalog has it, not recorded"
	neverKilled    = "never"
	crashMoment    = "CLIPFERRY_CRASH_MOMENT"
	crashRedis     = "CLIPFERRY_CRASH_REDIS"
	crashS3        = "CLIPFERRY_CRASH_S3"
	crashProvider  = "CLIPFERRY_CRASH_PROVIDER"
	crashPolicy    = "CLIPFERRY_CRASH_POLICY"
	providerAPIKey = "dev-key"
)

func TestMain(m *testing.M) {
	if moment := os.Getenv(crashMoment); moment != "" {
		if err := crashingWorker(moment); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	redistest.Parallel(8) // most tests wait
	os.Exit(m.Run())
}

// crashingWorker is a worker process, all real but for the moment of its death.
func crashingWorker(moment string) error {
	options, err := redis.ParseURL(os.Getenv(crashRedis))
	if err != nil {
		return err
	}
	rdb := redis.NewClient(options)
	l := ledger.New(ledger.Options{Redis: rdb})
	t := &failing{}
	archive := newArchive(t, (&s3test.Server{Endpoint: os.Getenv(crashS3)}).Client(), l)
	provider, err := provider.New(provider.Options{BaseURL: os.Getenv(crashProvider), Key: providerAPIKey})
	if err != nil {
		return err
	}
	gate, err := budget.New(budget.Options{Redis: rdb, Account: worker.DefaultAccount, MaxActive: 5, Logger: quiet()})
	if err != nil {
		return err
	}
	w, err := worker.New(worker.Options{
		Redis: rdb, Ledger: l, Logger: quiet(),
		Archive: deadlyArchive{archive, l, moment}, InDoubt: export.Policy(os.Getenv(crashPolicy)),
		Accounts: map[string]worker.Account{
			worker.DefaultAccount: {Provider: deadlyProvider{provider, moment}, Gate: soonGate{gate}},
		},
		Catalog: deadlyCatalog{catalog.NewStore(archive), moment}, PollInterval: pollInterval, ImportQuiet: importQuiet,
	})
	if err != nil {
		return err
	}
	return w.Run(context.Background())
}

// failing is a testing.TB outside of a test.
type failing struct{ testing.TB }

func (*failing) Helper()        {}
func (*failing) Cleanup(func()) {}
func (*failing) Fatal(a ...any) { panic(fmt.Sprint(a...)) }

func die() {
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {} // nothing more happens
}

func dieAt(now, moment string) {
	if now == moment {
		die()
	}
}

type deadlyProvider struct {
	worker.Provider
	moment string
}

func (p deadlyProvider) Submit(ctx context.Context, body json.RawMessage) (provider.Task, error) {
	dieAt(beforePost, p.moment)
	task, err := p.Provider.Submit(ctx, body)
	dieAt(afterPost, p.moment)
	return task, err
}

func (p deadlyProvider) Read(ctx context.Context, kind, id string) (provider.Task, error) {
	task, err := p.Provider.Read(ctx, kind, id)
	dieAt(afterRead, p.moment)
	return task, err
}

type deadlyArchive struct {
	worker.Archive
	ledger *ledger.Ledger
	moment string
}

func (a deadlyArchive) WriteReceipt(ctx context.Context, r, was storage.Receipt) (bool, error) {
	dieAt(beforeIntent, a.moment)
	written, err := a.Archive.WriteReceipt(ctx, r, was)
	dieAt(afterIntent, a.moment)
	return written, err
}

func (a deadlyArchive) SyncReceipt(ctx context.Context, r storage.Receipt) error {
	if a.moment == afterRecord {
		for {
			if rec, err := a.ledger.LoadHead(ctx, r.ID); err == nil && rec.ExportTaskID != "" {
				die()
			}
			time.Sleep(time.Millisecond)
		}
	}
	err := a.Archive.SyncReceipt(ctx, r)
	dieAt(afterReceipt, a.moment)
	return err
}

func (a deadlyArchive) Mirror(ctx context.Context, job storage.Job) (storage.Result, error) {
	if a.moment == midMirror {
		job.Progress = func(done, _ int64) {
			if done > 0 {
				die()
			}
		}
	}
	o, err := a.Archive.Mirror(ctx, job)
	dieAt(afterMirror, a.moment)
	return o, err
}

func (a deadlyArchive) PutManifest(ctx context.Context, m storage.Manifest) (string, error) {
	dieAt(beforeSeal, a.moment)
	key, err := a.Archive.PutManifest(ctx, m)
	dieAt(afterManifest, a.moment)
	return key, err
}

type deadlyCatalog struct {
	worker.Catalog
	moment string
}

func (c deadlyCatalog) Add(ctx context.Context, key string) error {
	err := c.Catalog.Add(ctx, key)
	dieAt(afterCatalog, c.moment)
	return err
}

// cataloged are the clips of an export in the catalog, once its receipt says that they are.
func (r *rig) cataloged(id string) []catalog.Line {
	r.t.Helper()
	r.await(id, "done in its receipt", func(rec *export.Record) bool { return rec.Receipt == export.ReceiptDone })
	x := catalog.NewIndex()
	must(r.t, catalog.NewStore(r.archive).Load(context.Background(), x))
	return x.Export(id)
}

func TestAWorkerKilledAtAnyStepLosesNothing(t *testing.T) {
	t.Parallel()
	for _, moment := range []string{
		beforeIntent, afterIntent, beforePost, afterPost, afterRecord, afterReceipt, afterRead, midMirror, afterMirror, beforeSeal, afterManifest, afterCatalog,
	} {
		t.Run(moment, func(t *testing.T) { killAt(t, moment) })
	}
}

func killAt(t *testing.T, moment string) {
	k := newKilled(t, export.Resubmit, moment)
	rec := k.awaitState("killed", export.Archived)

	submits := k.provider.State().Submits
	want := 1
	if moment == afterPost {
		want = 2 // the answer was lost: the policy is to submit again
	}
	if len(submits) != want {
		t.Errorf("paid %d times, want %d", len(submits), want)
	}
	doubted := moment == afterIntent || moment == beforePost || moment == afterPost
	if doubted != (rec.Doubts == 1) {
		t.Errorf("%d doubts", rec.Doubts)
	}
	for idx, c := range rec.Clips {
		content, err := k.provider.Content(rec.ExportTaskID, idx)
		must(t, err)
		served, err := content.SHA256()
		must(t, err)
		if served != c.Object.SHA256 {
			t.Errorf("clip %d: archived %s, served %s", idx, c.Object.SHA256, served)
		}
	}
	if lines := k.cataloged("killed"); len(rec.Clips) != 2 || len(lines) != 2 {
		t.Errorf("%d clips, and %d in the catalog", len(rec.Clips), len(lines))
	}
}

// killed is a fleet whose first worker was killed at a moment of its export.
type killed struct {
	*rig
	provider *emulator.Server
	api      string
}

func newKilled(t *testing.T, policy export.Policy, moment string) *killed {
	t.Helper()
	k := dead(t, policy, moment)
	k.lapse()
	startWorkerProcess(t, k.rig, k.api, policy, neverKilled)
	return k
}

// dead is killed before anybody goes on with it.
func dead(t *testing.T, policy export.Policy, moment string) *killed {
	t.Helper()
	r := newRig(t)
	server, err := emulator.New(emulator.Options{Render: emulator.Render{Fixed: time.Second}})
	must(t, err)
	api := httptest.NewServer(server)
	t.Cleanup(api.Close)
	r.enqueue(tasks.Export{JobID: "killed", ProjectID: "proj~clips=2~size=24MB"})
	first := startWorkerProcess(t, r, api.URL, policy, moment)
	err = first.Wait()
	if status, ok := err.(*exec.ExitError); !ok || status.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL { //nolint:errorlint // nothing wraps it
		t.Fatalf("the worker was to be killed %s, but: %v", moment, err)
	}
	return &killed{r, server, api.URL}
}

// The worker and Redis are lost in one moment. Whoever then meets the export knows
// that it may have been paid for: it is archived, or held, and never paid for twice.
func TestAWorkerAndRedisLostAtAnyStepPayOnce(t *testing.T) {
	t.Parallel()
	for moment, want := range map[string]export.State{
		beforeIntent: export.Archived, // nothing was sent, and nobody believes that it was
		afterIntent:  export.Held, beforePost: export.Held, afterPost: export.Held, afterRecord: export.Held,
		afterReceipt: export.Archived, afterRead: export.Archived, midMirror: export.Archived, afterManifest: export.Archived,
	} {
		t.Run(moment, func(t *testing.T) {
			k := dead(t, export.Hold, moment)
			must(t, k.rdb.FlushAll(context.Background()).Err())
			k.enqueue(tasks.Export{JobID: "killed", ProjectID: "proj~clips=2~size=24MB"})
			startWorkerProcess(t, k.rig, k.api, export.Hold, neverKilled)
			k.awaitState("killed", want)
			sent := moment != beforeIntent && moment != afterIntent && moment != beforePost
			if want == export.Archived && len(k.cataloged("killed")) != 2 {
				t.Error("the clips are not in the catalog")
			}
			if n := len(k.provider.State().Submits); n > 1 || sent != (n == 1) && want == export.Held {
				t.Errorf("paid %d times", n)
			}
		})
	}
}

func startWorkerProcess(t *testing.T, r *rig, provider string, policy export.Policy, moment string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	must(t, err)
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), crashMoment+"="+moment, crashRedis+"="+r.redis.URL(), crashS3+"="+r.s3.Endpoint,
		crashProvider+"="+provider, crashPolicy+"="+string(policy))
	cmd.Stderr = os.Stderr
	must(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd
}

// lapse lets the leases of a dead worker end at once: asynq's, which it would
// notice after a minute, and ours.
func (r *rig) lapse() {
	r.t.Helper()
	ctx := r.t.Context()
	keys, err := r.rdb.Keys(ctx, "asynq:*:lease").Result()
	must(r.t, err)
	for _, key := range keys {
		held, err := r.rdb.ZRange(ctx, key, 0, -1).Result()
		must(r.t, err)
		for _, task := range held {
			must(r.t, r.rdb.ZAdd(ctx, key, redis.Z{Member: task, Score: float64(time.Now().Add(-time.Hour).Unix())}).Err())
		}
	}
	ours, err := r.rdb.Keys(ctx, "clipferry:*:lease:*").Result()
	must(r.t, err)
	if len(ours) > 0 {
		must(r.t, r.rdb.Del(ctx, ours...).Err())
	}
}
