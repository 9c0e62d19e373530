package emulator

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Routes that a Fault and a Request name.
const (
	RouteSubmit    = "submit"
	RouteRead      = "read"
	RouteClip      = "clip"
	RouteThumbnail = "thumbnail"
	// RouteCreate is the POST of a task that is no export, RouteResults the GET of
	// its results, RouteUpload the POST that asks where to put a file.
	RouteCreate  = "create"
	RouteResults = "results"
	RouteUpload  = "upload"
)

// Kind is what a fault does.
type Kind string

// The kinds of fault, with the fields of Fault that each looks at.
const (
	// FaultStatus answers Status (300 to 599) with RetryAfter and Message; nothing is
	// done, unless Acted is set: then the submit is accepted and charged before.
	FaultStatus Kind = "status"
	// FaultReset resets the connection; nothing is done.
	FaultReset Kind = "reset"
	// FaultLost does what was asked for (a submit is accepted and charged) and resets
	// the connection instead of answering.
	FaultLost Kind = "lost"
	// FaultDelay waits for Delay of real time before anything is done.
	FaultDelay Kind = "delay"
	// FaultStall sends Bytes of the answer's body (if 0, not even its header) and then
	// nothing, for Delay or, if 0, until the client leaves.
	FaultStall Kind = "stall"
	// FaultSlow sends the body at Rate bytes a second.
	FaultSlow Kind = "slow"
	// FaultTruncate closes the connection after Bytes of the body. With Clean, a body
	// without length ends as if it were whole (together with FaultNoLength).
	FaultTruncate Kind = "truncate"
	// FaultErrorPage answers a page of HTML with status 200; nothing is done.
	FaultErrorPage Kind = "error_page"
	// FaultBody answers Body with Status (200 if 0), after doing what was asked for.
	FaultBody Kind = "body"
	// FaultRedirect answers Status (302 if 0) to URL; nothing is done.
	FaultRedirect Kind = "redirect"

	// FaultMalformed cuts the JSON in half.
	FaultMalformed Kind = "malformed"
	// FaultHuge puts Bytes (300 MB if 0) more into the JSON.
	FaultHuge Kind = "huge"
	// FaultBomb answers Bytes (300 MB if 0) of blanks, gzipped, asked for or not.
	FaultBomb Kind = "bomb"
	// FaultStrings writes numbers as strings.
	FaultStrings Kind = "strings"
	// FaultCode wraps the answer into an envelope with Code ("0" if empty) and Message;
	// with another code there is no data, and nothing is done.
	FaultCode Kind = "code"
	// FaultNoLink leaves out export_link of Clip (of all if nil) in reads that say SUCCEEDED.
	FaultNoLink Kind = "no_link"
	// FaultNoClip leaves out Clip (all if nil) in reads that say SUCCEEDED.
	FaultNoClip Kind = "no_clip"
	// FaultLink puts URL in the place of export_link of Clip (of all if nil).
	FaultLink Kind = "link"

	// FaultDeadLink answers Status (403 if 0) as if the link had expired.
	FaultDeadLink Kind = "dead_link"
	// FaultChanged serves another file of the same size, with another ETag (the same
	// with KeepETag); if Bytes isn't 0, another file from that byte on.
	FaultChanged Kind = "changed"
	// FaultContentRange answers a wrong Content-Range.
	FaultContentRange Kind = "content_range"
	// FaultIgnoreRange answers a ranged request with 200 and the whole.
	FaultIgnoreRange Kind = "ignore_range"
	// FaultNoLength sends no Content-Length.
	FaultNoLength Kind = "no_length"
	// FaultNoETag sends no ETag and no Last-Modified.
	FaultNoETag Kind = "no_etag"
)

