package sim

import "slices"

// Figures are what a run showed. Times are in seconds.
type Figures struct {
	Busy                float64 // share of the slots' time that rendered; 1 is clairvoyant
	Mean, P50, P95, P99 float64 // lag
	Requests            float64 // an export
	RateRefusals        int
	SlotRefusals        int
	Gap                 float64 // longest between two reads of one export
	Exports             int
	Refill              float64 // mean from a read that sees an end to the submit
	StrangersRefused    float64 // share
	// Passed counts the tasks that clients passed through, PassedWait is the mean
	// from a first try to the acceptance, PassedLongest the longest, PassedLag the
	// mean lag, AnswerAge the 95th percentile of the age of what readers are given.
	Passed                               int
	PassedWait, PassedLongest, PassedLag float64
	AnswerAge                            float64
	Tenants                              map[string]*TenantFigures
}

func (r *run) sum() Figures {
	f := r.figures
	for _, x := range r.renders {
		if x.began != 0 {
			r.busy += min(r.end, x.ends).Sub(x.began).Seconds()
		}
	}
	f.Exports = len(r.lags)
	f.Passed, f.PassedWait, f.PassedLag = len(r.passing.waits), mean(r.passing.waits), mean(r.passing.lags)
	for _, wait := range r.passing.waits {
		f.PassedLongest = max(f.PassedLongest, wait)
	}
	if n := len(r.passing.ages); n > 0 {
		slices.Sort(r.passing.ages)
		f.AnswerAge = r.passing.ages[min(n-1, n*95/100)]
	}
	f.Busy = r.busy / (float64(max(1, r.Slots)) * r.Hours * 3600)
	slices.Sort(r.lags)
	at := func(p float64) float64 {
		if len(r.lags) == 0 {
			return 0
		}
		return r.lags[min(len(r.lags)-1, int(p*float64(len(r.lags))))]
	}
	f.P50, f.P95, f.P99 = at(0.5), at(0.95), at(0.99)
	f.Mean = mean(r.lags)
	f.Refill = mean(r.refills)
	f.Requests = float64(r.requests) / float64(max(1, f.Exports+len(r.passing.lags)))
	if r.strange[0] > 0 {
		f.StrangersRefused = float64(r.strange[1]) / float64(r.strange[0])
	}
	return f
}

func mean(xs []float64) float64 {
	if len(xs) == 0 {
		return 0
	}
	sum := 0.0
	for _, x := range xs {
		sum += x
	}
	return sum / float64(len(xs))
}

// Median is the middle of what the runs show.
func Median(all []Figures, of func(Figures) float64) float64 {
	var xs []float64
	for _, f := range all {
		xs = append(xs, of(f))
	}
	slices.Sort(xs)
	n := len(xs)
	return (xs[(n-1)/2] + xs[n/2]) / 2
}
