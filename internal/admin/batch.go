package admin

import (
	"context"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/index"
	"github.com/clipferry/clipferry/internal/ledger"
	"github.com/clipferry/clipferry/internal/view"
)

// maxProblems is how many members that failed are named of each state.
const maxProblems = 20

// Batch returns a batch as it is now, in the words of its reader; [index.ErrNoBatch] if
// there is none. To a tenant there are only those whose members are all its own.
func (s *Service) Batch(ctx context.Context, name string, to view.Reader) (view.Batch, error) {
	b, err := index.LoadBatch(ctx, s.rdb, name)
	if err == nil && s.tenant != "" && b.Tenant != s.tenant {
		err = index.ErrNoBatch
	}
	if err != nil {
		return view.Batch{}, err
	}
	v := view.Batch{Batch: name, Members: b.Count, CreatedAt: b.Created, States: map[string]int{}, Problems: []view.BatchProblem{}}
	in, missing, err := index.CountMembers(ctx, s.rdb, name, export.States())
	if err != nil {
		return v, err
	}
	v.Missing = missing
	for _, state := range export.States() {
		n := in[state]
		if n == 0 {
			continue
		}
		v.States[string(state)] = n
		if !state.Final() {
			continue
		}
		v.Final += n
		if state == export.Archived {
			continue
		}
		ended, err := s.List(ctx, ledger.Filter{Batch: name, State: state, Limit: maxProblems})
		if err != nil {
			return v, err
		}
		for _, r := range ended {
			shown := view.Of(r, to)
			v.Problems = append(v.Problems, view.BatchProblem{ID: r.ID, State: shown.State, Reason: shown.Reason, Error: shown.Error})
		}
	}
	v.Complete = v.Final >= v.Members
	return v, nil
}
