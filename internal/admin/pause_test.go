package admin_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/clipferry/clipferry/internal/queue"
	"github.com/clipferry/clipferry/tasks"
)

func TestOrderQueuesAreThoseOfAllAccounts(t *testing.T) {
	d := newRig(t)
	d.enqueue(t, tasks.Export{JobID: "a", ProjectID: "p", Account: "seen"})
	must(t, tasks.PublishQueues(t.Context(), d.rdb, queue.Mirror, "default"))
	queues, err := d.OrderQueues(t.Context(), []string{"default", "named"}, []string{"news"})
	must(t, err)
	want := []string{
		"clipferry-front", "clipferry-front.named", "clipferry-submit", "clipferry-submit-high", "clipferry-submit-high.named",
		"clipferry-submit-high.named@news", "clipferry-submit-high@news", "clipferry-submit-low", "clipferry-submit-low.named",
		"clipferry-submit-low.named@news", "clipferry-submit-low@news", "clipferry-submit.named", "clipferry-submit.named@news",
		"clipferry-submit.seen", "clipferry-submit@news",
	}
	if !slices.Equal(queues, want) {
		t.Errorf("got  %s\nwant %s", strings.Join(queues, " "), strings.Join(want, " "))
	}
}

func TestAPausedQueueIsPausedOnceAndSeen(t *testing.T) {
	d := newRig(t)
	must(t, tasks.PublishQueues(t.Context(), d.rdb, "videos", queue.Poll)) // the first one is somebody else's
	must(t, d.Pause(t.Context(), tasks.QueueSubmit, queue.Mirror, "videos"))
	must(t, d.Pause(t.Context(), tasks.QueueSubmit))
	resumed, err := d.Resume(t.Context(), tasks.QueueSubmit, queue.Poll)
	if err != nil || !slices.Equal(resumed, []string{tasks.QueueSubmit}) {
		t.Errorf("%q, %v", resumed, err)
	}
	// Also one that nothing was ever put into is found, and only ours are.
	resumed, err = d.Resume(t.Context())
	if err != nil || !slices.Equal(resumed, []string{queue.Mirror}) {
		t.Errorf("%q, %v", resumed, err)
	}
}
