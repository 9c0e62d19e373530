package tasks

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Submit is what a task of type [TypeSubmit] asks for.
type Submit struct {
	// ID names the export. It is filled, where the task allows it at all, even
	// when the rest is malformed, so that the failure can be recorded under it.
	ID string
	// Request is the export's request, and RequestGiven whether the task carries
	// one: only the first submit does.
	Request      Export
	RequestGiven bool
	// Round counts later submits from 1; 0 is the first.
	Round int
}

type resubmitPayload struct {
	ID    string `json:"id"`
	Round int    `json:"round"`
}

// Poll is the payload of [TypePoll]: read number N of the export.
type Poll struct {
	ID string `json:"id"`
	N  int    `json:"n"`
}

// Mirror is the payload of [TypeMirror]: the clip Idx of the export.
type Mirror struct {
	ID    string `json:"id"`
	Idx   int    `json:"idx"`
	Round int    `json:"round"`
}

// Seal is the payload of [TypeSeal].
type Seal struct {
	ID    string `json:"id"`
	Round int    `json:"round"`
}

// ParseSubmit reads a submit task from its TaskID and payload. Its error says
// what is malformed; for a request it is a [Faults].
func ParseSubmit(taskID string, payload []byte) (Submit, error) {
	if strings.HasPrefix(taskID, "resubmit:") {
		return parseResubmit(taskID, payload)
	}
	id, named := strings.CutPrefix(taskID, submitPrefix)
	s := Submit{}
	if ValidID(id) {
		s.ID = id
	}
	e, err := ParseExport(payload)
	switch {
	case err != nil:
		return s, err
	case named && e.JobID != "" && e.JobID != id:
		return s, Faults{{Field: "job_id", Message: fmt.Sprintf("is %s, but the TaskID is for %s", e.JobID, clip(id))}}
	case e.JobID != "":
		s.ID = e.JobID
	}
	if s.ID == "" {
		return s, fmt.Errorf("the TaskID %s gives no usable id: 1–128 of the characters A–Z a–z 0–9 . _ : -", clip(taskID))
	}
	s.Request, s.RequestGiven = e, true
	return s, nil
}

func parseResubmit(taskID string, payload []byte) (Submit, error) {
	var p resubmitPayload
	if err := parseStrict(payload, &p); err != nil {
		return Submit{}, err
	}
	if err := checkStep(p.ID, p.Round, 1, "round"); err != nil {
		return Submit{}, err
	}
	return Submit{ID: p.ID, Round: p.Round}, sameTask(taskID, ResubmitTaskID(p.ID, p.Round))
}

// sameTask refuses a payload that belongs to another task than its TaskID says.
func sameTask(got, want string) error {
	if got != want {
		return fmt.Errorf("the TaskID %s does not fit the payload, which is for %s", clip(got), clip(want))
	}
	return nil
}

// ParsePoll reads the payload of a poll task.
func ParsePoll(payload []byte) (Poll, error) {
	var p Poll
	if err := parseStrict(payload, &p); err != nil {
		return Poll{}, err
	}
	if err := checkStep(p.ID, p.N, 1, "n"); err != nil {
		return Poll{}, err
	}
	return p, nil
}

// ParseMirror reads the payload of a mirror task.
func ParseMirror(payload []byte) (Mirror, error) {
	var p Mirror
	if err := parseStrict(payload, &p); err != nil {
		return Mirror{}, err
	}
	if err := errors.Join(checkStep(p.ID, p.Round, 0, "round"), checkNumber(p.Idx, 0, "idx")); err != nil {
		return Mirror{}, err
	}
	return p, nil
}

// ParseSeal reads the payload of a seal task.
func ParseSeal(payload []byte) (Seal, error) {
	var p Seal
	if err := parseStrict(payload, &p); err != nil {
		return Seal{}, err
	}
	if err := checkStep(p.ID, p.Round, 0, "round"); err != nil {
		return Seal{}, err
	}
	return p, nil
}

// maxStepPayload bounds our own later payloads, in bytes.
const maxStepPayload = 1024

// parseStrict decodes one of our own small payloads. The queue is open to other
// programs, so nothing about them is taken on trust.
func parseStrict(payload []byte, into any) error {
	if len(payload) > maxStepPayload {
		return fmt.Errorf("malformed payload: %d bytes, at most %d", len(payload), maxStepPayload)
	}
	dec := json.NewDecoder(bytes.NewReader(payload))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return fmt.Errorf("malformed payload: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("malformed payload: something follows the object")
	}
	return nil
}

func checkStep(id string, n, least int, name string) error {
	if !ValidID(id) {
		return fmt.Errorf("malformed payload: id: must be 1–128 of the characters A–Z a–z 0–9 . _ : -, not \"%s\"", clip(id))
	}
	return checkNumber(n, least, name)
}

func checkNumber(n, least int, name string) error {
	const most = 1<<31 - 1
	if n < least || n > most {
		return fmt.Errorf("malformed payload: %s: must be from %d to %d, not %d", name, least, most, n)
	}
	return nil
}
