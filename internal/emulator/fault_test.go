package emulator

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

const some = `{"project_id":"p","clip_indices":[0,1]}`

// submitting, reading and fetching are what a fault can be in the way of.
func submitting(p *provider) (answered, error) {
	return p.do("POST", "/api/v2/clips/export", some, withKey...)
}

func reading(p *provider) (answered, error) {
	return p.do("GET", "/api/v2/clips/export/"+p.State().Submits[0].TaskID, "", withKey...)
}

func fetching(header ...string) func(*provider) (answered, error) {
	return func(p *provider) (answered, error) {
		s := p.Server
		s.mu.Lock()
		link := s.link(p.base, kindClip, s.order[0], 0, p.clock.Now())
		s.mu.Unlock()
		return p.do("GET", link, "", header...)
	}
}

// TestFaults orders each fault and looks at what comes of it.
func TestFaults(t *testing.T) {
	one := 1
	ranged := fetching("Range", "bytes=100-199")
	for _, tc := range []struct {
		name    string
		fault   Fault
		do      func(*provider) (answered, error)
		charged int // submits, besides the first
		check   func(a answered, err error, clip []byte) bool
	}{
		{"status", Fault{Kind: FaultStatus, Status: 503, RetryAfter: "7", Message: "later"}, submitting, 0, func(a answered, _ error, _ []byte) bool {
			return a.status == 503 && a.header.Get("Retry-After") == "7" && strings.Contains(a.body, `"message":"later"`)
		}},
		{"status, acted", Fault{Kind: FaultStatus, Status: 502, Acted: true}, submitting, 1, func(a answered, _ error, _ []byte) bool {
			return a.status == 502 && !strings.Contains(a.body, "export_task_")
		}},
		{"status of a clip", Fault{Kind: FaultStatus, Status: 500, Acted: true}, fetching(), 0, func(a answered, _ error, _ []byte) bool {
			return a.status == 500
		}},
		{"reset", Fault{Kind: FaultReset}, submitting, 0, func(_ answered, err error, _ []byte) bool { return errors.Is(err, syscall.ECONNRESET) }},
		{"lost", Fault{Kind: FaultLost}, submitting, 1, func(_ answered, err error, _ []byte) bool { return errors.Is(err, syscall.ECONNRESET) }},
		{"lost read", Fault{Kind: FaultLost}, reading, 0, func(_ answered, err error, _ []byte) bool { return errors.Is(err, syscall.ECONNRESET) }},
		{"error page", Fault{Kind: FaultErrorPage}, submitting, 0, func(a answered, _ error, _ []byte) bool {
			return a.status == 200 && strings.HasPrefix(a.header.Get("Content-Type"), "text/html") && strings.HasPrefix(a.body, "<!doctype")
		}},
		{"error page for a clip", Fault{Kind: FaultErrorPage}, ranged, 0, func(a answered, _ error, _ []byte) bool {
			return a.status == 200 && strings.HasPrefix(a.body, "<!doctype")
		}},
		{"body", Fault{Kind: FaultBody, Body: "what?", Status: 299}, submitting, 1, func(a answered, _ error, _ []byte) bool {
			return a.status == 299 && a.body == "what?"
		}},
		{"redirect", Fault{Kind: FaultRedirect, URL: "http://169.254.169.254/latest"}, fetching(), 0, func(a answered, _ error, _ []byte) bool {
			return a.status == 302 && a.header.Get("Location") == "http://169.254.169.254/latest"
		}},
		{"truncate", Fault{Kind: FaultTruncate, Bytes: 1000}, fetching(), 0, func(a answered, _ error, clip []byte) bool {
			return errors.Is(a.err, io.ErrUnexpectedEOF) && a.body == string(clip[:1000])
		}},
		{"truncated read", Fault{Kind: FaultTruncate, Bytes: 20}, reading, 0, func(a answered, _ error, _ []byte) bool {
			return errors.Is(a.err, io.ErrUnexpectedEOF) && len(a.body) == 20
		}},
		{"malformed", Fault{Kind: FaultMalformed}, reading, 0, func(a answered, _ error, _ []byte) bool {
			return a.status == 200 && a.err == nil && !json.Valid([]byte(a.body)) && len(a.body) > 10
		}},
		{"huge", Fault{Kind: FaultHuge, Bytes: 3 << 20}, reading, 0, func(a answered, _ error, _ []byte) bool {
			return len(a.body) > 3<<20 && json.Valid([]byte(a.body)) && strings.Contains(a.body[3<<20:], `"SUCCEEDED"`)
		}},
		{"bomb", Fault{Kind: FaultBomb, Bytes: 3 << 20}, reading, 0, func(a answered, _ error, _ []byte) bool {
			return a.header.Get("Content-Encoding") == "gzip" && len(a.body) < 100_000 && unzipped(a.body) == 3<<20
		}},
		{"bomb for a clip", Fault{Kind: FaultBomb, Bytes: 3 << 20}, fetching(), 0, func(a answered, _ error, _ []byte) bool {
			return unzipped(a.body) == 3<<20
		}},
		{"strings", Fault{Kind: FaultStrings}, reading, 0, func(a answered, _ error, _ []byte) bool {
			return json.Valid([]byte(a.body)) && strings.Contains(a.body, `"idx":"0"`) && strings.Contains(a.body, `"cost_usage":"`)
		}},
		{"code 0", Fault{Kind: FaultCode}, reading, 0, func(a answered, _ error, _ []byte) bool {
			return json.Valid([]byte(a.body)) && strings.HasPrefix(a.body, `{"code":"0","data":{"export_task_id"`) && strings.HasSuffix(a.body, `,"message":"Succeed"}`)
		}},
		{"another code", Fault{Kind: FaultCode, Code: "1001", Message: `no "units"`}, reading, 0, func(a answered, _ error, _ []byte) bool {
			return a.body == `{"code":"1001","data":null,"message":"no \"units\""}`
		}},
		{"another code for a submit", Fault{Kind: FaultCode, Code: "1001"}, submitting, 0, func(a answered, _ error, _ []byte) bool {
			return a.status == 200 && a.body == `{"code":"1001","data":null,"message":""}`
		}},
		{"no link", Fault{Kind: FaultNoLink, Clip: &one}, reading, 0, func(a answered, _ error, _ []byte) bool {
			return strings.Count(a.body, `"export_link"`) == 1 && strings.Count(a.body, `"idx"`) == 2
		}},
		{"no clip", Fault{Kind: FaultNoClip}, reading, 0, func(a answered, _ error, _ []byte) bool {
			return strings.Contains(a.body, `"clips":[]`)
		}},
		{"link", Fault{Kind: FaultLink, URL: "file:///etc/passwd", Clip: &one}, reading, 0, func(a answered, _ error, _ []byte) bool {
			return strings.Count(a.body, `"export_link":"file:///etc/passwd"`) == 1 && strings.Count(a.body, `"export_link"`) == 2
		}},
		{"dead link", Fault{Kind: FaultDeadLink}, fetching(), 0, func(a answered, _ error, _ []byte) bool {
			return a.status == 403 && strings.Contains(a.body, "expired")
		}},
		{"dead link, gone", Fault{Kind: FaultDeadLink, Status: 410}, fetching(), 0, func(a answered, _ error, _ []byte) bool { return a.status == 410 }},
		{"changed", Fault{Kind: FaultChanged}, fetching(), 0, func(a answered, _ error, clip []byte) bool {
			return len(a.body) == len(clip) && a.body != string(clip) && a.err == nil
		}},
		{"changed midway", Fault{Kind: FaultChanged, Bytes: 60_000, KeepETag: true}, fetching(), 0, func(a answered, _ error, clip []byte) bool {
			return len(a.body) == len(clip) && a.body[:60_000] == string(clip[:60_000]) && a.body[60_000:] != string(clip[60_000:])
		}},
		{"wrong Content-Range", Fault{Kind: FaultContentRange}, ranged, 0, func(a answered, _ error, clip []byte) bool {
			return a.status == 206 && a.header.Get("Content-Range") == "bytes 1100-199/100000" && a.body == string(clip[100:200])
		}},
		{"range ignored", Fault{Kind: FaultIgnoreRange}, ranged, 0, func(a answered, _ error, clip []byte) bool {
			return a.status == 200 && a.body == string(clip) && a.header.Get("Accept-Ranges") == ""
		}},
		{"no length", Fault{Kind: FaultNoLength}, fetching(), 0, func(a answered, _ error, clip []byte) bool {
			return a.header.Get("Content-Length") == "" && a.body == string(clip)
		}},
		{"no length of a read", Fault{Kind: FaultNoLength}, reading, 0, func(a answered, _ error, _ []byte) bool {
			return a.header.Get("Content-Length") == "" && json.Valid([]byte(a.body))
		}},
		{"no validators", Fault{Kind: FaultNoETag}, fetching(), 0, func(a answered, _ error, clip []byte) bool {
			return a.header.Get("ETag") == "" && a.header.Get("Last-Modified") == "" && a.body == string(clip)
		}},
		{"slow", Fault{Kind: FaultSlow, Rate: 2_000_000}, fetching(), 0, func(a answered, _ error, clip []byte) bool { return a.body == string(clip) }},
		{"delay", Fault{Kind: FaultDelay, Delay: Duration(time.Millisecond)}, submitting, 1, func(a answered, _ error, _ []byte) bool { return a.status == 200 }},
		{"stall that ends", Fault{Kind: FaultStall, Bytes: 500, Delay: Duration(time.Millisecond)}, fetching(), 0, func(a answered, _ error, clip []byte) bool {
			return a.body == string(clip)
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := start(t, Options{ClipSize: 100_000})
			id := p.submitted(some)
			p.clock.advance(100 * time.Second)
			content, err := p.Content(id, 0)
			if err != nil {
				t.Fatal(err)
			}
			tc.fault.Count = 1
			p.inject(tc.fault)
			a, err := tc.do(p)
			if !tc.check(a, err, whole(t, content)) {
				t.Errorf("%d %v %.300s (error %v, of the body %v)", a.status, a.header, a.body, err, a.err)
			}
			st := p.State()
			if len(st.Submits)-1 != tc.charged {
				t.Errorf("%d submits were charged, want %d", len(st.Submits)-1, tc.charged)
			}
			if st.Faults[0].Hits != 1 {
				t.Errorf("%d hits", st.Faults[0].Hits)
			}
			// It was ordered once: the next request is as ever.
			if a, err := tc.do(p); err != nil || a.err != nil || a.status/100 != 2 || strings.Contains(a.body, "what?") {
				t.Errorf("after it: %d %.300s, %v", a.status, a.body, err)
			}
		})
	}
}

