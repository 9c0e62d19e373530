package pace

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
)

// Limits are the provider's limits for one account; zero means none.
type Limits struct {
	PerMinute int // requests of all kinds
	Slots     int // exports being rendered at once
}

// Waiter is somebody who waits for one request.
type Waiter struct {
	Export     string   `json:"x"`
	Project    string   `json:"pr,omitempty"`
	Kind       Kind     `json:"k"`
	Since      Instant  `json:"s"` // submit: when the export was enqueued
	Joined     Instant  `json:"j"`
	Priority   Priority `json:"p,omitempty"`
	Tenant     string   `json:"t,omitempty"`  // submit: whose flow it is in, see shares.go
	Share      int      `json:"sh,omitempty"` // of the tenant; 1 when zero
	Deadline   Instant  `json:"d,omitempty"`  // refresh: latest moment of use
	Resolution string   `json:"r,omitempty"`
	Clips      int      `json:"n,omitempty"`
	Worker     string   `json:"w"`
	Stage      Stage    `json:"g,omitempty"`
	Until      Instant  `json:"u,omitempty"` // of its preparing
	// Refused is when the export was refused for no reason of its own.
	Refused Instant `json:"re,omitempty"`
}

// Turn is a request that may be in flight. It counts against every limit until
// it is finished, or until its lease ends.
type Turn struct {
	Export string  `json:"x"`
	Kind   Kind    `json:"k"`
	Worker string  `json:"w"`
	Began  Instant `json:"b"`
	Until  Instant `json:"u"`
	// Waited is for how long its holder had been waiting, in microseconds.
	Waited  Instant `json:"q,omitempty"`
	Refused Instant `json:"re,omitempty"` // as of its waiter
	Probe   bool    `json:"pr,omitempty"` // it was let through while others were halted
}

// Render is an export that holds a slot, with what is known of its progress.
type Render struct {
	Started    Instant `json:"s"` // when rendering is believed to have begun
	Until      Instant `json:"u"` // end of the slot's lease
	Pending    bool    `json:"p,omitempty"`
	Doubtful   bool    `json:"d,omitempty"` // its submit's answer was lost
	Overdue    bool    `json:"o,omitempty"` // read it as soon as possible
	Last       Instant `json:"l,omitempty"` // last answered read
	Reads      int     `json:"n,omitempty"`
	Resolution string  `json:"r,omitempty"`
	Asked      int     `json:"a,omitempty"` // clips asked for, 0 = all
	Clips      int     `json:"c,omitempty"`
	Ready      int     `json:"e,omitempty"`
	Seconds    float64 `json:"cs,omitempty"`
	Done       float64 `json:"es,omitempty"` // seconds of the clips that are ready
	// Low and High bound the ln of the duration in seconds, as far as the
	// answers so far show; zero where they don't.
	Low  float64 `json:"lo,omitempty"`
	High float64 `json:"hi,omitempty"`
	// Predicted is the duration expected at the start, in seconds.
	Predicted float64 `json:"f,omitempty"`
	// Marks are guesses made on the way, to be judged by the end.
	Marks []mark `json:"m,omitempty"`

	model           durationModel
	modelGeneration int // generation of the learned state that the model was made from

	reaches  Instant // when a read is worth a request, for reachKey
	reachKey reachKey
}

// State is everything that the decisions depend on, for one account. Its parts
// are addressed as named fields, so that a change can be stored and published to
// others without the rest. The zero value isn't ready for use; see [NewState].
type State struct {
	Limits  Limits
	Gate    Gate
	Log     Log
	Waiters map[string]*Waiter
	Turns   map[string]*Turn
	Renders map[string]*Render
	Workers map[string]Instant // until when each is believed alive
	Learned Learned
	Shares  Shares

	tables map[string]table // the maps above, by the prefix of their fields
	dirty  map[string]struct{}
	// urgent says that others must know at once of a change that they could
	// else do without for a moment.
	urgent bool
	swept  Instant // when slots were last looked through
}

// The names of a state's fields, or their prefixes.
const (
	fieldGate   = "gate"
	fieldLog    = "log"
	fieldSpent  = "spent"
	fieldSeen   = "seen"
	fieldShares = "shares"
	prefixWait  = "w:"
	prefixTurn  = "t:"
	prefixSlot  = "x:"
	prefixAlive = "p:"
	prefixClass = "l:"
)

// NewState returns the state of an account of which nothing is known.
func NewState(limits Limits) *State {
	s := &State{Limits: limits}
	s.clear()
	return s
}

func (s *State) clear() {
	s.Gate, s.Log, s.Shares = Gate{}, Log{}, Shares{}
	s.Waiters = map[string]*Waiter{}
	s.Turns = map[string]*Turn{}
	s.Renders = map[string]*Render{}
	s.Workers = map[string]Instant{}
	s.Learned = newLearned()
	s.tables = map[string]table{
		prefixWait: tableOf(s.Waiters), prefixTurn: tableOf(s.Turns), prefixSlot: tableOf(s.Renders),
		prefixAlive: tableOf(s.Workers), prefixClass: tableOf(s.Learned.Classes),
	}
	s.dirty, s.urgent = map[string]struct{}{}, false
}

