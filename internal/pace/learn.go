package pace

import (
	"math"
	"strconv"
	"strings"
)

const (
	// How fast the averages follow, for all exports and for one resolution,
	// and for one resolution and size.
	alphaWide   = 0.05
	alphaNarrow = 0.1
	alphaSpread = 0.03
	// shrinkWeight is how many observations the wider class is worth.
	shrinkWeight = 2
	// A surprise is clipped, so that one stuck export doesn't teach much.
	clipSquare, clipSigmas = 4, 3

	globalClass = "*"
	// What is assumed before anything was seen.
	firstClips   = 8.0
	firstSeconds = 40.0
	firstFactor  = 0.0 // ln of seconds of rendering for a second of clip
)

// Class is a running average of ln(duration / clip seconds) over one class of
// exports.
type Class struct {
	Mean  float64 `json:"m"`
	Count float64 `json:"n"`
}

// Seen is what was learned besides the classes.
type Seen struct {
	// Spread is the variance of the one-step-ahead errors of the estimate.
	Spread float64 `json:"v"`
	// Blind is the same for exports whose size isn't known beforehand.
	Blind float64 `json:"u"`
	// Clips and Length are the usual number of clips and their seconds.
	Clips  float64 `json:"c,omitempty"`
	Length float64 `json:"s,omitempty"`
	// Bias and Ratio judge the guesses made from progress, by how much was
	// done: the mean error, and the mean square of error over own spread.
	Bias  [markBins]float64 `json:"b"`
	Ratio [markBins]float64 `json:"r"`
	// Trust is the probability that what progress says is true.
	Trust [markBins]float64 `json:"t"`
	// Aggregates for status and metrics, in seconds.
	Ends      int64   `json:"ends"`
	Lag       float64 `json:"lag"`  // running mean of the estimated lag
	Real      float64 `json:"real"` // running mean of durations
	Predicted float64 `json:"pred"` // the same of what was predicted
	Miss      float64 `json:"miss"` // running mean of |ln(real/predicted)|
	// Pace of the starts: mean time between two accepted submits.
	Every   float64 `json:"every,omitempty"`
	Started Instant `json:"started,omitempty"`
}

// Learned is what the fleet knows about render times.
type Learned struct {
	Classes    map[string]*Class
	Seen       Seen
	generation int
}

func newLearned() Learned {
	l := Learned{Classes: map[string]*Class{}, generation: 1}
	l.Seen.Spread, l.Seen.Blind = 1, 1.5
	for i := range l.Seen.Ratio {
		l.Seen.Ratio[i], l.Seen.Trust[i] = 1, firstTrust
	}
	return l
}

// classes names the classes of a render, widest first.
func classes(resolution string, seconds float64) []string {
	size := int(math.Floor(math.Log2(max(1, seconds))))
	return []string{widest(resolution), resolution + "/", resolution + "/" + strconv.Itoa(size)}
}

// factor is the expected ln(duration / clip seconds).
func (l *Learned) factor(resolution string, seconds float64) float64 {
	return l.mean(firstFactor, classes(resolution, seconds))
}

// mean is what the classes expect, widest first: each draws it nearer to its own
// mean the more it has seen, and the widest replaces what was assumed before.
func (l *Learned) mean(assumed float64, names []string) float64 {
	for i, name := range names {
		c := l.Classes[name]
		if c == nil {
			continue
		}
		weight := c.Count / (c.Count + shrinkWeight)
		if i == 0 {
			weight = 1
		}
		assumed += weight * (c.Mean - assumed)
	}
	return assumed
}

// observe moves the mean of a class towards z.
func (l *Learned) observe(name string, z, alpha float64) {
	c := l.Classes[name]
	if c == nil {
		c = &Class{}
		l.Classes[name] = c
	}
	c.Count = min(c.Count+1, 1/alpha)
	c.Mean += (z - c.Mean) * max(alpha, 1/c.Count)
}

// length returns the seconds of clip of r, and whether an answer said so.
func (l *Learned) length(r *Render) (float64, bool) {
	if r.Seconds > 0 {
		return r.Seconds, true
	}
	one := l.Seen.Length
	if one <= 0 {
		one = firstSeconds
	}
	n := float64(max(r.Clips, r.Asked))
	if n == 0 {
		n = l.Seen.Clips
	}
	if n <= 0 {
		n = firstClips
	}
	return n * one, false
}

