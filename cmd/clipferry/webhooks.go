package main

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/clipferry/clipferry/config"
	"github.com/clipferry/clipferry/internal/notify"
	"github.com/clipferry/clipferry/internal/preflight"
	"github.com/clipferry/clipferry/internal/queue"
	"github.com/clipferry/clipferry/tasks"
)

// webhooks are those that exports ask for, as far as there is something to say of them.
type webhooks struct {
	asked bool // for one
	odd   []oddWebhook
}

// oddWebhook is the first webhook at an address that only some workers may call.
type oddWebhook struct {
	where, url, text string
	more             int // exports whose webhooks are there too
}

// note keeps what may have to be said of a webhook.
func (w *webhooks) note(where, url string) {
	if url == "" {
		return
	}
	w.asked = true
	text := notify.Unreachable(url, nil)
	if text == "" {
		return
	}
	for i := range w.odd {
		if w.odd[i].text == text {
			w.odd[i].more++
			return
		}
	}
	if len(w.odd) < maxWarnings {
		w.odd = append(w.odd, oddWebhook{where: where, url: url, text: text})
	}
}

// warnings says which webhooks will not be called, as far as that is known here.
func (w *webhooks) warnings(ctx context.Context, q *queue.Queue, cfg *config.Config) []string {
	if !w.asked {
		return nil
	}
	var texts []string
	if text := unsigned(ctx, q, cfg); text != "" {
		texts = append(texts, text)
	}
	for _, o := range w.odd {
		text := notify.Unreachable(o.url, []netip.Prefix(cfg.WebhookAllowedCIDRs))
		if text == "" {
			continue
		}
		if o.more > 0 {
			text += fmt.Sprintf(" (so are %d more)", o.more)
		}
		texts = append(texts, o.where+text)
	}
	return texts
}

// addWebhookWarnings adds to the report on exports, in their order, what is to be said of
// their webhooks.
func addWebhookWarnings(ctx context.Context, conn *connection, exports []tasks.Export, report preflight.Report) {
	asks := func(e tasks.Export) bool { return e.Notify != nil && e.Notify.Webhook != "" }
	if !slices.ContainsFunc(exports, asks) {
		return
	}
	nobodySigns := unsigned(ctx, queue.New(conn.rdb), conn.cfg)
	for i, e := range exports {
		if !asks(e) {
			continue
		}
		for _, text := range []string{nobodySigns, notify.Unreachable(e.Notify.Webhook, conn.cfg.WebhookAllowedCIDRs)} {
			if text != "" {
				report.Exports[i].Warnings = append(report.Exports[i].Warnings, text)
			}
		}
	}
}

// unsigned says that nobody can sign webhooks. The workers do, so that it counts what
// those have that run; whoever may not look at them can't judge.
func unsigned(ctx context.Context, q *queue.Queue, cfg *config.Config) string {
	fleet, err := q.Fleet(ctx)
	switch {
	case err != nil, fleet.Queues[queue.Notify]:
		return ""
	case len(fleet.Workers) > 0:
		return "notify: no worker that runs has CLIPFERRY_WEBHOOK_SECRETS: unless that changes before the exports end, no webhook is called"
	case len(cfg.WebhookSecrets) == 0:
		return "notify: no worker runs that could tell, and CLIPFERRY_WEBHOOK_SECRETS is not set here: unless the workers have it, no webhook is called"
	default:
		return ""
	}
}
