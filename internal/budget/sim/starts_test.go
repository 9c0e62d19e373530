package sim

import (
	"testing"

	"github.com/clipferry/clipferry/internal/pace"
)

// TestStartsAreHonest compares when exports that wait were said to start with
// when they did.
func TestStartsAreHonest(t *testing.T) {
	t.Parallel()
	for _, median := range []float64{20, 120, 600} {
		r := prepare(Setup{
			Workload: Workload{Median: median, Sigma: 0.5}, Policy: Ours, Shape: Sliding,
			PerMinute: 15, Slots: 5, Workers: 2, Hours: 10, Seed: 4,
		})
		ahead := []int{0, 4, 20, 60}
		type guess struct{ made, said pace.Instant }
		var starts []pace.Instant
		guesses := map[int][]guess{} // by how many are ahead, then by the start
		r.started = func() {
			starts = append(starts, r.now)
			for i, d := range r.state.Starts(r.now, ahead) {
				guesses[i] = append(guesses[i], guess{r.now, r.now.Add(d)})
			}
		}
		r.play()
		for i, n := range ahead[1:] {
			said, did, count := 0.0, 0.0, 0
			for k, g := range guesses[i+1] {
				if k < 30 || k+n+1 >= len(starts) {
					continue // still learning, or not known any more
				}
				said += g.said.Sub(g.made).Seconds()
				did += starts[k+n+1].Sub(g.made).Seconds()
				count++
			}
			ratio := said / did
			t.Logf("median %.0f s, %d ahead: said %.0f s, did %.0f s", median, n, said/float64(count), did/float64(count))
			if ratio < 0.8 || ratio > 1.3 {
				t.Errorf("median %.0f s, %d ahead: said %.2f of what it was", median, n, ratio)
			}
		}
	}
}
