package e2e_test

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/clipferry/clipferry/internal/redistest"
)

// BenchmarkFleet archives 1,000 short exports without limits with two workers,
// and reports the processor time and the peak memory of the workers, and what a
// finished export takes in Redis.
//
//	go test -run '^$' -bench Fleet -benchtime 1x ./internal/e2e
func BenchmarkFleet(b *testing.B) {
	const exports = 1000
	redis := redistest.Start(b)
	h := newHouseOn(b, redis.URL(), "--speed", "30", "--requests-per-minute", "0", "--max-active", "0")
	h.env = append(h.env, "CLIPFERRY_API_MAX_ACTIVE_EXPORTS=0")
	var lines strings.Builder
	for i := range exports {
		fmt.Fprintf(&lines, `{"project_id":"p%d~clips=%d","job_id":"j%d"}`+"\n", i, 1+i%3, i)
	}
	for b.Loop() {
		one, two := h.worker(), h.worker()
		began := time.Now()
		if _, code := h.clipferry(lines.String(), "enqueue", "--file", "-"); code != 0 {
			b.Fatal("not enqueued")
		}
		for done := ""; !strings.Contains(done, "\n"+strconv.Itoa(exports)+"\n"); {
			time.Sleep(500 * time.Millisecond)
			out, _ := h.clipferry("", "list", "--state", "archived", "--json", "--limit", strconv.Itoa(exports))
			done = "\n" + strconv.Itoa(strings.Count(out, "\n")) + "\n"
		}
		b.ReportMetric(time.Since(began).Seconds(), "s")
		var cpu time.Duration
		for _, worker := range []int{one.Process.Pid, two.Process.Pid} {
			b.ReportMetric(peakMemory(b, worker), "MiB-peak")
			must(b, syscall.Kill(worker, syscall.SIGTERM))
		}
		for _, worker := range []*os.ProcessState{ended(b, one.Wait, &one.ProcessState), ended(b, two.Wait, &two.ProcessState)} {
			cpu += worker.UserTime() + worker.SystemTime()
		}
		b.ReportMetric(cpu.Seconds(), "cpu-s")
		used, err := redis.Client().MemoryUsage(b.Context(), "clipferry:{e:j1}", 0).Result()
		if err == nil {
			b.ReportMetric(float64(used), "B/export")
		}
	}
}

// BenchmarkFreshness measures how soon the ends of renders of a few seconds are seen,
// and in how many reads.
func BenchmarkFreshness(b *testing.B) {
	for _, limits := range []struct{ perMinute, slots int }{{0, 0}, {600, 200}} {
		b.Run(fmt.Sprintf("%d-%d", limits.perMinute, limits.slots), func(b *testing.B) {
			h := newHouseOn(b, redistest.Start(b).URL(), "--speed", "30", "--requests-per-minute", "0", "--max-active", "0")
			h.env = append(h.env, fmt.Sprintf("CLIPFERRY_API_REQUESTS_PER_MINUTE=%d", limits.perMinute),
				fmt.Sprintf("CLIPFERRY_API_MAX_ACTIVE_EXPORTS=%d", limits.slots))
			var lines strings.Builder
			for i := range 100 {
				fmt.Fprintf(&lines, `{"project_id":"p%d~clips=%d","job_id":"j%d"}`+"\n", i, 1+i%3, i)
			}
			for b.Loop() {
				h.worker()
				h.worker()
				h.awaitAll(h.enqueue(lines.String()), "archived", 5*time.Minute)
				var lags []float64
				reads := 0
				for _, s := range h.books().Submits {
					lags = append(lags, s.EndSeenAt.Sub(s.EndsAt).Seconds())
					reads += s.Reads
				}
				slices.Sort(lags)
				b.ReportMetric(lags[len(lags)*95/100], "s-p95")
				b.ReportMetric(float64(reads)/float64(len(lags)), "reads/export")
			}
		})
	}
}

func ended(b *testing.B, wait func() error, state **os.ProcessState) *os.ProcessState {
	must(b, wait())
	return *state
}

// peakMemory is the most that a process has had in memory, in MiB.
func peakMemory(b *testing.B, pid int) float64 { return memory(b, pid, "VmHWM") }

// memory is what the kernel says of a process's memory, in MiB.
func memory(b *testing.B, pid int, field string) float64 {
	b.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	must(b, err)
	kib, err := strconv.ParseFloat(string(regexp.MustCompile(field + `:\s+(\d+) kB`).FindSubmatch(status)[1]), 64)
	must(b, err)
	return kib / 1024
}

// BenchmarkShortLinks archives an export of 36 clips of 64 MB one after the other, from
// links that live 4 s.
//
//	go test -run '^$' -bench ShortLinks -benchtime 1x ./internal/e2e
func BenchmarkShortLinks(b *testing.B) {
	redis := redistest.Start(b)
	h := newHouseOn(b, redis.URL(), "--requests-per-minute", "0", "--link-lifetime", "4s")
	for b.Loop() {
		h.worker("CLIPFERRY_MIRROR_CONCURRENCY=1")
		began := time.Now()
		h.clipferry("", "enqueue", "--project-id", "short~clips=36~size=64MB~render=1s", "--job-id", "a")
		s := h.awaitAll([]string{"a"}, "archived", 4*time.Minute)[0]
		b.ReportMetric(time.Since(began).Seconds(), "s")
		b.ReportMetric(float64(s.Polls), "reads")
	}
}

// BenchmarkMemory reports the memory of a worker that has had nothing to do for ten
// seconds, and at its peak with eight transfers of large clips at once.
//
//	go test -run '^$' -bench Memory -benchtime 1x ./internal/e2e
func BenchmarkMemory(b *testing.B) {
	h := newHouseOn(b, redistest.Start(b).URL(), "--requests-per-minute", "0")
	for b.Loop() {
		pid := h.worker().Process.Pid
		time.Sleep(10 * time.Second)
		b.ReportMetric(memory(b, pid, "VmRSS"), "MiB-rest")
		h.clipferry("", "enqueue", "--project-id", "large~clips=16~size=128MB~render=1s", "--job-id", "a")
		h.awaitAll([]string{"a"}, "archived", 4*time.Minute)
		b.ReportMetric(peakMemory(b, pid), "MiB-transfers")
	}
}

// BenchmarkIdle reports how many commands a second a worker that has nothing to do
// sends to Redis, those inside scripts included; -v shows which.
//
//	go test -run '^$' -bench Idle -benchtime 1x ./internal/e2e
func BenchmarkIdle(b *testing.B) {
	const seconds = 20
	for name, extra := range map[string][]string{"plain": nil, "four-tenants": {"CLIPFERRY_TENANTS=a:1,b:1,c:1,d:1"}} {
		b.Run(name, func(b *testing.B) {
			server := redistest.Start(b)
			h := newHouseOn(b, server.URL())
			rdb := server.Client()
			for b.Loop() {
				h.worker(extra...)
				time.Sleep(5 * time.Second)
				must(b, rdb.ConfigResetStat(b.Context()).Err())
				time.Sleep(seconds * time.Second)
				stats, err := rdb.Info(b.Context(), "commandstats").Result()
				must(b, err)
				all := 0
				for _, of := range regexp.MustCompile(`cmdstat_(\S+):calls=(\d+)`).FindAllStringSubmatch(stats, -1) {
					calls, err := strconv.Atoi(of[2])
					must(b, err)
					all += calls
					b.Logf("%7.2f a second: %s", float64(calls)/seconds, of[1])
				}
				b.ReportMetric(float64(all-1)/seconds, "commands/s") // but for the first one here
			}
		})
	}
}
