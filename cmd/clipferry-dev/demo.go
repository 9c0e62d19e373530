package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/clipferry/clipferry/cmd/internal/cli"
	"github.com/clipferry/clipferry/internal/admin"
	"github.com/clipferry/clipferry/internal/emulator"
	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/view"
	"github.com/clipferry/clipferry/tasks"
)

const bucket = "clips"

// demoLimits don't limit requests: with 15 a minute nobody would see clips
// arrive one after another in so short a time.
var demoLimits = emulator.Limits{MaxActive: 5}

// samples are three projects with different settings.
func samples() []tasks.Export {
	return []tasks.Export{
		{JobID: "interview", ProjectID: "interview", Resolution: "HD_720", EnableCaption: true, CaptionDisplay: "both"},
		{JobID: "keynote", ProjectID: "keynote", ClipIndices: []int{0, 2, 5}, EnableAIReframe: true, Ratio: "RATIO_9_16"},
		{JobID: "podcast", ProjectID: "podcast", EnableAIHook: true, AIHookScriptStyle: "humorous", AIHookPosition: "end"},
	}
}

// sampleProject keeps the samples short, but for what a project's id asks for.
func sampleProject(id string) emulator.Project {
	p := emulator.SampleProject(1, id)
	if !strings.Contains(id, "~") {
		p.Clips = min(p.Clips, 6)
	}
	return p
}

// demo is the whole of clipferry in one program.
type demo struct {
	c     *console
	dir   string
	speed float64
	keep  bool
}

func (d *demo) run(ctx context.Context) error {
	if d.speed < 1 || d.speed > 1000 {
		return cli.Usagef("--speed must be from 1 to 1000")
	}
	s, err := d.open(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	records, err := s.exportSamples(ctx, newScreen(d.c))
	if err != nil {
		return err
	}
	if err := s.printFiles(records, d.c.out); err != nil {
		return err
	}
	s.printNext(d.c.msg, d.keep)
	if d.keep {
		<-ctx.Done()
	}
	return nil
}

// services is everything that runs.
type services struct {
	objects  string // directory of the bucket
	provider string
	s3       string
	http     string // the HTTP API's
	apiKey   string
	// monitorPassword opens Asynqmon to the user "dev".
	monitorPassword string
	env             []string // what a worker here is configured with, and every other command can be
	client          *tasks.Client
	exports         *admin.Service
	closers         []func()
}

func (s *services) close() {
	for i := len(s.closers) - 1; i >= 0; i-- {
		s.closers[i]()
	}
}

// open starts the provider, Redis, S3 and a worker. Each run starts with an
// empty queue and an archive folder of its own below dir.
func (d *demo) open(ctx context.Context) (_ *services, err error) {
	run := filepath.Join(d.dir, time.Now().Format("2006-01-02-150405"))
	if run, err = filepath.Abs(run); err != nil {
		return nil, fmt.Errorf("the archive's directory: %w", err)
	}
	s := &services{objects: filepath.Join(run, bucket)}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	s.closers = append(s.closers, end)
	if err := os.MkdirAll(run, 0o755); err != nil {
		return nil, fmt.Errorf("the archive's directory: %w", err)
	}
	_ = d.c.msg.Printf("Starting the emulated provider, an embedded Redis, an embedded S3 server and a worker.\n")
	redisURL, err := startRedis(life)
	if err != nil {
		return nil, err
	}
	server, err := emulator.New(emulator.Options{
		Limits: demoLimits, Speed: d.speed, Seed: 1,
		Render: emulator.Render{Median: 150 * time.Second, Sigma: 0.2}, Project: sampleProject, AnyProject: true,
	})
	if err != nil {
		return nil, err
	}
	if s.provider, _, err = serve(life, "127.0.0.1:0", server); err != nil {
		return nil, err
	}
	if s.s3, err = startS3(life, run, bucket); err != nil {
		return nil, err
	}
	return s, s.startWorker(life, d.c.env, redisURL)
}

// exportSamples enqueues the samples and shows them until all have ended.
func (s *services) exportSamples(ctx context.Context, screen *screen) ([]*export.Record, error) {
	var ids []string
	for _, e := range samples() {
		id, err := s.client.Enqueue(ctx, e)
		if err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		records, open := make([]*export.Record, len(ids)), 0
		for i, id := range ids {
			r, err := s.exports.Get(ctx, id)
			if err != nil {
				return nil, err
			}
			records[i] = r
			if !r.State.Final() {
				open++
			}
		}
		screen.show(records)
		if open == 0 {
			return records, allArchived(records)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-tick.C:
		}
	}
}

func allArchived(records []*export.Record) error {
	var faults []error
	for _, r := range records {
		if r.State != export.Archived {
			faults = append(faults, fmt.Errorf("%s is %s: %s", r.ID, r.State, view.Sentence(r, view.CLI)))
		}
	}
	return errors.Join(faults...)
}

// printFiles prints the path of each archived file, one a line.
func (s *services) printFiles(records []*export.Record, stdout *cli.Printer) error {
	for _, r := range records {
		folder := filepath.Join(s.objects, filepath.FromSlash(filepath.Dir(r.Manifest)))
		entries, err := os.ReadDir(folder)
		if err != nil {
			return fmt.Errorf("list what was archived: %w", err)
		}
		for _, e := range entries {
			if err := stdout.Printf("%s\n", filepath.Join(folder, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}
