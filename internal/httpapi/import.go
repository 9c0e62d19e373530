package httpapi

import (
	"fmt"
	"net/http"
	"slices"

	"github.com/clipferry/clipferry/internal/admin"
	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/telemetry/logkey"
	"github.com/clipferry/clipferry/tasks"
)

// maxImports is how many tasks one request may take up.
const maxImports = 500

// importBody names tasks of the provider's that were made elsewhere.
type importBody struct {
	TaskIDs                []string
	Kind, Project, Account string
}

// imported is the export that a task is.
type imported struct {
	ExportTaskID string   `json:"export_task_id"` // ours, as everywhere in this API
	TaskID       string   `json:"task_id"`
	Kind         string   `json:"kind"`
	State        string   `json:"state"`
	Known        bool     `json:"known"`
	Warnings     []string `json:"warnings,omitempty"`
}

type importedPage struct {
	Exports []imported `json:"exports"`
}

// importTasks is POST /api/v2/clips/exports/import.
func (a *API) importTasks(w http.ResponseWriter, r *http.Request) error {
	body, err := readBody(w, r)
	if err != nil {
		return err
	}
	imports, err := a.parseImport(body)
	if err != nil {
		return err
	}
	made := make([]tasks.Export, len(imports)) // a task of clips or moments is a project
	for n, i := range imports {
		made[n].ProjectID = i.Task
	}
	others, err := a.othersProjects(r.Context(), made)
	if err != nil {
		return err
	}
	if err := a.checkAccount(r.Context(), imports[0].Account); err != nil { // which is the same for all
		return err
	}
	out := importedPage{Exports: []imported{}}
	for _, i := range imports {
		if others[i.Task] {
			return fmt.Errorf("%s: %w", i.Task, admin.ErrUnknown)
		}
	}
	for _, i := range imports {
		record, known, err := a.exports(r.Context()).Import(r.Context(), i)
		if err != nil {
			return err
		}
		a.log.InfoContext(r.Context(), "task taken up", logkey.Export, record.ID, logkey.ExportTaskID, i.Task, logkey.Client, clientOf(r.Context()))
		one := imported{ExportTaskID: record.ID, TaskID: i.Task, Kind: string(record.Kind), State: string(record.State), Known: known}
		if warning := tasks.LintTask(i.Task); warning != "" {
			one.Warnings = []string{warning}
		}
		out.Exports = append(out.Exports, one)
	}
	return writeData(w, out)
}

// parseImport names everything that is wrong at once.
func (a *API) parseImport(body []byte) ([]admin.Import, error) {
	said := importBody{Kind: string(export.TaskExport)}
	faults, err := parseFields(body, []bodyField{
		{name: "task_ids", into: &said.TaskIDs},
		{name: "kind", into: &said.Kind},
		{name: "project_id", into: &said.Project},
		{name: "account", into: &said.Account},
	})
	if err != nil {
		return nil, err
	}
	known := func(name string) bool {
		return slices.ContainsFunc(faults, func(f tasks.Fault) bool { return f.Field == name })
	}
	switch n := len(said.TaskIDs); {
	case n == 0 && !known("task_ids"):
		faults = append(faults, tasks.Fault{Field: "task_ids", Message: "required"})
	case n > maxImports:
		return nil, append(faults, tasks.Fault{Field: "task_ids", Message: fmt.Sprintf("at most %d at once, not %d", maxImports, n)})
	}
	if said.Kind == "" {
		said.Kind = string(export.TaskExport)
	}
	imports := make([]admin.Import, len(said.TaskIDs))
	for n, task := range said.TaskIDs {
		imports[n] = admin.Import{
			Kind: export.TaskKind(said.Kind), Task: task, Project: said.Project,
			Account: said.Account, AccountName: a.o.AccountName(said.Account),
		}
		for _, fault := range imports[n].Check() {
			if fault.Field == "task_id" {
				fault.Field = fmt.Sprintf("task_ids[%d]", n)
			}
			if n == 0 || fault.Field != "kind" && fault.Field != "account" && fault.Field != "project_id" { // these are the same for all
				faults = append(faults, fault)
			}
		}
	}
	if len(faults) > 0 {
		return nil, faults
	}
	return imports, nil
}
