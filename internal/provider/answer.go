package provider

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
)

// submitted understands the answer to a submit. From a status of 2xx on, the
// export may exist and be charged; so anything but a clear refusal or an id is
// in doubt, and an id counts wherever it stands.
func (c *Client) submitted(ans *answer) (Task, *Error) {
	if errors.Is(ans.lost, errBodyTooLarge) {
		return Task{}, c.doubt(ans, "the answer is larger than any real one")
	}
	env, err := decodeEnvelope(ans.body)
	if err != nil {
		if id := salvageID(ans.body); id != "" {
			return salvaged(id), nil
		}
		return Task{}, c.doubt(ans, "the answer can't be read: "+c.whatItIs(ans, err))
	}
	task, err := decodeTask(env.data)
	if err != nil || !usableID(task.ExportTaskID) {
		if env.code != "" {
			return Task{}, c.refusedByCode(opSubmit, ans.status, env)
		}
		return Task{}, c.doubt(ans, "the answer has no usable export_task_id")
	}
	if env.code != "" {
		task.Warnings = append(task.Warnings, "the provider answered code "+c.clean(env.code)+" beside a task id; the id counts")
	}
	return task, nil
}

func (c *Client) doubt(ans *answer, message string) *Error {
	e := &Error{Kind: InDoubt, Op: opSubmit, Status: ans.status, Message: message}
	if ans.lost != nil && !errors.Is(ans.lost, errBodyTooLarge) { // which message says
		e.Err = c.redact(ans.lost)
	}
	return e
}

// salvaged is the task of a submit whose answer broke off after the id.
func salvaged(id string) Task {
	raw, err := json.Marshal(map[string]string{"export_task_id": id})
	if err != nil {
		raw = nil // a string always marshals
	}
	return Task{
		ExportTaskID: id, Status: StatusCreated, Raw: raw,
		Warnings: []string{"the answer to the submit broke off; its id was still readable"},
	}
}

// read understands the answer to a read of the task taskID.
func (c *Client) read(ans *answer, taskID string) (Task, *Error) {
	if errors.Is(ans.lost, errBodyTooLarge) {
		return Task{}, &Error{Kind: Malformed, Op: opRead, Status: ans.status, Message: ans.lost.Error()}
	}
	env, err := decodeEnvelope(ans.body)
	if err != nil && ans.lost != nil {
		return Task{}, &Error{
			Kind: Unavailable, Op: opRead, Status: ans.status,
			Message: "the answer broke off", Err: c.redact(ans.lost),
		}
	}
	malformed := func(message string) (Task, *Error) {
		return Task{}, &Error{Kind: Malformed, Op: opRead, Status: ans.status, Message: message}
	}
	if err != nil {
		return malformed(c.whatItIs(ans, err))
	}
	if env.code != "" {
		return Task{}, c.refusedByCode(opRead, ans.status, env)
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
	return task, nil
}

// refusedByCode is the failure of an answer with a good status and an envelope
// that says otherwise. A code that is an HTTP status means what that means. What
// else there may be is unknown: a submit is refused, a read may work later.
func (c *Client) refusedByCode(op string, status int, env envelope) *Error {
	e := &Error{Kind: Unavailable, Op: op, Status: status, Code: c.clean(env.code), Message: c.clean(env.message)}
	if op == opSubmit {
		e.Kind = Rejected
	}
	n, err := strconv.Atoi(env.code)
	if err == nil && n >= http.StatusBadRequest && n < 600 {
		e.Kind = kindOfStatus(op, n)
	}
	if e.Message == "" {
		e.Message = "code " + e.Code
	}
	return e
}

// whatItIs says more than err about an answer that is no JSON object.
func (c *Client) whatItIs(ans *answer, err error) string {
	if len(ans.body) == 0 {
		return "it is empty"
	}
	if ans.contentType == "" {
		return err.Error()
	}
	return err.Error() + ", its type is " + c.clean(ans.contentType)
}
