package worker_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/notify"
	"github.com/clipferry/clipferry/internal/s3test"
	"github.com/clipferry/clipferry/tasks"
)

// TestItsProducerIsToldThoughRedisIsGone: a webhook and a task of the producer's
// own both arrive after Redis was flushed and the exports were recovered, or came
// back by their job id alone.
func TestItsProducerIsToldThoughRedisIsGone(t *testing.T) {
	r := newRig(t)
	told := make(chan string, 10)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) { told <- req.URL.String() }))
	t.Cleanup(receiver.Close)
	notifier, err := notify.New(notify.Options{
		Redis: r.rdb, Ledger: r.ledger, Logger: quiet(), Secrets: []string{"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"},
		AllowedCIDRs: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
	})
	must(t, err)
	t.Cleanup(notifier.Close)
	r.options.Notifier = notifier
	r.provider.readsFor = 1000
	stop := r.work()
	ids := []string{
		r.enqueue(tasks.Export{ProjectID: "proj", Notify: &tasks.Notify{Webhook: receiver.URL + "/recovered?token=hush"}}),
		r.enqueue(tasks.Export{ProjectID: "proj", Notify: &tasks.Notify{TaskType: "video:exported", Queue: "videos"}}),
		r.enqueue(tasks.Export{JobID: "again", ProjectID: "proj", Notify: &tasks.Notify{Webhook: receiver.URL + "/again?token=hush"}}),
	}
	for _, id := range ids {
		r.await(id, "accepted with a receipt", func(rec *export.Record) bool { return rec.Receipt == export.ReceiptOpen })
		receipt, err := os.ReadFile(filepath.Join(r.s3.Dir, s3test.Bucket, "exports/_receipts", id+".json"))
		must(t, err)
		if strings.Contains(string(receipt), "hush") || strings.Contains(string(receipt), receiver.URL) {
			t.Errorf("the webhook's address can be read in S3: %s", receipt)
		}
	}
	stop()
	must(t, r.rdb.FlushAll(context.Background()).Err())
	r.provider.rendersIn(1)
	r.enqueue(tasks.Export{JobID: "again", ProjectID: "proj"}) // before recover: its receipt is found by the submit
	r.work()
	r.awaitState("again", export.Archived)
	_, err = r.recovery.Recover(t.Context(), r.archive, notifier)
	must(t, err)
	for _, id := range ids {
		r.awaitState(id, export.Archived)
	}
	calls := map[string]bool{}
	for range 2 {
		select {
		case url := <-told:
			calls[url] = true
		case <-time.After(time.Minute):
			t.Fatalf("only %v were called", calls)
		}
	}
	if !calls["/recovered?token=hush"] || !calls["/again?token=hush"] {
		t.Errorf("called: %v", calls)
	}
	deadline := time.Now().Add(time.Minute)
	for r.rdb.LLen(t.Context(), "asynq:{videos}:pending").Val() != 1 {
		if time.Now().After(deadline) {
			t.Fatal("no task of the producer's own came")
		}
		time.Sleep(20 * time.Millisecond)
	}
	if r.provider.submits() != 3 {
		t.Errorf("paid %d times for 3 exports", r.provider.submits())
	}
}
