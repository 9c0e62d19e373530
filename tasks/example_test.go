package tasks_test

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/alicebob/miniredis/v2"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/clipferry/clipferry/tasks"
)

// startRedis starts a Redis for an example; yours is where the workers' is.
func startRedis() (address string, stop func()) {
	server := miniredis.NewMiniRedis()
	if err := server.Start(); err != nil {
		panic(err)
	}
	return "redis://" + server.Addr(), server.Close
}

func Example() {
	address, stop := startRedis()
	defer stop()

	client, err := tasks.NewClient(address)
	if err != nil {
		panic(err)
	}
	defer client.Close()

	id, err := client.Enqueue(context.Background(), tasks.Export{
		ProjectID:       "proj_abc123",
		ClipIndices:     []int{0, 2},
		Resolution:      "FHD_1080",
		EnableAIReframe: true,
		Ratio:           "RATIO_9_16",
		JobID:           "order-17", // enqueueing it again changes nothing
	})
	fmt.Println(id, err)

	_, err = client.Enqueue(context.Background(), tasks.Export{EnableAIReframe: true})
	fmt.Println(err)
	// Output:
	// order-17 <nil>
	// project_id: required; ratio: required when enable_ai_reframe is true
}

// An id that was used for another request is refused; the same request again is not.
func ExampleClient_Enqueue() {
	address, stop := startRedis()
	defer stop()
	client, err := tasks.NewClient(address)
	if err != nil {
		panic(err)
	}
	defer client.Close()

	order := tasks.Export{ProjectID: "proj_abc123", JobID: "order-17"}
	for range 2 {
		fmt.Println(client.Enqueue(context.Background(), order))
	}
	order.Resolution = "UHD_4K"
	_, err = client.Enqueue(context.Background(), order)
	fmt.Println(errors.Is(err, tasks.ErrDifferentBody))
	// Output:
	// order-17 <nil>
	// order-17 <nil>
	// true
}

// All exports are checked before the first is enqueued.
func ExampleClient_EnqueueAll() {
	address, stop := startRedis()
	defer stop()
	client, err := tasks.NewClient(address)
	if err != nil {
		panic(err)
	}
	defer client.Close()

	batch := []tasks.Export{{ProjectID: "proj_1", JobID: "a"}, {JobID: "b"}}
	_, err = client.EnqueueAll(context.Background(), batch)
	var wrong tasks.BatchError
	if errors.As(err, &wrong) {
		for _, item := range wrong {
			fmt.Println(batch[item.Index].JobID, item.Err)
		}
	}

	batch[1].ProjectID = "proj_2"
	fmt.Println(client.EnqueueAll(context.Background(), batch))
	// Output:
	// b project_id: required
	// [a b] <nil>
}

// A batch is enqueued under a name, and one event says that all of it is over. After a crash
// the same call goes on where it stopped.
func ExampleClient_EnqueueBatch() {
	address, stop := startRedis()
	defer stop()
	client, err := tasks.NewClient(address)
	if err != nil {
		panic(err)
	}
	defer client.Close()

	batch := tasks.Batch{Name: "season-1", Notify: &tasks.Notify{TaskType: "season:archived", Queue: "videos"}}
	episodes := []tasks.Export{
		{ProjectID: "proj_1", JobID: "season-1.episode-1", Labels: tasks.Labels{"show": "42"}},
		{ProjectID: "proj_2", JobID: "season-1.episode-2", Labels: tasks.Labels{"show": "42"}},
	}
	fmt.Println(client.EnqueueBatch(context.Background(), batch, episodes))
	fmt.Println(client.EnqueueBatch(context.Background(), batch, episodes)) // enqueues nothing

	_, err = client.EnqueueBatch(context.Background(), batch, episodes[:1])
	fmt.Println(errors.Is(err, tasks.ErrDifferentBatch))
	// Output:
	// [season-1.episode-1 season-1.episode-2] <nil>
	// [season-1.episode-1 season-1.episode-2] <nil>
	// true
}

// Queued finds an export that no worker has taken up yet.
func ExampleClient_Queued() {
	address, stop := startRedis()
	defer stop()
	client, err := tasks.NewClient(address)
	if err != nil {
		panic(err)
	}
	defer client.Close()

	if _, err := client.Enqueue(context.Background(), tasks.Export{ProjectID: "proj_abc123", JobID: "order-17"}); err != nil {
		panic(err)
	}
	export, waits, err := client.Queued(context.Background(), "order-17")
	fmt.Println(export.ProjectID, waits, err)
	// Output: proj_abc123 true <nil>
}

