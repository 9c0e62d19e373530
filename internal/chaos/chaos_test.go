package main

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/clipferry/clipferry/internal/export"
)

// short is a run that every build can afford: about a minute.
func short() config {
	return config{
		seed: 99, duration: 25 * time.Second, exports: 45, workers: 3, kills: 9, stops: 2,
		slots: 20, rate: 1200, fsync: "always", inDoubt: export.Resubmit, lapse: true, within: 5 * time.Minute,
	}
}

func TestShortChaos(t *testing.T) {
	if testing.Short() {
		t.Skip("takes about a minute")
	}
	for _, policy := range []export.Policy{export.Resubmit, export.Hold} {
		t.Run(string(policy), func(t *testing.T) {
			t.Parallel()
			cfg := short()
			cfg.inDoubt = policy
			survive(t, cfg)
		})
	}
}

func survive(t *testing.T, cfg config) {
	st, err := newStage(t.TempDir(), writerFunc(func(p []byte) { t.Log(strings.TrimRight(string(p), "\n")) }))
	if err != nil {
		t.Fatal(err)
	}
	defer st.close(false)
	rep, err := play(t.Context(), st, cfg)
	if err != nil {
		t.Fatal(err)
	}
	var table strings.Builder
	rep.print(&table)
	t.Log("\n" + table.String())
	if !rep.kept() {
		t.Errorf("%d promises broken, see the lines that begin with BROKEN", len(rep.breaches))
		keep(t, st)
	}
}

// keep copies what the workers said to where the test's files outlive it.
func keep(t *testing.T, st *stage) {
	logs, _ := filepath.Glob(filepath.Join(st.dir, "*", "workers.log"))
	for _, name := range logs {
		b, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		out, err := os.CreateTemp("", "chaos-workers-*.log")
		if err != nil {
			continue
		}
		_, _ = out.Write(b) // for a person to read, nothing depends on it
		_ = out.Close()
		t.Log("what the workers said:", out.Name())
	}
}

type writerFunc func([]byte)

func (f writerFunc) Write(p []byte) (int, error) {
	f(p)
	return len(p), nil
}

func TestTheSeedAloneDecides(t *testing.T) {
	cfg := short()
	if a, b := schedule(cfg), schedule(cfg); !reflect.DeepEqual(a, b) {
		t.Error("the same seed gives two schedules")
	}
	if a, b := wishes(cfg), wishes(cfg); !reflect.DeepEqual(a, b) {
		t.Error("the same seed gives two sets of exports")
	}
	other := cfg
	other.seed++
	if reflect.DeepEqual(schedule(cfg), schedule(other)) {
		t.Error("another seed gives the same schedule")
	}
}

func TestALongScheduleHasEveryFault(t *testing.T) {
	cfg, _, err := parse([]string{"-duration", "30m"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	all := schedule(cfg)
	for stream, kinds := range choices {
		seen := map[string]bool{}
		var before time.Duration
		for _, e := range all[stream] {
			seen[e.what] = true
			if e.at < before || e.at+e.length > cfg.duration || e.length <= 0 {
				t.Errorf("%s: %+v after %s", stream, e, before)
			}
			before = e.at + e.length
		}
		for _, k := range kinds {
			if !seen[k.what] {
				t.Errorf("%s: %s never happens", stream, k.what)
			}
		}
	}
	kills := 0
	for _, e := range all[streamWorkers] {
		if e.what == doKill {
			kills++
		}
	}
	if kills < 300 || cfg.exports < 1000 {
		t.Errorf("%d kills, %d exports", kills, cfg.exports)
	}
}

func TestEveryOrderIsOneThatTheProviderTakes(t *testing.T) {
	for _, stream := range []string{streamProvider, streamCDN} {
		for _, c := range choices[stream] {
			if len(orders[c.what]) == 0 {
				t.Errorf("nothing is ordered for %q", c.what)
			}
		}
	}
}

func TestWrongFlagsAreRefused(t *testing.T) {
	for _, args := range [][]string{{"-workers", "0"}, {"-duration", "1s"}, {"-exports", "-1"}, {"-in-doubt", "guess"}, {"stray"}, {"-nope"}} {
		if code := run(context.Background(), args, io.Discard, io.Discard); code != 2 {
			t.Errorf("%v: exit %d", args, code)
		}
	}
}