// Fault is something that goes wrong, and when. All conditions must hold; several
// faults may meet in one request.
type Fault struct {
	// ID names it for DELETE; given by the server.
	ID   string `json:"id,omitempty"`
	Kind Kind   `json:"kind"`
	// Route is submit, read, create, results, upload, clip or thumbnail; empty is each that fits the kind.
	Route string `json:"route,omitempty"`
	// Project is a project_id (a project_name, where one is made), or the beginning of some followed by "*".
	Project string `json:"project,omitempty"`
	// Task is an export_task_id.
	Task string `json:"task,omitempty"`
	// Clip is a clip's idx.
	Clip *int `json:"clip,omitempty"`
	// After lets that many requests pass that all else holds for.
	After int `json:"after,omitempty"`
	// Count is how many requests are then hit; 0 is all.
	Count int `json:"count,omitempty"`
	// Probability hits that share of them, by the seed; 0 is all.
	Probability float64 `json:"probability,omitempty"`

	Status     int      `json:"status,omitempty"`
	RetryAfter string   `json:"retry_after,omitempty"`
	Message    string   `json:"message,omitempty"`
	Code       string   `json:"code,omitempty"`
	Delay      Duration `json:"delay,omitzero"`
	Bytes      int64    `json:"bytes,omitempty"`
	Rate       int64    `json:"rate,omitempty"`
	URL        string   `json:"url,omitempty"`
	Body       string   `json:"body,omitempty"`
	Acted      bool     `json:"acted,omitempty"`
	Clean      bool     `json:"clean,omitempty"`
	KeepETag   bool     `json:"keep_etag,omitempty"`
}

// Duration is a time.Duration that JSON writes as "1.5s".
type Duration time.Duration

// MarshalText writes what time.ParseDuration reads.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText reads what time.ParseDuration does.
func (d *Duration) UnmarshalText(b []byte) error {
	parsed, err := time.ParseDuration(string(b))
	if err != nil {
		return fmt.Errorf("delay: must be a duration such as 1.5s: %w", err)
	}
	*d = Duration(parsed)
	return nil
}

// Request is what a fault is chosen by.
type Request struct {
	Route, Project, Task string
	// Clip is the idx of a clip or thumbnail that is asked for, else -1.
	Clip int
	// Status is the task's, if there is one.
	Status string
	// HTTP is the request itself; its body has been read.
	HTTP *http.Request
}

var (
	anywhere = []string{RouteSubmit, RouteRead, RouteCreate, RouteResults, RouteUpload, RouteClip, RouteThumbnail}
	apiOnly  = []string{RouteSubmit, RouteRead, RouteCreate, RouteResults, RouteUpload}
	readOnly = []string{RouteRead, RouteResults}
	cdnOnly  = []string{RouteClip, RouteThumbnail}
	clipOnly = []string{RouteClip}
)

// fits says where each kind makes sense.
var fits = map[Kind][]string{
	FaultStatus: anywhere, FaultReset: anywhere, FaultLost: anywhere, FaultDelay: anywhere, FaultStall: anywhere, FaultSlow: anywhere,
	FaultTruncate: anywhere, FaultErrorPage: anywhere, FaultBody: anywhere, FaultRedirect: anywhere, FaultNoLength: anywhere,
	FaultMalformed: apiOnly, FaultHuge: apiOnly, FaultBomb: anywhere, FaultStrings: apiOnly, FaultCode: apiOnly,
	FaultNoLink: readOnly, FaultNoClip: readOnly, FaultLink: readOnly,
	FaultDeadLink: cdnOnly, FaultContentRange: cdnOnly, FaultIgnoreRange: cdnOnly, FaultNoETag: cdnOnly, FaultChanged: clipOnly,
}

