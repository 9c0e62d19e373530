// Package httpapi is clipferry as HTTP shows it: the provider's own Clips
// Export API in front of the queue, a few additions to it, and what operators
// need (health, metrics, Asynqmon, an index page). It is one [http.Handler]
// from [New]; [Server] runs it.
//
//	POST /api/v2/clips/export               the provider's submit
//	GET  /api/v2/clips/export/{id}          the provider's status read
//	POST /api/v2/clips/export/{id}/cancel   stop an export
//	POST /api/v2/clips/export/{id}/retry    take a final one up again
//	GET  /api/v2/clips/exports              list, newest first
//	POST /api/v2/clips/exports/preflight    what exports would come to
//	POST /api/v2/clips/exports/import       archive tasks that were made elsewhere
//	GET  /api/v2/clips/exports/{id}         one export, as `clipferry status --json` shows it
//	GET  /api/openapi.json                  all of the above, as OpenAPI 3.1
//	GET  /clips/{signature}/{key...}        an archived file: 302 to a fresh link of S3's
//	GET  /healthz, /readyz, /metrics        for probes and Prometheus
//	GET  /monitor/                          Asynqmon
//	GET  /archive/                          the archive for people, see package archiveui
//
// A program written for the provider changes its base URL and its key. So the
// first two paths keep the provider's requests, answers, statuses and error
// shapes; what is ours has paths of its own. The export_task_id that we
// hand out is our export's id. The package spends none of the provider's
// budget: it reads the ledger and adds to the queue.
package httpapi

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/clipferry/clipferry/internal/admin"
	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/ledger"
	"github.com/clipferry/clipferry/internal/notify"
	"github.com/clipferry/clipferry/internal/status"
	"github.com/clipferry/clipferry/internal/view"
	"github.com/clipferry/clipferry/tasks"
)

// Exports is what may be asked of exports; *admin.Service is one.
type Exports interface {
	Get(ctx context.Context, id string) (*export.Record, error)
	Cancel(ctx context.Context, id string) (*export.Record, error)
	Retry(ctx context.Context, id string, o export.RetryOptions) (*export.Record, error)
	List(ctx context.Context, f ledger.Filter) ([]*export.Record, error)
	Batch(ctx context.Context, name string, to view.Reader) (view.Batch, error)
	Import(ctx context.Context, i admin.Import) (r *export.Record, known bool, err error)
	OfTask(ctx context.Context, accountName, task string) (*export.Record, error)
}

// Queue takes exports; *tasks.Client is one.
type Queue interface {
	Enqueue(ctx context.Context, e tasks.Export) (string, error)
}

// Presigner makes links to archived files; *storage.Archive is one.
type Presigner interface {
	Presign(ctx context.Context, key, filename string, ttl time.Duration) (string, error)
	// PresignInline is Presign of a file that a browser is to show, not to download.
	PresignInline(ctx context.Context, key string, ttl time.Duration) (string, error)
	// PresignHead is Presign for a HEAD.
	PresignHead(ctx context.Context, key string, ttl time.Duration) (string, error)
	// IsFile reports whether a key is that of an archived clip or thumbnail. A link
	// leads nowhere else, whoever signed it: not to receipts, manifests, or what
	// others keep in the bucket.
	IsFile(key string) bool
}

// The defaults of [Options].
const (
	DefaultLinkTTL = 15 * time.Minute
	// requestTimeout bounds what one API request may cost.
	requestTimeout = 20 * time.Second
)

