// Command producer enqueues one export with package tasks:
//
//	go run ./examples/producer -redis redis://127.0.0.1:6379/0 -project proj_abc123 -id order-4711
//
// Run it twice: the second time it prints the same id and enqueues nothing.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/clipferry/clipferry/tasks"
)

func main() {
	redisURL := flag.String("redis", "redis://127.0.0.1:6379/0", "where the workers' Redis is")
	project := flag.String("project", "", "the provider's project id")
	id := flag.String("id", "", "your own id of the export, which makes it safe to enqueue it again")
	flag.Parse()
	if err := run(*redisURL, *project, *id); err != nil {
		fmt.Fprintln(os.Stderr, "producer:", err)
		os.Exit(1)
	}
}

func run(redisURL, project, id string) error {
	client, err := tasks.NewClient(redisURL)
	if err != nil {
		return err
	}
	defer client.Close()

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	got, err := client.Enqueue(ctx, tasks.Export{
		JobID:       id,
		ProjectID:   project,
		ClipIndices: []int{0, 2}, // leave it out for all clips
		Resolution:  "FHD_1080",
		Priority:    tasks.PriorityHigh,
	})
	var faults tasks.Faults
	switch {
	case errors.As(err, &faults): // the request is wrong; every fault is named
		return fmt.Errorf("the request is wrong: %w", faults)
	case errors.Is(err, tasks.ErrDifferentBody): // the id was used for another request
		return fmt.Errorf("%s is another export already: %w", id, err)
	case err != nil: // Redis did not answer: enqueue again, with the same id
		return err
	}
	fmt.Println(got)
	return nil
}
