package pace

import (
	"math"
	"strconv"
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
	// Clips and Length are the usual number of clips and their seconds.
	Clips  float64 `json:"c,omitempty"`
	Length float64 `json:"s,omitempty"`
	// Bias and Ratio judge the guesses made from progress, by how much was
	// done: the mean error, and the mean square of error over own spread.
	Bias  [markBins]float64 `json:"b"`
	Ratio [markBins]float64 `json:"r"`
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
	l.Seen.Spread = 1
	for i := range l.Seen.Ratio {
		l.Seen.Ratio[i] = 1
	}
	return l
}

// classes names the classes of a render, widest first.
func classes(resolution string, seconds float64) [3]string {
	size := int(math.Floor(math.Log2(max(1, seconds))))
	return [3]string{globalClass, resolution + "/", resolution + "/" + strconv.Itoa(size)}
}

// factor is the expected ln(duration / clip seconds).
func (l *Learned) factor(resolution string, seconds float64) float64 {
	mean := firstFactor
	for i, name := range classes(resolution, seconds) {
		c := l.Classes[name]
		if c == nil {
			continue
		}
		weight := c.Count / (c.Count + shrinkWeight)
		if i == 0 {
			weight = 1
		}
		mean += weight * (c.Mean - mean)
	}
	return mean
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

// law returns what is believed of r's duration, from its class and progress.
func (l *Learned) law(r *Render) law {
	secs, known := l.length(r)
	mu := l.factor(r.Resolution, secs) + math.Log(secs)
	variance := l.Seen.Spread
	if !known {
		variance += guessedSpread
	}
	variance = max(variance, 0.01)
	wide := law{mu: mu, sigma: math.Sqrt(variance), wide: mu}
	wide.widened = max(1.2, 2*wide.sigma)
	if m, ok := r.progress(); ok {
		bin := m.bin()
		mean := m.Mean + l.Seen.Bias[bin]
		own := m.Spread * m.Spread * max(0.05, l.Seen.Ratio[bin])
		wide.mu = (mu/variance + mean/own) / (1/variance + 1/own)
		wide.sigma = math.Sqrt(1 / (1/variance + 1/own))
	}
	if math.IsNaN(wide.mu) || math.IsNaN(wide.sigma) || math.IsInf(wide.mu, 0) {
		wide.mu, wide.sigma = mu, math.Sqrt(variance)
	}
	return wide
}

// guessedSpread is the variance added while the length of the clips is a guess.
const guessedSpread = 0.3

// learn takes in that r took duration seconds, and names the classes that changed.
func (l *Learned) learn(r *Render, duration float64) []string {
	secs, known := l.length(r)
	if duration <= 0 || secs <= 0 {
		return nil
	}
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
	names := classes(r.Resolution, secs)
	for i, name := range names {
		c := l.Classes[name]
		if c == nil {
			c = &Class{}
			l.Classes[name] = c
		}
		alpha := alphaWide
		if i == 2 {
			alpha = alphaNarrow
		}
		c.Count = min(c.Count+1, 1/alpha)
		c.Mean += (z - c.Mean) * max(alpha, 1/c.Count)
	}
	l.judge(r, math.Log(duration))
	if known && r.Clips > 0 {
		l.Seen.Clips = follow(l.Seen.Clips, float64(r.Clips), l.Seen.Ends)
		l.Seen.Length = follow(l.Seen.Length, r.Seconds/float64(r.Clips), l.Seen.Ends)
	}
	l.generation++
	return names[:]
}

// follow is a running mean that starts as a plain one.
func follow(mean, value float64, n int64) float64 {
	if math.IsNaN(value) || math.IsInf(value, 0) {
		return mean
	}
	return mean + (value-mean)*max(alphaWide, 1/float64(n+1))
}
