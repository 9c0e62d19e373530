package worker_test

import (
	"context"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/tasks"
)

// scriptsRun counts the scripts that the Redis was asked for.
func (r *rig) scriptsRun() (n int) {
	r.t.Helper()
	info, err := r.rdb.Info(r.t.Context(), "commandstats").Result()
	must(r.t, err)
	for _, m := range regexp.MustCompile(`cmdstat_eval(?:sha)?:calls=(\d+),.*rejected_calls=(\d+)`).FindAllStringSubmatch(info, -1) {
		for _, text := range m[1:] {
			count, err := strconv.Atoi(text)
			must(r.t, err)
			n += count
		}
	}
	return n
}

// A Redis that takes no writes has trouble enough: a worker must not ask it for
// tasks without a pause, and must be there as soon as it takes them again.
func TestARedisThatRefusesWritesIsNotPestered(t *testing.T) {
	for _, c := range []struct{ setting, refuses, takes string }{
		{"maxmemory", "1", "0"},
		{"min-replicas-to-write", "1", "0"},
	} {
		t.Run(c.setting, func(t *testing.T) {
			r := newRig(t)
			r.provider.readsFor = 1000
			r.options.PollInterval = 250 * time.Millisecond // what is counted
			set := func(value string) {
				t.Helper()
				must(t, r.rdb.ConfigSet(context.Background(), c.setting, value).Err())
			}
			r.work()
			r.awaitState(r.enqueue(tasks.Export{ProjectID: "before"}), export.Rendering)
			set(c.refuses)
			time.Sleep(2 * time.Second) // until the waits are their longest
			before, began := r.scriptsRun(), time.Now()
			time.Sleep(2 * time.Second)
			if each := float64(r.scriptsRun()-before) / time.Since(began).Seconds(); each > 100 {
				t.Errorf("%.0f scripts a second", each)
			}
			set(c.takes)
			r.patience = 15 * time.Second
			r.awaitState(r.enqueue(tasks.Export{ProjectID: "after"}), export.Rendering)
		})
	}
}
