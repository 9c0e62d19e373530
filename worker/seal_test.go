package worker_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/clipferry/clipferry/internal/catalog"
	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/tasks"
	"github.com/clipferry/clipferry/worker"
)

// failingCatalog cannot be written for a number of times.
type failingCatalog struct {
	worker.Catalog
	failures atomic.Int64
}

func (c *failingCatalog) Add(ctx context.Context, key string) error {
	if c.failures.Add(-1) >= 0 {
		return errors.New("no")
	}
	return c.Catalog.Add(ctx, key)
}

// An export is archived whatever becomes of the catalog, and stays open in its receipt
// and for the sweeper until the catalog has it.
func TestACatalogThatCannotBeWritten(t *testing.T) {
	r := newRig(t)
	failing := &failingCatalog{Catalog: r.options.Catalog}
	failing.failures.Store(1000)
	r.options.Catalog = failing
	stop := r.work()
	id := r.enqueue(tasks.Export{ProjectID: "proj"})
	rec := r.awaitState(id, export.Archived)
	stop()
	if rec.Receipt != export.ReceiptOpen {
		t.Fatalf("the receipt is %s", rec.Receipt)
	}
	failing.failures.Store(0)
	w, err := worker.New(r.options)
	must(t, err)
	must(t, w.Sweep(t.Context()))
	if n := len(r.cataloged(id)); n != 2 {
		t.Errorf("%d clips are in the catalog", n)
	}
}

// An S3 whose policy refuses the catalog alone takes receipts: exports go on being
// ordered, their ends are notified of, and a sweep asks it once.
func TestACatalogThatAPolicyRefuses(t *testing.T) {
	r := newRig(t)
	var refused atomic.Int64
	var allowed atomic.Bool
	r.archive = newArchive(t, r.s3.ClientAt(refusing(t, r.s3.Endpoint, func(req *http.Request) bool {
		is := req.Method == http.MethodPut && strings.Contains(req.URL.Path, "/_catalog/") && !allowed.Load()
		if is {
			refused.Add(1)
		}
		return is
	})), r.ledger)
	r.options.Archive, r.options.Catalog = r.archive, catalog.NewStore(r.archive)
	notifier := &countingNotifier{}
	r.options.Notifier = notifier
	r.provider.clips = 1
	stop := r.work()
	ids := make([]string, 7) // more than it takes to open the breaker of writes
	for i := range ids {
		ids[i] = r.enqueue(tasks.Export{ProjectID: "proj"})
	}
	for _, id := range ids {
		r.awaitState(id, export.Archived)
	}
	stop()
	if n := notifier.ends.Load(); n < int64(len(ids)) {
		t.Errorf("%d of %d ends were notified of", n, len(ids))
	}
	before := refused.Load()
	w, err := worker.New(r.options)
	must(t, err)
	must(t, w.Sweep(t.Context()))
	if h := r.archive.Health(); h.Open {
		t.Errorf("orders wait for the catalog: %s", h.Sentence)
	}
	if n := refused.Load() - before; n > 1 {
		t.Errorf("a sweep asked for %d writes of the catalog that were refused", n)
	}
	if h := r.options.Catalog.Health(); !h.Open || !strings.Contains(h.Sentence, "_catalog/") {
		t.Errorf("%+v", h)
	}
	allowed.Store(true)
	r.options.Catalog = catalog.NewStore(r.archive) // as later
	w, err = worker.New(r.options)
	must(t, err)
	must(t, w.Sweep(t.Context()))
	for _, id := range ids {
		if n := len(r.cataloged(id)); n != 1 {
			t.Errorf("%d clips of %s are in the catalog", n, id)
		}
	}
}

// refusing is an S3 at endpoint that denies what is refused.
func refusing(t *testing.T, endpoint string, refuse func(*http.Request) bool) string {
	t.Helper()
	to, err := url.Parse(endpoint)
	must(t, err)
	proxy := httputil.NewSingleHostReverseProxy(to)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if refuse(req) {
			w.WriteHeader(http.StatusForbidden)
			_, _ = w.Write([]byte(`<Error><Code>AccessDenied</Code><Message>Access Denied.</Message></Error>`))
			return
		}
		proxy.ServeHTTP(w, req)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// countingNotifier counts the ends that it is asked to notify of.
type countingNotifier struct{ ends atomic.Int64 }

func (n *countingNotifier) Ended(context.Context, *export.Record) error {
	n.ends.Add(1)
	return nil
}
func (*countingNotifier) ForReceipt(string, json.RawMessage) json.RawMessage { return nil }
func (*countingNotifier) FromReceipt(string, json.RawMessage) (json.RawMessage, error) {
	return nil, nil
}
