package admin_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/clipferry/clipferry/internal/admin"
	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/ledger"
	"github.com/clipferry/clipferry/tasks"
)

// enqueuedAt puts an export into its queue as its producer did at the time.
func (d rig) enqueuedAt(t *testing.T, e tasks.Export, at time.Time) {
	t.Helper()
	task := tasks.NewTask(e, e.JobID, map[string]string{tasks.HeaderEnqueuedAt: strconv.FormatInt(at.UnixMilli(), 10)})
	if _, err := asynq.NewClientFromRedisClient(d.rdb).Enqueue(task); err != nil {
		t.Fatal(err)
	}
}

// A program that enqueues many at once does so within a millisecond: the pages of
// the list must show each of them once all the same.
func TestPagesShowEachExportOnce(t *testing.T) {
	d := newRig(t)
	began := time.Now().Add(-time.Minute).Truncate(time.Millisecond)
	for i := range 90 {
		id := fmt.Sprintf("job-%02d", i*37%90)
		at := began.Add(time.Duration(i/30) * time.Millisecond).Add(time.Duration(i%30) * 10 * time.Microsecond)
		d.enqueuedAt(t, tasks.Export{JobID: id, ProjectID: "p", Priority: []string{"", "high", "low"}[i%3]}, at)
		if i%4 == 0 { // taken up by a worker
			if _, err := d.Cancel(t.Context(), id); err != nil {
				t.Fatal(err)
			}
		}
	}
	all, err := d.List(t.Context(), ledger.Filter{Limit: 500})
	if err != nil || !slices.IsSortedFunc(all, func(a, b *export.Record) int { return b.CreatedAt.Compare(a.CreatedAt) }) {
		t.Errorf("not the newest first (%v)", err)
	}
	for _, limit := range []int{1, 7, 30, 89, 90, 500} {
		f, seen := ledger.Filter{Limit: limit}, map[string]int{}
		for {
			page, err := d.List(t.Context(), f)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range page {
				seen[r.ID]++
			}
			if len(page) < limit || len(page) > 0 && seen[page[0].ID] > 1 {
				break
			}
			last := admin.LastOf(page)
			f.Before, f.BeforeID = last.CreatedAt, last.ID
		}
		twice := 0
		for _, n := range seen {
			if n > 1 {
				twice++
			}
		}
		if len(seen) != 90 || twice > 0 {
			t.Errorf("pages of %d show %d exports of 90, %d of them more than once", limit, len(seen), twice)
		}
	}
}

// afterFirst runs something once, after the first command whose text holds one of
// the words.
type afterFirst struct {
	words []string
	once  sync.Once
	run   func()
}

func (h *afterFirst) DialHook(next redis.DialHook) redis.DialHook { return next }
func (h *afterFirst) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (h *afterFirst) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		text := fmt.Sprint(cmd.Args()...)
		if slices.ContainsFunc(h.words, func(w string) bool { return strings.Contains(text, w) }) {
			h.once.Do(h.run)
		}
		return err
	}
}

// An export that a worker takes up while it is listed is in the queue or in the
// ledger, whenever that happens.
func TestAnExportThatIsTakenUpMeanwhileIsListed(t *testing.T) {
	for _, moment := range []string{"zrevrangebyscore", ":pending", "clipferry:{a}"} {
		t.Run(moment, func(t *testing.T) {
			d := newRig(t)
			d.enqueue(t, tasks.Export{JobID: "a", ProjectID: "p"})
			worker := redis.NewClient(d.rdb.Options())
			defer worker.Close()
			d.rdb.AddHook(&afterFirst{words: []string{moment}, run: func() {
				l := ledger.New(ledger.Options{Redis: worker})
				created := time.Now()
				if r, err := admin.New(worker, l, time.Now).Get(t.Context(), "a"); err == nil {
					created = r.CreatedAt
				}
				if _, err := l.Create(t.Context(), export.New("a", nil, "", "p", created)); err != nil {
					t.Error(err)
				}
				if err := asynq.NewInspectorFromRedisClient(worker).DeleteTask(tasks.QueueSubmit, "submit:a"); err != nil {
					t.Error(err)
				}
			}})
			found, err := d.List(t.Context(), ledger.Filter{})
			if err != nil || len(found) != 1 {
				t.Errorf("%d exports, %v", len(found), err)
			}
		})
	}
}

// A Redis that fails for a moment must not make an export look unknown: whoever
// ordered it would order it, and pay for it, again.
func TestARedisThatFailsKnowsNoExportLess(t *testing.T) {
	for _, failing := range []string{":t:submit:a", "asynq:queues"} {
		d := newRig(t)
		d.enqueue(t, tasks.Export{JobID: "a", ProjectID: "p", Account: "eu"})
		broken := errors.New("broken pipe")
		d.rdb.AddHook(failOn{failing, broken})
		if _, err := d.Get(t.Context(), "a"); !errors.Is(err, broken) {
			t.Errorf("%s fails: %v", failing, err)
		}
		if _, err := d.Cancel(t.Context(), "a"); !errors.Is(err, broken) {
			t.Errorf("%s fails at a cancel: %v", failing, err)
		}
	}
}

// failOn fails each command whose text holds a word.
type failOn struct {
	word string
	err  error
}

func (h failOn) DialHook(next redis.DialHook) redis.DialHook { return next }
func (h failOn) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (h failOn) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if strings.Contains(fmt.Sprint(cmd.Args()...), h.word) {
			return h.err
		}
		return next(ctx, cmd)
	}
}