// Options configures the handler. Only Logger is needed by all of it; the API
// also needs Exports, Queue and Archive, and is off without Keys.
type Options struct {
	// Exports returns the exports of a tenant, to which those of others are unknown; all
	// for an empty name.
	Exports func(tenant string) Exports
	Queue   Queue
	Archive Presigner
	Logger  *slog.Logger
	// Whole returns an export that is kept short with all that there is to show; nil
	// shows it as it is.
	Whole func(context.Context, *export.Record) (*export.Record, error)

	// Keys are the bearer keys of the API. A name may have several
	// secrets while they are rotated. None: the API answers 403 and says so.
	Keys []Key
	// PublicURL is what the links that we hand out start with, such as
	// https://clips.example.com; empty takes it from each request.
	PublicURL string
	// HasAccount reports whether there is an account of that name; nil for any.
	HasAccount func(ctx context.Context, name string) (bool, error)
	// NotifyQueues are the queues of producers that an order may name for the task that
	// notifies of its end.
	NotifyQueues []string
	// Secrets sign the links, and the ids that are ours to give: the first signs,
	// all are accepted. They must be the same on all servers; at least 32
	// characters each. The API needs one.
	Secrets []string
	// ProviderURL is the provider's address, for the answer to calls of its API that
	// are not served here.
	ProviderURL string
	// Passthrough passes those calls on; nil where that is switched off.
	Passthrough Passthrough
	// LinkTTL is how long a link of S3's that we redirect to can be used; 15
	// minutes when zero. A download that has begun is not cut by it.
	LinkTTL time.Duration
	// Retention is how long a finished export is remembered, as the ledger has
	// it; [ledger.DefaultRetention] when zero. It makes expire_at.
	Retention time.Duration
	// MaxWaiting refuses further exports with 429 while Waiting reports that
	// many or more; zero never does.
	MaxWaiting int
	// Waiting counts the exports that wait in the submit queues, see [Backlog].
	Waiting func(ctx context.Context) (int, error)
	// WaitingFor says by export what open ones wait for, see [status.Reader];
	// may be nil. It is asked for clipferry's own answers, never for the
	// provider's, which a program may read as often as it likes.
	WaitingFor func(ctx context.Context, open []*export.Record) (map[string]status.Waiting, error)
	// Notification says what became of the notification of an export's end, nil where
	// there is none, see [notify.Reader]; may be nil.
	Notification func(ctx context.Context, r *export.Record) (*notify.Notification, error)
	// Preflight says what exports would come to; nil where no key of the provider's is
	// known. ProjectTenant is whose a project is, empty where that is not known; may be nil.
	Preflight     Preflight
	ProjectTenant func(ctx context.Context, project string) (tenant string, err error)
	// AccountName is the own name of an account, which an empty one stands for as
	// well; nil where there is only the default one.
	AccountName func(account string) string
	// Webhooks says that webhooks can be signed and are delivered. Otherwise an
	// export that asks for one is refused.
	Webhooks bool
	// WebhookAllowedCIDRs are the ranges that webhooks may lead to besides public
	// addresses. Others are taken, with a warning.
	WebhookAllowedCIDRs []netip.Prefix

	// Checks make /readyz.
	Checks []Check
	// Metrics is /metrics; nil is 404.
	Metrics http.Handler
	Monitor Monitor
	// Pages is /archive/; nil where it is switched off.
	Pages http.Handler

	// Version is shown on the index page and in the OpenAPI document.
	Version string
	// Now is the clock; time.Now when nil.
	Now func() time.Time
}

// API is the handler. Make one with [New].
type API struct {
	o        Options
	log      *slog.Logger
	now      func() time.Time
	keys     keyring
	signer   signer
	links    *linker
	ready    *readiness
	mux      *http.ServeMux
	table    []string // the routes, as "GET /path"
	waiting  backlogCache
	draining atomic.Bool
}

// New returns the handler. Its errors name every option that is wrong, and
// never a secret.
func New(o Options) (*API, error) {
	o.setDefaults()
	keys, keyErr := newKeyring(o.Keys)
	if err := errors.Join(o.validate(), checkSecrets(o.Secrets), keyErr, o.Monitor.validate(o)); err != nil {
		return nil, fmt.Errorf("httpapi: %w", err)
	}
	signer := newSigner(o.Secrets)
	a := &API{
		o: o, log: o.Logger, now: o.Now, keys: keys, signer: signer,
		links: &linker{signer: signer, publicURL: o.PublicURL}, mux: http.NewServeMux(),
	}
	a.ready = newReadiness(o.Checks, o.Now, a.draining.Load)
	a.routes()
	return a, nil
}

func (o *Options) setDefaults() {
	if o.LinkTTL == 0 {
		o.LinkTTL = DefaultLinkTTL
	}
	if o.Retention == 0 {
		o.Retention = ledger.DefaultRetention
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.AccountName == nil {
		o.AccountName = func(account string) string { return cmp.Or(account, tasks.DefaultAccount) }
	}
	o.PublicURL = strings.TrimSuffix(o.PublicURL, "/")
}

func (o *Options) validate() error {
	var errs []error
	bad := func(wrong bool, text string) {
		if wrong {
			errs = append(errs, errors.New(text))
		}
	}
	bad(o.Logger == nil, "logger: required")
	bad(len(o.Keys) > 0 && (o.Exports == nil || o.Queue == nil || o.Archive == nil),
		"exports, queue, archive: required where there are keys")
	bad(len(o.Keys) > 0 && len(o.Secrets) == 0, "secrets: required where there are keys")
	bad(o.LinkTTL < time.Second || o.LinkTTL > 7*24*time.Hour, "link TTL: must be from 1 s to 7 days, S3's limit")
	bad(o.Retention < 0, "retention: must not be negative")
	bad(o.MaxWaiting < 0, "max waiting: must not be negative")
	bad(o.MaxWaiting > 0 && o.Waiting == nil, "waiting: required with max waiting")
	if o.PublicURL != "" {
		u, err := url.Parse(o.PublicURL)
		bad(err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "",
			"public URL: must be http:// or https:// with a host, without a user, query or fragment")
	}
	return errors.Join(errs...)
}

// Drain makes /readyz answer 503 from now on, so that nobody sends new requests.
func (a *API) Drain() { a.draining.Store(true) }

// Ready reports whether /readyz answers that it is.
func (a *API) Ready(ctx context.Context) bool { return a.ready.answer(ctx).Status == isReady }

// ServeHTTP serves one request.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	a.mux.ServeHTTP(w, canonical(r))
}

