package units

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// keepRates is how many charges of a resolution are remembered.
const keepRates = 200

// Learn remembers what a task of the resolution, of so many seconds of video, was
// charged. The same task counts once.
func (m *Meter) Learn(ctx context.Context, task, resolution string, now time.Time, seconds, units float64) error {
	if seconds <= 0 || units <= 0 {
		return nil
	}
	key := m.rates(resolution)
	member := strconv.FormatFloat(units/seconds, 'g', 8, 64) + " " + task
	_, err := m.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.ZAdd(ctx, key, redis.Z{Score: float64(now.UnixMilli()), Member: member})
		p.ZRemRangeByRank(ctx, key, 0, -keepRates-1)
		p.Expire(ctx, key, 2*keep)
		return nil
	})
	if err != nil {
		return fmt.Errorf("remember what task %s was charged: %w", task, err)
	}
	return nil
}

// Rates are what a second of video of a resolution was charged.
type Rates struct {
	// Median is the middle one; Low and High leave out a tenth on each side.
	Median, Low, High float64
	// Samples is how many charges are known; 0 means that nothing is.
	Samples int
}

// Rates returns what was learned of the resolution.
func (m *Meter) Rates(ctx context.Context, resolution string) (Rates, error) {
	members, err := m.rdb.ZRange(ctx, m.rates(resolution), 0, -1).Result()
	if err != nil {
		return Rates{}, fmt.Errorf("read what account %s was charged: %w", m.account, err)
	}
	var all []float64
	for _, member := range members {
		text, _, _ := strings.Cut(member, " ")
		if rate := number(text); rate > 0 {
			all = append(all, rate)
		}
	}
	if len(all) == 0 {
		return Rates{}, nil
	}
	slices.Sort(all)
	tenth := len(all) / 10
	return Rates{Median: all[len(all)/2], Low: all[tenth], High: all[len(all)-1-tenth], Samples: len(all)}, nil
}

func (m *Meter) rates(resolution string) string {
	return "clipferry:{budget:" + m.account + "}:rates:" + resolution
}
