package queue

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/tasks"
)

// Step is what a task of ours asks for.
type Step struct {
	// ID names the export. It is filled, where an export's first task allows it at
	// all, even when the rest is malformed, so that the failure can be recorded
	// under it.
	ID string
	export.Step
	// Queue is where the task lies; empty where that is not known.
	Queue string
	// Request is the export's request, and RequestGiven whether the task carries
	// one: only the first submit does.
	Request      tasks.Export
	RequestGiven bool
}

const resubmitPrefix = "resubmit:"

type (
	resubmitPayload struct {
		ID    string `json:"id"`
		Round int    `json:"round"`
	}
	pollPayload struct {
		ID string `json:"id"`
		N  int    `json:"n"`
	}
	mirrorPayload struct {
		ID    string `json:"id"`
		Idx   int    `json:"idx"`
		Round int    `json:"round"`
	}
	sealPayload struct {
		ID    string `json:"id"`
		Round int    `json:"round"`
	}
)

// Parse reads a task. Its error says what is malformed; for a request it is a
// [tasks.Faults]. The queues are open to other programs, so nothing about a task
// is taken on trust.
func Parse(taskID, typename string, payload []byte) (Step, error) {
	switch typename {
	case tasks.TypeSubmit:
		if strings.HasPrefix(taskID, resubmitPrefix) {
			return parseResubmit(taskID, payload)
		}
		return parseFirst(taskID, payload)
	case TypePoll:
		var p pollPayload
		err := parseStrict(payload, &p)
		return step(err, p.ID, export.Step{Kind: export.StepPoll, N: p.N}, "n", 1)
	case TypeMirror:
		var p mirrorPayload
		err := parseStrict(payload, &p)
		return step(err, p.ID, export.Step{Kind: export.StepMirror, N: p.Round, Clip: p.Idx}, "round", 0)
	case TypeSeal:
		var p sealPayload
		err := parseStrict(payload, &p)
		return step(err, p.ID, export.Step{Kind: export.StepSeal, N: p.Round}, "round", 0)
	default:
		return Step{}, fmt.Errorf("unknown task type %s", excerpt(typename))
	}
}

func parseFirst(taskID string, payload []byte) (Step, error) {
	id, named := strings.CutPrefix(taskID, tasks.SubmitTaskID(""))
	s := Step{Step: export.Step{Kind: export.StepSubmit}}
	if tasks.CheckJobID(id) == "" {
		s.ID = id
	}
	e, err := tasks.ParseExport(payload)
	switch {
	case err != nil:
		return s, err
	case named && e.JobID != "" && e.JobID != id:
		return s, tasks.Faults{{
			Field: "job_id", Message: fmt.Sprintf("is %s, but the TaskID is for %s", e.JobID, excerpt(id)),
		}}
	case e.JobID != "":
		s.ID = e.JobID
	}
	if s.ID == "" {
		return s, fmt.Errorf("the TaskID %s gives no usable id: %s", excerpt(taskID), idRule)
	}
	s.Request, s.RequestGiven = e, true
	return s, nil
}

func parseResubmit(taskID string, payload []byte) (Step, error) {
	var p resubmitPayload
	err := parseStrict(payload, &p)
	s, err := step(err, p.ID, export.Step{Kind: export.StepSubmit, N: p.Round}, "round", 1)
	if want := resubmitPrefix + s.ID + ":" + strconv.Itoa(s.N); err == nil && taskID != want {
		err = fmt.Errorf("the TaskID %s does not fit the payload, which is for %s", excerpt(taskID), excerpt(want))
	}
	return s, err
}

// maxStepPayload bounds our own later payloads, in bytes.
const maxStepPayload = 1024

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

// step checks a step that was parsed, unless that has failed.
func step(err error, id string, s export.Step, number string, least int) (Step, error) {
	const most = 1<<31 - 1
	switch {
	case err != nil:
	case !tasks.ValidID(id):
		err = fmt.Errorf("malformed payload: id: must be %s, not \"%s\"", idRule, excerpt(id))
	case s.N < least || s.N > most:
		err = fmt.Errorf("malformed payload: %s: must be from %d to %d, not %d", number, least, most, s.N)
	case s.Clip < 0 || s.Clip > most:
		err = fmt.Errorf("malformed payload: idx: must be from 0 to %d, not %d", most, s.Clip)
	}
	if err != nil {
		return Step{}, err
	}
	return Step{ID: id, Step: s}, nil
}

const idRule = "1–128 of the characters A–Z a–z 0–9 . _ : -"

// excerpt is foreign text as it may stand in a message.
func excerpt(s string) string {
	const longest = 60
	if len(s) > longest {
		s = strings.ToValidUTF8(s[:longest], "") + "…"
	}
	quoted := strconv.Quote(s)
	return quoted[1 : len(quoted)-1]
}