// blind is the expected ln of the duration of an export whose size is unknown.
func (l *Learned) blind(resolution string) float64 {
	return l.mean(firstFactor+math.Log(firstClips*firstSeconds), blindClasses(resolution))
}

func blindClasses(resolution string) []string {
	return []string{widest(resolution) + "/all", resolution + "/all"}
}

// widest is the class of all renders that are comparable: what is passed through is
// no export, and says in place of a resolution what it is, after a colon.
func widest(resolution string) string {
	kind, _, passed := strings.Cut(resolution, ":")
	if !passed {
		return globalClass
	}
	return kind + ":" + globalClass
}

// prior is the expected ln of r's duration and its variance, before any
// progress.
func (l *Learned) prior(r *Render) (mu, variance float64) {
	if r.Seconds <= 0 && r.Asked == 0 && r.Clips == 0 {
		return l.blind(r.Resolution), l.Seen.Blind
	}
	secs, _ := l.length(r)
	return l.factor(r.Resolution, secs) + math.Log(secs), l.Seen.Spread
}

// model returns what is believed of r's duration, from its class and progress.
func (l *Learned) model(r *Render) durationModel {
	mu, variance := l.prior(r)
	sigma := math.Sqrt(max(variance, 0.01))
	usual := part{1 - wideShare, mu, sigma}
	wide := part{wideShare, mu, max(1.2, 2*sigma)}
	m, ok := r.progress()
	if !ok {
		return durationModel{usual, wide}
	}
	guess := l.fromProgress(m, usual)
	guess.weight = (1 - wideShare) * l.Seen.Trust[m.bin()]
	usual.weight -= guess.weight
	return durationModel{guess, usual, wide}
}

// fromProgress is what a guess from progress says of the duration, together with what
// is usual, each weighted by its precision.
func (l *Learned) fromProgress(m mark, usual part) part {
	bin := m.bin()
	a, b := 1/(usual.sigma*usual.sigma), 1/(m.Spread*m.Spread*max(0.05, l.Seen.Ratio[bin]))
	p := part{1, (usual.mu*a + (m.Mean+l.Seen.Bias[bin])*b) / (a + b), math.Sqrt(1 / (a + b))}
	if math.IsNaN(p.mu+p.sigma) || math.IsInf(p.mu, 0) || p.sigma <= 0 {
		return usual
	}
	return p
}

// learn takes in that r took duration seconds, and names the classes that changed.
func (l *Learned) learn(r *Render, duration float64) []string {
	secs, known := l.length(r)
	if duration <= 0 || secs <= 0 {
		return nil
	}
	mu, variance := l.prior(r)
	usual := part{1, mu, math.Sqrt(max(variance, 0.01))}
	z := math.Log(duration / secs)
	miss := z - l.factor(r.Resolution, secs)
	if math.IsNaN(miss) || math.IsInf(miss, 0) {
		return nil
	}
	sigma := math.Sqrt(l.Seen.Spread)
	if len(l.Classes) > 0 {
		miss = min(miss, clipSigmas*sigma)
	}
	z = l.factor(r.Resolution, secs) + miss
	l.Seen.Spread += alphaSpread * (min(miss*miss, clipSquare) - l.Seen.Spread)
	changed := classes(r.Resolution, secs)
	for i, name := range changed {
		alpha := alphaWide
		if i == 2 {
			alpha = alphaNarrow
		}
		l.observe(name, z, alpha)
	}
	if r.Asked == 0 {
		miss := min(math.Log(duration)-l.blind(r.Resolution), clipSigmas*math.Sqrt(l.Seen.Blind))
		l.Seen.Blind += alphaSpread * (min(miss*miss, clipSquare) - l.Seen.Blind)
		z := l.blind(r.Resolution) + miss
		for _, name := range blindClasses(r.Resolution) {
			l.observe(name, z, alphaWide)
			changed = append(changed, name)
		}
	}
	l.score(r, math.Log(duration), usual)
	if known && r.Clips > 0 {
		l.Seen.Clips = follow(l.Seen.Clips, float64(r.Clips), l.Seen.Ends)
		l.Seen.Length = follow(l.Seen.Length, r.Seconds/float64(r.Clips), l.Seen.Ends)
	}
	l.generation++
	return changed
}

// follow is a running mean that starts as a plain one.
func follow(mean, value float64, n int64) float64 {
	if math.IsNaN(value) || math.IsInf(value, 0) {
		return mean
	}
	return mean + (value-mean)*max(alphaWide, 1/float64(n+1))
}
