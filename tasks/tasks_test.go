package tasks

import (
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"pgregory.net/rapid"
)

func TestPayloads(t *testing.T) {
	for want, task := range map[string]*asynq.Task{
		`export:submit {"project_id":"<p>","job_id":"a","priority":"low"}`: NewSubmit(Export{ProjectID: "<p>", JobID: "a", Priority: "low"}, "a"),
		`export:submit {"id":"a","round":2}`:                               NewResubmit("a", 2, QueueFront, time.Time{}),
		`export:poll {"id":"a","n":3}`:                                     NewPoll("a", 3, time.Time{}),
		`export:mirror {"id":"a","idx":0,"round":1}`:                       NewMirror("a", 0, 1, QueueUrgent, time.Time{}),
		`export:seal {"id":"a","round":1}`:                                 NewSeal("a", 1),
	} {
		if got := task.Type() + " " + string(task.Payload()); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestHeaders(t *testing.T) {
	task := NewPoll("a", 1, time.Time{}, WithHeaders(map[string]string{"traceparent": "00-x"}))
	if task.Headers()["traceparent"] != "00-x" {
		t.Errorf("headers %v", task.Headers())
	}
}

func TestDueTimesAreRoundedUp(t *testing.T) {
	at := time.Unix(1000, 1)
	if got := wholeSecond(at); !got.Equal(time.Unix(1001, 0)) {
		t.Errorf("%v became %v", at, got)
	}
	if got := wholeSecond(time.Unix(1000, 0)); !got.Equal(time.Unix(1000, 0)) {
		t.Errorf("a whole second became %v", got)
	}
}

func TestParseSubmit(t *testing.T) {
	for _, c := range []struct{ taskID, payload, id, err string }{
		{"submit:order-17", `{"project_id":"p"}`, "order-17", ""},
		{"submit:order-17", `{"project_id":"p","job_id":"order-17"}`, "order-17", ""},
		{"submit:order-17", `{"project_id":"p","job_id":"other"}`, "order-17", "job_id: is other, but the TaskID is for order-17"},
		{"submit:order-17", `{"project_id":""}`, "order-17", "project_id: required"},
		{"submit:order-17", `no json`, "order-17", "not valid JSON: invalid character 'o' in literal null (expecting 'u') (byte 2)"},
		{"1f0c-uuid", `{"project_id":"p"}`, "1f0c-uuid", ""},
		{"1f0c-uuid", `{"project_id":"p","job_id":"mine"}`, "mine", ""},
		{"1f0c-uuid", ``, "1f0c-uuid", "not valid JSON: it ends too early"},
		{"not an id", `{"project_id":"p"}`, "", "the TaskID not an id gives no usable id: 1–128 of the characters A–Z a–z 0–9 . _ : -"},
		{"not an id", `{"project_id":"p","job_id":"mine"}`, "mine", ""},
		{"resubmit:a:2", `{"id":"a","round":2}`, "a", ""},
		{"resubmit:a:2", `{"id":"b","round":2}`, "b", "the TaskID resubmit:a:2 does not fit the payload, which is for resubmit:b:2"},
		{"resubmit:a:0", `{"id":"a","round":0}`, "", "malformed payload: round: must be from 1 to 2147483647, not 0"},
		{"resubmit:a:1", `{"id":"a/b","round":1}`, "", `malformed payload: id: must be 1–128 of the characters A–Z a–z 0–9 . _ : -, not "a/b"`},
	} {
		s, err := ParseSubmit(c.taskID, []byte(c.payload))
		got := ""
		if err != nil {
			got = err.Error()
		}
		if s.ID != c.id || got != c.err {
			t.Errorf("%s %s: id %q, error %q", c.taskID, c.payload, s.ID, got)
		}
		if err == nil && s.RequestGiven == strings.HasPrefix(c.taskID, "resubmit:") {
			t.Errorf("%s: RequestGiven %v", c.taskID, s.RequestGiven)
		}
	}
}

func TestLaterPayloadsAreStrict(t *testing.T) {
	for _, payload := range []string{
		``, `null`, `[]`, `{}`, `{"id":"a","n":1,"idx":0,"round":1,"more":1}`, `{"id":"a","n":"1","round":"1"}`,
		`{"id":"","n":1,"idx":0}`, `{"id":"a","n":-1,"idx":-1,"round":-1}`, `{"id":"a","n":1,"round":1}x`,
		`{"id":"` + strings.Repeat("a", 2000) + `","n":1,"round":1}`,
	} {
		if p, err := ParsePoll([]byte(payload)); err == nil {
			t.Errorf("poll %s became %+v", payload, p)
		}
		if p, err := ParseMirror([]byte(payload)); err == nil {
			t.Errorf("mirror %s became %+v", payload, p)
		}
		if p, err := ParseSeal([]byte(payload)); err == nil {
			t.Errorf("seal %s became %+v", payload, p)
		}
	}
}

func TestLaterPayloadsComeBack(t *testing.T) {
	if p, err := ParsePoll(NewPoll("a:1", 3, time.Time{}).Payload()); err != nil || p != (Poll{"a:1", 3}) {
		t.Errorf("%+v, %v", p, err)
	}
	if p, err := ParseMirror(NewMirror("a", 2, 1, QueueMirror, time.Time{}).Payload()); err != nil || p != (Mirror{"a", 2, 1}) {
		t.Errorf("%+v, %v", p, err)
	}
	if p, err := ParseSeal(NewSeal("a", 1).Payload()); err != nil || p != (Seal{"a", 1}) {
		t.Errorf("%+v, %v", p, err)
	}
	s, err := ParseSubmit(ResubmitTaskID("a:9", 4), NewResubmit("a:9", 4, QueueFront, time.Time{}).Payload())
	if err != nil || s.ID != "a:9" || s.Round != 4 {
		t.Errorf("%+v, %v", s, err)
	}
}

// TestTaskIDsNeverMeet: asynq runs a task twice when two queues of one server
// hold the same TaskID.
func TestTaskIDsNeverMeet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		id := rapid.StringMatching(`[a:0-9]{1,6}`)
		number := rapid.IntRange(0, 20)
		taken := map[string]string{}
		for range 20 {
			a, n, m := id.Draw(t, "id"), number.Draw(t, "n"), number.Draw(t, "m")
			for taskID, owner := range map[string]string{
				SubmitTaskID(a):       "submit " + a,
				ResubmitTaskID(a, n):  "resubmit " + a + " " + string(rune('A'+n)),
				PollTaskID(a, n):      "poll " + a + " " + string(rune('A'+n)),
				MirrorTaskID(a, n, m): "mirror " + a + " " + string(rune('A'+n)) + string(rune('A'+m)),
				SealTaskID(a, n):      "seal " + a + " " + string(rune('A'+n)),
			} {
				if before, ok := taken[taskID]; ok && before != owner {
					t.Fatalf("%s is both %s and %s", taskID, before, owner)
				}
				taken[taskID] = owner
			}
		}
	})
}

