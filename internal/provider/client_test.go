package provider

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/clipferry/clipferry/internal/fault"
	"github.com/clipferry/clipferry/internal/secret"
)

const testKey = "sk-very-secret-0123456789"

// serve starts a provider and returns a client of it.
func serve(t *testing.T, h http.HandlerFunc, set ...func(*Options)) *Client {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return clientOf(t, srv.URL, set...)
}

func clientOf(t *testing.T, base string, set ...func(*Options)) *Client {
	t.Helper()
	o := Options{BaseURL: base, Key: testKey, Timeout: 10 * time.Second}
	for _, f := range set {
		f(&o)
	}
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func answering(status int, body string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// wantKind checks everything that holds of each failure.
func wantKind(t *testing.T, err error, want Kind) *Error {
	t.Helper()
	var e *Error
	var f *fault.Fault
	if !errors.As(err, &e) || !errors.As(err, &f) {
		t.Fatalf("error is %v (%T), want a fault around an *Error", err, err)
	}
	if e.Kind != want {
		t.Errorf("kind is %s, want %s: %v", e.Kind, want, err)
	}
	if f.Class != verdicts[want].class {
		t.Errorf("class is %s, want %s", f.Class, verdicts[want].class)
	}
	if f.Hint == "" || f.Message == "" {
		t.Errorf("fault has no sentence or no hint: %q, %q", f.Message, f.Hint)
	}
	for _, shown := range []string{err.Error(), f.Sentence(), fmt.Sprintf("%v %+v %#v", err, e, f)} {
		if strings.Contains(shown, testKey) {
			t.Errorf("the key is shown: %s", shown)
		}
		if strings.ContainsAny(shown, "\x00\x1b\u202e\n") {
			t.Errorf("control characters are shown: %q", shown)
		}
	}
	return e
}

func TestSubmitSendsWhatThePageAsksFor(t *testing.T) {
	const body = `{"project_id":"proj_abc123","clip_indices":[0,2]}`
	var got *http.Request
	var gotBody []byte
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		got = r.Clone(context.Background())
		gotBody, _ = io.ReadAll(r.Body)
		_, _ = io.WriteString(w, `{"data":{"export_task_id":"export_task_xyz789","name":"sample export task","status":"CREATED"}}`)
	})
	task, err := c.Submit(t.Context(), json.RawMessage(body))
	if err != nil {
		t.Fatal(err)
	}
	if task.ExportTaskID != "export_task_xyz789" || task.Name != "sample export task" || task.Status != StatusCreated {
		t.Errorf("task is %+v", task)
	}
	if got.Method != http.MethodPost || got.URL.Path != "/api/v2/clips/export" || string(gotBody) != body {
		t.Errorf("sent %s %s %s", got.Method, got.URL.Path, gotBody)
	}
	for name, want := range map[string]string{
		"Authorization": "Bearer " + testKey, "X-Wayinvideo-Api-Version": "v2",
		"Content-Type": "application/json", "Accept-Encoding": "identity", "User-Agent": "clipferry",
	} {
		if have := got.Header.Get(name); have != want {
			t.Errorf("%s is %q, want %q", name, have, want)
		}
	}
}

func TestReadSendsWhatThePageAsksFor(t *testing.T) {
	var uri string
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		uri = r.RequestURI
		_, _ = io.WriteString(w, `{"data":{"export_task_id":"a/b?c%","status":"QUEUED"}}`)
	}, func(o *Options) { o.BaseURL += "/open/v2/" })
	task, err := c.Read(t.Context(), "", "a/b?c%")
	if err != nil {
		t.Fatal(err)
	}
	if uri != "/open/v2/clips/export/a%2Fb%3Fc%25" {
		t.Errorf("asked for %s", uri)
	}
	if task.Status != StatusQueued || task.Status.Ended() {
		t.Errorf("task is %+v", task)
	}
}

