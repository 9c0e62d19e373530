package httpapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/clipferry/clipferry/internal/admin"
	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/passthrough"
	"github.com/clipferry/clipferry/internal/telemetry/logkey"
)

// resultsOf returns the body of a task's results, as the provider gave it last, with
// our links in place of its own, which die, for the clips that are archived. Of a task
// that no export archives, or where something is not understood, it stays as it came.
func (a *API) resultsOf(r *http.Request, answer passthrough.Answer) []byte {
	if answer.TaskID == "" || answer.Status != http.StatusOK || answer.Header.Get("Content-Encoding") != "" || !strings.HasPrefix(answer.Call, "clips") {
		return answer.Body
	}
	record, err := a.exports(r.Context()).OfTask(r.Context(), a.o.AccountName(""), answer.TaskID)
	if errors.Is(err, admin.ErrUnknown) && answer.Export != "" { // Redis may have lost it, and S3 not
		record, err = a.exports(r.Context()).Get(r.Context(), answer.Export)
	}
	if errors.Is(err, admin.ErrUnknown) {
		return answer.Body
	}
	if err == nil && a.o.Whole != nil {
		record, err = a.o.Whole(r.Context(), record)
	}
	var body []byte
	if err == nil {
		body, err = a.results(record, answer, a.links.base(r))
	}
	if err != nil {
		a.log.WarnContext(r.Context(), "the links of a task's results stay the provider's", logkey.ExportTaskID, answer.TaskID, logkey.Error, err)
		return answer.Body
	}
	return body
}

// clippingTask is a task of another call than the export's: what it is known by has
// another name.
type clippingTask struct {
	ID string `json:"id"`
	task
	ExportTaskID *struct{} `json:"export_task_id,omitempty"` // hides the task's
}

// results are a task's: the answer itself, unless the export reads the task in its
// client's place; then what that read last or, once it is sealed, the record.
func (a *API) results(record *export.Record, answer passthrough.Answer, base string) ([]byte, error) {
	body := answer.Body
	switch {
	case answer.Export == "":
	case len(record.LastAnswer) > 0:
		body, _ = json.Marshal(map[string]json.RawMessage{"data": record.LastAnswer}) // it is JSON
	case record.Polls > 0, record.State == export.Archived:
		t := clippingTask{ID: answer.TaskID, task: a.taskOf(record, base)}
		return json.Marshal(map[string]any{"data": t})
	}
	return replaceLinks(body, record, func(key string) string { return base + a.links.path(key) })
}

type rawObject = map[string]json.RawMessage

func replaceLinks(body []byte, record *export.Record, link func(key string) string) ([]byte, error) {
	var outer, data rawObject
	var clips []rawObject
	if err := json.Unmarshal(body, &outer); err != nil {
		return nil, fmt.Errorf("the answer: %w", err)
	}
	if err := json.Unmarshal(outer["data"], &data); err != nil {
		return nil, fmt.Errorf("its data: %w", err)
	}
	if data["clips"] == nil { // nothing is known yet
		data["clips"] = json.RawMessage("[]")
	}
	if err := json.Unmarshal(data["clips"], &clips); err != nil {
		return nil, fmt.Errorf("its clips: %w", err)
	}
	var late []int
	for _, clip := range clips {
		var idx int
		if json.Unmarshal(clip["idx"], &idx) != nil {
			continue
		}
		known := record.Clips[idx]
		switch {
		case known == nil && record.State == export.Archived && len(clip["export_link"]) > 2:
			late = append(late, idx)
		case known == nil || known.State != export.ClipArchived:
		default:
			clip["export_link"] = quoted(link(known.Object.Key))
			if known.Thumb != nil {
				clip["thumbnail"] = quoted(link(known.Thumb.Key))
			}
		}
	}
	if len(late) > 0 {
		slices.Sort(late)
		data["warnings"], _ = json.Marshal([]string{fmt.Sprintf(
			"clips %v appeared after the archive of this task was sealed; POST /api/v2/clips/exports/import with it takes them up", late)}) // strings always marshal
	}
	data["clips"], _ = json.Marshal(clips) // what was JSON before
	outer["data"], _ = json.Marshal(data)
	return json.Marshal(outer)
}

func quoted(text string) json.RawMessage {
	q, _ := json.Marshal(text) // a string always marshals
	return q
}
