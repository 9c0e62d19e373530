// Package tasks is what a producer imports to have clips exported and archived:
// the request ([Export]), its validation, and a [Client] that puts it in the
// queue. It does no work itself and knows neither the provider's HTTP API nor S3,
// so it stays light: the standard library, asynq and go-redis.
//
// A Go service enqueues in three lines:
//
//	client, err := tasks.NewClient("redis://127.0.0.1:6379/0")
//	defer client.Close()
//	id, err := client.Enqueue(ctx, tasks.Export{ProjectID: "proj_abc123", JobID: "order-17"})
//
// # Without this package
//
// A producer that has only Asynq enqueues one task:
//
//	type     export:submit
//	queue    clipferry-submit (or clipferry-submit-high, clipferry-submit-low); with
//	         "account":"eu", better clipferry-submit.eu and so on: in the plain queue it
//	         joins its account only when its turn comes among the default account's
//	TaskID   submit:<id>, the id 1–128 of [A-Za-z0-9._:-], the producer's own idempotency key
//	options  MaxRetry 25, Timeout 24h (it waits for its turn inside the handler)
//	payload  the request body of the Clips Export API, JSON, at most 64 KiB, plus
//	         optional "job_id" (must equal <id>), "priority" (high, normal, low),
//	         "account", "tenant", "labels" ({"show":"42"}) and "notify" ({"webhook":"https://…"} or {"task_type":"…","queue":"…"})
//
// for example
//
//	client.Enqueue(asynq.NewTask("export:submit", []byte(`{"project_id":"proj_abc123"}`)),
//		asynq.TaskID("submit:order-17"), asynq.Queue("clipferry-submit"),
//		asynq.MaxRetry(25), asynq.Timeout(24*time.Hour))
//
// A producer that leaves the TaskID to Asynq gets job_id as the id, or else the
// TaskID that Asynq chose. A payload that is wrong ends as a failed export whose
// error names every fault.
package tasks