func unzipped(s string) int64 {
	z, err := gzip.NewReader(strings.NewReader(s))
	if err != nil {
		return -1
	}
	n, err := io.Copy(io.Discard, z)
	if err != nil {
		return -1
	}
	return n
}

func TestATruncationThatLooksWhole(t *testing.T) {
	p := start(t, Options{ClipSize: 100_000})
	_, link := p.finished("p")
	p.inject(Fault{Kind: FaultNoLength})
	p.inject(Fault{Kind: FaultTruncate, Bytes: 50_000, Clean: true})
	if a := p.must("GET", link, ""); a.err != nil || len(a.body) != 50_000 {
		t.Errorf("%d bytes, %v", len(a.body), a.err)
	}
}

func TestAStallLastsUntilTheClientLeaves(t *testing.T) {
	for _, bytes := range []int64{0, 10} {
		p := start(t, Options{})
		id := p.submitted(some)
		p.inject(Fault{Kind: FaultStall, Bytes: bytes})
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		req, err := http.NewRequestWithContext(ctx, "GET", p.base+"/api/v2/clips/export/"+id, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer k")
		resp, err := p.http.Do(req)
		if err == nil {
			var got []byte
			got, err = io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if int64(len(got)) != bytes {
				t.Errorf("%d bytes before the stall", len(got))
			}
		}
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("stall after %d: %v", bytes, err)
		}
	}
}

