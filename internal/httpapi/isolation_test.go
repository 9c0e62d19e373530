package httpapi

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"pgregory.net/rapid"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/passthrough"
	"github.com/clipferry/clipferry/internal/view"
	"github.com/clipferry/clipferry/tasks"
)

// tenantRoutes are those that show or change exports, with a body for each; the
// properties below hold for them. The others show no export.
var (
	tenantRoutes = map[string]string{
		"GET /api/v2/clips/export/{id}":         "",
		"GET /open/v2/clips/export/{id}":        "",
		"GET /api/v2/clips/exports/{id}":        "",
		"POST /api/v2/clips/export/{id}/cancel": "",
		"POST /api/v2/clips/export/{id}/retry":  `{"pay_again":true}`,
	}
	otherRoutes = []string{
		"POST /api/v2/clips/export", "POST /open/v2/clips/export", "GET /api/v2/clips/exports", "POST /api/v2/clips/exports/import", "POST /api/v2/clips/exports/preflight", // below, each by itself
		"GET /api/v2/clips/exports/batches/{id}",
		"GET " + clipPath, // its signature is the right to the file
		"GET /api/openapi.json", "/api/", "/api/v2/", "/api/v2/clips/exports/", "/open/v2/", "GET /healthz", "GET /readyz", "/metrics", "/monitor/", "GET /{$}", "/",
		"/archive/", // its users see the whole archive
	}
)

// TestEveryRouteIsTestedForIsolation: a new one has to be put among those above.
func TestEveryRouteIsTestedForIsolation(t *testing.T) {
	f := newFixture(t, func(o *Options) { o.Metrics = http.NotFoundHandler() })
	for _, route := range f.api.table {
		if _, tested := tenantRoutes[route]; !tested && !slices.Contains(otherRoutes, route) {
			t.Errorf("%s is in no test of isolation", route)
		}
	}
}

// commands counts what Redis is asked for.
type commands struct {
	mu   sync.Mutex
	seen []string
}

func (c *commands) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (c *commands) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		c.mu.Lock()
		c.seen = append(c.seen, cmd.Name())
		c.mu.Unlock()
		return next(ctx, cmd)
	}
}

func (c *commands) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		c.mu.Lock()
		for _, cmd := range cmds {
			c.seen = append(c.seen, "piped "+cmd.Name())
		}
		c.mu.Unlock()
		return next(ctx, cmds)
	}
}

func (c *commands) take() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	seen := strings.Join(c.seen, " ")
	c.seen = nil
	return seen
}

// world is exports of several tenants, in their queues and taken up, in all ways to
// name one.
func world(f *fixture) map[string][]string {
	ids := map[string][]string{}
	client := tasks.NewClientFromRedis(f.rdb)
	add := func(tenant, id string, state export.State) {
		ids[tenant] = append(ids[tenant], id)
		if state == export.Queued {
			return
		}
		f.takeUp(id)
		f.change(id, func(r *export.Record, now time.Time) error {
			r.State, r.UpdatedAt = state, now
			return nil
		})
		f.clock.add(time.Second)
	}
	states := []export.State{export.Queued, export.Queued, export.Rendering, export.Failed, export.Archived, export.Canceled, export.Held}
	for tenant, key := range map[string]string{"web": webSecret, "batch": "another-secret-of-length"} {
		for i, state := range states {
			body := fmt.Sprintf(`{"project_id":"p%d","labels":{"n":"%d"}`, i%2, i%3)
			as := []string{"Authorization", "Bearer " + key}
			add(tenant, f.submit(body+`}`, as...), state)
			add(tenant, f.submit(body+fmt.Sprintf(`,"job_id":"order-%d"}`, i), as...), state)
			add(tenant, f.submit(body+`}`, append(as, "Idempotency-Key", fmt.Sprint("key-", i))...), state)
		}
	}
	for i, state := range states { // of producers that are no HTTP clients
		for _, tenant := range []string{"web", "batch", "default"} {
			id, err := client.Enqueue(f.t.Context(), tasks.Export{ProjectID: "p0", JobID: fmt.Sprintf("%s-own-%d", tenant, i), Tenant: tenant})
			if err != nil {
				f.t.Fatal(err)
			}
			add(tenant, id, state)
		}
	}
	return ids
}

// shape is a reply without what differs between two of the same kind: the time, the
// id that was asked for.
func (r reply) shape(id string) string {
	h := maps.Clone(r.header)
	h.Del("Date")
	h.Del("Content-Length") // the id's
	return fmt.Sprint(r.status, h, strings.ReplaceAll(r.body, id, "ID"))
}

