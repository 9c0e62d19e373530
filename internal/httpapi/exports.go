package httpapi

import (
	"bytes"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/clipferry/clipferry/internal/admin"
	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/index"
	"github.com/clipferry/clipferry/internal/ledger"
	"github.com/clipferry/clipferry/internal/nearest"
	"github.com/clipferry/clipferry/internal/status"
	"github.com/clipferry/clipferry/internal/telemetry/logkey"
	"github.com/clipferry/clipferry/internal/view"
	"github.com/clipferry/clipferry/tasks"
)

// idOf returns the export's id in the path. What can't be one is not looked for.
func idOf(r *http.Request) (string, error) {
	id := r.PathValue("id")
	if !tasks.ValidID(id) {
		return "", admin.ErrUnknown
	}
	return id, nil
}

// view is GET /api/v2/clips/exports/{id}.
func (a *API) view(w http.ResponseWriter, r *http.Request) error {
	id, err := idOf(r)
	if err != nil {
		return err
	}
	record, err := a.exports(r.Context()).Get(r.Context(), id)
	if err != nil {
		return err
	}
	return a.writeExport(w, r, record)
}

// batch is GET /api/v2/clips/exports/batches/{id}.
func (a *API) batch(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("id")
	if !tasks.ValidBatch(name) {
		return index.ErrNoBatch
	}
	b, err := a.exports(r.Context()).Batch(r.Context(), name, view.HTTP)
	if err != nil {
		return err
	}
	return writeData(w, b)
}

// cancel is POST /api/v2/clips/export/{id}/cancel.
func (a *API) cancel(w http.ResponseWriter, r *http.Request) error {
	id, err := idOf(r)
	if err != nil {
		return err
	}
	record, err := a.exports(r.Context()).Cancel(r.Context(), id)
	if err != nil {
		return err
	}
	a.log.InfoContext(r.Context(), "export canceled", logkey.Export, record.ID, logkey.Client, clientOf(r.Context()))
	return a.writeExport(w, r, record)
}

// retry is POST /api/v2/clips/export/{id}/retry.
func (a *API) retry(w http.ResponseWriter, r *http.Request) error {
	id, err := idOf(r)
	if err != nil {
		return err
	}
	body, err := readBody(w, r)
	if err != nil {
		return err
	}
	said, err := parseRetry(body)
	if err != nil {
		return err
	}
	record, err := a.exports(r.Context()).Retry(r.Context(), id, said)
	switch {
	case errors.Is(err, export.ErrPaid):
		return &failure{status: http.StatusConflict, err: err, message: "going on needs a second paid export: " + err.Error() +
			`; say {"pay_again": true} for it`}
	case err != nil:
		return err
	}
	a.log.InfoContext(r.Context(), "export taken up again", logkey.Export, record.ID, logkey.Client, clientOf(r.Context()), logkey.PayAgain, said.PayAgain, logkey.SubmittedAs, said.SubmittedAs)
	return a.writeExport(w, r, record)
}

// parseRetry reads what is said with a retry, if anything. A task that is empty, or null
// as a variable without a value becomes, is refused: taken for none, the export would be
// ordered again.
func parseRetry(body []byte) (export.RetryOptions, error) {
	var o export.RetryOptions
	if len(bytes.TrimSpace(body)) == 0 {
		return o, nil
	}
	var task *string
	faults, err := parseFields(body, []bodyField{
		{name: "submitted_as", into: &task, null: "must not be null: it is the id of the provider's task; leave it out where there is none"},
		{name: "pay_again", into: &o.PayAgain},
	})
	if err != nil {
		return o, err
	}
	if task != nil {
		o.SubmittedAs = *task
		if wrong := admin.CheckTask(*task); wrong != "" {
			faults = append(faults, tasks.Fault{Field: "submitted_as", Message: wrong})
		}
		if o.PayAgain {
			faults = append(faults, tasks.Fault{Field: "submitted_as, pay_again", Message: "exclude each other: either it was accepted, or it is ordered again"})
		}
	}
	if len(faults) > 0 {
		return o, faults
	}
	return o, nil
}

// page is the answer to a list.
type page struct {
	Exports []listed `json:"exports"`
	// NextCursor asks for the next page; empty on the last one.
	NextCursor string `json:"next_cursor"`
}

// listed is an export in a list: its view, with the clips only counted.
type listed struct {
	view.Export
	Clips         *struct{}     `json:"clips,omitempty"` // hides the view's, which a list does not load
	ClipCount     int           `json:"clip_count"`
	ArchivedCount int           `json:"archived_count"`
	WaitingFor    string        `json:"waiting_for"`
	WaitingReason status.Reason `json:"waiting_reason"`
}