func TestStatuses(t *testing.T) {
	const refusal = `{"timestamp":"2026-03-10T15:52:01.610+00:00","status":429,"error":"Too Many Requests","path":"/api/v2/x"}`
	for _, tc := range []struct {
		status       int
		submit, read Kind
	}{
		{204, AcceptedUnknown, NotUnderstood},
		{301, InDoubt, Unavailable},
		{303, InDoubt, Unavailable},
		{308, InDoubt, Unavailable},
		{400, Rejected, Rejected},
		{401, Forbidden, Forbidden},
		{402, OutOfUnits, OutOfUnits},
		{403, Forbidden, Forbidden},
		{404, Rejected, NotFound},
		{408, InDoubt, Unavailable},
		{409, InDoubt, Rejected},
		{410, Rejected, NotFound},
		{413, Rejected, Rejected},
		{422, Rejected, Rejected},
		{423, InDoubt, Rejected},
		{425, InDoubt, Unavailable},
		{429, RateLimited, RateLimited},
		{499, InDoubt, Unavailable},
		{500, InDoubt, Unavailable},
		{502, InDoubt, Unavailable},
		{503, InDoubt, Unavailable},
		{504, InDoubt, Unavailable},
		{524, InDoubt, Unavailable},
	} {
		t.Run(fmt.Sprint(tc.status), func(t *testing.T) {
			body := refusal
			if tc.status == 204 {
				body = ""
			}
			c := serve(t, answering(tc.status, body, "Location", "https://elsewhere.example/x?signature=abc"))
			_, err := c.Submit(t.Context(), json.RawMessage(`{}`))
			e := wantKind(t, err, tc.submit)
			if e.Status != tc.status {
				t.Errorf("status is %d", e.Status)
			}
			if strings.Contains(err.Error(), "signature") {
				t.Errorf("the redirect's query is shown: %v", err)
			}
			_, err = c.Read(t.Context(), "", "id")
			wantKind(t, err, tc.read)
		})
	}
}

// What is not the API's own refuses nothing in its name: no request, no key, and
// no task is unknown because of it.
func TestAnswersOfOthers(t *testing.T) {
	const page = `<!doctype html><h1>Sorry</h1>`
	for _, tc := range []struct {
		status       int
		body         string
		submit, read Kind
	}{
		{404, page, InDoubt, Unavailable},
		{404, `404 page not found`, InDoubt, Unavailable},
		{404, ``, InDoubt, Unavailable},
		{404, ` {"status":404,"error":"Not Found"}`, Rejected, NotFound},
		{404, "\xef\xbb\xbf" + `{"message":"no such task","trace_id":"t"}`, Rejected, NotFound},
		{403, page, InDoubt, Unavailable},
		{401, page, InDoubt, Unavailable},
		{403, `{"detail":"blocked"}`, InDoubt, Unavailable},
		{403, `{"error":"x"}`, InDoubt, Unavailable},
		{403, `[{"message":"x"}]`, InDoubt, Unavailable},
		{403, `{"timestamp":"2026-03-10T15:52:01.610+00:00","status":403,"error":"Forbidden","path":"/api/v2/x"}`, Forbidden, Forbidden},
		{402, page, InDoubt, Unavailable},
		{400, page, InDoubt, Unavailable},
		{400, `{"code":"1001"}`, Rejected, Rejected},
		{400, `{"mess`, InDoubt, Unavailable},
		{413, page, InDoubt, Unavailable},
		{429, page, RateLimited, RateLimited}, // whoever says it, it means that nothing was done
		{429, ``, RateLimited, RateLimited},
		{500, page, InDoubt, Unavailable},
		{503, ``, InDoubt, Unavailable},
		{200, page, AcceptedUnknown, Unavailable}, // nobody knows what the page was served in place of
	} {
		c := serve(t, answering(tc.status, tc.body))
		_, err := c.Submit(t.Context(), json.RawMessage(`{}`))
		if got := KindOf(err); got != tc.submit {
			t.Errorf("%d %s to a submit is %s, want %s", tc.status, tc.body, got, tc.submit)
		}
		_, err = c.Read(t.Context(), "", "id")
		if got := KindOf(err); got != tc.read {
			t.Errorf("%d %s to a read is %s, want %s", tc.status, tc.body, got, tc.read)
		}
	}
}