// TestExportsOfOthersAreUnknown: whatever a key asks of another tenant's export, it
// gets what it gets of one that never was, for the same work, and changes nothing.
func TestExportsOfOthersAreUnknown(t *testing.T) {
	f := newFixture(t)
	ids := world(f)
	foreign := append(slices.Clone(ids["batch"]), ids["default"]...)
	seen := &commands{}
	f.rdb.AddHook(seen)
	rapid.Check(t, func(t *rapid.T) {
		route := rapid.SampledFrom(slices.Sorted(maps.Keys(tenantRoutes))).Draw(t, "route")
		id := rapid.SampledFrom(foreign).Draw(t, "id")
		made := strings.Map(func(c rune) rune { // of the same form, and nobody's
			if c >= 'a' && c <= 'y' {
				return c + 1
			}
			return c
		}, id)
		method, path, _ := strings.Cut(route, " ")
		before, err := f.api.o.Exports("").Get(f.t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		seen.take()
		of := f.call(method, strings.Replace(path, "{id}", id, 1), tenantRoutes[route])
		work := seen.take()
		un := f.call(method, strings.Replace(path, "{id}", made, 1), tenantRoutes[route])
		if of.status != http.StatusNotFound || of.shape(id) != un.shape(made) {
			t.Fatalf("%s of another's export\n%s\nof none\n%s", route, of.shape(id), un.shape(made))
		}
		if unknown := seen.take(); work != unknown {
			t.Fatalf("%s of another's export takes\n%s\nof none\n%s", route, work, unknown)
		}
		after, err := f.api.o.Exports("").Get(f.t.Context(), id)
		if err != nil || after.State != before.State || !after.UpdatedAt.Equal(before.UpdatedAt) {
			t.Fatalf("%s changed %s: %+v, %v", route, id, after, err)
		}
		if got := f.call("GET", "/api/v2/clips/exports/"+id, "", "Authorization", "Bearer "+adminSecret); got.status != http.StatusOK {
			t.Fatalf("an admin does not see %s", id)
		}
	})
}

// TestAListHoldsOwnExportsAlone: page after page, whatever the filter, and whoever's
// the place is at which a page begins.
func TestAListHoldsOwnExportsAlone(t *testing.T) {
	f := newFixture(t)
	ids := world(f)
	all := slices.Concat(slices.Collect(maps.Values(ids))...)
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.SampledFrom([]string{webSecret, "another-secret-of-length", adminSecret}).Draw(t, "key")
		tenant := map[string]string{webSecret: "web", "another-secret-of-length": "batch"}[key]
		query := url.Values{"limit": {fmt.Sprint(rapid.IntRange(1, 7).Draw(t, "limit"))}}
		if state := rapid.SampledFrom([]string{"", "queued", "failed", "archived"}).Draw(t, "state"); state != "" {
			query.Set("state", state)
		}
		if project := rapid.SampledFrom([]string{"", "p0", "p1", "p2"}).Draw(t, "project"); project != "" {
			query.Set("project_id", project)
		}
		if label := rapid.SampledFrom([]string{"", "0", "1", "9"}).Draw(t, "label"); label != "" {
			query.Set("label", "n="+label)
		}
		from := time.Time{}
		if start := rapid.SampledFrom(append([]string{""}, all...)).Draw(t, "cursor"); start != "" {
			r, err := f.api.o.Exports("").Get(f.t.Context(), start)
			if err != nil {
				t.Fatal(err)
			}
			from = r.CreatedAt
			query.Set("cursor", cursorAfter(r))
		}
		shown := map[string]bool{}
		for {
			var got page
			f.call("GET", "/api/v2/clips/exports?"+query.Encode(), "", "Authorization", "Bearer "+key).data(f.t, &got)
			for _, e := range got.Exports {
				if shown[e.ID] || tenant != "" && !slices.Contains(ids[tenant], e.ID) || tenant != "" && e.Tenant != tenant {
					t.Fatalf("%s sees %s of %s (again: %v)", tenant, e.ID, e.Tenant, shown[e.ID])
				}
				shown[e.ID] = true
			}
			if got.NextCursor == "" {
				break
			}
			query.Set("cursor", got.NextCursor)
		}
		want := 0
		for _, id := range all {
			r, err := f.api.o.Exports(tenant).Get(f.t.Context(), id)
			if err != nil {
				continue
			}
			if (query.Get("state") == "" || string(r.State) == query.Get("state")) && (query.Get("project_id") == "" || r.ProjectID == query.Get("project_id")) && (query.Get("label") == "" || "n="+r.Labels["n"] == query.Get("label")) && (from.IsZero() || r.CreatedAt.Before(from)) {
				want++
				if !shown[id] {
					t.Fatalf("%s is not shown to %q", id, tenant)
				}
			}
		}
		if want > len(shown) {
			t.Fatalf("%d of %d are shown", len(shown), want)
		}
	})
	for key, want := range map[string]int{webSecret: 400, adminSecret: 200} {
		if got := f.call("GET", "/api/v2/clips/exports?tenant=batch", "", "Authorization", "Bearer "+key); got.status != want {
			t.Errorf("a list of another: %d %s", got.status, got.body)
		}
	}
}

