package queue

import (
	"slices"
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/clipferry/clipferry/tasks"
)

func TestOrdersAreServedInOneOrder(t *testing.T) {
	want := []string{"clipferry-front", "clipferry-submit-high", "clipferry-submit", "clipferry-submit-low"}
	if got := Orders(); !slices.Equal(got, want) {
		t.Errorf("%v", got)
	}
	if got := Orders("", "eu")[:3]; !slices.Equal(got, []string{"clipferry-front", "clipferry-front.eu", "clipferry-submit-high"}) {
		t.Errorf("of two accounts: %v", got)
	}
	if got := Orders(tasks.DefaultAccount, ""); !slices.Equal(got, want) {
		t.Errorf("of one account by two names: %v", got)
	}
}

func TestQueuesThatExistAreListed(t *testing.T) {
	rdb := redis.NewClient(&redis.Options{Addr: miniredis.RunT(t).Addr()})
	t.Cleanup(func() { _ = rdb.Close() })
	err := tasks.PublishQueues(t.Context(), rdb, "clipferry-submit.eu", "clipferry-front.eu", "clipferry-submit", "clipferry-poll",
		"clipferry-poll.eu", "other.eu", "default")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ kinds, want []string }{
		{Orders(), []string{"clipferry-front.eu", "clipferry-submit", "clipferry-submit.eu"}},
		{tasks.SubmitQueues(), []string{"clipferry-submit", "clipferry-submit.eu"}},
		{All(), []string{"clipferry-front.eu", "clipferry-submit", "clipferry-submit.eu", "clipferry-poll"}},
	} {
		if got, err := New(rdb).Existing(t.Context(), c.kinds); err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%v: %v, %v", c.kinds, got, err)
		}
	}
}