func TestOutOfUnits(t *testing.T) {
	const request = `{"project_id":"proj_abc123","clip_indices":[0],"resolution":"UHD_4K","watermark_text":"hello"}`
	for _, tc := range []struct {
		status   int
		body     string
		want     Kind
		specific bool
	}{
		{402, `{"message":"Insufficient credits"}`, OutOfUnits, false},
		{402, `{"timestamp":"x","status":402,"error":"Payment Required","path":"/api/v2/clips/export"}`, OutOfUnits, false},
		{402, `{"message":"project_id: not allowed","trace_id":"t"}`, OutOfUnits, false},
		{400, `{"message":"Insufficient API units","trace_id":"abc"}`, OutOfUnits, false},
		{400, `{"message":"Not enough API Units to export project proj_abc123","trace_id":"abc"}`, OutOfUnits, false},
		{400, `{"message":"Insufficient units for resolution UHD_4K","trace_id":"abc"}`, OutOfUnits, false},
		{400, `{"message":"Please purchase a package","trace_id":"abc"}`, OutOfUnits, false},
		{400, `{"code":"INSUFFICIENT_BALANCE","message":"failed"}`, OutOfUnits, false},
		{400, `{"code":"quotaExceeded"}`, OutOfUnits, false},
		{403, `{"message":"Your subscription has ended","trace_id":"abc"}`, OutOfUnits, false},
		{422, `{"message":"Your plan does not cover this"}`, OutOfUnits, false},
		{200, `{"code":"1001","message":"no units left","data":null}`, OutOfUnits, false},
		{200, `{"code":402,"message":"no"}`, OutOfUnits, false},
		{400, `{"message":"API unit balance exhausted","trace_id":"abc"}`, OutOfUnits, false},
		{400, `{"message":"Duplicate request, already processing"}`, InDoubt, false},
		// the request's own
		{400, `{"message":"Project has no plan","trace_id":"abc"}`, Rejected, true},
		{400, `{"message":"resolution UHD_4K is not in your plan","trace_id":"abc"}`, Rejected, true},
		{400, `{"message":"ratio: required when enable_ai_reframe is true","trace_id":"abc"}`, Rejected, true},
		{400, `{"message":"clipIndices must not be empty","trace_id":"abc"}`, Rejected, true},
		{400, `{"message":"Watermark text is too long","trace_id":"abc"}`, Rejected, true},
		{400, `{"message":"Project not found","trace_id":"abc"}`, Rejected, true},
		{404, `{"message":"proj_abc123 does not exist"}`, Rejected, true},
		{200, `{"code":"PROJECT_EXPIRED","data":null}`, Rejected, true},
		// anybody's
		{400, `{"message":"Insufficient speech in the source video","trace_id":"abc"}`, Rejected, false},
		{400, `{"message":"The community generation failed to explain","trace_id":"abc"}`, Rejected, false},
		{400, `{"message":"Invalid parameters","trace_id":"abc"}`, Rejected, false},
		{400, `{"message":"Project limit reached","trace_id":"abc"}`, Rejected, false},
		{404, `{"timestamp":"x","status":404,"error":"Not Found","path":"/api/v2/clips/export"}`, Rejected, false},
		{403, `{"message":"project_id: forbidden","trace_id":"t"}`, Forbidden, false},
	} {
		c := serve(t, answering(tc.status, tc.body))
		_, err := c.Submit(t.Context(), json.RawMessage(request))
		var e *Error
		if !errors.As(err, &e) || e.Kind != tc.want || e.Specific != tc.specific {
			t.Errorf("%d %s is %+v, want %s, specific %v", tc.status, tc.body, e, tc.want, tc.specific)
		}
	}
}

// One word alone may be about the request: it is said which refusals are sure.
func TestSureOfUnits(t *testing.T) {
	for message, unsure := range map[string]bool{
		"Insufficient API units": false, "Not enough credits": false, "quotaExceeded": false, "no units left": false, "Credit balance: 0": false,
		"Please purchase a package": true, "check the plan of your source": true, "Your subscription has ended": true, "unit 3 of the video has no sound": true,
	} {
		c := serve(t, answering(400, `{"message":"`+message+`"}`))
		_, err := c.Submit(t.Context(), json.RawMessage(`{}`))
		if e := wantKind(t, err, OutOfUnits); e.Unsure != unsure {
			t.Errorf("%s: unsure is %v", message, e.Unsure)
		}
	}
}

