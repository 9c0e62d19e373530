package preflight

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/clipferry/clipferry/internal/budget"
	"github.com/clipferry/clipferry/internal/fault"
	"github.com/clipferry/clipferry/internal/provider"
)

// How long is believed what was read: a project that is done changes no more, one
// that is not there may come.
const (
	keepDone  = time.Hour
	keepOther = time.Minute
)

// project is what one read of a project's results said.
type project struct {
	Kind     string    `json:"kind,omitempty"` // empty: the provider knows none
	Status   string    `json:"status,omitempty"`
	ExpireAt time.Time `json:"expire_at,omitzero"`
	Clips    []Clip    `json:"clips,omitempty"`
	ReadAt   time.Time `json:"read_at"`
	// Unread says why it was not read.
	Unread string `json:"-"`
}

// kinds are the calls that make projects, that which is used most first.
var kinds = []string{"clips", "moments"}

// reader reads the projects of one check.
type reader struct {
	s      *Service
	tenant string
	hidden map[string]bool
	left   int       // reads
	until  time.Time // zero for no end
	seen   map[string]project
}

// project returns what is known of a project, which is read if nothing is.
func (r *reader) project(ctx context.Context, account Account, id string) (project, error) {
	key := keyOf(account.Name, id)
	if r.hidden[id] { // remembered apart, and no longer than what the provider doesn't know
		key = keyOf(account.Name, "hidden\x00"+id)
	}
	if p, seen := r.seen[key]; seen {
		return p, nil
	}
	p, known, err := r.s.load(ctx, key)
	switch {
	case err != nil:
		return project{}, err
	case known:
	case r.left == 0:
		p = project{Unread: fmt.Sprintf("no more than %d projects are read at once; ask again for the others", r.s.o.MaxReads)}
	default:
		r.left--
		if p, err = r.read(ctx, account, id); err != nil {
			return project{}, err
		}
		if p.Unread == "" {
			if err := r.s.store(ctx, key, p); err != nil {
				return project{}, err
			}
		}
	}
	r.seen[key] = p
	return p, nil
}

// read asks the provider.
func (r *reader) read(ctx context.Context, account Account, id string) (project, error) {
	s := r.s
	for _, kind := range kinds {
		latest := time.Now().Add(s.o.Wait)
		if !r.until.IsZero() && r.until.Before(latest) {
			latest = r.until
		}
		task, err := r.request(ctx, account, kind, id, latest)
		switch {
		case err == nil && r.hidden[id]:
		case err == nil:
			return s.projectOf(kind, task), nil
		case ctx.Err() != nil:
			return project{}, ctx.Err()
		case errors.Is(err, context.DeadlineExceeded):
			return project{Unread: "the provider's limits are used up at the moment, and the read has waited in vain for its turn; ask again"}, nil
		case provider.KindOf(err) == provider.NotFound, provider.KindOf(err) == provider.Rejected:
		case provider.KindOf(err) != "":
			return project{Unread: fault.SentenceOf(err)}, nil
		default:
			return project{}, err
		}
	}
	return project{ReadAt: s.now().UTC()}, nil
}

// request spends one request. It takes no slot.
func (r *reader) request(ctx context.Context, account Account, kind, id string, latest time.Time) (provider.Task, error) {
	wait, cancel := context.WithDeadline(ctx, latest)
	defer cancel()
	leave, ok := account.Gate.Enter(r.tenant)
	if !ok {
		return provider.Task{}, context.DeadlineExceeded
	}
	turn, err := account.Gate.Wait(wait, budget.Request{Export: budget.PassedPrefix + "preflight", Kind: budget.Other, Tenant: r.tenant})
	leave()
	if err != nil {
		return provider.Task{}, err
	}
	task, err := account.Provider.Read(context.WithoutCancel(ctx), kind, id)
	_ = turn.Done(context.WithoutCancel(ctx), budget.PassedOutcomeOf(err)) // else it ends by its lease
	return task, err
}

func (s *Service) projectOf(kind string, task provider.Task) project {
	p := project{Kind: kind, Status: string(task.Status), ExpireAt: task.ExpireAt, ReadAt: s.now().UTC()}
	for _, c := range task.Clips {
		p.Clips = append(p.Clips, Clip{Idx: c.Idx, Title: c.Title, Seconds: max(0, float64(c.EndMS-c.BeginMS)/1000)})
	}
	return p
}

func keyOf(account, id string) string {
	sum := sha256.Sum256([]byte(id))
	return "clipferry:{preflight:" + account + "}:" + hex.EncodeToString(sum[:16])
}

func (s *Service) load(ctx context.Context, key string) (project, bool, error) {
	doc, err := s.o.Redis.Get(ctx, key).Bytes()
	if errors.Is(err, redis.Nil) {
		return project{}, false, nil
	}
	if err != nil {
		return project{}, false, fmt.Errorf("look what is known of the project: %w", err)
	}
	var p project
	return p, json.Unmarshal(doc, &p) == nil, nil
}

func (s *Service) store(ctx context.Context, key string, p project) error {
	doc, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("remember the project: %w", err)
	}
	keep := keepOther
	if p.Status == string(provider.StatusSucceeded) {
		keep = keepDone
	}
	if err := s.o.Redis.Set(ctx, key, doc, keep).Err(); err != nil {
		return fmt.Errorf("remember the project: %w", err)
	}
	return nil
}
