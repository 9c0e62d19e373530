package admin

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/ledger"
	"github.com/clipferry/clipferry/tasks"
)

// Import names a task of the provider's that was made elsewhere and is to be archived.
type Import struct {
	Kind export.TaskKind
	Task string
	// Project is that of the clips, which the provider does not say; the task itself
	// when empty, which is right for all kinds but export.
	Project string
	// Account is whose key made it, as a request names it; AccountName is its own
	// name, which an empty Account stands for as well.
	Account, AccountName string
	// Passed says that it was made through the HTTP API, with the Body.
	Passed bool
	Body   json.RawMessage
}

// Check returns everything that is wrong with what is to be imported.
func (i Import) Check() tasks.Faults {
	var faults tasks.Faults
	bad := func(field, message string) { faults = append(faults, tasks.Fault{Field: field, Message: message}) }
	if wrong := CheckTask(i.Task); wrong != "" {
		bad("task_id", wrong)
	}
	if !i.Kind.Known() {
		bad("kind", "must be one of "+kindNames())
	}
	if i.Account != "" && !tasks.ValidAccount(i.Account) {
		bad("account", "must be 1–32 of the characters a–z 0–9 -")
	}
	if err := i.request().Validate(); err != nil && i.Project != "" {
		bad("project_id", strings.TrimPrefix(err.Error(), "project_id: "))
	}
	return faults
}

func kindNames() string {
	var names []string
	for _, k := range export.TaskKinds() {
		names = append(names, string(k))
	}
	return strings.Join(names, ", ")
}

// request is what is known of the task's: its body or, where that is not known or
// not understood, no more than the project.
func (i Import) request() tasks.Export {
	project := cmp.Or(i.Project, i.Task)
	fields := map[string]json.RawMessage{}
	if len(i.Body) > 0 && json.Unmarshal(i.Body, &fields) == nil {
		fields["project_id"], _ = json.Marshal(project) // a string always marshals
		body, _ := json.Marshal(fields)
		if e, err := tasks.ParseSent(body); err == nil {
			return e
		}
	}
	return tasks.Export{ProjectID: project}
}

// id is that of the export, the same for the same task of the same account.
func (i Import) id() string {
	id := "import-" + i.Task
	if i.Account != "" && i.Account != tasks.DefaultAccount {
		id = "import-" + i.Account + ":" + i.Task
	}
	if tasks.CheckJobID(id) == "" && !strings.Contains(i.Task, ":") {
		return id
	}
	sum := sha256.Sum256([]byte(i.Account + "\x00" + i.Task))
	return "import-" + hex.EncodeToString(sum[:16])
}

// Import has a task that was made elsewhere read and archived. It is never submitted.
// One that belongs to an export already, imported or ordered, stays with it: that one
// is returned, and known is true. Whether the provider knows the task is seen when a
// worker reads it.
func (s *Service) Import(ctx context.Context, i Import) (r *export.Record, known bool, err error) {
	if faults := i.Check(); len(faults) > 0 {
		return nil, false, faults
	}
	id := i.id()
	if s.tenant != "" {
		id = s.tenant + "." + id
	}
	owner, err := s.ledger.ClaimTask(ctx, i.AccountName, i.Task, id) // before anybody else can
	if err != nil {
		return nil, false, err
	}
	if owner != id {
		r, err = s.ownerOf(ctx, i.Task, owner)
		return r, true, err
	}
	request := i.request()
	r = export.NewImport(id, i.Kind, i.Task, request.Body(), request.Digest(), request.ProjectID, s.now())
	if i.Account != tasks.DefaultAccount {
		r.Account = i.Account
	}
	r.Passed = i.Passed
	if s.tenant != tasks.DefaultTenant {
		r.Tenant = s.tenant
	}
	created, err := s.ledger.Create(ctx, r)
	if err != nil {
		return nil, false, err
	}
	if !created {
		if r, err = s.importAgain(ctx, i, id); err != nil {
			return nil, false, err
		}
	}
	return r, !created, s.queue.Schedule(ctx, r)
}

// ownerOf returns the export that a task belongs to.
func (s *Service) ownerOf(ctx context.Context, task, id string) (*export.Record, error) {
	r, err := s.ledger.Load(ctx, id)
	switch {
	case errors.Is(err, ledger.ErrUnknown) && s.tenant == "":
		return nil, &impossible{fmt.Sprintf("it is taken up as export %s, which has no record yet", id), export.ErrNotNow}
	case errors.Is(err, ledger.ErrUnknown), err == nil && !s.owns(r):
		return nil, unknown(task)
	}
	return r, err
}

// importAgain returns the export that a task was imported as before. One that the
// provider did not know then is tried again.
func (s *Service) importAgain(ctx context.Context, i Import, id string) (*export.Record, error) {
	r, err := s.ledger.Update(ctx, id, func(r *export.Record) error {
		if r.ExportTaskID != i.Task || !s.owns(r) {
			return &impossible{fmt.Sprintf("its id %s is another export's", id), export.ErrNotNow}
		}
		return r.ImportAgain(s.now(), i.Kind)
	})
	if !errors.Is(err, export.ErrStale) {
		return r, err
	}
	// The last of those that took up what came late, if there are any, is read again.
	for next := export.NextPart(id); ; id, next = next, export.NextPart(next) {
		if _, err := s.ledger.LoadHead(ctx, next); err != nil {
			break
		}
	}
	r, err = s.ledger.Update(ctx, id, func(r *export.Record) error { return r.LookAgain(s.now()) })
	if errors.Is(err, export.ErrStale) {
		return s.ledger.Load(ctx, id)
	}
	return r, err
}

// OfTask returns the export that a task of the account is, with the provider's last
// answer; [ErrUnknown] where it is none.
func (s *Service) OfTask(ctx context.Context, accountName, task string) (*export.Record, error) {
	owner, err := s.ledger.TaskOwner(ctx, accountName, task)
	if err != nil {
		return nil, err
	}
	if owner == "" {
		return nil, unknown(task)
	}
	r, err := s.ledger.LoadAnswered(ctx, owner)
	if err == nil && !s.owns(r) {
		return nil, unknown(task)
	}
	return r, err
}
