package pace

import "math"

// durationModel is what is believed of one render's duration: a mixture of log-normals.
// One is for the render's progress, one for what is usual for its class,
// and a tenth for a much wider one, so that an estimate that is wrong starves
// nobody.
type durationModel [3]part

// part is one log-normal of a model.
type part struct{ weight, mu, sigma float64 }

// wideShare is the weight of the wide part.
const wideShare = 0.1

// tail is the standard normal's probability above z.
func tail(z float64) float64 { return 0.5 * math.Erfc(z/math.Sqrt2) }

// survival is the probability that the render takes longer than t seconds.
func (l *durationModel) survival(t float64) float64 {
	if t <= 0 {
		return 1
	}
	x, s := math.Log(t), 0.0
	for _, p := range l {
		if p.weight > 0 {
			s += p.weight * tail((x-p.mu)/p.sigma)
		}
	}
	return s
}

// idle is ∫ (a − u) f(u) du over [from, a], in seconds: over all renders like
// this one, the time for which they have been over at age a, of those that
// ended after age from.
func (l *durationModel) idle(from, a float64) float64 {
	if a <= from {
		return 0
	}
	la, lf, sum := math.Log(a), math.Inf(-1), 0.0
	if from > 0 {
		lf = math.Log(from)
	}
	for _, p := range l {
		if p.weight <= 0 {
			continue
		}
		// a·P(from < X ≤ a) − E[X; from < X ≤ a]
		za, zf := (la-p.mu)/p.sigma, (lf-p.mu)/p.sigma
		mean := math.Exp(p.mu + p.sigma*p.sigma/2)
		sum += p.weight * max(0, a*(tail(zf)-tail(za))-mean*(tail(zf-p.sigma)-tail(za-p.sigma)))
	}
	return sum
}

// median is the duration that half of the renders exceed, of those that are
// still going on at age from. In seconds.
func (l *durationModel) median(from float64) float64 {
	half := l.survival(from) / 2
	low, high := max(from, 1e-3), max(from, 1)*2
	for i := 0; l.survival(high) > half && i < 60; i++ {
		high *= 2
	}
	for range 40 {
		mid := (low + high) / 2
		if l.survival(mid) > half {
			low = mid
		} else {
			high = mid
		}
	}
	return (low + high) / 2
}

// density is the ln of the part's density of ln duration at x, given that the
// render took longer than age seconds.
func (p part) density(x, age float64) float64 {
	z := (x - p.mu) / p.sigma
	s := 1.0
	if age > 0 {
		s = tail((math.Log(age) - p.mu) / p.sigma)
	}
	return -z*z/2 - math.Log(p.sigma) - math.Log(max(s, 1e-300))
}