// handler is an API handler; the error it returns becomes the answer.
type handler func(w http.ResponseWriter, r *http.Request) error

func (a *API) routes() {
	for _, root := range []string{"/api/v2", "/open/v2"} { // the latter is the provider's older one
		a.route("POST", root+"/clips/export", a.authorized(versioned(a.submit)))
		a.route("GET", root+"/clips/export/{id}", a.authorized(versioned(a.read)))
		a.handle(root+"/", a.elsewhere())
	}
	a.route("POST", "/api/v2/clips/export/{id}/cancel", a.authorized(a.cancel))
	a.route("POST", "/api/v2/clips/export/{id}/retry", a.authorized(a.retry))
	a.route("GET", "/api/v2/clips/exports", a.authorized(a.list))
	a.post("/api/v2/clips/exports/preflight", a.authorized(a.preflight))
	a.post("/api/v2/clips/exports/import", a.authorized(a.importTasks))
	a.route("GET", "/api/v2/clips/exports/{id}", a.authorized(a.view))
	a.route("GET", "/api/v2/clips/exports/batches/{id}", a.authorized(a.batch))
	a.route("GET", "/api/openapi.json", a.serveOpenAPI)
	a.route("", "/api/", func(http.ResponseWriter, *http.Request) error { return errNothing })
	a.route("", "/api/v2/clips/exports/", func(http.ResponseWriter, *http.Request) error { return errNothing })
	a.route("GET", clipPath, a.redirect)
	a.route("GET", "/healthz", serveAlive)
	a.route("GET", "/readyz", a.ready.serve)
	if a.o.Metrics != nil {
		a.enter("", "/metrics", a.o.Metrics.ServeHTTP)
	}
	a.enter("", "/monitor/", a.o.Monitor.handler(a.log).ServeHTTP)
	if a.o.Pages != nil {
		a.enter("", "/archive/", a.o.Pages.ServeHTTP)
	} else {
		a.route("", "/archive/", func(http.ResponseWriter, *http.Request) error { return fail(http.StatusNotFound, pagesOff) })
	}
	a.route("GET", "/{$}", a.index)
	a.route("", "/", func(http.ResponseWriter, *http.Request) error { return errNothing })
}

var errNothing = fail(http.StatusNotFound, "there is nothing at this path; see /api/openapi.json")

// elsewhere is every path of the provider's API that is not served here.
func (a *API) elsewhere() handler {
	switch {
	case a.o.Passthrough != nil && len(a.keys) > 0:
		return a.authorized(versioned(a.passed))
	case a.o.ProviderURL == "":
		return func(http.ResponseWriter, *http.Request) error { return errNothing }
	}
	return func(http.ResponseWriter, *http.Request) error {
		return fail(http.StatusNotFound, "this door serves the Clips Export API only; send this to "+a.o.ProviderURL)
	}
}

// route registers a handler for one method, any if it is empty. A HEAD counts
// as a GET: net/http leaves its body out.
func (a *API) route(method, path string, h handler) {
	a.enter(method, path, a.serve(method, h))
}

// post registers a handler for POST where the path of another method has a wildcard: an
// export may have the name of a call.
func (a *API) post(path string, h handler) {
	a.table = append(a.table, "POST "+path)
	a.mux.HandleFunc("POST "+path, a.serve("POST", h))
}

// serve serves requests of one method, of any if it is empty.
func (a *API) serve(method string, h handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		got := r.Method
		if got == http.MethodHead {
			got = http.MethodGet
		}
		if method != "" && got != method {
			w.Header().Set("Allow", strings.Replace(method, "GET", "GET, HEAD", 1))
			a.fail(w, r, fail(http.StatusMethodNotAllowed, "only "+method+" is possible here, not "+shownMethod(r.Method)))
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), requestTimeout)
		defer cancel()
		if err := h(w, r.WithContext(ctx)); err != nil {
			a.fail(w, r, err)
		}
	}
}

// handle registers a handler for any method, that says itself how long it takes.
func (a *API) handle(path string, h handler) {
	a.enter("", path, func(w http.ResponseWriter, r *http.Request) {
		if err := h(w, r); err != nil {
			a.fail(w, r, err)
		}
	})
}

// enter enters a path into the mux and into the list of routes.
func (a *API) enter(method, path string, h http.HandlerFunc) {
	a.table = append(a.table, strings.TrimSpace(method+" "+path))
	a.mux.HandleFunc(path, h)
}

// shownMethod is a method as a message has it: it is the client's own text.
func shownMethod(m string) string {
	if len(m) > 20 {
		return m[:20] + "…"
	}
	return m
}