// TestOrdersOfOthersCantBeTaken: no job_id and no Idempotency-Key reaches an export
// of another tenant, neither to read it nor to be in its place before it comes.
func TestOrdersOfOthersCantBeTaken(t *testing.T) {
	f := newFixture(t)
	ids := world(f)
	foreign := append(slices.Clone(ids["batch"]), ids["default"]...)
	rapid.Check(t, func(t *rapid.T) {
		body, headers := `{"project_id":"taken"`, []string{}
		switch rapid.IntRange(0, 3).Draw(t, "way") {
		case 0:
			body += `,"job_id":"` + rapid.SampledFrom(foreign).Draw(t, "id") + `"`
		case 1:
			headers = []string{"Idempotency-Key", rapid.SampledFrom(foreign).Draw(t, "key")}
		case 2:
			body += fmt.Sprintf(`,"job_id":"other-%d"`, rapid.IntRange(0, 9).Draw(t, "n"))
		case 3:
			body += `,"tenant":"` + rapid.SampledFrom([]string{"batch", "default", "nobody"}).Draw(t, "tenant") + `"`
		}
		got := f.call("POST", "/api/v2/clips/export", body+`}`, headers...)
		if got.status == http.StatusBadRequest {
			return
		}
		var s submitted
		got.data(f.t, &s)
		if slices.Contains(foreign, s.ExportTaskID) {
			t.Fatalf("web was given %s", s.ExportTaskID)
		}
		if !strings.HasPrefix(s.ExportTaskID, "web.") && !f.api.signer.gave("web", s.ExportTaskID) {
			t.Fatalf("%s does not say whose it is", s.ExportTaskID)
		}
		if r, err := f.api.o.Exports("web").Get(f.t.Context(), s.ExportTaskID); err != nil || r.TenantName() != "web" || r.ProjectID != "taken" {
			t.Fatalf("%+v, %v", r, err)
		}
	})
	if id := f.submit(`{"project_id":"p","tenant":"batch","job_id":"by-ops"}`, "Authorization", "Bearer "+adminSecret); id != "batch.by-ops" {
		t.Errorf("an admin's order for batch is %s", id)
	}
	if got := f.call("GET", "/api/v2/clips/export/batch.by-ops", "", "Authorization", "Bearer another-secret-of-length"); got.status != 200 {
		t.Errorf("batch does not see it: %d", got.status)
	}
	if got := f.call("POST", "/api/v2/clips/export", `{"project_id":"p","job_id":"`+strings.Repeat("x", 125)+`"}`); got.status != 400 {
		t.Errorf("an id that is too long: %d %s", got.status, got.body)
	}
}