func TestTraceIDIsShown(t *testing.T) {
	for _, status := range []int{400, 500} {
		c := serve(t, answering(status, `{"message":"oops","trace_id":"abc-123"}`))
		_, err := c.Submit(t.Context(), json.RawMessage(`{}`))
		var e *Error
		if !errors.As(err, &e) || e.TraceID != "abc-123" || !strings.Contains(fault.SentenceOf(err), "(oops, trace_id abc-123)") {
			t.Errorf("%d: %+v; the operator reads %q", status, e, fault.SentenceOf(err))
		}
	}
}

// An acceptance that can't be read is one all the same, and its text is kept.
func TestAcceptedUnknownKeepsTheAnswer(t *testing.T) {
	answer := `{"result":"queued","note":"` + testKey + `","link":"https://cdn.example/a?sig=1","long":"` + strings.Repeat("x", 9000) + `"}`
	c := serve(t, answering(201, answer))
	_, err := c.Submit(t.Context(), json.RawMessage(`{}`))
	e := wantKind(t, err, AcceptedUnknown)
	if !strings.HasPrefix(e.Answer, `{"result":"queued","note":"[redacted]","link":"https://cdn.example/a?…","long":"xxx`) || len(e.Answer) > 3<<10 {
		t.Errorf("kept is %s", e.Answer)
	}
	if fault.ClassOf(err) == fault.Retry {
		t.Error("whoever goes by the class alone sends it again")
	}
}

func TestRefusalSaysWhatTheProviderSaid(t *testing.T) {
	long := strings.Repeat("x", 5000)
	for _, tc := range []struct{ name, body, want string }{
		{"message", `{"message":"ratio: required when enable_ai_reframe is true","error":"Bad Request"}`, "ratio: required when enable_ai_reframe is true"},
		{"error", `{"error":"Bad Request","message":null,"path":"/x"}`, "Bad Request"},
		{"marks", `{"message":"a\u202eb\u0000\u001b[31mc\nd\u200be"}`, "ab [31mc de"},
		{"echoed key", `{"message":"no such key ` + testKey + `"}`, "no such key [redacted]"},
		{"hidden key", `{"message":"no such key sk-very\u200b-secret-0123456789"}`, "no such key [redacted]"},
		{"signed link", `{"message":"see https://cdn.example/a.mp4?sig=1&k=2 now"}`, "see https://cdn.example/a.mp4?… now"},
		{"long", `{"message":"` + long + `"}`, long[:maxMessage-1] + "…"},
		{"invalid UTF-8", "{\"message\":\"a\xffb\"}", "a\uFFFDb"},
		{"wrong type", `{"message":{"a":1}}`, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := serve(t, answering(400, tc.body))
			_, err := c.Submit(t.Context(), json.RawMessage(`{}`))
			e := wantKind(t, err, Rejected)
			if e.Message != tc.want {
				t.Errorf("message is %q, want %q", e.Message, tc.want)
			}
			if tc.want != "" && !strings.Contains(fault.SentenceOf(err), tc.want) {
				t.Errorf("the operator reads %q", fault.SentenceOf(err))
			}
		})
	}
}

