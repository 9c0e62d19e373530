package tasks

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/clipferry/clipferry/internal/index"
	"github.com/hibiken/asynq"
)

// TestManyAreEnqueuedAsOneIs: what goes out in one round trip is to asynq what its own
// client would have sent, in order, and what is known already stays alone.
func TestManyAreEnqueuedAsOneIs(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, address string) {
		c := newTestClient(t, address)
		ctx := t.Context()
		if _, err := c.Enqueue(ctx, Export{ProjectID: "p", JobID: "single", Labels: Labels{"a": "b"}}); err != nil {
			t.Fatal(err)
		}
		var exports []Export
		for i := range 2*chunkSize + 10 {
			exports = append(exports, Export{ProjectID: "p", JobID: fmt.Sprintf("job-%04d", i), Labels: Labels{"a": "b"}})
		}
		exports[3].JobID, exports[700].JobID = "", exports[7].JobID
		ids, err := c.EnqueueAll(ctx, exports)
		if err != nil || len(ids) != len(exports) || ids[700] != ids[7] || ids[3] == "" {
			t.Fatalf("%d ids, %v", len(ids), err)
		}
		one, err := c.inspector.GetTaskInfo(QueueSubmit, "submit:single")
		if err != nil {
			t.Fatal(err)
		}
		of, err := c.inspector.GetTaskInfo(QueueSubmit, "submit:job-0005")
		if err != nil {
			t.Fatal(err)
		}
		if of.Type != one.Type || of.MaxRetry != one.MaxRetry || of.Timeout != one.Timeout || of.State != one.State || of.Headers[HeaderEnqueuedAt] == "" ||
			string(of.Payload) != `{"project_id":"p","job_id":"job-0005","labels":{"a":"b"}}` {
			t.Errorf("%+v\nis not as\n%+v", of, one)
		}
		order := func() (names []string) {
			for page := 1; ; page++ {
				infos, err := c.inspector.ListPendingTasks(QueueSubmit, asynq.Page(page), asynq.PageSize(100))
				if err != nil {
					t.Fatal(err)
				}
				for _, info := range infos {
					names = append(names, info.ID)
				}
				if len(infos) < 100 {
					return names
				}
			}
		}
		want := []string{"submit:single"}
		for i, id := range ids {
			if i != 700 {
				want = append(want, SubmitTaskID(id))
			}
		}
		if got := order(); !slices.Equal(got, want) {
			t.Errorf("%d tasks wait, out of order: %v…", len(got), got[:5])
		}
		exports[3].JobID = ids[3]
		exports = append(exports, Export{ProjectID: "p", JobID: "last"})
		if again, err := c.EnqueueAll(ctx, exports); err != nil || !slices.Equal(again[:len(ids)], ids) {
			t.Fatalf("again: %v", err)
		}
		if got := order(); !slices.Equal(got, append(want, "submit:last")) {
			t.Errorf("again: %d tasks wait", len(got))
		}
		exports = append(exports, Export{ProjectID: "p", JobID: "new"}, Export{ProjectID: "other", JobID: "job-0005"})
		exports = slices.Delete(exports, 5, 6)
		if _, err := c.EnqueueAll(ctx, exports); !errors.Is(err, ErrDifferentBody) {
			t.Errorf("another body: %v", err)
		}
		if _, there, _ := c.Queued(ctx, "new"); there {
			t.Error("one of the batch is wrong, and another was enqueued")
		}
	})
}

// TestTheRecordOfABatchComesFirst: it and all members are there before the first task.
func TestTheRecordOfABatchComesFirst(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, address string) {
		c := newTestClient(t, address)
		ctx := t.Context()
		var exports []Export
		for range chunkSize + 10 {
			exports = append(exports, Export{ProjectID: "p"})
		}
		died := errors.New("died")
		err := c.EnqueueBatchEach(ctx, Batch{Name: "b"}, slices.Values(exports), func(string) error { return died })
		if !errors.Is(err, died) {
			t.Fatal(err)
		}
		count := func() (map[string]int, int) {
			t.Helper()
			in, missing, err := index.CountMembers(ctx, c.rdb, "b", []string{"queued"})
			if err != nil {
				t.Fatal(err)
			}
			return in, missing
		}
		if in, missing := count(); in["queued"] != chunkSize || missing != 10 {
			t.Errorf("%d wait and %d are missing", in["queued"], missing)
		}
		ids, err := c.EnqueueBatch(ctx, Batch{Name: "b"}, exports)
		if err != nil || len(ids) != len(exports) || len(slices.Compact(slices.Sorted(slices.Values(ids)))) != len(ids) {
			t.Errorf("%d ids, %v", len(ids), err)
		}
		if in, missing := count(); in["queued"] != len(exports) || missing != 0 {
			t.Errorf("%d wait and %d are missing", in["queued"], missing)
		}
		record, err := index.LoadBatch(ctx, c.rdb, "b")
		if err != nil || record.Count != len(exports) {
			t.Errorf("%+v, %v", record, err)
		}
		for _, b := range []Batch{{}, {Name: "-b"}, {Name: "c", Notify: &Notify{}}} {
			if _, err := c.EnqueueBatch(ctx, b, exports); err == nil {
				t.Errorf("%+v is taken", b)
			}
		}
		if _, err := c.EnqueueBatch(ctx, Batch{Name: "empty"}, nil); err == nil {
			t.Error("a batch of none is taken")
		}
		if n := c.pending(t); n != len(exports) {
			t.Errorf("%d tasks wait", n)
		}
	})
}
