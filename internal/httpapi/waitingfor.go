package httpapi

import (
	"context"
	"net/http"
	"time"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/notify"
	"github.com/clipferry/clipferry/internal/status"
	"github.com/clipferry/clipferry/internal/telemetry/logkey"
	"github.com/clipferry/clipferry/internal/view"
)

// lookTimeout bounds how long an answer waits to hear what its exports wait for.
const lookTimeout = 3 * time.Second

// viewed is an export as `clipferry status --json` shows it.
type viewed struct {
	view.Export
	// WaitingFor follows the words "waits for"; empty for an export that waits
	// for nothing, and where it can't be learned at the moment.
	WaitingFor string `json:"waiting_for"`
	// WaitingReason is its code.
	WaitingReason status.Reason `json:"waiting_reason"`
	// Notification says what became of the notification of its end.
	Notification *notify.Notification `json:"notification,omitempty"`
}

// waitingFor says by export what it waits for. It is a help and no more: an
// answer goes out without it rather than not at all.
func (a *API) waitingFor(ctx context.Context, records ...*export.Record) map[string]status.Waiting {
	if a.o.WaitingFor == nil {
		return nil
	}
	open := make([]*export.Record, 0, len(records))
	for _, r := range records {
		if !r.State.Final() {
			open = append(open, r)
		}
	}
	if len(open) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	waiting, err := a.o.WaitingFor(ctx, open)
	if err != nil {
		a.log.WarnContext(ctx, "what exports wait for can't be learned; answered without", logkey.Error, err)
		return nil
	}
	return waiting
}

// writeExport answers with one export.
func (a *API) writeExport(w http.ResponseWriter, r *http.Request, record *export.Record) error {
	waiting := a.waitingFor(r.Context(), record)[record.ID]
	return writeData(w, viewed{view.Of(record, view.HTTP).At(time.Now()), waiting.Text, waiting.Reason, a.notification(r.Context(), record)})
}

// notification is a help as [API.waitingFor] is.
func (a *API) notification(ctx context.Context, r *export.Record) *notify.Notification {
	if a.o.Notification == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	n, err := a.o.Notification(ctx, r)
	if err != nil {
		a.log.WarnContext(ctx, "what became of a notification can't be learned; answered without", logkey.Error, err)
		return nil
	}
	return n.ForClients()
}
