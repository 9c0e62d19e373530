package catalog

import "testing"

// What it costs to take clips up, apart from reading them.
func BenchmarkAdd(b *testing.B) {
	lines := corpus(5000)
	b.ResetTimer()
	for range b.N {
		NewIndex().Add(lines...)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/5000, "ns/clip")
}