func TestEnvelopeOfASubmit(t *testing.T) {
	const task = `{"export_task_id":"t1","status":"CREATED"}`
	for _, tc := range []struct {
		name, body string
		want       Kind // empty: accepted as t1
	}{
		{"plain", `{"data":` + task + `}`, ""},
		{"code text", `{"code":"0","data":` + task + `,"message":"Succeed"}`, ""},
		{"code number", `{"code":0,"data":` + task + `}`, ""},
		{"code null", `{"code":null,"data":` + task + `}`, ""},
		{"no envelope", task, ""},
		{"a byte order mark", "\xef\xbb\xbf" + `{"data":` + task + `}`, ""},
		{"a byte order mark, broken off", "\xef\xbb\xbf" + `{"data":` + task, ""},
		{"numeric id", `{"data":{"export_task_id":1}}`, InDoubt + "?"},
		{"code, no task", `{"code":"1001","message":"no such project","data":null}`, Rejected},
		{"id", `{"data":{"id":"t1","name":"x","status":"CREATED"}}`, ""},
		{"both ids", `{"data":{"id":"t2","export_task_id":"t1","status":"CREATED"}}`, ""},
		{"id beside an empty one", `{"data":{"id":"t1","export_task_id":"","status":"CREATED"}}`, ""},
		{"id without an envelope", `{"id":"t1","status":"CREATED"}`, ""},
		{"id with a code", `{"code":"0","data":{"id":"t1"}}`, ""},
		{"code of success", `{"code":200,"message":"OK","data":{"id":"t1"}}`, ""},
		{"word of success", `{"code":"SUCCESS","data":{}}`, AcceptedUnknown},
		{"an id alone", `{"id":"t1"}`, ""}, // what else is an acceptance with one id about?
		{"a result", `{"result":` + task + `}`, ""},
		{"a list of one", `{"data":[` + task + `]}`, ""},
		{"a text", `{"data":"t1"}`, ""},
		{"a result that is a text", `{"code":"0","result":"t1"}`, ""},
		{"two ids", `{"id":"t1","data":"t2"}`, AcceptedUnknown},
		{"a list of two", `{"data":[` + task + `,` + task + `]}`, AcceptedUnknown},
		{"a word as data", `{"data":"queued"}`, AcceptedUnknown},
		{"the id of an error", `{"id":"t1","error":"oops"}`, AcceptedUnknown},
		{"the id of a failure", `{"id":"t1","success":false,"message":"no"}`, AcceptedUnknown},
		{"the id of a trace", `{"id":"t1","message":"oops","trace_id":"x"}`, AcceptedUnknown},
		{"the id of a request beside a task", `{"code":0,"message":"success","id":"8f0c-trace","data":{"task":"abc"}}`, AcceptedUnknown},
		{"… or beside a list of them", `{"id":"req_01J","tasks":[{"job":"abc"}]}`, AcceptedUnknown},
		{"a time", `{"data":"2026-11-29T02:53:54Z"}`, AcceptedUnknown},
		{"an id beside nothing", `{"id":"t1","data":{},"meta":null}`, ""},
		{"the project's id", `{"id":"p1"}`, AcceptedUnknown},
		{"a code that is a word of failure", `{"code":"INTERNAL_ERROR","message":"internal error"}`, InDoubt},
		{"a code that is any word", `{"code":"E_QUEUE"}`, InDoubt},
		{"a code with a message of failure", `{"code":"1001","message":"The system is busy"}`, InDoubt},
		{"a code of what lies between", `{"code":"BAD_GATEWAY"}`, InDoubt},
		{"a code of what is under way", `{"code":"NOT_READY","message":"the task was created and is not ready"}`, InDoubt},
		{"a code with a message of what lies behind", `{"code":"50001","message":"service error, please try again later"}`, InDoubt},
		{"a code with a message of what was taken", `{"code":"1001","message":"accepted, being queued"}`, InDoubt},
		{"… in Chinese", `{"code":"10001","message":"系统繁忙，请稍后再试"}`, InDoubt},
		{"a code of a timeout", `{"code":"TIMEOUT"}`, InDoubt},
		{"a code of a conflict", `{"code":409,"message":"x"}`, InDoubt},
		{"a code of what is wrong", `{"code":"INVALID_RATIO"}`, Rejected},
		{"a code that is a number", `{"code":"10023","message":"您的积分不足"}`, Rejected},
		{"broken off after id", `{"data":{"id":"t1","na`, ""},
		{"another shape", `{"result":{"task":"t1"}}`, AcceptedUnknown},
		{"nothing", `{}`, AcceptedUnknown},
		{"a list", `["t1"]`, AcceptedUnknown},
		{"a word", `OK`, AcceptedUnknown},
		{"JSON null", `null`, AcceptedUnknown},
		{"code, and yet a task", `{"code":"1001","data":` + task + `}`, ""},
		{"code of a limit", `{"code":"429","message":"slow down"}`, RateLimited},
		{"code of a key", `{"code":403}`, Forbidden},
		{"code of a fault", `{"code":"500"}`, InDoubt},
		{"code of a gateway", `{"code":"504"}`, InDoubt},
		{"code of a strange type", `{"code":{}}`, AcceptedUnknown},
		{"no id", `{"data":{"status":"CREATED"}}`, AcceptedUnknown},
		{"empty id", `{"data":{"export_task_id":""}}`, AcceptedUnknown},
		{"id that walks", `{"data":{"export_task_id":".."}}`, AcceptedUnknown},
		{"id with a line break", `{"data":{"export_task_id":"a\nb"}}`, AcceptedUnknown},
		{"endless id", `{"data":{"export_task_id":"` + strings.Repeat("a", 600) + `"}}`, AcceptedUnknown},
		{"data null", `{"data":null}`, AcceptedUnknown},
		{"data a list", `{"data":[]}`, AcceptedUnknown},
		{"empty", ``, AcceptedUnknown},
		{"a page", `<!doctype html><h1>Oops</h1>`, AcceptedUnknown}, // with a status of success: it is paid for, as far as anybody knows
		{"broken after the id", `{"data":{"name":"x","export_task_id":"t1","sta`, ""},
		{"broken inside the id", `{"data":{"name":"x","export_task_id":"t1`, AcceptedUnknown},
		{"broken, somebody else's id", `{"data":{"of":{"export_task_id":"t1"},"sta`, AcceptedUnknown},
		{"broken, after strange keys", `{"":[{}],"data":{"":"","a":["export_task_id","z"],"export_task_id":"t1",`, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := serve(t, answering(200, tc.body))
			got, err := c.Submit(t.Context(), json.RawMessage(`{"project_id":"p1"}`))
			switch {
			case tc.want == InDoubt+"?": // a number is an id as good as any
				if err != nil || got.ExportTaskID != "1" {
					t.Errorf("task %+v, error %v", got, err)
				}
			case tc.want != "":
				wantKind(t, err, tc.want)
			case err != nil || got.ExportTaskID != "t1":
				t.Errorf("task %+v, error %v", got, err)
			case !json.Valid(got.Raw):
				t.Errorf("raw is %s", got.Raw)
			}
		})
	}
}

