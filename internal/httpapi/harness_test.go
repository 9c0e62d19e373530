package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/clipferry/clipferry/internal/admin"
	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/ledger"
	"github.com/clipferry/clipferry/tasks"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	webSecret     = "correct-horse-battery"
	adminSecret   = "the-secret-of-an-admin"
	signingSecret = "correct-horse-battery-staple-0123"
)

// clock is a clock that only tests move.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// bucket is an S3 that knows presigned links: they carry their end, and after
// it they are refused.
type bucket struct {
	*httptest.Server
	clock *clock
	err   error
	files map[string]string
}

func newBucket(t *testing.T, c *clock) *bucket {
	b := &bucket{clock: c, files: map[string]string{}}
	b.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		until, _ := strconv.ParseInt(r.URL.Query().Get("until"), 10, 64)
		body, known := b.files[strings.TrimPrefix(r.URL.Path, "/")]
		switch {
		case c.now().Unix() > until:
			http.Error(w, "expired", http.StatusForbidden)
		case !known:
			http.Error(w, "NoSuchKey", http.StatusNotFound)
		default:
			_, _ = io.WriteString(w, body)
		}
	}))
	t.Cleanup(b.Close)
	return b
}

func (b *bucket) Presign(_ context.Context, key, _ string, ttl time.Duration) (string, error) {
	if b.err != nil {
		return "", b.err
	}
	u := url.URL{Scheme: "http", Host: b.Listener.Addr().String(), Path: "/" + key}
	return u.String() + "?until=" + strconv.FormatInt(b.clock.now().Add(ttl).Unix(), 10), nil
}

func (b *bucket) IsFile(key string) bool {
	return strings.HasPrefix(key, "exports/") && strings.Contains(key, "/clip-")
}

func (b *bucket) PresignInline(ctx context.Context, key string, ttl time.Duration) (string, error) {
	link, err := b.Presign(ctx, key, "", ttl)
	return link + "&disposition=inline", err
}

func (b *bucket) PresignHead(ctx context.Context, key string, ttl time.Duration) (string, error) {
	link, err := b.Presign(ctx, key, "", ttl)
	return link + "&method=HEAD", err
}

// fixture is the API on a real ledger, queue and admin service.
type fixture struct {
	*httptest.Server
	t      *testing.T
	api    *API
	clock  *clock
	rdb    *redis.Client
	ledger *ledger.Ledger
	bucket *bucket
	log    *bytes.Buffer
	router routers.Router
}

func newFixture(t *testing.T, change ...func(*Options)) *fixture {
	t.Helper()
	f := &fixture{t: t, clock: &clock{t: time.Date(2026, 4, 7, 12, 0, 0, 0, time.UTC)}, log: &bytes.Buffer{}}
	f.rdb = redis.NewClient(&redis.Options{Addr: miniredis.RunT(t).Addr()})
	f.ledger = ledger.New(ledger.Options{Redis: f.rdb})
	f.bucket = newBucket(t, f.clock)
	queue := tasks.NewClientFromRedis(f.rdb)
	o := Options{
		Exports: func(tenant string) Exports { return admin.New(f.rdb, f.ledger, f.clock.now).For(tenant) }, Queue: queue, Archive: f.bucket,
		Logger: slog.New(slog.NewTextHandler(&lockedWriter{w: f.log}, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Keys:   []Key{{"web", webSecret, false}, {"batch", "another-secret-of-length", false}, {"ops", adminSecret, true}}, Secrets: []string{signingSecret}, Webhooks: true, NotifyQueues: []string{"default"}, Now: f.clock.now,
		Monitor: Monitor{Redis: f.rdb},
	}
	for _, c := range change {
		c(&o)
	}
	var err error
	if f.api, err = New(o); err != nil {
		t.Fatal(err)
	}
	f.Server = httptest.NewServer(f.api)
	f.router = contract(t)
	t.Cleanup(func() {
		f.Close()
		http.DefaultClient.CloseIdleConnections()
		_ = f.rdb.Close()
	})
	return f
}

type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lockedWriter) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(b)
}

// contract is the OpenAPI document as a router that finds what an answer must be.
func contract(t *testing.T) routers.Router {
	t.Helper()
	router, err := contractOnce()
	if err != nil {
		t.Fatal(err)
	}
	return router
}

var contractOnce = sync.OnceValues(func() (routers.Router, error) {
	doc, err := openapi3.NewLoader().LoadFromData(openAPI)
	if err != nil {
		return nil, err
	}
	if err := doc.Validate(context.Background()); err != nil {
		return nil, err
	}
	return gorillamux.NewRouter(doc)
})

// reply is an answer, read.
type reply struct {
	status int
	header http.Header
	body   string
}

func (r reply) message(t *testing.T) string {
	t.Helper()
	var e gatewayError // the other shape has a message, too
	if err := json.Unmarshal([]byte(r.body), &e); err != nil {
		t.Fatalf("%s: %v", r.body, err)
	}
	return e.Message
}

