package httpapi

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/tasks"
)

func TestIdempotencyKey(t *testing.T) {
	f := newFixture(t)
	const body = `{"project_id":"p","clip_indices":[0]}`
	first := f.call("POST", "/api/v2/clips/export", body, "Idempotency-Key", `"order 17"`)
	var s submitted
	first.data(t, &s)
	if strings.Contains(s.ExportTaskID, "17") || !strings.HasPrefix(s.ExportTaskID, "exp_") {
		t.Errorf("id %s", s.ExportTaskID)
	}
	// The same, however far the export is and however the JSON is written.
	f.takeUp(s.ExportTaskID)
	f.change(s.ExportTaskID, func(r *export.Record, now time.Time) error { return r.Accept(now, "t", "another name", "ONGOING") })
	again := f.call("POST", "/api/v2/clips/export", `{ "clip_indices": [0], "project_id": "p" }`, "Idempotency-Key", `"order 17"`)
	if again.status != 200 || again.body != first.body {
		t.Errorf("first %s\nthen %s", first.body, again.body)
	}
	other := f.call("POST", "/api/v2/clips/export", `{"project_id":"q"}`, "Idempotency-Key", `"order 17"`)
	if other.status != 422 || !strings.Contains(other.message(t), "different body") {
		t.Errorf("%d %s", other.status, other.body)
	}
	// Another program's key is another export.
	if id := f.submit(body, "Idempotency-Key", `"order 17"`, "Authorization", "Bearer another-secret-of-length"); id == s.ExportTaskID {
		t.Error("two programs share an idempotency key")
	}
	if id := f.submit(body, "Idempotency-Key", `order-17`); id == s.ExportTaskID {
		t.Error("two keys are one")
	}
}

// TestAnIdempotencyKeyOutlivesARotation: the same order is the same export while
// the secret that its id came from is among the configured ones.
func TestAnIdempotencyKeyOutlivesARotation(t *testing.T) {
	const body, fresh = `{"project_id":"p"}`, "another-signing-secret-of-32-chars"
	f := newFixture(t)
	id := f.submit(body, "Idempotency-Key", "order-17")
	f.api.signer = newSigner([]string{fresh, signingSecret})
	if again := f.submit(body, "Idempotency-Key", "order-17"); again != id {
		t.Errorf("%s while it is rotated, before %s", again, id)
	}
	f.takeUp(id)
	if again := f.submit(body, "Idempotency-Key", "order-17"); again != id {
		t.Errorf("%s after it was taken up, before %s", again, id)
	}
	first := f.submit(body, "Idempotency-Key", "order-18")
	if again := f.submit(body, "Idempotency-Key", "order-18"); again != first || again == id {
		t.Errorf("a new order: %s, then %s", first, again)
	}
}

// TestNobodyGuessesTheIDOfAnIdempotencyKey: who knows a client's name and key
// could take its id before, or ask what became of its order.
func TestNobodyGuessesTheIDOfAnIdempotencyKey(t *testing.T) {
	one, other := newSigner([]string{signingSecret}), newSigner([]string{"another-signing-secret-of-32-chars"})
	if one.idempotentID(0, "web", "k") == other.idempotentID(0, "web", "k") {
		t.Error("the id follows from the key alone")
	}
}