// A Redis connection of your own, and the headers of your tracing: the export's
// trace then begins with your request.
func ExampleNewClientFromRedis() {
	address, stop := startRedis()
	defer stop()
	parsed, err := tasks.ParseRedis(address) // also Sentinel, Cluster, TLS and sockets
	if err != nil {
		panic(err)
	}
	rdb := parsed.NewClient()
	defer rdb.Close()

	client := tasks.NewClientFromRedis(rdb, tasks.WithTraceHeaders(func(context.Context) map[string]string {
		return map[string]string{"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
	}))
	fmt.Println(client.Enqueue(context.Background(), tasks.Export{ProjectID: "proj_abc123", JobID: "order-17"}))
	// Output: order-17 <nil>
}

// A task for a producer that enqueues with Asynq itself.
func ExampleNewTask() {
	address, stop := startRedis()
	defer stop()
	options, err := redis.ParseURL(address)
	if err != nil {
		panic(err)
	}
	client := asynq.NewClient(asynq.RedisClientOpt{Addr: options.Addr})
	defer client.Close()

	export := tasks.Export{ProjectID: "proj_abc123", Priority: tasks.PriorityHigh, Account: "eu"}
	if err := export.Validate(); err != nil { // a worker fails what is wrong
		panic(err)
	}
	own := tasks.AccountQueue(tasks.QueueFor(export.Priority), export.Account) // which a worker serves
	info, err := client.Enqueue(tasks.NewTask(export, "order-17", nil), asynq.Queue(own))
	if err != nil {
		panic(err)
	}
	fmt.Println(info.Type, info.ID, info.Queue)
	// Output:
	// export:submit submit:order-17 clipferry-submit-high.eu
}

// The end of an export as a task of your own type, in your own queue.
func ExampleNotify() {
	export := tasks.Export{
		ProjectID: "proj_abc123",
		Notify:    &tasks.Notify{TaskType: "video:exported", Queue: "videos"},
	}
	fmt.Println(export.Validate())
	export.Notify.Webhook = "https://example.com/exported"
	fmt.Println(export.Validate())
	// Output:
	// <nil>
	// notify: must have webhook or task_type, not both
}

// Faults name every field that is wrong, for a form or a log.
func ExampleFaults() {
	_, err := tasks.ParseExport([]byte(`{"resolution":"8K","clip_indices":[-1]}`))
	var faults tasks.Faults
	if errors.As(err, &faults) {
		for _, f := range faults {
			fmt.Println(f.Field)
		}
	}
	fmt.Println(tasks.Allowed("ratio"))
	// Output:
	// project_id
	// clip_indices
	// resolution
	// [RATIO_9_16 RATIO_1_1 RATIO_4_5 RATIO_16_9]
}

// What is left out stays left out, and the provider's own defaults apply.
func ExampleExport_Body() {
	export := tasks.Export{ProjectID: "proj_abc123", JobID: "order-17", Priority: tasks.PriorityLow}
	fmt.Println(string(export.Body()))
	// Output: {"project_id":"proj_abc123"}
}

// An id of your own for an export: 1 to 128 of A–Z a–z 0–9 . _ : -.
func ExampleCheckJobID() {
	fmt.Println(tasks.CheckJobID("order-17") == "")
	fmt.Println(tasks.CheckJobID("-17") == "")
	// Output:
	// true
	// false
}

// Exports that are more than should be held in memory are gone through twice: once to
// check all, once to enqueue them.
func ExampleClient_EnqueueEach() {
	address, stop := startRedis()
	defer stop()
	client, err := tasks.NewClient(address)
	if err != nil {
		panic(err)
	}
	defer client.Close()

	season := func(yield func(tasks.Export) bool) {
		for episode := range 3 {
			if !yield(tasks.Export{ProjectID: fmt.Sprint("proj_", episode), JobID: fmt.Sprint("episode-", episode)}) {
				return
			}
		}
	}
	err = client.EnqueueEach(context.Background(), season, func(id string) error {
		fmt.Println(id)
		return nil // an error ends it
	})
	fmt.Println(err)
	// Output:
	// episode-0
	// episode-1
	// episode-2
	// <nil>
}

// The same for a batch, whose exports need no ids of their own.
func ExampleClient_EnqueueBatchEach() {
	address, stop := startRedis()
	defer stop()
	client, err := tasks.NewClient(address)
	if err != nil {
		panic(err)
	}
	defer client.Close()

	season := func(yield func(tasks.Export) bool) {
		for episode := range 3 {
			if !yield(tasks.Export{ProjectID: fmt.Sprint("proj_", episode)}) {
				return
			}
		}
	}
	var ids []string
	err = client.EnqueueBatchEach(context.Background(), tasks.Batch{Name: "season-1"}, season, func(id string) error {
		ids = append(ids, id)
		return nil
	})
	fmt.Println(len(ids), err)
	// Output: 3 <nil>
}

// What is odd about an export is no fault: it is enqueued all the same.
func ExampleExport_Lint() {
	export := tasks.Export{ProjectID: "proj_abc123", Ratio: "RATIO_9_16"}
	fmt.Println(export.Validate())
	for _, odd := range export.Lint() {
		fmt.Println(odd)
	}
	// Output:
	// <nil>
	// ratio: has no effect without enable_ai_reframe
}

// Many exports can be checked without Redis, such as a form before it is sent.
func ExampleCheckEach() {
	err := tasks.CheckEach(slices.Values([]tasks.Export{{ProjectID: "proj_1"}, {ProjectID: "proj_2", Resolution: "8K"}}))
	var wrong tasks.BatchError
	if errors.As(err, &wrong) {
		fmt.Println(len(wrong), wrong[0].Index)
	}
	// Output: 1 1
}

// A request body that was written for the provider keeps the fields that it has beyond
// those that are known here; in a producer's own JSON such a field is a fault.
func ExampleParseBody() {
	body := []byte(`{"project_id":"proj_abc123","watermark":{"text":"draft"}}`)
	export, err := tasks.ParseBody(body)
	fmt.Println(string(export.Extra["watermark"]), err)
	_, err = tasks.ParseExport(body)
	fmt.Println(err != nil)
	// Output:
	// {"text":"draft"} <nil>
	// true
}

// The queues of tenants and accounts that the operator has configured.
func ExampleTenantQueue() {
	fmt.Println(tasks.TenantQueue(tasks.QueueFor(tasks.PriorityNormal), "eu", "news"))
	// Output: clipferry-submit.eu@news
}