func TestWhichRequestsAFaultHits(t *testing.T) {
	zero, one := 0, 1
	read := Request{Route: RouteRead, Project: "proj_1", Task: "t1", Clip: -1, Status: statusOngoing}
	clip := Request{Route: RouteClip, Project: "proj_1", Task: "t1", Clip: 0}
	for _, tc := range []struct {
		fault Fault
		req   Request
		want  bool
	}{
		{Fault{Kind: FaultReset}, read, true},
		{Fault{Kind: FaultReset, Route: RouteRead}, read, true},
		{Fault{Kind: FaultReset, Route: RouteSubmit}, read, false},
		{Fault{Kind: FaultReset, Project: "proj_1"}, read, true},
		{Fault{Kind: FaultReset, Project: "proj_*"}, read, true},
		{Fault{Kind: FaultReset, Project: "*"}, read, true},
		{Fault{Kind: FaultReset, Project: "proj_"}, read, false},
		{Fault{Kind: FaultReset, Project: "other*"}, read, false},
		{Fault{Kind: FaultReset, Task: "t1"}, read, true},
		{Fault{Kind: FaultReset, Task: "t2"}, read, false},
		{Fault{Kind: FaultReset, Clip: &zero}, clip, true},
		{Fault{Kind: FaultReset, Clip: &one}, clip, false},
		{Fault{Kind: FaultLink, Clip: &one}, read, true}, // about a clip in the answer
		{Fault{Kind: FaultNoLink}, read, false},
		{Fault{Kind: FaultNoLink}, Request{Route: RouteRead, Status: statusSucceeded}, true},
		{Fault{Kind: FaultDeadLink}, clip, true},
		{Fault{Kind: FaultDeadLink}, read, false},
	} {
		if got := tc.fault.matches(tc.req); got != tc.want {
			t.Errorf("%+v and %+v: %v", tc.fault, tc.req, got)
		}
	}
}