// TestBatchesOfOthersAreUnknown: to a key there are only batches whose members are all its
// tenant's; any other is as one that never was, for the same work. A list by the batch has
// no foreign members either.
func TestBatchesOfOthersAreUnknown(t *testing.T) {
	f := newFixture(t)
	client := tasks.NewClientFromRedis(f.rdb)
	ids := map[string][]string{}
	of := map[string][]string{"web-only": {"web", "web", "web"}, "batch-only": {"batch", "batch"}, "mixed": {"web", "batch", "web"}, "nobodys": {"", "default"}}
	for name, tenants := range of {
		var members []tasks.Export
		for i, tenant := range tenants {
			members = append(members, tasks.Export{ProjectID: fmt.Sprint("p", i), Tenant: tenant})
		}
		made, err := client.EnqueueBatch(t.Context(), tasks.Batch{Name: name}, members)
		if err != nil {
			t.Fatal(err)
		}
		for i, id := range made {
			ids[tenants[i]] = append(ids[tenants[i]], id)
		}
	}
	f.takeUp(ids["web"][0])
	f.change(ids["web"][0], func(r *export.Record, now time.Time) error {
		return r.Fail(now, export.Problem{Reason: export.ReasonStepGivenUp})
	})
	seen := &commands{}
	f.rdb.AddHook(seen)
	keys := map[string]string{"web": webSecret, "batch": "another-secret-of-length", "": adminSecret}
	rapid.Check(t, func(t *rapid.T) {
		tenant := rapid.SampledFrom(slices.Sorted(maps.Keys(keys))).Draw(t, "tenant")
		name := rapid.SampledFrom(slices.Sorted(maps.Keys(of))).Draw(t, "batch")
		as := []string{"Authorization", "Bearer " + keys[tenant]}
		seen.take()
		got := f.call("GET", "/api/v2/clips/exports/batches/"+name, "", as...)
		work := seen.take()
		own := tenant == "" || name == tenant+"-only"
		if own {
			var b view.Batch
			got.data(f.t, &b)
			if b.Batch != name || b.Members != len(of[name]) || b.Missing != 0 || b.Complete || len(b.Problems) != b.States["failed"] {
				t.Fatalf("%q sees %+v", tenant, b)
			}
		} else {
			made := strings.Repeat("x", len(name))
			none := f.call("GET", "/api/v2/clips/exports/batches/"+made, "", as...)
			if got.status != http.StatusNotFound || got.shape(name) != none.shape(made) {
				t.Fatalf("another's batch\n%s\nnone\n%s", got.shape(name), none.shape(made))
			}
			if unknown := seen.take(); work != unknown {
				t.Fatalf("another's batch takes\n%s\nnone\n%s", work, unknown)
			}
		}
		var listed page
		f.call("GET", "/api/v2/clips/exports?batch="+name, "", as...).data(f.t, &listed)
		for _, e := range listed.Exports {
			if tenant != "" && !slices.Contains(ids[tenant], e.ID) {
				t.Fatalf("%s lists %s of %s", tenant, e.ID, e.Tenant)
			}
		}
		if own && len(listed.Exports) != len(of[name]) {
			t.Fatalf("%d of %d members are listed", len(listed.Exports), len(of[name]))
		}
	})
	for _, name := range []string{"-x", "a%2fb", strings.Repeat("x", 65)} {
		if got := f.call("GET", "/api/v2/clips/exports/batches/"+name, ""); got.status != http.StatusNotFound {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
	}
}

// TestWhatIsPassedThroughIsTheKeysTenants: whatever a request says besides, it is passed on
// as its key's tenant, and only an admin's as one that may see all.
func TestWhatIsPassedThroughIsTheKeysTenants(t *testing.T) {
	c := &carrier{answer: passthrough.Answer{Status: 200, Header: asJSON, Body: []byte(`{}`)}}
	f := newFixture(t, func(o *Options) { o.Passthrough = c })
	keys := map[string]string{"web": webSecret, "batch": "another-secret-of-length", "ops": adminSecret}
	rapid.Check(t, func(t *rapid.T) {
		tenant := rapid.SampledFrom(slices.Sorted(maps.Keys(keys))).Draw(t, "tenant")
		other := rapid.SampledFrom([]string{"web", "batch", "default", "ops"}).Draw(t, "other")
		root := rapid.SampledFrom([]string{"/api/v2/", "/open/v2/", "//api/v2/"}).Draw(t, "root")
		path := rapid.SampledFrom([]string{"clips", "clips/results/x", "summaries/results/" + other, "clips/find-moments"}).Draw(t, "path")
		method := rapid.SampledFrom([]string{"GET", "POST"}).Draw(t, "method")
		c.asked = nil
		f.call(method, root+path+"?tenant="+other+"&all=true", `{"tenant":"`+other+`"}`, "Authorization", "Bearer "+keys[tenant],
			"Idempotency-Key", other, "X-Tenant", other, "X-Forwarded-User", other)
		if len(c.asked) != 1 || c.asked[0].Tenant != tenant || c.asked[0].All != (tenant == "ops") {
			t.Fatalf("%s %s%s of %s: %+v", method, root, path, tenant, c.asked)
		}
	})
}

// TestTasksOfOthersCantBeImported: the provider's id of another tenant's task gives
// neither its export nor its clips.
func TestTasksOfOthersCantBeImported(t *testing.T) {
	f := newFixture(t)
	id := f.submit(`{"project_id":"p"}`, "Authorization", "Bearer another-secret-of-length")
	f.takeUp(id)
	if _, err := f.ledger.ClaimTask(t.Context(), f.api.o.AccountName(""), "task-of-batch", id); err != nil {
		t.Fatal(err)
	}
	f.api.o.ProjectTenant = func(_ context.Context, project string) (string, error) {
		return map[string]string{"passed-by-batch": "batch", "passed": "web"}[project], nil
	}
	if got := f.call("POST", "/api/v2/clips/exports/import", `{"kind":"clips","task_ids":["passed","passed-by-batch"]}`); got.status != 404 {
		t.Errorf("one that another passed through: %d %s", got.status, got.body)
	}
	if got := f.call("POST", "/api/v2/clips/exports/import", `{"kind":"clips","task_ids":["passed"]}`); got.status != 200 {
		t.Errorf("one's own that was passed through: %d %s", got.status, got.body)
	}
	for _, task := range []string{"task-of-batch", "own"} {
		got := f.call("POST", "/api/v2/clips/exports/import", `{"task_ids":["`+task+`"]}`)
		if want := map[bool]int{true: 200, false: 404}[task == "own"]; got.status != want {
			t.Errorf("%s: %d %s", task, got.status, got.body)
		}
		if got.status == 200 && !strings.Contains(got.body, `"export_task_id":"web.import-own"`) {
			t.Errorf("%s", got.body)
		}
	}
}