// TestIDsThatWeGiveAreOurs: an id of our own form is taken back from the client
// that we gave it to, as a 503 asks for, and from nobody else.
func TestIDsThatWeGiveAreOurs(t *testing.T) {
	f := newFixture(t)
	ours := f.api.signer.newID("web")
	if id := f.submit(`{"project_id":"p","job_id":"` + ours + `"}`); id != ours {
		t.Errorf("%s became %s", ours, id)
	}
	byKey := f.submit(`{"project_id":"q"}`, "Idempotency-Key", "k")
	if id := f.submit(`{"project_id":"q","job_id":"` + byKey + `"}`); id != byKey {
		t.Errorf("%s became %s", byKey, id)
	}
	if id := f.submit(`{"project_id":"q"}`); !f.api.signer.gave("web", id) {
		t.Errorf("%s is none of ours", id)
	}
	for what, id := range map[string]string{
		"made up": tasks.NewID(), "cut": ours[:len(ours)-1], "changed": ours[:len(ours)-1] + map[bool]string{true: "b", false: "a"}[ours[len(ours)-1] == 'a'],
		"another client's": f.api.signer.newID("batch"), "nothing": "exp_", "upper case": "exp_" + strings.ToUpper(ours[4:]),
	} {
		got := f.call("POST", "/api/v2/clips/export", `{"project_id":"p","job_id":"`+id+`"}`)
		if got.status != 400 || !strings.Contains(got.message(t), "job_id: ") {
			t.Errorf("%s: %d %s", what, got.status, got.body)
		}
	}
}

func TestJobIDInTheBody(t *testing.T) {
	f := newFixture(t)
	for range 2 {
		if id := f.submit(`{"project_id":"p","job_id":"order-17"}`); id != "web.order-17" {
			t.Errorf("id %s", id)
		}
	}
	got := f.call("POST", "/api/v2/clips/export", `{"project_id":"q","job_id":"order-17"}`)
	if got.status != 422 {
		t.Errorf("%d %s", got.status, got.body)
	}
}

func TestTheSameKeyManyTimesAtOnce(t *testing.T) {
	f := newFixture(t)
	ids := make([]string, 20)
	var all sync.WaitGroup
	for i := range ids {
		all.Go(func() { ids[i] = f.submit(`{"project_id":"p"}`, "Idempotency-Key", "k") })
	}
	all.Wait()
	for _, id := range ids {
		if id != ids[0] {
			t.Fatalf("ids %v", ids)
		}
	}
	if n, err := Backlog(f.rdb)(t.Context()); n != 1 || err != nil {
		t.Errorf("%d exports wait (%v)", n, err)
	}
}

func TestParseIdempotencyKey(t *testing.T) {
	for value, want := range map[string]string{
		`"a"`: "a", `"a b, c; d"`: "a b, c; d", `"a\"b\\c"`: `a"b\c`, `8e03978e-40d5-43dd-bc93-6894a57f9324`: "8e03978e-40d5-43dd-bc93-6894a57f9324",
		` a `: "a", strings.Repeat("x", 255): strings.Repeat("x", 255),
	} {
		if got, wrong := parseIdempotencyKey(value); got != want || wrong != "" {
			t.Errorf("%s: %q %s", value, got, wrong)
		}
	}
	for value, want := range map[string]string{
		``: "must not be empty", `""`: "must not be empty", `"a`: "the closing quote is missing", `"`: "the closing quote is missing",
		`"a";p=1`: "something follows the quoted string", `"a\n"`: "only quotes and backslashes may be escaped", "ä": "must be printable ASCII",
		"\"a\tb\"": "must be printable ASCII", `a"b`: `must be in quotes, as in "order 17"`, strings.Repeat("x", 256): "too long, at most 255 characters",
	} {
		if got, wrong := parseIdempotencyKey(value); got != "" || wrong != want {
			t.Errorf("%s: %q %s", value, got, wrong)
		}
	}
}

func FuzzParseIdempotencyKey(f *testing.F) {
	f.Add(`"a\"b"`)
	f.Add(`bare-key`)
	f.Fuzz(func(t *testing.T, value string) {
		key, wrong := parseIdempotencyKey(value)
		if (key == "") != (wrong != "") || len(key) > maxIdempotencyKey {
			t.Errorf("%q: key %q, wrong %q", value, key, wrong)
		}
		if !tasks.ValidID(newSigner([]string{signingSecret}).idempotentID(0, "web", key)) {
			t.Errorf("%q makes no id", value)
		}
	})
}
