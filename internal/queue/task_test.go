package queue

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/tasks"
)

func record(id string) *export.Record {
	e := tasks.Export{ProjectID: "<p>"}
	r := export.New(id, e.Body(), e.Digest(), "<p>", time.Unix(1000, 0))
	r.Trace = map[string]string{"traceparent": "00-x"}
	return r
}

func TestATaskForEachStep(t *testing.T) {
	r := record("a")
	r.Priority, r.Account, r.Tenant = "low", "eu", "news"
	r.Clips[1] = &export.Clip{Idx: 1, Urgent: true}
	for _, c := range []struct {
		step export.Step
		want string
	}{
		{export.Step{Kind: export.StepSubmit}, `clipferry-submit-low.eu submit:a export:submit {"project_id":"<p>","priority":"low","account":"eu","tenant":"news"}`},
		{export.Step{Kind: export.StepSubmit, N: 2}, `clipferry-front.eu resubmit:a:2 export:submit {"id":"a","round":2}`},
		{export.Step{Kind: export.StepPoll, N: 3}, `clipferry-poll poll:a:3 export:poll {"id":"a","n":3}`},
		{export.Step{Kind: export.StepMirror, N: 1}, `clipferry-mirror mirror:a:0:1 export:mirror {"id":"a","idx":0,"round":1}`},
		{export.Step{Kind: export.StepMirror, N: 2, Clip: 1}, `clipferry-urgent mirror:a:1:2 export:mirror {"id":"a","idx":1,"round":2}`},
		{export.Step{Kind: export.StepMirror, N: 1, Clip: 64}, `clipferry-bulk mirror:a:64:1 export:mirror {"id":"a","idx":64,"round":1}`},
		{export.Step{Kind: export.StepSeal, N: 1}, `clipferry-seal seal:a:1 export:seal {"id":"a","round":1}`},
	} {
		task := Of(r, c.step)
		built, err := task.build()
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join([]string{task.Queue, task.ID, built.Type(), string(built.Payload())}, " "); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
		if built.Headers()["traceparent"] != "00-x" {
			t.Errorf("%s has headers %v", task.ID, built.Headers())
		}
		s, err := Parse(task.ID, built.Type(), built.Payload())
		if err != nil || s.ID != "a" || s.Step != c.step || s.RequestGiven != (task.ID == "submit:a") {
			t.Errorf("%s was read as %+v, %v", task.ID, s, err)
		}
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

func TestSubmitsAreRead(t *testing.T) {
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
		s, err := Parse(c.taskID, tasks.TypeSubmit, []byte(c.payload))
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
		for _, typename := range []string{TypePoll, TypeMirror, TypeSeal, TypeNotify, "other"} {
			if s, err := Parse("x", typename, []byte(payload)); err == nil {
				t.Errorf("%s %s became %+v", typename, payload, s)
			}
		}
	}
}

// TestTaskIDsNeverMeet: asynq runs a task twice when two queues of one server
// hold the same TaskID.
func TestTaskIDsNeverMeet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		id := rapid.StringMatching(`[a:0-9]{1,6}`)
		number := rapid.IntRange(0, 20)
		kind := rapid.SampledFrom([]export.Kind{export.StepSubmit, export.StepPoll, export.StepMirror, export.StepSeal})
		type owner struct {
			id   string
			step export.Step
		}
		taken := map[string]owner{}
		for range 50 {
			o := owner{id.Draw(t, "id"), export.Step{Kind: kind.Draw(t, "kind"), N: number.Draw(t, "n")}}
			if o.step.Kind == export.StepMirror {
				o.step.Clip = number.Draw(t, "clip")
			}
			task := Of(record(o.id), o.step).ID
			if before, ok := taken[task]; ok && before != o {
				t.Fatalf("%s is both %v and %v", task, before, o)
			}
			taken[task] = o
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add("submit:a", []byte(`{"project_id":"p"}`))
	f.Add("resubmit:a:1", []byte(`{"id":"a","round":1}`))
	f.Add("x", []byte(`{"id":"a","n":1}`))
	f.Fuzz(func(t *testing.T, taskID string, payload []byte) {
		for _, typename := range []string{tasks.TypeSubmit, TypePoll, TypeMirror, TypeSeal} {
			if s, err := Parse(taskID, typename, payload); err == nil && (!tasks.ValidID(s.ID) || s.N < 0 || s.Clip < 0) {
				t.Errorf("%s: accepted %+v", typename, s)
			}
		}
	})
}
