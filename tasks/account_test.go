package tasks

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestAnAccountHasQueuesOfItsOwn(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, address string) {
		c := newTestClient(t, address)
		if err := PublishServed(t.Context(), c.rdb, "eu-1", nil, time.Now()); err != nil {
			t.Fatal(err)
		}
		id, err := c.Enqueue(t.Context(), Export{JobID: "a", ProjectID: "p", Account: "eu-1", Priority: PriorityLow})
		if err != nil {
			t.Fatal(err)
		}
		info, err := c.inspector.GetTaskInfo("clipferry-submit-low.eu-1", SubmitTaskID(id))
		if err != nil || string(info.Payload) != `{"project_id":"p","job_id":"a","priority":"low","account":"eu-1"}` {
			t.Fatalf("task %+v, %v", info, err)
		}
		// The same id is known whatever account the second request names.
		for _, account := range []string{"eu-1", "", "us"} {
			if again, err := c.Enqueue(t.Context(), Export{JobID: "a", ProjectID: "p", Account: account}); err != nil || again != "a" {
				t.Errorf("account %q again: %q, %v", account, again, err)
			}
		}
		if _, err := c.Enqueue(t.Context(), Export{JobID: "a", ProjectID: "q"}); !errors.Is(err, ErrDifferentBody) {
			t.Errorf("another body: %v", err)
		}
		if n := c.pending(t); n != 1 {
			t.Errorf("%d tasks, want 1", n)
		}
	})
}

// Nobody makes a queue that nobody serves: an account that no worker has, misspelled say,
// gets none, however its exports are enqueued.
func TestAnAccountThatNoWorkerHasGetsNoQueue(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, address string) {
		c := newTestClient(t, address)
		strange := Export{ProjectID: "p", Account: "made-up", Tenant: "news"}
		named := strange
		named.JobID = "a"
		if err := PublishServed(t.Context(), c.rdb, DefaultAccount, []string{"news"}, time.Now()); err != nil {
			t.Fatal(err)
		}
		for _, e := range []Export{strange, named, named} {
			if _, err := c.Enqueue(t.Context(), e); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := c.EnqueueAll(t.Context(), []Export{strange, named}); err != nil {
			t.Fatal(err)
		}
		if _, err := c.EnqueueBatch(t.Context(), Batch{Name: "b"}, []Export{strange}); err != nil {
			t.Fatal(err)
		}
		if _, err := c.queue.Enqueue(NewTask(strange, "bare", nil)); err != nil {
			t.Fatal(err)
		}
		names, err := c.inspector.Queues()
		if err != nil || !slices.Equal(names, []string{QueueSubmit}) {
			t.Errorf("queues %v, %v", names, err)
		}
	})
}

func TestTheDefaultAccountHasThePlainQueues(t *testing.T) {
	for account, want := range map[string]string{"": QueueSubmit, DefaultAccount: QueueSubmit, "eu": "clipferry-submit.eu"} {
		got := AccountQueue(QueueSubmit, account)
		if got != want {
			t.Errorf("account %q: %s", account, got)
		}
		queue, back := SplitQueue(got)
		if queue != QueueSubmit || back != account && account != "" {
			t.Errorf("%s is of %s, %s", got, queue, back)
		}
	}
	names := []string{"clipferry-submit", "clipferry-submit.eu", "clipferry-front.eu", "clipferry-poll.eu", "other.eu", "default"}
	if got := submitQueues(names); !slices.Equal(got, append(SubmitQueues(), "clipferry-submit.eu")) {
		t.Errorf("submit queues: %v", got)
	}
}

func TestValidAccount(t *testing.T) {
	for _, name := range []string{"a", "eu-1", "0", strings.Repeat("x", 32)} {
		if !ValidAccount(name) {
			t.Errorf("%q is refused", name)
		}
	}
	for _, name := range []string{"", "A", "a.b", "a_b", "a b", "é", "a:b", strings.Repeat("x", 33)} {
		if ValidAccount(name) {
			t.Errorf("%q is let through", name)
		}
	}
}