// Load replaces the whole state by stored fields. A field that can't be read
// is left out and named in the error; the rest is usable.
func (s *State) Load(fields map[string]string) error {
	s.clear()
	return s.Apply(fields, nil)
}

// Apply takes over changes that somebody else made.
func (s *State) Apply(set map[string]string, del []string) error {
	var bad []string
	for name, value := range set {
		if err := s.set(name, value); err != nil {
			bad = append(bad, name)
		}
	}
	for _, name := range del {
		s.unset(name)
	}
	if len(bad) > 0 {
		return fmt.Errorf("unreadable budget fields: %s", strings.Join(bad, ", "))
	}
	return nil
}

func (s *State) set(name, value string) error {
	b := []byte(value)
	switch name {
	case fieldGate:
		// Decoded into a fresh value: omitted members must not survive.
		spent := s.Gate.Spent
		s.Gate = Gate{Spent: spent}
		return json.Unmarshal(b, &s.Gate)
	case fieldSpent:
		s.Gate.Spent = Spent{}
		return json.Unmarshal(b, &s.Gate.Spent)
	case fieldLog:
		s.Log = Log{}
		return json.Unmarshal(b, &s.Log)
	case fieldShares:
		s.Shares = Shares{}
		return json.Unmarshal(b, &s.Shares)
	case fieldSeen:
		s.Learned.Seen = Seen{}
		s.Learned.generation++
		return json.Unmarshal(b, &s.Learned.Seen)
	}
	if len(name) < 2 {
		return nil // not ours, or of a later version
	}
	prefix, key := name[:2], name[2:]
	if prefix == prefixClass {
		s.Learned.generation++
	}
	if t, ok := s.tables[prefix]; ok {
		return t.set(key, b)
	}
	return nil
}

func (s *State) unset(name string) {
	if len(name) < 2 {
		return
	}
	if t, ok := s.tables[name[:2]]; ok {
		t.unset(name[2:])
	}
}

func (s *State) touch(prefix, key string) { s.dirty[prefix+key] = struct{}{} }

// Dirty says whether anything changed since the last [State.Changes].
func (s *State) Dirty() bool { return len(s.dirty) > 0 }

// OnlyWaits says whether nothing changed since the last [State.Changes] but
// who waits and who is alive: what others decide without knowing it is right
// for another moment.
func (s *State) OnlyWaits() bool {
	if s.urgent {
		return false
	}
	for name := range s.dirty {
		if !strings.HasPrefix(name, prefixWait) && !strings.HasPrefix(name, prefixAlive) {
			return false
		}
	}
	return true
}

// Changes returns the fields that changed and those that are gone, and
// forgets about them.
func (s *State) Changes() (set map[string]string, del []string) {
	set = make(map[string]string, len(s.dirty))
	for name := range s.dirty {
		v, ok := s.field(name)
		if !ok {
			del = append(del, name)
			continue
		}
		set[name] = v
	}
	clear(s.dirty)
	s.urgent = false
	return set, del
}

// Fields returns the whole state.
func (s *State) Fields() map[string]string {
	all := map[string]string{}
	add := func(prefix, key string) {
		if v, ok := s.field(prefix + key); ok {
			all[prefix+key] = v
		}
	}
	for _, name := range []string{fieldGate, fieldLog, fieldSpent, fieldSeen} {
		add(name, "")
	}
	if len(s.Shares.Flows) > 0 {
		add(fieldShares, "")
	}
	for prefix, t := range s.tables {
		for key := range t.keys {
			add(prefix, key)
		}
	}
	return all
}

func (s *State) field(name string) (string, bool) {
	var v any
	switch name {
	case fieldGate:
		v = s.Gate
	case fieldLog:
		v = s.Log
	case fieldSpent:
		v = s.Gate.Spent
	case fieldSeen:
		v = s.Learned.Seen
	case fieldShares:
		v = s.Shares
	default:
		t, ok := s.tables[name[:2]]
		if !ok {
			return "", false
		}
		if v, ok = t.get(name[2:]); !ok {
			return "", false
		}
	}
	b, err := json.Marshal(v)
	if err != nil {
		return "", false // a number that isn't one; the field is left as stored
	}
	return string(b), true
}

// table is one of the state's maps, each entry of which is a field.
type table struct {
	get   func(key string) (any, bool)
	set   func(key string, b []byte) error
	unset func(key string)
	keys  func(yield func(string) bool)
}

func tableOf[T any](m map[string]T) table {
	return table{
		get: func(key string) (any, bool) { v, ok := m[key]; return v, ok },
		set: func(key string, b []byte) error {
			var v T
			if string(b) == "null" {
				return errors.New("null")
			}
			if err := json.Unmarshal(b, &v); err != nil {
				return err
			}
			m[key] = v
			return nil
		},
		unset: func(key string) { delete(m, key) },
		keys:  maps.Keys(m),
	}
}