func (f Fault) validate() error {
	where, known := fits[f.Kind]
	var errs []error
	need := func(ok bool, message string) {
		if !ok {
			errs = append(errs, errors.New(message))
		}
	}
	need(known, fmt.Sprintf("kind: %q is none of those that the page lists", f.Kind))
	need(!known || f.Route == "" || slices.Contains(where, f.Route),
		fmt.Sprintf("route: must be one of %s for %s", strings.Join(where, ", "), f.Kind))
	need(f.After >= 0 && f.Count >= 0 && f.Bytes >= 0 && f.Rate >= 0 && f.Delay >= 0,
		"after, count, bytes, rate, delay: must not be negative")
	need(f.Probability >= 0 && f.Probability <= 1, "probability: must be 0 to 1")
	need(f.Status == 0 && f.Kind != FaultStatus || f.Status >= 200 && f.Status <= 599, "status: must be 200 to 599")
	need(f.Kind != FaultDelay || f.Delay > 0, "delay: required")
	need(f.Kind != FaultSlow || f.Rate > 0, "rate: required, in bytes a second")
	if _, err := url.Parse(f.URL); f.Kind == FaultRedirect {
		need(f.URL != "" && err == nil, "url: required")
		need(f.Status == 0 || f.Status/100 == 3, "status: must be 3xx")
	}
	need(!strings.ContainsAny(f.RetryAfter, "\r\n"), "retry_after: must be one line")
	return errors.Join(errs...)
}

func (f Fault) matches(r Request) bool {
	if !slices.Contains(fits[f.Kind], r.Route) || f.Route != "" && f.Route != r.Route {
		return false
	}
	if beginning, open := strings.CutSuffix(f.Project, "*"); open {
		if !strings.HasPrefix(r.Project, beginning) {
			return false
		}
	} else if f.Project != "" && f.Project != r.Project {
		return false
	}
	if f.Task != "" && f.Task != r.Task {
		return false
	}
	if f.Clip != nil && r.Clip >= 0 && *f.Clip != r.Clip {
		return false
	}
	return f.Kind != FaultNoLink && f.Kind != FaultNoClip || r.Status == statusSucceeded
}

// concerns reports whether a fault about the clips in an answer is about idx.
func (f Fault) concerns(idx int) bool { return f.Clip == nil || *f.Clip == idx }

// Armed is a fault in force.
type Armed struct {
	Fault
	// Seen counts the requests that matched, Hits those that it was done to.
	Seen int `json:"seen"`
	Hits int `json:"hits"`
}

// faults are those in force, in the order in which they were ordered.
type faults struct {
	list []*Armed
	last int
}

// plan is the faults of one request.
type plan []Fault

func (p plan) get(k Kind) (Fault, bool) {
	i := slices.IndexFunc(p, func(f Fault) bool { return f.Kind == k })
	if i < 0 {
		return Fault{}, false
	}
	return p[i], true
}

func (p plan) has(k Kind) bool {
	_, ok := p.get(k)
	return ok
}

// plan counts the request and returns what will go wrong with it.
func (s *Server) plan(r Request) plan {
	var p plan
	if s.opts.OnRequest != nil {
		p = s.opts.OnRequest(r)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.faults.list {
		if !a.matches(r) {
			continue
		}
		a.Seen++
		over := a.Count > 0 && a.Hits >= a.Count
		if a.Seen <= a.After || over || !a.struck(s.opts.Seed) {
			continue
		}
		a.Hits++
		p = append(p, a.Fault)
	}
	return p
}

// struck draws by the fault's probability.
func (a *Armed) struck(seed uint64) bool {
	return a.Probability == 0 || newChance(seed, "fault", a.ID, a.Seen).unit() < a.Probability
}

// Inject puts a fault in force and returns its id.
func (s *Server) Inject(f Fault) (id string, err error) {
	if err := f.validate(); err != nil {
		return "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults.last++
	f.ID = "f" + strconv.Itoa(s.faults.last)
	s.faults.list = append(s.faults.list, &Armed{Fault: f})
	return f.ID, nil
}

// Clear ends the fault of that id, or all if it is empty, and reports whether
// there was any.
func (s *Server) Clear(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := len(s.faults.list)
	s.faults.list = slices.DeleteFunc(s.faults.list, func(a *Armed) bool { return id == "" || a.ID == id })
	return len(s.faults.list) < before
}
