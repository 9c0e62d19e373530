package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/clipferry/clipferry/cmd/internal/cli"
	"github.com/clipferry/clipferry/internal/admin"
	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/view"
	"github.com/clipferry/clipferry/tasks"
)

func importCommand(c *console) *cobra.Command {
	f := &importFlags{}
	cmd := &cobra.Command{
		Use: "import [--kind export|clips|moments] {TASK_ID… | --file F}", Short: "archive tasks that the provider has already",
		Long: `Tasks that were made elsewhere are read and archived as exports, whose ids are
printed. Nothing is submitted, and so nothing paid for. A task of the kind
clips or moments must have been made with enable_export; since its clips
appear as each is rendered, it is complete once nothing new has come for
CLIPFERRY_IMPORT_QUIET.

With --file, each line of F (or of standard input, for -) is the id of a task,
or a JSON object with task_id and, optionally, kind, project_id, account and
tenant.
All are checked first; if any is wrong, nothing is imported. A task belongs to
one export: imported again, or ordered here before, its export's id is
printed.`,
		RunE: func(cmd *cobra.Command, ids []string) error {
			if err := cli.Empty(cmd.Flags(), "the default", "kind", "project-id", "account", "tenant"); err != nil {
				return err
			}
			return f.run(cmd.Context(), c, ids)
		},
	}
	set := cmd.Flags()
	set.StringVar(&f.each.Kind, "kind", string(export.TaskExport), "`KIND` of the tasks: export, clips or moments")
	set.StringVar(&f.each.Project, "project-id", "", "the `ID` of the project that they belong to; left out, the task's own")
	set.StringVar(&f.each.Account, "account", "", "the account whose key made them, by its `name` in CLIPFERRY_API_KEYS; left out, the default")
	set.StringVar(&f.each.Tenant, "tenant", "", "`name` of the tenant whose exports they become; left out, default")
	set.StringVarP(&f.file, "file", "f", "", "read the tasks from `F`, one a line; - is standard input")
	set.BoolVar(&f.json, "json", false, "print each export as `clipferry status --json` does")
	set.BoolVarP(&f.wait, "wait", "w", false, "show progress until all are archived; fail if one is not")
	completes(cmd, "kind", []string{string(export.TaskExport), string(export.TaskClips), string(export.TaskMoments)})
	return cmd
}

type importFlags struct {
	each       importLine // what holds for tasks that don't say otherwise
	file       string
	json, wait bool
}

// importLine is a task as a line of a file names it.
type importLine struct {
	Task    string `json:"task_id"`
	Kind    string `json:"kind"`
	Project string `json:"project_id"`
	Account string `json:"account"`
	Tenant  string `json:"tenant"`
}

// tenantImport is what is imported, and for whom.
type tenantImport struct {
	admin.Import
	tenant string
}

func (f *importFlags) run(ctx context.Context, c *console, ids []string) error {
	imports, err := f.read(ctx, c, ids)
	if err != nil {
		return err
	}
	conn, err := c.connect(ctx, 0)
	if err != nil {
		return err
	}
	defer conn.close()
	outliveReaders()
	var exports []string
	for _, i := range imports {
		i.AccountName = conn.cfg.Account(i.Account).Name
		r, known, err := conn.exports.For(i.tenant).Import(ctx, i.Import)
		if err != nil {
			return fmt.Errorf("import task %s: %w", i.Task, err)
		}
		if known {
			_ = c.msg.Printf("task %s is export %s already, which is %s\n", i.Task, r.ID, r.State)
		}
		if err := f.print(c, r); err != nil {
			return err
		}
		exports = append(exports, r.ID)
	}
	if !f.wait {
		return nil
	}
	return c.wait(ctx, conn, exports)
}

func (f *importFlags) print(c *console, r *export.Record) error {
	if f.json {
		return c.out.JSON(view.Of(r, view.CLI))
	}
	return c.out.Printf("%s\n", r.ID)
}

// read returns what is to be imported, or an [inputError] that names every fault.
func (f *importFlags) read(ctx context.Context, c *console, ids []string) ([]tenantImport, error) {
	if (f.file == "") == (len(ids) == 0) {
		return nil, cli.Usagef("give the ids of tasks, or --file")
	}
	lines := make([][]byte, len(ids))
	for n, id := range ids {
		lines[n] = []byte(id)
	}
	where := func(n int) string { return fmt.Sprintf("task %q: ", ids[n]) }
	if f.file != "" {
		var err error
		if lines, err = readLines(ctx, c, f.file); err != nil {
			return nil, err
		}
		where = func(n int) string { return fmt.Sprintf("line %d: ", n+1) }
	}
	var imports []tenantImport
	input := &inputError{}
	for n, line := range lines {
		line = bytes.TrimSpace(line)
		if len(line) == 0 && f.file != "" {
			continue
		}
		i, err := f.parse(line)
		if err == nil {
			faults := i.Check()
			if i.tenant != "" && !tasks.ValidTenant(i.tenant) {
				faults = append(faults, tasks.Fault{Field: "tenant", Message: "must be 1–32 of the characters a–z 0–9 -, the first not -"})
			}
			if len(faults) > 0 {
				err = faults
			}
		}
		if err != nil {
			input.lines = append(input.lines, faultLines(where(n), err)...)
			continue
		}
		if warning := tasks.LintTask(i.Task); warning != "" {
			_ = c.msg.Printf("warning: %s%s\n", where(n), warning)
		}
		imports = append(imports, i)
	}
	if len(input.lines) > 0 {
		return nil, input
	}
	if len(imports) == 0 {
		return nil, &inputError{[]string{"there is no task in " + shownName(f.file)}}
	}
	return imports, nil
}

// parse reads the id of a task, or an object that says more.
func (f *importFlags) parse(line []byte) (tenantImport, error) {
	said := importLine{Task: string(line)}
	if f.file != "" && line[0] == '{' {
		said = importLine{}
		dec := json.NewDecoder(bytes.NewReader(line))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&said); err != nil {
			return tenantImport{}, fmt.Errorf("must be the id of a task, or an object with task_id, kind, project_id, account and tenant: %w", err)
		}
		if _, err := dec.Token(); !errors.Is(err, io.EOF) {
			return tenantImport{}, errors.New("something follows the object")
		}
	}
	return tenantImport{admin.Import{
		Task: said.Task, Kind: export.TaskKind(cmp.Or(said.Kind, f.each.Kind)),
		Project: cmp.Or(said.Project, f.each.Project), Account: cmp.Or(said.Account, f.each.Account),
	}, cmp.Or(said.Tenant, f.each.Tenant)}, nil
}
