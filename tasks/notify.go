package tasks

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"unicode"
)

// Notify says who is to be told when an export is archived, failed, expired or
// held: a webhook, or a task of the producer's own type in the producer's own
// queue. Exactly one of Webhook and TaskType is set.
type Notify struct {
	// Webhook is an http or https address of at most 2,048 bytes, without a user
	// name or password. It is called with a signed POST.
	Webhook string `json:"webhook,omitempty"`
	// TaskType is the type of the asynq task to enqueue, at most 128 bytes. It
	// must not start with "export:", as our own do.
	TaskType string `json:"task_type,omitempty"`
	// Queue is the queue of that task, "default" when empty: 1–128 of
	// [A-Za-z0-9._:-]. It must not start with "clipferry", as our own do.
	Queue string `json:"queue,omitempty"`
}

// DefaultNotifyQueue is the queue of a task of the producer's that names none.
const DefaultNotifyQueue = "default"

// The bounds of a Notify, in bytes.
const (
	maxWebhook  = 2048
	maxTaskType = 128
)

var notifyFields = []string{"webhook", "task_type", "queue"}

func parseNotify(raw json.RawMessage, kind string) (*Notify, error) {
	if kind != "an object" {
		return nil, fmt.Errorf("must be an object, not %s", kind)
	}
	var values map[string]json.RawMessage
	if err := json.Unmarshal(raw, &values); err != nil {
		return nil, syntax(err)
	}
	n := &Notify{}
	into := map[string]*string{"webhook": &n.Webhook, "task_type": &n.TaskType, "queue": &n.Queue}
	for name := range values {
		if into[name] == nil {
			return nil, fmt.Errorf("%s is unknown; it may have %s", clip(name), strings.Join(notifyFields, ", "))
		}
	}
	for _, name := range notifyFields {
		value, given := values[name]
		if !given || kindOf(value) == "null" {
			continue
		}
		text, err := parseText(value, kindOf(value))
		if err != nil {
			return nil, fmt.Errorf("%s %w", name, err)
		}
		if text == "" {
			return nil, fmt.Errorf("%s must not be empty", name)
		}
		*into[name] = text
	}
	return n, nil
}

func (n *Notify) write(out *bytes.Buffer) {
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(n)           // strings into memory can't fail
	out.Truncate(out.Len() - 1) // the encoder's newline
}

// checkNotify returns what is wrong with n, or "".
func checkNotify(n *Notify) string {
	switch {
	case n == nil:
		return ""
	case n.Webhook == "" && n.TaskType == "":
		return "must have webhook or task_type"
	case n.Webhook != "" && n.TaskType != "":
		return "must have webhook or task_type, not both"
	case n.Webhook != "" && n.Queue != "":
		return "queue goes with task_type, not with webhook"
	case n.Webhook != "":
		return checkWebhook(n.Webhook)
	}
	return firstOf(checkTaskType(n.TaskType), CheckQueue(n.Queue))
}

func firstOf(messages ...string) string {
	if i := slices.IndexFunc(messages, func(m string) bool { return m != "" }); i >= 0 {
		return messages[i]
	}
	return ""
}

// checkWebhook never quotes the address: such addresses often carry a token.
func checkWebhook(address string) string {
	if len(address) > maxWebhook {
		return fmt.Sprintf("webhook is too long: %d bytes, at most %d", len(address), maxWebhook)
	}
	u, err := url.Parse(address)
	switch {
	case err != nil, strings.ContainsFunc(address, invisible):
		return "webhook is not a URL"
	case u.Scheme != "https" && u.Scheme != "http":
		return "webhook must start with https:// or http://"
	case u.Hostname() == "":
		return "webhook names no host"
	case u.User != nil:
		return "webhook must not carry a user name or password"
	}
	return ""
}

func checkTaskType(name string) string {
	switch {
	case len(name) > maxTaskType:
		return fmt.Sprintf("task_type is too long: %d bytes, at most %d", len(name), maxTaskType)
	case strings.ContainsFunc(name, invisible):
		return "task_type must not hold spaces or control characters"
	case strings.HasPrefix(name, "export:"):
		return "task_type must not start with export:, which is clipferry's own"
	}
	return ""
}

// CheckQueue returns what is wrong with a name for [Notify.Queue], or "".
func CheckQueue(name string) string {
	switch {
	case name == "":
		return ""
	case !ValidID(name):
		return "queue must be 1–128 of the characters A–Z a–z 0–9 . _ : -"
	case strings.HasPrefix(name, "clipferry"):
		return "queue must not start with clipferry: those are clipferry's own"
	}
	return ""
}

func invisible(r rune) bool {
	return r == unicode.ReplacementChar || unicode.IsSpace(r) || unprintable(r)
}
