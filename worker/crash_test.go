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
	"github.com/clipferry/clipferry/internal/emulator"
	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/ledger"
	"github.com/clipferry/clipferry/internal/provider"
	"github.com/clipferry/clipferry/internal/s3test"
	"github.com/clipferry/clipferry/storage"
	"github.com/clipferry/clipferry/tasks"
	"github.com/clipferry/clipferry/worker"
)

// The moments at which a worker process kills itself, as SIGKILL would.
const (
	beforePost     = "before the POST"
	afterPost      = "after the POST, its answer not recorded"
	afterRecord    = "after the id is recorded, no receipt yet"
	afterReceipt   = "after the receipt"
	afterRead      = "after a read, its answer not recorded"
	midMirror      = "in the middle of a mirror"
	afterMirror    = "after a mirror, not recorded"
	beforeSeal     = "before the seal"
	afterManifest  = "after the manifest, not recorded"
	neverKilled    = "never"
	crashMoment    = "CLIPFERRY_CRASH_MOMENT"
	crashRedis     = "CLIPFERRY_CRASH_REDIS"
	crashS3        = "CLIPFERRY_CRASH_S3"
	crashProvider  = "CLIPFERRY_CRASH_PROVIDER"
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
		Archive: deadlyArchive{archive, l, moment},
		Accounts: map[string]worker.Account{
			worker.DefaultAccount: {Provider: deadlyProvider{provider, moment}, Gate: gate},
		},
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

func (p deadlyProvider) Read(ctx context.Context, id string) (provider.Task, error) {
	task, err := p.Provider.Read(ctx, id)
	dieAt(afterRead, p.moment)
	return task, err
}

type deadlyArchive struct {
	worker.Archive
	ledger *ledger.Ledger
	moment string
}

func (a deadlyArchive) PutReceipt(ctx context.Context, r storage.Receipt) error {
	if a.moment == afterRecord {
		for {
			if rec, err := a.ledger.LoadHead(ctx, r.ID); err == nil && rec.ExportTaskID != "" {
				die()
			}
			time.Sleep(time.Millisecond)
		}
	}
	err := a.Archive.PutReceipt(ctx, r)
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

func TestAWorkerKilledAtAnyStepLosesNothing(t *testing.T) {
	t.Parallel()
	for _, moment := range []string{
		beforePost, afterPost, afterRecord, afterReceipt, afterRead, midMirror, afterMirror, beforeSeal, afterManifest,
	} {
		t.Run(moment, func(t *testing.T) { killAt(t, moment) })
	}
}

func killAt(t *testing.T, moment string) {
	r := newRig(t)
	server, err := emulator.New(emulator.Options{Render: emulator.Render{Fixed: 2 * time.Second}})
	must(t, err)
	api := httptest.NewServer(server)
	t.Cleanup(api.Close)
	id := r.enqueue(tasks.Export{JobID: "killed", ProjectID: "proj~clips=2~size=24MB"})

	first := startWorkerProcess(t, r, api.URL, moment)
	err = first.Wait()
	if status, ok := err.(*exec.ExitError); !ok || status.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL { //nolint:errorlint // nothing wraps it
		t.Fatalf("the worker was to be killed %s, but: %v", moment, err)
	}
	r.lapse()
	startWorkerProcess(t, r, api.URL, neverKilled)
	rec := r.awaitState(id, export.Archived)

	submits := server.State().Submits
	want := 1
	if moment == afterPost {
		want = 2 // the answer was lost: the policy is to submit again
	}
	if len(submits) != want {
		t.Errorf("paid %d times, want %d", len(submits), want)
	}
	if doubts := rec.Doubts; (moment == afterPost || moment == beforePost) != (doubts == 1) {
		t.Errorf("%d doubts", doubts)
	}
	for idx, c := range rec.Clips {
		content, err := server.Content(rec.ExportTaskID, idx)
		must(t, err)
		served, err := content.SHA256()
		must(t, err)
		if served != c.Object.SHA256 {
			t.Errorf("clip %d: archived %s, served %s", idx, c.Object.SHA256, served)
		}
	}
	if len(rec.Clips) != 2 {
		t.Errorf("%d clips", len(rec.Clips))
	}
}

func startWorkerProcess(t *testing.T, r *rig, provider, moment string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	must(t, err)
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), crashMoment+"="+moment, crashRedis+"="+r.redis.URL(), crashS3+"="+r.s3.Endpoint,
		crashProvider+"="+provider)
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
