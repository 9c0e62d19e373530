package pace

import "math"

// markBins is into how many classes guesses are sorted by the share done.
const markBins = 6

// mark is a guess of a render's duration that was made from its progress.
type mark struct {
	Share  float64 `json:"f"` // of the clip seconds that were done
	Mean   float64 `json:"m"` // ln of the duration in seconds
	Spread float64 `json:"s"`
}

func (m mark) bin() int { return min(markBins-1, max(0, int(m.Share*markBins))) }

// progress guesses r's duration from what its last answer said was done.
func (r *Render) progress() (mark, bool) {
	if r.Last == 0 || r.Clips <= 0 {
		return mark{}, false
	}
	age := seconds(r.Last.Sub(r.Started))
	if !(age > 0) {
		return mark{}, false
	}
	n, k := float64(r.Clips), float64(min(r.Ready, r.Clips))
	share := k / n
	if r.Seconds > 0 {
		share = r.Done / r.Seconds
	}
	// Sums of lengths come out a hair over one; beyond it the spread below
	// is the root of a negative number.
	share = min(1, max(0, share))
	reached := min(0.98, share+0.5*(1-share)/(n-k+0.5))
	return mark{
		Share:  share,
		Mean:   math.Log(age / reached),
		Spread: max(0.3, 0.5*math.Sqrt((1-share)/(k+0.5))+0.05),
	}, true
}

// note remembers the guess of the last answer, one for each class of progress.
func (r *Render) note() {
	m, ok := r.progress()
	if !ok {
		return
	}
	for i := range r.Marks {
		if r.Marks[i].bin() == m.bin() {
			r.Marks[i] = m
			return
		}
	}
	r.Marks = append(r.Marks, m)
}

// judge learns from the guesses that were made on r's way, now that the ln of
// its duration is known.
func (l *Learned) judge(r *Render, duration float64) {
	for _, m := range r.Marks {
		bin := m.bin()
		miss := duration - m.Mean
		if math.IsNaN(miss) || m.Spread <= 0 {
			continue
		}
		miss = max(-2, min(2, miss))
		own := (miss - l.Seen.Bias[bin]) / m.Spread
		l.Seen.Bias[bin] += alphaWide * (miss - l.Seen.Bias[bin])
		l.Seen.Ratio[bin] += alphaWide * (min(own*own, clipSquare*4) - l.Seen.Ratio[bin])
	}
}
