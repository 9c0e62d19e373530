package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"golang.org/x/sync/errgroup"

	"github.com/clipferry/clipferry/internal/preflight"
	"github.com/clipferry/clipferry/tasks"
)

// Preflight says what exports would come to; *preflight.Service is one.
type Preflight interface {
	Check(ctx context.Context, tenant string, exports []tasks.Export, hidden map[string]bool) (preflight.Report, error)
}

// maxPreflight is how many exports one request may ask about.
const maxPreflight = 100

// preflight is POST /api/v2/clips/exports/preflight.
func (a *API) preflight(w http.ResponseWriter, r *http.Request) error {
	if a.o.Preflight == nil {
		return fail(http.StatusNotFound, "this server has no key of the provider's, so it can't look at projects; ask one that has")
	}
	body, err := readBody(w, r)
	if err != nil {
		return err
	}
	exports, err := parsePreflight(body)
	if err != nil {
		return err
	}
	hidden, err := a.othersProjects(r.Context(), exports)
	if err != nil {
		return err
	}
	report, err := a.o.Preflight.Check(r.Context(), callerOf(r.Context()).name, exports, hidden)
	if err != nil {
		return err
	}
	for i, e := range exports {
		report.Exports[i].Warnings = append(report.Exports[i].Warnings, a.notifyWarnings(e.Notify)...)
	}
	return writeData(w, report)
}

// notifyWarnings is what keeps the producer from being notified, or the order from being
// taken.
func (a *API) notifyWarnings(n *tasks.Notify) []string {
	if err := a.checkNotify(n); err != nil {
		return []string{err.Error() + "; such an order is refused"}
	}
	return a.unreachable(n)
}

// parsePreflight reads one request body, or several in a list under exports.
func parsePreflight(body []byte) ([]tasks.Export, error) {
	var list struct {
		Exports []json.RawMessage `json:"exports"`
	}
	if json.Unmarshal(body, &list) != nil || list.Exports == nil {
		e, err := tasks.ParseBody(body)
		return []tasks.Export{e}, err
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&list); err != nil {
		return nil, fail(http.StatusBadRequest, "exports stands alone: "+err.Error())
	}
	if n := len(list.Exports); n == 0 || n > maxPreflight {
		return nil, tasks.Faults{{Field: "exports", Message: fmt.Sprintf("must be 1 to %d requests, not %d", maxPreflight, n)}}
	}
	exports := make([]tasks.Export, len(list.Exports))
	var faults tasks.Faults
	for i, one := range list.Exports {
		e, err := tasks.ParseBody(one)
		if err != nil {
			faults = append(faults, tasks.Fault{Field: fmt.Sprintf("exports[%d]", i), Message: err.Error()})
		}
		exports[i] = e
	}
	if len(faults) > 0 {
		return nil, faults
	}
	return exports, nil
}

// lookups is how many projects of a request are looked up at a time: S3 may be slow.
const lookups = 128

// othersProjects are the projects that another tenant has made here.
func (a *API) othersProjects(ctx context.Context, exports []tasks.Export) (map[string]bool, error) {
	own := callerOf(ctx).tenant()
	if a.o.ProjectTenant == nil || own == "" {
		return nil, nil
	}
	tenants := make([]string, len(exports))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(lookups)
	for n, e := range exports {
		group.Go(func() (err error) {
			tenants[n], err = a.o.ProjectTenant(ctx, e.ProjectID)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	hidden := map[string]bool{}
	for n, e := range exports {
		hidden[e.ProjectID] = tenants[n] != "" && tenants[n] != own
	}
	return hidden, nil
}
