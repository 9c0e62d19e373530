package pace

import "math"

// law is what is believed of one render's duration: mostly log-normal around
// the estimate, and a tenth of a much wider one around what was expected before
// any progress was seen, so that an estimate that is wrong starves nobody.
type law struct {
	mu, sigma     float64
	wide, widened float64 // mean and spread of the wide part
}

const wideShare = 0.1

// tail is the standard normal's probability above z.
func tail(z float64) float64 { return 0.5 * math.Erfc(z/math.Sqrt2) }

// survival is the probability that the render takes longer than t seconds.
func (l law) survival(t float64) float64 {
	if t <= 0 {
		return 1
	}
	x := math.Log(t)
	return (1-wideShare)*tail((x-l.mu)/l.sigma) + wideShare*tail((x-l.wide)/l.widened)
}

// idle is the expected time, in seconds, for which the render has been over
// unseen at age a, given that it was still going on at age from.
// It is ∫ (a − u) f(u) du over [from, a], divided by the survival at from.
func (l law) idle(from, a float64) float64 {
	if a <= from {
		return 0
	}
	s := l.survival(from)
	return ((1-wideShare)*partIdle(l.mu, l.sigma, from, a) +
		wideShare*partIdle(l.wide, l.widened, from, a)) / s
}

// partIdle is a·P(from < X ≤ a) − E[X; from < X ≤ a] of one log-normal.
func partIdle(mu, sigma, from, a float64) float64 {
	za := (math.Log(a) - mu) / sigma
	zf := math.Inf(-1)
	if from > 0 {
		zf = (math.Log(from) - mu) / sigma
	}
	mean := math.Exp(mu + sigma*sigma/2)
	p := tail(zf) - tail(za)
	e := mean * (tail(zf-sigma) - tail(za-sigma))
	return max(0, a*p-e)
}

// ended is the probability that the render is over at age a, given that it was
// still going on at age from.
func (l law) ended(from, a float64) float64 {
	if a <= from {
		return 0
	}
	return 1 - l.survival(a)/l.survival(from)
}

// median is the duration that half of the renders exceed, of those that are
// still going on at age from. In seconds.
func (l law) median(from float64) float64 {
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