func TestEnvelopeOfARead(t *testing.T) {
	for _, tc := range []struct {
		name, body string
		want       Kind
	}{
		{"code", `{"code":"1001","message":"busy","data":{"export_task_id":"t1","status":"SUCCEEDED"}}`, Unavailable},
		{"code not found", `{"code":"404"}`, NotFound},
		{"code of a limit", `{"code":429}`, RateLimited},
		{"no data", `{}`, NotUnderstood},
		{"data text", `{"data":"x"}`, NotUnderstood},
		{"no status", `{"data":{"export_task_id":"t1"}}`, NotUnderstood},
		{"another task", `{"data":{"export_task_id":"t2","status":"SUCCEEDED"}}`, NotUnderstood},
		{"error page", `<html>`, Unavailable},
		{"id of another task", `{"data":{"id":"t2","status":"SUCCEEDED"}}`, NotUnderstood},
		{"no units", `{"code":"1001","message":"no units left"}`, OutOfUnits},
		{"empty", ``, NotUnderstood},
		{"a list", `[1,2]`, NotUnderstood},
		{"deep", strings.Repeat(`{"data":`, 20000), NotUnderstood},
		{"too many clips", `{"data":{"status":"ONGOING","clips":[1` + strings.Repeat(",1", maxClips) + `]}}`, NotUnderstood},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := serve(t, answering(200, tc.body))
			_, err := c.Read(t.Context(), "", "t1")
			wantKind(t, err, tc.want)
		})
	}
}

// What is paid for is read under whatever id the provider gave it.
func TestOddIDs(t *testing.T) {
	for _, id := range []string{"a b", "../a/{x}?q=1#é", "%2e%2e", "日本", "\u202e:", "a\u00a0", "a\\b", `"`} {
		quoted, err := json.Marshal(id)
		if err != nil {
			t.Fatal(err)
		}
		c := serve(t, func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodGet && r.URL.EscapedPath() != "/api/v2/clips/export/"+url.PathEscape(id) {
				t.Errorf("%q: asked for %s", id, r.URL.EscapedPath())
			}
			answering(200, `{"data":{"export_task_id":`+string(quoted)+`,"status":"ONGOING"}}`)(w, r)
		})
		got, err := c.Submit(t.Context(), json.RawMessage(`{}`))
		if err != nil || got.ExportTaskID != id {
			t.Errorf("%q: submitted as %q, %v", id, got.ExportTaskID, err)
			continue
		}
		if got, err = c.Read(t.Context(), "", id); err != nil || got.ExportTaskID != id {
			t.Errorf("%q: read as %q, %v", id, got.ExportTaskID, err)
		}
	}
}