func TestAfterCountAndProbability(t *testing.T) {
	hits := func(seed uint64, f Fault, n int) (pattern string) {
		s, err := New(Options{Seed: seed})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Inject(f); err != nil {
			t.Fatal(err)
		}
		for range n {
			pattern += fmt.Sprint(len(s.plan(Request{Route: RouteRead, Clip: -1})))
		}
		return pattern
	}
	if got := hits(1, Fault{Kind: FaultReset, After: 2, Count: 3}, 8); got != "00111000" {
		t.Errorf("after 2, 3 times: %s", got)
	}
	likely := Fault{Kind: FaultReset, Probability: 0.3}
	got := hits(1, likely, 1000)
	if n := strings.Count(got, "1"); n < 240 || n > 360 {
		t.Errorf("%d of 1000 at a probability of 0.3", n)
	}
	if got != hits(1, likely, 1000) || got == hits(2, likely, 1000) {
		t.Error("chance doesn't follow from the seed")
	}
}

func TestFaultsByHook(t *testing.T) {
	p := start(t, Options{OnRequest: func(r Request) []Fault {
		if r.Route == RouteSubmit && r.Project == "cursed" {
			return []Fault{{Kind: FaultStatus, Status: 418}}
		}
		return nil
	}})
	if a := p.post(`{"project_id":"cursed"}`); a.status != 418 {
		t.Errorf("cursed: %d", a.status)
	}
	if a := p.post(`{"project_id":"blessed"}`); a.status != 200 {
		t.Errorf("blessed: %d", a.status)
	}
}

func TestLostAnswersAreKnown(t *testing.T) {
	for kind, want := range map[Kind]bool{FaultLost: true, FaultMalformed: true, FaultTruncate: true, FaultStrings: false, FaultNoLength: false} {
		p := start(t, Options{})
		p.inject(Fault{Kind: kind})
		_, _ = submitting(p) // whether it answers is TestFaults'
		if st := p.State().Submits; len(st) != 1 || st[0].AnswerLost != want {
			t.Errorf("%s: %+v", kind, st)
		}
	}
}

func TestNumbersAsStrings(t *testing.T) {
	for in, want := range map[string]string{
		`{"a":1,"b":[-2.5e+3,0],"c":"1 \"2\" 3","d":true}`: `{"a":"1","b":["-2.5e+3","0"],"c":"1 \"2\" 3","d":true}`,
		`7`:      `"7"`,
		`"\\",1`: `"\\","1"`,
	} {
		if got := quoteNumbers([]byte(in)); !bytes.Equal(got, []byte(want)) {
			t.Errorf("%s is %s, want %s", in, got, want)
		}
	}
}
