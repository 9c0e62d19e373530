package emulator

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

const (
	defaultExpiry       = 72 * time.Hour
	defaultLinkLifetime = 24 * time.Hour
	defaultMedian       = 2 * time.Minute
	defaultSigma        = 0.5
)

// Options configure a Server. The zero value is a provider without limits that
// accepts any key and renders in about two minutes.
type Options struct {
	// Keys are the API keys that are accepted; any that isn't empty if there are none.
	Keys []string
	// Limits are those of each key. Zero ones don't limit; DocumentedLimits are the provider's.
	Limits Limits
	// Now is the clock; time.Now if nil.
	Now func() time.Time
	// Speed is how much faster than the clock exports are rendered and windows of
	// the rate limit pass; 1 if zero. Expiry and LinkLifetime are not shortened,
	// since a client compares them with its own clock.
	Speed float64
	// Seed decides everything that isn't given.
	Seed uint64
	// Render says how long exports take.
	Render Render
	// Expiry is how long a task is known after its submit; 3 days if zero.
	Expiry time.Duration
	// LinkLifetime is how long a link works after the read that gave it; a day if zero.
	LinkLifetime time.Duration
	// PublicURL is what links begin with, such as "http://127.0.0.1:8090"; if empty,
	// the address that the read was sent to.
	PublicURL string
	// Project describes the project of an id; SampleProject if nil. It must be pure,
	// and not call the Server.
	Project func(id string) Project
	// AnyProject has every project be there, clipped and rendered, as every one can be
	// exported. Without it only those that were made here can be read, as a preflight does.
	AnyProject bool
	// ClipSize is the size of a clip in bytes when its project doesn't say, up to
	// 50 GB; if zero, some tens of KB that differ from clip to clip.
	ClipSize int64
	// Faults are in force from the beginning; see Server.Inject.
	Faults []Fault
	// OnRequest is asked for the faults of each request, besides those in force.
	// It is called by several goroutines at once.
	OnRequest func(Request) []Fault
}

// Render says how long the provider takes from a submit to the end, before Speed.
type Render struct {
	// Fixed is the duration of every export; if zero, durations are log-normal.
	Fixed time.Duration
	// Median is the duration of an ordinary export: 5 clips of 40 s each in SD_480.
	// More clips and higher resolutions take longer in proportion; 2 min if zero.
	Median time.Duration
	// Sigma is the spread, the standard deviation of the duration's logarithm;
	// 0.5 if zero, none if negative.
	Sigma float64
	// FailRate is the share of exports that fail, 0 to 1.
	FailRate float64
}

// Server is an emulated provider. It is an http.Handler and safe for concurrent use.
type Server struct {
	opts  Options
	mux   *http.ServeMux
	start time.Time
	// signing is the key of the links' signatures.
	signing [sha256.Size]byte

	mu     sync.Mutex
	limits Limits
	keys   map[string]*limiter
	tasks  map[string]*task
	files  map[string]*upload
	order  []*task // as accepted
	rounds map[string]int
	counts counts
	faults faults
}

// New returns a Server, or an error that names every option that is wrong.
func New(o Options) (*Server, error) {
	fill(&o)
	errs := []error{o.Limits.validate(), o.Render.validate()}
	if o.Speed < 0 || o.Speed > 1e6 {
		errs = append(errs, errors.New("speed: must be above 0 and at most 1,000,000"))
	}
	if o.Expiry < 0 || o.LinkLifetime < 0 {
		errs = append(errs, errors.New("expiry and link lifetime: must not be negative"))
	}
	if o.ClipSize < 0 || o.ClipSize > maxClipSize {
		errs = append(errs, fmt.Errorf("clip size: must be 0 to %d bytes", maxClipSize))
	}
	if u, err := url.Parse(o.PublicURL); o.PublicURL != "" && (err != nil || u.Scheme == "" || u.Host == "") {
		errs = append(errs, errors.New("public url: must be an address such as http://127.0.0.1:8090"))
	}
	s := &Server{
		opts: o, start: o.Now(), limits: o.Limits,
		signing: sha256.Sum256(fmt.Appendf(nil, "clipferry emulator links %d", o.Seed)),
	}
	s.reset()
	for i, f := range o.Faults {
		if _, err := s.Inject(f); err != nil {
			errs = append(errs, fmt.Errorf("fault %d: %w", i+1, err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("emulator: %w", err)
	}
	s.routes()
	return s, nil
}

func fill(o *Options) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Speed == 0 {
		o.Speed = 1
	}
	if o.Expiry == 0 {
		o.Expiry = defaultExpiry
	}
	if o.LinkLifetime == 0 {
		o.LinkLifetime = defaultLinkLifetime
	}
	if o.Project == nil {
		seed := o.Seed
		o.Project = func(id string) Project { return SampleProject(seed, id) }
	}
	if o.Render.Median == 0 {
		o.Render.Median = defaultMedian
	}
	if o.Render.Sigma == 0 {
		o.Render.Sigma = defaultSigma
	}
	o.PublicURL = strings.TrimRight(o.PublicURL, "/")
}

func (r Render) validate() error {
	if r.Fixed < 0 || r.Median < 0 || !(r.FailRate >= 0 && r.FailRate <= 1) || !(r.Sigma <= 3) {
		return errors.New("render: durations must not be negative, the share of failures 0 to 1, sigma at most 3")
	}
	return nil
}

// reset forgets everything that was submitted and counted. The caller holds mu,
// or is alone.
func (s *Server) reset() {
	s.keys = map[string]*limiter{}
	s.tasks = map[string]*task{}
	s.files = map[string]*upload{}
	s.order = nil
	s.rounds = map[string]int{}
	s.counts = newCounts()
}

// now returns the clock's time and the time that has passed for the renderer and
// the rate limit, which is Speed times as much since the start.
func (s *Server) now() (real, virtual time.Time) {
	real = s.opts.Now()
	return real, s.virtual(real)
}

func (s *Server) virtual(real time.Time) time.Time {
	passed := float64(real.Sub(s.start)) * s.opts.Speed
	return s.start.Add(time.Duration(passed))
}

// realOf is the other way round.
func (s *Server) realOf(virtual time.Time) time.Time {
	return s.start.Add(time.Duration(float64(virtual.Sub(s.start)) / s.opts.Speed))
}