// Whoever is told to enqueue an export again that is paid for pays again.
func TestARefusedReadAsksForNoSecondExport(t *testing.T) {
	c := serve(t, answering(422, `{"status":422,"message":"busy"}`))
	_, err := c.Read(t.Context(), "", "t1")
	if said := fault.SentenceOf(err); !strings.Contains(said, "read again") || strings.Contains(said, "enqueue") {
		t.Errorf("a refused read says: %s", said)
	}
	_, err = c.Submit(t.Context(), json.RawMessage(`{}`))
	if said := fault.SentenceOf(err); !strings.Contains(said, "enqueue it again, under another job_id") {
		t.Errorf("a refused submit says: %s", said)
	}
}

func TestReadNamesNoTaskThatCannotBe(t *testing.T) {
	c := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("something was sent") })
	for _, id := range []string{"", ".", "..", " ", "a\n", strings.Repeat("x", 600)} {
		_, err := c.Read(t.Context(), "", id)
		wantKind(t, err, Rejected)
	}
	_, err := c.Submit(t.Context(), json.RawMessage(`{`))
	wantKind(t, err, Rejected)
}

func TestRetryAfter(t *testing.T) {
	c := serve(t, answering(429, "", "Retry-After", "8"))
	_, err := c.Read(t.Context(), "", "id")
	if got := fault.RetryAfterOf(err); got != 8*time.Second {
		t.Errorf("the fault says to wait %v, want 8s", got)
	}
}

func TestOptions(t *testing.T) {
	for _, tc := range []struct{ base, want string }{
		{"", DefaultBaseURL + "/api/v2"},
		{"https://h.example", "https://h.example/api/v2"},
		{"https://h.example/", "https://h.example/api/v2"},
		{"http://127.0.0.1:8080/proxy", "http://127.0.0.1:8080/proxy/api/v2"},
		{"https://h.example/open/v2", "https://h.example/open/v2"},
		{"ftp://h.example", ""},
		{"h.example", ""},
		{"https://", ""},
		{"https://u:p@h.example", ""},
		{"https://h.example?x=1", ""},
		{"https://h.example:x y", ""},
	} {
		c, err := New(Options{BaseURL: tc.base, Key: testKey})
		switch {
		case tc.want == "" && err == nil:
			t.Errorf("%q is accepted", tc.base)
		case tc.want != "" && (err != nil || c.root != tc.want):
			t.Errorf("%q gives %v, %v, want %s", tc.base, c, err, tc.want)
		case err != nil && strings.Contains(err.Error(), "u:p"):
			t.Errorf("the error shows a password: %v", err)
		}
	}
	_, err := New(Options{BaseURL: "x", Key: "sk bad\n", Timeout: -1})
	if err == nil || strings.Count(err.Error(), "provider:") != 3 || strings.Contains(err.Error(), "sk bad") {
		t.Errorf("want three faults without the key, have %v", err)
	}
	if _, err := New(Options{}); err == nil {
		t.Error("a missing key is accepted")
	}
}

func TestSecretStaysSecret(t *testing.T) {
	key := secret.String(testKey)
	c := clientOf(t, "http://127.0.0.1:1")
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "key", key, "options", Options{Key: key}, "client", c)
	marshaled, err := json.Marshal(Options{Key: key}.Key)
	if err != nil {
		t.Fatal(err)
	}
	shown := []string{log.String(), string(marshaled)}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%T"} {
		shown = append(shown, fmt.Sprintf(verb, key), fmt.Sprintf(verb, Options{Key: key}), fmt.Sprintf(verb, *c), fmt.Sprintf(verb, c))
	}
	for _, s := range shown {
		if strings.Contains(s, testKey) || strings.Contains(s, fmt.Sprintf("%x", testKey)) {
			t.Errorf("the key is shown: %s", s)
		}
	}
	if key.Reveal() != testKey {
		t.Error("the key can't be had at all")
	}
}
