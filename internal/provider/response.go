package provider

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"time"
)

// submitted understands the answer to a submit. From a status of 2xx on, the
// export exists and is charged unless the answer clearly says otherwise; so an id
// counts wherever it is, and an answer without one is an acceptance all the same.
func (c *Client) submitted(ans *response, sent json.RawMessage) (Task, *Error) {
	env, err := decodeEnvelope(ans.body)
	if err != nil {
		return c.unreadable(ans, err)
	}
	task, err := decodeTask(env.data)
	failed := env.words.own && failureCode(env.words.code) != ""
	switch {
	case err == nil && usableID(task.ExportTaskID):
		if failed {
			task.Warnings = append(task.Warnings, "the provider answered code "+c.clean(env.words.code)+" beside a task id; the id counts")
		}
		return c.redactTask(task), nil
	case failed:
		return Task{}, c.refusedByCode(opSubmit, ans.status, env.words, sent)
	}
	if id := bareID(ans.body, sent); id != "" {
		return c.redactTask(Task{ExportTaskID: id, Status: StatusCreated, Raw: rawOf(id), Warnings: []string{"the answer to the submit gives an id and nothing else that is known"}}), nil
	}
	return Task{}, c.acceptedUnknown(ans, "it has no usable export_task_id")
}

// bareID returns the only thing in an acceptance that can be the task's id: "id" at its
// top, or data or a result that is a text with a digit in it. Not the id of an error,
// nor what the request has itself, such as the project's, nor one beside which something
// else is said of the task: it may be the request's.
func bareID(body []byte, sent json.RawMessage) string {
	fields := fieldsOf(trimMark(body))
	if w := wordsOf(body); w.traceID != "" || !absent(fields["error"]) || string(fields["success"]) == "false" {
		return ""
	}
	var found []string
	if id, _ := label(fields["id"]); usableID(id) && anyOf(fields, saysMore) == "" {
		found = append(found, id)
	}
	for _, name := range []string{"data", "result"} {
		if id, _ := text(fields[name]); usableID(id) && strings.ContainsAny(id, "0123456789") && !strings.ContainsAny(id, " \t") && !isTime(id) {
			found = append(found, id)
		}
	}
	if len(found) != 1 {
		return ""
	}
	for _, raw := range fieldsOf(sent) {
		if value, _ := label(raw); value == found[0] {
			return ""
		}
	}
	return found[0]
}

// saysMore reports whether a field is an object or a list that is not empty.
func saysMore(raw json.RawMessage) bool {
	return isList(raw) && strings.TrimSpace(string(raw[1:])) != "]" || len(fieldsOf(raw)) > 0
}

func isTime(s string) bool {
	_, err := time.Parse(time.RFC3339, s)
	return err == nil
}

// unreadable is what an answer to a submit means that is no JSON object. One that
// broke off may still hold the id.
func (c *Client) unreadable(ans *response, err error) (Task, *Error) {
	if id := salvageID(ans.body); id != "" {
		return salvaged(id), nil
	}
	if ans.lost == nil { // a page as well: whoever serves it, the request may be behind it
		return Task{}, c.acceptedUnknown(ans, c.whatItIs(ans, err))
	}
	e := &Error{Kind: InDoubt, Op: opSubmit, Status: ans.status, Message: "the answer can't be read: " + c.whatItIs(ans, err)}
	switch {
	case errors.Is(ans.lost, errBodyTooLarge):
		e.Message = ans.lost.Error()
	case ans.lost != nil:
		e.Err = c.redact(ans.lost)
	}
	return Task{}, e
}

// isPage reports whether a body is a page of HTML, which is a gateway's.
func isPage(body []byte) bool { return bytes.HasPrefix(bytes.TrimSpace(trimMark(body)), []byte("<")) }

// maxAnswer bounds what is kept of an answer that is not understood, in runes.
const maxAnswer = 2 << 10

func (c *Client) acceptedUnknown(ans *response, message string) *Error {
	e := c.notUnderstood(opSubmit, ans, message)
	e.Kind = AcceptedUnknown
	return e
}

func (c *Client) notUnderstood(op string, ans *response, message string) *Error {
	return &Error{
		Kind: NotUnderstood, Op: op, Status: ans.status, Message: message,
		TraceID: c.clean(wordsOf(ans.body).traceID), Answer: c.cleanTo(string(ans.body), maxAnswer),
	}
}

// salvaged is the task of a submit whose answer broke off after the id.
func salvaged(id string) Task {
	return Task{
		ExportTaskID: id, Status: StatusCreated, Raw: rawOf(id),
		Warnings: []string{"the answer to the submit broke off; its id was still readable"},
	}
}

// rawOf is the answer that would have said no more than the id.
func rawOf(id string) json.RawMessage {
	raw, err := json.Marshal(map[string]string{"export_task_id": id})
	if err != nil {
		return nil // a string always marshals
	}
	return raw
}

// read understands the answer to a read of the task taskID, whose clips all have links
// once it has succeeded if links says so.
func (c *Client) read(ans *response, taskID string, links bool) (Task, *Error) {
	malformed := func(message string) (Task, *Error) {
		return Task{}, c.notUnderstood(opRead, ans, message)
	}
	if errors.Is(ans.lost, errBodyTooLarge) {
		return malformed(ans.lost.Error())
	}
	env, err := decodeEnvelope(ans.body)
	switch {
	case err != nil && ans.lost != nil:
		return Task{}, &Error{
			Kind: Unavailable, Op: opRead, Status: ans.status,
			Message: "the answer broke off", Err: c.redact(ans.lost),
		}
	case err != nil && isPage(ans.body):
		return Task{}, &Error{
			Kind: Unavailable, Op: opRead, Status: ans.status,
			Message: "something that is not the API answers with a page; if it lasts, check CLIPFERRY_API_BASE_URL and what lies between",
		}
	case err != nil:
		return malformed(c.whatItIs(ans, err))
	}
	if failureCode(env.words.code) != "" {
		return Task{}, c.refusedByCode(opRead, ans.status, env.words, nil)
	}
	task, err := decodeTask(env.data)
	switch {
	case err != nil:
		return malformed(err.Error())
	case task.Status == "":
		return malformed("it has no status")
	case task.ExportTaskID == "":
		task.ExportTaskID = taskID
		task.Warnings = append(task.Warnings, "the answer doesn't say which task it is of")
	case task.ExportTaskID != taskID:
		// Another export's clips must never be archived as this one's.
		return malformed("it is about another task")
	}
	task.Odd = c.cleanTo(oddity(task, links), maxOddity)
	for i := range task.Clips {
		clip := &task.Clips[i]
		if clip.Odd = c.cleanTo(clip.Odd, maxOddity); !links || task.Status != StatusSucceeded { // it may come yet
			clip.Odd = ""
		}
	}
	return c.redactTask(task), nil
}

// whatItIs says more than err about an answer that is no JSON object.
func (c *Client) whatItIs(ans *response, err error) string {
	if len(ans.body) == 0 {
		return "it is empty"
	}
	if ans.contentType == "" {
		return err.Error()
	}
	return err.Error() + ", its type is " + c.clean(ans.contentType)
}