func TestNewID(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		id := NewID()
		if len(id) != 30 || !strings.HasPrefix(id, "exp_") || !ValidID(id) || seen[id] || id != strings.ToLower(id) {
			t.Fatalf("id %q", id)
		}
		seen[id] = true
	}
}

func TestValidID(t *testing.T) {
	for id, want := range map[string]bool{
		"a": true, "A.b_c:d-9": true, strings.Repeat("a", 128): true,
		"": false, strings.Repeat("a", 129): false, "a b": false, "a/b": false, "ä": false, "a\n": false, "{a}": false,
	} {
		if ValidID(id) != want {
			t.Errorf("ValidID(%q) is not %v", id, want)
		}
	}
}

func FuzzParsePayloads(f *testing.F) {
	f.Add("submit:a", []byte(`{"project_id":"p"}`))
	f.Add("resubmit:a:1", []byte(`{"id":"a","round":1}`))
	f.Add("x", []byte(`{"id":"a","n":1}`))
	f.Fuzz(func(t *testing.T, taskID string, payload []byte) {
		if s, err := ParseSubmit(taskID, payload); err == nil && !ValidID(s.ID) {
			t.Errorf("accepted the id %q", s.ID)
		}
		if p, err := ParsePoll(payload); err == nil && (!ValidID(p.ID) || p.N < 1) {
			t.Errorf("accepted %+v", p)
		}
		if p, err := ParseMirror(payload); err == nil && (!ValidID(p.ID) || p.Idx < 0) {
			t.Errorf("accepted %+v", p)
		}
	})
}
