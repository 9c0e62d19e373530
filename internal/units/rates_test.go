package units

import (
	"fmt"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
)

func TestRatesAreLearnedByResolutionAndOncePerTask(t *testing.T) {
	rdb := redis.NewClient(&redis.Options{Addr: miniredis.RunT(t).Addr()})
	defer rdb.Close()
	m := New(rdb, "a", 0)
	now := time.Date(2026, 4, 7, 12, 0, 0, 0, time.UTC)
	if r, err := m.Rates(t.Context(), "SD_480"); err != nil || r != (Rates{}) {
		t.Errorf("%+v, %v", r, err)
	}
	for n := range 20 {
		for range 2 {
			if err := m.Learn(t.Context(), fmt.Sprint("task", n), "SD_480", now, 100, float64(100+n)); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = m.Learn(t.Context(), "odd", "SD_480", now, 0, 5)
	_ = m.Learn(t.Context(), "other", "UHD_4K", now, 10, 80)
	if r, err := m.Rates(t.Context(), "SD_480"); err != nil || r != (Rates{Median: 1.1, Low: 1.02, High: 1.17, Samples: 20}) {
		t.Errorf("%+v, %v", r, err)
	}
	if r, err := m.Rates(t.Context(), "UHD_4K"); err != nil || r.Median != 8 || r.Samples != 1 {
		t.Errorf("%+v, %v", r, err)
	}
	for n := range 300 {
		_ = m.Learn(t.Context(), fmt.Sprint("more", n), "SD_480", now.Add(time.Duration(n)*time.Second), 10, 20)
	}
	if r, _ := m.Rates(t.Context(), "SD_480"); r.Samples != keepRates || r.Low != 2 {
		t.Errorf("%+v", r)
	}
}