// data decodes what stands under "data".
func (r reply) data(t *testing.T, into any) {
	t.Helper()
	if r.status != http.StatusOK {
		t.Fatalf("status %d: %s", r.status, r.body)
	}
	if err := json.Unmarshal([]byte(r.body), &envelope{into}); err != nil {
		t.Fatalf("%s: %v", r.body, err)
	}
}

// call sends a request as a program written for the provider does, and holds
// the answer to the OpenAPI document. Headers are name, value, name, value;
// an empty value takes the default away.
func (f *fixture) call(method, path, body string, headers ...string) reply {
	f.t.Helper()
	req, err := http.NewRequestWithContext(f.t.Context(), method, f.URL+path, strings.NewReader(body))
	if err != nil {
		f.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+webSecret)
	req.Header.Set(versionHeader, "v2")
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Del(headers[i])
		if headers[i+1] != "" {
			req.Header.Set(headers[i], headers[i+1])
		}
	}
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if err != nil {
		f.t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		f.t.Fatal(err)
	}
	f.holdToContract(req, resp, raw)
	return reply{resp.StatusCode, resp.Header, string(raw)}
}

func (f *fixture) holdToContract(req *http.Request, resp *http.Response, body []byte) {
	f.t.Helper()
	if strings.HasPrefix(req.URL.Path, "/clips/") {
		return // a key with slashes is beyond OpenAPI's paths
	}
	route, params, err := f.router.FindRoute(req)
	if err != nil {
		return // a path or a method that the API does not have
	}
	in := &openapi3filter.RequestValidationInput{Request: req, PathParams: params, Route: route}
	out := (&openapi3filter.ResponseValidationInput{
		RequestValidationInput: in, Status: resp.StatusCode, Header: resp.Header,
		Options: &openapi3filter.Options{IncludeResponseStatus: true},
	}).SetBodyBytes(body)
	if err := openapi3filter.ValidateResponse(context.Background(), out); err != nil {
		f.t.Errorf("%s %s: the answer is not what the OpenAPI document says: %v\n%s", req.Method, req.URL.Path, err, body)
	}
}

// submit orders an export and returns its id.
func (f *fixture) submit(body string, headers ...string) string {
	f.t.Helper()
	var s submitted
	f.call("POST", "/api/v2/clips/export", body, headers...).data(f.t, &s)
	return s.ExportTaskID
}

// read reads an export.
func (f *fixture) read(id string) task {
	f.t.Helper()
	var got task
	f.call("GET", "/api/v2/clips/export/"+id, "").data(f.t, &got)
	return got
}

// change moves the export's record on, as a worker would.
func (f *fixture) change(id string, do func(*export.Record, time.Time) error) {
	f.t.Helper()
	_, err := f.ledger.Update(f.t.Context(), id, func(r *export.Record) error { return do(r, f.clock.now()) })
	if err != nil {
		f.t.Fatal(err)
	}
}

// takeUp gives a queued export its record, as the first submit task does.
func (f *fixture) takeUp(id string) {
	f.t.Helper()
	r, err := f.api.o.Exports("").Get(f.t.Context(), id)
	if err != nil {
		f.t.Fatal(err)
	}
	if _, err := f.ledger.Create(f.t.Context(), r); err != nil {
		f.t.Fatal(err)
	}
}

// providerClips are clips as the provider lists them, with links or without.
func providerClips(links bool, n int) []export.Clip {
	var clips []export.Clip
	for i := range n {
		c := export.Clip{
			Idx: i, Title: fmt.Sprintf("Clip %d: what's \"new\" <here>", i), Desc: "d", Tags: []string{"insight"}, Score: 81,
			BeginMS: 15000, EndMS: 75000, Thumbnail: "https://cdn.example.com/t.jpg?sig=hush",
		}
		if links {
			c.Link = fmt.Sprintf("https://cdn.example.com/%d.mp4?sig=hush", i)
		}
		clips = append(clips, c)
	}
	return clips
}

// archive records a clip as archived and puts its files into the bucket.
func (f *fixture) archive(id string, idx int) {
	key := fmt.Sprintf("exports/proj_1/task_1/clip-%03d-älter 100%%.mp4", idx)
	f.bucket.files[key] = fmt.Sprintf("video %d of %s", idx, id)
	thumb := export.Object{Key: strings.TrimSuffix(key, "mp4") + "jpg", Size: 3, SHA256: "00"}
	f.bucket.files[thumb.Key] = "jpg"
	f.change(id, func(r *export.Record, now time.Time) error {
		return r.ClipDone(now, r.ExportTaskID, idx, r.Clips[idx].Round, export.Object{Key: key, Size: 9, SHA256: "ab"}, &thumb, "")
	})
}
