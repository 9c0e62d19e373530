package pace

import "math"

// markBins is into how many classes guesses are sorted by the share done; the
// last one is for renders whose clips are all done and that go on all the same.
const markBins = 7

// mark is a guess of a render's duration that was made from its progress.
type mark struct {
	Age    float64 `json:"a"` // of the render, in seconds
	Share  float64 `json:"f"` // of the clip seconds that were done
	Mean   float64 `json:"m"` // ln of the duration in seconds
	Spread float64 `json:"s"`
	// The last guess of the same class. The first is the one to be trusted or
	// not: just before the end, even a guess that misleads is right.
	LastMean   float64 `json:"lm,omitempty"`
	LastSpread float64 `json:"ls,omitempty"`
}

func (m mark) bin() int {
	if m.Share > 0.98 {
		return markBins - 1
	}
	return max(0, int(m.Share*(markBins-1)))
}

// share is how much of r's clips is done, by length where lengths are known.
func (r *Render) share() float64 {
	share := float64(min(r.Ready, r.Clips)) / float64(r.Clips)
	if r.Seconds > 0 {
		share = r.Done / r.Seconds
	}
	// Sums of lengths come out slightly over one; beyond it the spreads below
	// are roots of negative numbers, and such an export is never read again.
	return min(1, max(0, share))
}

// progress guesses r's duration from what its answers so far said was done.
func (r *Render) progress() (mark, bool) {
	age := r.Last.Sub(r.Started).Seconds()
	if r.Last == 0 || r.Clips <= 0 || !(age > 0) {
		return mark{}, false
	}
	share, left := r.share(), float64(r.Clips-min(r.Ready, r.Clips))
	done := float64(r.Clips) - left
	if r.High == 0 {
		// Nothing is done: as if the clip at work were half done.
		reached := min(0.98, share+0.5*(1-share)/(left+0.5))
		return mark{
			Age: age, Share: share, Mean: math.Log(age / reached),
			Spread: max(0.3, 0.5*math.Sqrt((1-share)/(done+0.5))+0.05),
		}, true
	}
	// The bounds, and that what is left may go slower or faster than what was.
	width := r.High - r.Low
	noise := 0.4*math.Sqrt((1-share)/(done+0.5)) + 0.05
	return mark{
		Age: age, Share: share, Mean: (r.Low + r.High) / 2,
		Spread: math.Sqrt(width*width/12 + noise*noise),
	}, true
}

// narrow bounds the duration by one more answer: if the clips take their time
// by their length, then what is done can't have taken longer than the age, nor
// what is done and the clip at work less. Older bounds loosen with each answer,
// because clips don't quite keep to their length.
func (r *Render) narrow() {
	age := r.Last.Sub(r.Started).Seconds()
	if r.Clips <= 0 || !(age > 0) {
		return
	}
	share, left := r.share(), float64(r.Clips-min(r.Ready, r.Clips))
	next := 1.0
	if left > 0 {
		next = min(1, share+(1-share)/left)
	}
	low, high := math.Log(age/next), 0.0
	if share > 0 {
		high = math.Log(age / min(share, 0.97))
	}
	if r.Low != 0 {
		low = max(low, r.Low-loosen)
	}
	switch {
	case r.High != 0 && high != 0:
		high = min(high, r.High+loosen)
	case r.High != 0:
		high = r.High + loosen
	}
	if high != 0 && low > high {
		low, high = (low+high)/2-0.01, (low+high)/2+0.01
	}
	r.Low, r.High = low, high
}

// loosen is by how much a bound loosens with each answer.
const loosen = 0.1

// note remembers the guess of the last answer, one for each class of progress.
func (r *Render) note() {
	m, ok := r.progress()
	if !ok {
		return
	}
	for i := range r.Marks {
		if r.Marks[i].bin() == m.bin() {
			r.Marks[i].LastMean, r.Marks[i].LastSpread = m.Mean, m.Spread
			return
		}
	}
	m.LastMean, m.LastSpread = m.Mean, m.Spread
	r.Marks = append(r.Marks, m)
}

// score learns from the guesses that were made on r's way, now that the ln of
// its duration is known. Progress may mislead (clips that all come at the end,
// or all at once at the beginning), so each guess is weighed against what is
// usual: the trust in it follows the probability that it was the better one,
// and what it teaches about guesses counts by the same.
func (l *Learned) score(r *Render, duration float64, usual part) {
	for _, m := range r.Marks {
		bin := m.bin()
		if !(m.Spread > 0) || !(m.Age > 0) {
			continue
		}
		trust := l.Seen.Trust[bin]
		better := l.fromProgress(m, usual).density(duration, m.Age) - usual.density(duration, m.Age)
		share := trust / (trust + (1-trust)*math.Exp(-better))
		miss := max(-2, min(2, duration-m.LastMean))
		own := (miss - l.Seen.Bias[bin]) / m.LastSpread
		if math.IsNaN(share + own) {
			continue
		}
		l.Seen.Trust[bin] = max(leastTrust, min(1-leastTrust, trust+alphaWide*(share-trust)))
		l.Seen.Bias[bin] += alphaWide * share * (miss - l.Seen.Bias[bin])
		l.Seen.Ratio[bin] += alphaWide * share * (min(own*own, 16) - l.Seen.Ratio[bin])
	}
}

// firstTrust is the trust in progress before any was judged, leastTrust how
// little is always left to either side.
const firstTrust, leastTrust = 0.8, 0.02
