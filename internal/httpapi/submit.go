package httpapi

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/clipferry/clipferry/internal/notify"
	"github.com/clipferry/clipferry/internal/retry"
	"github.com/clipferry/clipferry/internal/telemetry/logkey"
	"github.com/clipferry/clipferry/tasks"
)

// submitted is the provider's answer to a submit. It is the same for the same
// export, however far that is by now.
type submitted struct {
	ExportTaskID string `json:"export_task_id"`
	Name         string `json:"name"`
	Status       string `json:"status"`
	// Warnings are ours: what is odd about the request.
	Warnings []string `json:"warnings,omitempty"`
}

// submit is POST /api/v2/clips/export.
func (a *API) submit(w http.ResponseWriter, r *http.Request) error {
	body, err := readBody(w, r)
	if err != nil {
		return err
	}
	e, err := tasks.ParseBody(body)
	if err != nil {
		return err
	}
	if err := together(setTenant(r.Context(), &e), a.checkNotify(e.Notify)); err != nil {
		return err
	}
	again, err := a.setID(r, &e)
	if err != nil {
		return err
	}
	if err := together(a.checkAccount(r.Context(), e.Account), a.checkWaiting(r.Context()), a.checkProject(r.Context(), e)); err != nil {
		return notTaken(err, again)
	}
	id, err := a.enqueue(r.Context(), e, again)
	if err != nil {
		return err
	}
	a.log.InfoContext(r.Context(), "export taken in", logkey.Export, id, logkey.ProjectID, e.ProjectID, logkey.Client, clientOf(r.Context()))
	return writeData(w, submitted{ExportTaskID: id, Name: nameOf(e.ProjectID), Status: statusCreated, Warnings: a.warnings(e)})
}

// together is errors.Join that makes one of all faults of fields.
func together(errs ...error) error {
	var faults tasks.Faults
	for i, err := range errs {
		if own, ok := err.(tasks.Faults); ok { //nolint:errorlint // what is wrapped says more than its fields
			faults, errs[i] = append(faults, own...), nil
		}
	}
	if len(faults) > 0 {
		errs = append([]error{faults}, errs...)
	}
	return errors.Join(errs...)
}

// notTaken is why an export was not taken in. Where that may pass it is as with an answer
// that was lost: the client sends it again in the same way.
func notTaken(err error, again string) error {
	if f := asFailure(err); f.status != http.StatusServiceUnavailable {
		return err
	}
	return &failure{
		status: http.StatusServiceUnavailable, retryAfter: 5 * time.Second, err: err,
		message: "clipferry cannot answer at the moment, and the export is not taken in; send it again " + again,
	}
}

// warnings is what is odd about an export that is taken.
func (a *API) warnings(e tasks.Export) []string {
	return append(e.Lint().Texts(), a.unreachable(e.Notify)...)
}

// unreachable says that a webhook leads to where none is called.
func (a *API) unreachable(n *tasks.Notify) []string {
	if n == nil {
		return nil
	}
	if text := notify.Unreachable(n.Webhook, a.o.WebhookAllowedCIDRs); text != "" {
		return []string{text}
	}
	return nil
}

// setTenant makes the export that of whoever asks. An admin may name another.
func setTenant(ctx context.Context, e *tasks.Export) error {
	who := callerOf(ctx)
	switch {
	case who.admin:
		e.Tenant = cmp.Or(e.Tenant, tasks.DefaultTenant)
	case e.Tenant != "" && e.Tenant != who.name:
		return tasks.Faults{{Field: "tenant", Message: "this key orders for " + who.name + " alone; leave it out"}}
	default:
		e.Tenant = who.name
	}
	return nil
}

// checkProject refuses a project that another tenant has made here, as one that does not
// exist.
func (a *API) checkProject(ctx context.Context, e tasks.Export) error {
	others, err := a.othersProjects(ctx, []tasks.Export{e})
	if err == nil && others[e.ProjectID] {
		return fail(http.StatusNotFound, "no such project")
	}
	return err
}

// checkAccount refuses an account that there is not: its exports would wait for ever.
func (a *API) checkAccount(ctx context.Context, name string) error {
	if name == "" || name == tasks.DefaultAccount || a.o.HasAccount == nil {
		return nil
	}
	has, err := a.o.HasAccount(ctx, name)
	if err == nil && !has {
		return tasks.Faults{{Field: "account", Message: "there is no account of this name"}}
	}
	return err
}

// checkNotify refuses to notify in a way that the operator has not allowed.
func (a *API) checkNotify(n *tasks.Notify) error {
	switch {
	case n == nil:
	case n.Webhook != "" && !a.o.Webhooks:
		return tasks.Faults{{Field: "notify", Message: "webhooks are off here: no signing secret is configured (CLIPFERRY_WEBHOOK_SECRETS)"}}
	case n.Webhook == "" && !slices.Contains(a.o.NotifyQueues, cmp.Or(n.Queue, tasks.DefaultNotifyQueue)):
		return tasks.Faults{{Field: "notify", Message: "tasks for this queue can't be asked for over HTTP: it is not among CLIPFERRY_NOTIFY_QUEUES"}}
	}
	return nil
}

// nameOf is the name of an export while the provider has not given it one.
func nameOf(project string) string { return "export of " + project }

// readBody returns a request's JSON, at most [tasks.MaxPayload] bytes of it.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if given := r.Header.Get("Content-Type"); given != "" {
		kind, params, err := mime.ParseMediaType(given)
		if err != nil || kind != "application/json" {
			return nil, fail(http.StatusUnsupportedMediaType, "the body must be JSON, with Content-Type: application/json")
		}
		if c := params["charset"]; c != "" && !isUTF8(c) {
			return nil, fail(http.StatusUnsupportedMediaType, "the body must be UTF-8")
		}
	}
	if coding := r.Header.Get("Content-Encoding"); coding != "" && !strings.EqualFold(coding, "identity") {
		return nil, fail(http.StatusUnsupportedMediaType, "the body must not be compressed")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, tasks.MaxPayload))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return nil, fail(http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is too large: at most %d bytes", large.Limit))
	case err != nil:
		return nil, &failure{status: http.StatusBadRequest, message: "the body could not be read", err: err}
	}
	return body, nil
}

func isUTF8(charset string) bool {
	switch charset {
	case "utf-8", "UTF-8", "utf8", "UTF8":
		return true
	}
	return false
}

// The pauses before an enqueue is tried again.
var enqueuePauses = []time.Duration{100 * time.Millisecond, 500 * time.Millisecond}

// enqueue puts the export in the queue. again is how a client sends it once more.
func (a *API) enqueue(ctx context.Context, e tasks.Export, again string) (string, error) {
	for try := 0; ; try++ {
		id, err := a.o.Queue.Enqueue(ctx, e)
		var faults tasks.Faults
		switch {
		case err == nil:
			return id, nil
		case errors.As(err, &faults):
			return "", err
		case errors.Is(err, tasks.ErrDifferentBody):
			return "", &failure{
				status: http.StatusUnprocessableEntity, err: err,
				message: "this Idempotency-Key (or job_id) already stands for an export with a different body",
			}
		case try == len(enqueuePauses) || ctx.Err() != nil:
			return "", &failure{
				status: http.StatusServiceUnavailable, retryAfter: 5 * time.Second, err: err,
				message: "the queue does not answer, so the export may be taken in or not; send it again " + again +
					", which never makes two of it",
			}
		}
		_ = retry.Wait(ctx, enqueuePauses[try]) // the next try sees the end of ctx
	}
}
