package emulator

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"math"
	"slices"
	"time"

	"github.com/clipferry/clipferry/tasks"
)

// The states of the API page.
const (
	statusCreated   = "CREATED"
	statusQueued    = "QUEUED"
	statusOngoing   = "ONGOING"
	statusSucceeded = "SUCCEEDED"
	statusFailed    = "FAILED"
)

// task is one accepted task: an export, or another of the calls. What happens to it and when is decided when it is
// accepted; only what clients did with it changes afterwards.
type task struct {
	id, key string // no key: anybody's
	call    *call
	// renders is set if its clips get files.
	renders bool
	project string
	name    string
	export  tasks.Export
	body    []byte
	digest  string
	units   float64
	// accepted and expires are by the clock; the rest by the virtual one.
	accepted, expires      time.Time
	queued, ongoing, ended time.Time
	// fail is the error_message, empty if it will succeed.
	fail  string
	clips []rendered
	// source is the project that a task other than an export has made.
	source *Project

	// lost is set if the submit's answer may not have arrived.
	lost bool
	// reads counts the answered ones, seenEnded is when the first told of the end.
	reads     int
	seenEnded time.Time
}

// rendered is one clip of a task.
type rendered struct {
	Clip
	idx   int
	ready time.Time
}

// weight is how much longer a resolution takes to render than SD_480.
var weight = map[string]float64{"SD_480": 1, "HD_720": 1.5, "FHD_1080": 2, "QHD_2K": 3, "UHD_4K": 5}

// unitsPerMinute is what a minute of clips costs. UHD_4K is what the page's
// example comes to: 48.0 for two clips of a minute each.
var unitsPerMinute = map[string]float64{"SD_480": 4, "HD_720": 6, "FHD_1080": 8, "QHD_2K": 16, "UHD_4K": 24}

const (
	// ordinarySeconds is the length of the export that Render.Median is about.
	ordinarySeconds = 200
	shortestRender  = time.Second
)

// newTask plans the task that body asks for. The caller holds mu.
func (s *Server) newTask(call *call, key string, o order, body []byte) *task {
	e := o.export
	now, virtual := s.now()
	sum := sha256.Sum256(body)
	t := &task{
		key: key, call: call, renders: call == exports || o.EnableExport, project: e.ProjectID, export: e.WithDefaults(), body: body, digest: hex.EncodeToString(sum[:]),
		accepted: now, expires: now.Add(s.opts.Expiry),
	}
	// The same request again is another export, with a fate of its own.
	same := call.kind + " " + t.digest
	round := s.rounds[same]
	s.rounds[same]++
	t.id = call.prefix + name(s.opts.Seed, "task", t.digest, round)
	project := s.project(e.ProjectID)
	t.name = cmp.Or(o.ProjectName, project.Name)
	if call != exports {
		project.Clips = min(project.Clips, cmp.Or(max(o.Limit, 0), project.Clips))
		t.source = &project
	}
	for _, idx := range indices(e, project) {
		t.clips = append(t.clips, rendered{Clip: project.Clip(idx), idx: idx})
	}
	c := newChance(s.opts.Seed, "render", t.digest, round)
	t.fail = project.Fail
	if c.unit() < s.opts.Render.FailRate && t.fail == "" {
		t.fail = "rendering failed, please try again later"
	}
	t.plan(virtual, s.duration(c, t, project), c)
	if t.renders && call != exports {
		t.late(virtual, c)
	}
	t.units = t.cost()
	return t
}

func indices(e tasks.Export, p Project) []int {
	if e.ClipIndices != nil {
		sorted := slices.Clone(e.ClipIndices)
		slices.Sort(sorted)
		return sorted
	}
	all := make([]int, p.Clips)
	for i := range all {
		all[i] = i
	}
	return all
}

func (t *task) seconds() (sum float64) {
	for _, c := range t.clips {
		sum += c.seconds()
	}
	return sum
}

// cost is what the clips cost, in units.
func (t *task) cost() float64 {
	return math.Round(t.seconds()/60*unitsPerMinute[t.export.Resolution]*100) / 100
}

// duration is how long the export takes in virtual time.
func (s *Server) duration(c *chance, t *task, p Project) time.Duration {
	r := s.opts.Render
	switch {
	case p.Render > 0:
		return p.Render
	case r.Fixed > 0:
		return r.Fixed
	}
	factor := t.seconds() / ordinarySeconds * weight[t.export.Resolution]
	if r.Sigma > 0 {
		factor *= math.Exp(r.Sigma * c.normal())
	}
	longest := float64(1000 * time.Hour)
	return max(time.Duration(min(float64(r.Median)*factor, longest)), shortestRender)
}

// plan lays the export's way out over the duration: a moment to be queued, a
// tenth (but no more than 10 s) to wait, then clip after clip as long as each is,
// and a last moment when all are ready and the export is still ongoing.
func (t *task) plan(from time.Time, total time.Duration, c *chance) {
	t.queued = from.Add(min(total/50, time.Second))
	t.ongoing = from.Add(min(total/10, 10*time.Second))
	t.ended = from.Add(total)
	rendering := float64(total-t.ongoing.Sub(from)) * 0.98
	sum, done := t.seconds(), 0.0
	for i := range t.clips {
		done += t.clips[i].seconds()
		t.clips[i].ready = t.ongoing.Add(time.Duration(rendering * done / sum))
	}
	if t.fail != "" {
		t.ended = t.ongoing.Add(time.Duration(rendering * (0.3 + 0.7*c.unit())))
	}
}

func (t *task) status(virtual time.Time) string {
	switch {
	case virtual.Before(t.queued):
		return statusCreated
	case virtual.Before(t.ongoing):
		return statusQueued
	case virtual.Before(t.ended):
		return statusOngoing
	case t.fail != "":
		return statusFailed
	default:
		return statusSucceeded
	}
}

func (t *task) active(virtual time.Time) bool { return virtual.Before(t.ended) }

// ready returns the clips that a read at that moment shows.
func (t *task) ready(virtual time.Time) []rendered {
	if t.status(virtual) == statusFailed {
		return nil
	}
	var out []rendered
	for _, c := range t.clips {
		if !virtual.Before(c.ready) {
			out = append(out, c)
		}
	}
	return out
}

func (t *task) clip(idx int) (rendered, bool) {
	i := slices.IndexFunc(t.clips, func(c rendered) bool { return c.idx == idx })
	if i < 0 {
		return rendered{}, false
	}
	return t.clips[i], true
}
