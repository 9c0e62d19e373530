package provider

import (
	"compress/gzip"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/clipferry/clipferry/internal/secret"
)

const forwardKey = "a-key-of-ours-for-the-provider"

func forwarder(t *testing.T, base string, h http.HandlerFunc) *Client {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	c, err := New(Options{BaseURL: server.URL + base, Key: secret.String(forwardKey)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// TestARequestIsForwardedAsItIs, but for the key; and so is its answer.
func TestARequestIsForwardedAsItIs(t *testing.T) {
	c := forwarder(t, "", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("X-Request-Id", "r1")
		w.Header().Set("Set-Cookie", "no=thanks")
		w.WriteHeader(http.StatusAccepted)
		_, _ = io.WriteString(w, strings.Join([]string{r.Method, r.RequestURI, r.Header.Get("Content-Type"), r.Header.Get("Cookie"), string(body), r.Header.Get("Authorization")}, "|"))
	})
	got, err := c.Forward(t.Context(), Forwarded{
		Method: "PUT", Path: "/open/v2/a%20b", Query: "x=1&y=%2F", Body: strings.NewReader("any\x00thing"), Length: 9,
		Header: http.Header{"Content-Type": {"text/odd"}, "Authorization": {"Bearer theirs"}, "Cookie": {"c=1"}},
	})
	want := "PUT|/open/v2/a%20b?x=1&y=%2F|text/odd||any\x00thing|Bearer " + secret.Redacted
	if err != nil || got.Status != 202 || string(got.Body) != want || got.Failure != nil {
		t.Errorf("%d %q %v %v", got.Status, got.Body, got.Failure, err)
	}
	if got.Header.Get("X-Request-Id") != "r1" || got.Header.Get("Set-Cookie") != "" {
		t.Errorf("%v", got.Header)
	}
}

// TestAnotherRootStandsForBoth: a base URL that names one.
func TestAnotherRootStandsForBoth(t *testing.T) {
	c := forwarder(t, "/mock/v2", func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.URL.Path) })
	for _, path := range []string{"/api/v2/clips", "/open/v2/clips"} {
		if got, err := c.Forward(t.Context(), Forwarded{Method: "GET", Path: path}); err != nil || string(got.Body) != "/mock/v2/clips" {
			t.Errorf("%s: %s %v", path, got.Body, err)
		}
	}
}

func TestWhatAForwardedAnswerMeans(t *testing.T) {
	for name, c := range map[string]struct {
		paid   bool
		answer func(w http.ResponseWriter)
		task   string
		kind   Kind // of the failure, or of the error
		lost   bool
	}{
		"a task":         {true, func(w http.ResponseWriter) { _, _ = io.WriteString(w, `{"data":{"id":"t1","status":"CREATED"}}`) }, "t1", "", false},
		"something else": {false, func(w http.ResponseWriter) { _, _ = io.WriteString(w, "<svg/>") }, "", "", false},
		"a code":         {true, func(w http.ResponseWriter) { _, _ = io.WriteString(w, `{"code":"402","message":"x"}`) }, "", OutOfUnits, false},
		"a refusal": {true, func(w http.ResponseWriter) {
			w.WriteHeader(400)
			_, _ = io.WriteString(w, `{"message":"video_url","trace_id":"z"}`)
		}, "", Rejected, false},
		"a gateway": {true, func(w http.ResponseWriter) { w.WriteHeader(502) }, "", InDoubt, false},
		"gone": {false, func(w http.ResponseWriter) {
			w.WriteHeader(404)
			_, _ = io.WriteString(w, `{"error":"Not Found","status":404,"path":"/"}`)
		}, "", NotFound, false},
		"cut": {true, func(w http.ResponseWriter) { w.Header().Set("Content-Length", "99"); _, _ = io.WriteString(w, `{"da`) }, "", InDoubt, true},
		"cut after an id": {true, func(w http.ResponseWriter) {
			w.Header().Set("Content-Length", "99")
			_, _ = io.WriteString(w, `{"data":{"id":"t2","na`)
		}, "t2", "", false},
		"a read cut": {false, func(w http.ResponseWriter) { w.Header().Set("Content-Length", "99"); _, _ = io.WriteString(w, `{"da`) }, "", Unavailable, true},
		"compressed": {false, func(w http.ResponseWriter) {
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			_, _ = io.WriteString(z, `{"data":{"id":"t3","status":"ONGOING"}}`)
			_ = z.Close()
		}, "t3", "", false},
		"too much": {false, func(w http.ResponseWriter) { _, _ = io.WriteString(w, strings.Repeat(" ", maxForwarded+1)) }, "", Unavailable, true},
		"our key":  {true, func(w http.ResponseWriter) { _, _ = io.WriteString(w, `{"data":{"id":"t4","name":"`+forwardKey+`"}}`) }, "t4", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			client := forwarder(t, "", func(w http.ResponseWriter, _ *http.Request) { c.answer(w) })
			got, err := client.Forward(t.Context(), Forwarded{Method: "POST", Path: "/api/v2/clips", Paid: c.paid})
			kind := KindOf(err)
			if got.Failure != nil {
				kind = got.Failure.Kind
			}
			if kind != c.kind || (err != nil) != c.lost || got.Task.ExportTaskID != c.task {
				t.Errorf("%+v, %v", got, err)
			}
			if strings.Contains(string(got.Body), forwardKey) || got.Header.Get("Content-Encoding") != "" {
				t.Errorf("%s %v", got.Body, got.Header)
			}
		})
	}
}

// TestWhatDidNotLeaveIsSaid: only then may it be sent again.
func TestWhatDidNotLeaveIsSaid(t *testing.T) {
	c := forwarder(t, "", nil)
	c.root = "http://127.0.0.1:1" + apiRoot
	_, err := c.Forward(t.Context(), Forwarded{Method: "POST", Path: "/api/v2/clips", Paid: true})
	var e *Error
	if !errors.As(err, &e) || e.Kind != NotSent {
		t.Errorf("%v", err)
	}
}
