package tasks_test

import (
	"context"
	"fmt"

	"github.com/alicebob/miniredis/v2"

	"github.com/clipferry/clipferry/tasks"
)

func Example() {
	redis := miniredis.NewMiniRedis() // stands for yours
	if err := redis.Start(); err != nil {
		panic(err)
	}
	defer redis.Close()

	client, err := tasks.NewClient("redis://" + redis.Addr())
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
