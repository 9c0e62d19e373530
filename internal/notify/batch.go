package notify

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/clipferry/clipferry/internal/index"
	"github.com/clipferry/clipferry/internal/queue"
	"github.com/clipferry/clipferry/internal/telemetry/logkey"
	"github.com/clipferry/clipferry/tasks"
)

// batchCompleted is the type of the event of a batch whose members are all final.
const batchCompleted = "batch.completed"

// batchEvent is what a receiver gets of a batch. Its form is part of the outside contract.
type batchEvent struct {
	ID        string    `json:"id"`
	Type      string    `json:"type"`
	Timestamp time.Time `json:"timestamp"`
	Data      batchData `json:"data"`
}

type batchData struct {
	Batch   string         `json:"batch"`
	Members int            `json:"members"`
	States  map[string]int `json:"states"` // members by the state that they ended in
}

// BatchCompleted puts the event of a batch whose members are all final on its way, if
// somebody wants to know. For the same batch and b.Done it is the same event.
func (n *Notifier) BatchCompleted(ctx context.Context, b index.Batch, at time.Time, states map[string]int) error {
	if len(b.Notify) == 0 {
		return nil
	}
	to, can := n.whom(ctx, b.Notify, n.log.With(logkey.Batch, b.Name))
	if !can {
		return nil
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "clipferry event\x00batch\x00%s\x00%d\x00%d", b.Name, b.Created.UnixNano(), b.Done))
	e := batchEvent{
		ID:   "evt_" + strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:16])),
		Type: batchCompleted, Timestamp: at, Data: batchData{b.Name, b.Count, states},
	}
	body, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("encode the event of batch %s: %w", b.Name, err)
	}
	if to.Webhook != "" {
		if err := index.KeepBatchEvent(ctx, n.o.Redis, b.Name, e.ID, body); err != nil {
			return err
		}
		err = n.queue.Add(ctx, queue.NotifyTask(e.ID, 0, time.Time{}, call{ID: b.Name, Batch: true, Event: eventRef(e.ID)}, nil))
	} else {
		err = n.queue.AddForeign(ctx, e.ID, cmp.Or(to.Queue, tasks.DefaultNotifyQueue), to.TaskType, body, nil)
	}
	if err != nil {
		return fmt.Errorf("enqueue the event of batch %s: %w", b.Name, err)
	}
	if to.Webhook == "" {
		n.o.Observe(Enqueued)
	}
	return nil
}

// messageOfBatch returns the message of a batch's end, as it was kept.
func (n *Notifier) messageOfBatch(ctx context.Context, c call) (*message, error) {
	b, err := index.LoadBatch(ctx, n.o.Redis, c.ID)
	var body []byte
	if err == nil {
		body, err = index.BatchEvent(ctx, n.o.Redis, c.ID, string(c.Event))
	}
	if errors.Is(err, index.ErrNoBatch) {
		return nil, fmt.Errorf("batch %s is no longer known, nor is the address of its webhook: %w", c.ID, queue.ErrGiveUp)
	}
	if err != nil {
		return nil, err
	}
	to := webhookIn(b.Notify)
	if to == nil {
		return nil, fmt.Errorf("batch %s names no webhook: %w", c.ID, queue.ErrGiveUp)
	}
	return &message{to, string(c.Event), batchCompleted, body}, nil
}