// list is GET /api/v2/clips/exports.
func (a *API) list(w http.ResponseWriter, r *http.Request) error {
	filter, err := parseFilter(r.URL.RawQuery)
	if err != nil {
		return err
	}
	if own := callerOf(r.Context()).tenant(); own != "" && filter.Tenant != "" && filter.Tenant != own {
		return tasks.Faults{{Field: "tenant", Message: "this key lists exports of " + own + " alone; leave it out"}}
	}
	limit := filter.Limit
	filter.Limit++ // one more says whether there is a next page
	found, err := a.exports(r.Context()).List(r.Context(), filter)
	if err != nil {
		return err
	}
	out := page{Exports: []listed{}}
	if len(found) > limit {
		found = found[:limit]
		out.NextCursor = cursorAfter(admin.LastOf(found))
	}
	waiting := a.waitingFor(r.Context(), found...)
	for _, record := range found {
		out.Exports = append(out.Exports, listed{
			Export: view.Of(record, view.HTTP), ClipCount: record.ClipCount, ArchivedCount: record.ArchivedCount,
			WaitingFor: waiting[record.ID].Text, WaitingReason: waiting[record.ID].Reason,
		})
	}
	return writeData(w, out)
}

const (
	defaultPage = 100
	maxPage     = 500
)

var listParameters = []string{"state", "project_id", "tenant", "label", "batch", "limit", "cursor"}

// parseFilter reads a list's query and names everything that is wrong with it.
func parseFilter(query string) (ledger.Filter, error) {
	f := ledger.Filter{Limit: defaultPage}
	values, err := url.ParseQuery(query)
	if err != nil {
		return f, fail(http.StatusBadRequest, "the query is not valid")
	}
	var faults tasks.Faults
	bad := func(name, message string) { faults = append(faults, tasks.Fault{Field: name, Message: message}) }
	names := make([]string, 0, len(values))
	for name := range values {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		value := values[name][0]
		switch {
		case !slices.Contains(listParameters, name):
			bad(shortName(name), unknownName("parameter", name, listParameters))
		case name == "label":
			f.Labels = parseLabels(values[name], func(message string) { bad(name, message) })
		case len(values[name]) > 1:
			bad(name, "given more than once")
		case value == "":
			bad(name, "must not be empty; leave it out for all")
		case name == "state" && !export.State(value).Known():
			bad(name, "must be one of "+stateNames())
		case name == "state":
			f.State = export.State(value)
		case name == "project_id":
			f.Project = value
		case name == "tenant" && !tasks.ValidTenant(value):
			bad(name, "must be 1–32 of the characters a–z 0–9 -, the first not -")
		case name == "tenant":
			f.Tenant = value
		case name == "batch" && !tasks.ValidBatch(value):
			bad(name, "must be "+tasks.BatchRule)
		case name == "batch":
			f.Batch = value
		case name == "limit":
			n, err := strconv.Atoi(value)
			if err != nil || n < 1 || n > maxPage {
				bad(name, "must be a whole number from 1 to "+strconv.Itoa(maxPage))
			}
			f.Limit = n
		case name == "cursor":
			if f.Before, f.BeforeID, err = parseCursor(value); err != nil {
				bad(name, err.Error())
			}
		}
	}
	if len(faults) > 0 {
		return f, faults
	}
	return f, nil
}

// parseLabels reads name=value pairs, all of which must match.
func parseLabels(given []string, bad func(message string)) map[string]string {
	labels := map[string]string{}
	for _, pair := range given {
		name, value, found := strings.Cut(pair, "=")
		other, repeated := labels[name]
		switch problem := tasks.CheckLabel(name, value); {
		case !found:
			bad("must be name=value, such as show=42")
		case problem != "":
			bad(problem)
		case repeated && other != value:
			bad(name + " is given with two values, which no export has")
		default:
			labels[name] = value
		}
	}
	return labels
}

func unknownName(what, name string, known []string) string {
	if meant := nearest.Name(name, known); meant != "" {
		return "unknown " + what + "; did you mean " + meant + "?"
	}
	return "unknown " + what + "; there are " + strings.Join(known, ", ")
}

func shortName(name string) string {
	const longest = 60
	if len(name) > longest {
		name = name[:longest]
	}
	return strconv.QuoteToASCII(name)
}

func stateNames() string {
	states := export.States()
	names := make([]string, len(states))
	for i, s := range states {
		names[i] = string(s)
	}
	return strings.Join(names, ", ")
}

// cursorAfter is where the page after the record begins.
func cursorAfter(r *export.Record) string {
	return base64.RawURLEncoding.EncodeToString([]byte(strconv.FormatInt(r.CreatedAt.UnixMilli(), 10) + "/" + r.ID))
}

func parseCursor(cursor string) (before time.Time, id string, err error) {
	bad := errors.New("must be a next_cursor of an earlier answer")
	raw, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil {
		return time.Time{}, "", bad
	}
	millis, id, _ := strings.Cut(string(raw), "/")
	n, err := strconv.ParseInt(millis, 10, 64)
	if err != nil || n <= 0 || n > 1<<52 || !tasks.ValidID(id) {
		return time.Time{}, "", bad
	}
	return time.UnixMilli(n), id, nil
}

var _ Exports = (*admin.Service)(nil)
