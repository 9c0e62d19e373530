package budget

import (
	"context"
	"time"
)

// store keeps one account's state: named fields under one version. Every
// change names the version it was made from. If others were made since, it is
// stored all the same unless one of them wrote a field that it writes: whoever
// takes a turn writes "spent" and whoever ends one "gate" and "log", so no two
// of a kind pass each other, while a turn that was taken without knowing that
// another had just ended, or that somebody had joined, is as good as one taken
// just before.
type store interface {
	// Load returns everything there is. An account that nobody has written
	// yet has version 0 and no fields.
	Load(ctx context.Context, worker string) (snapshot, error)
	// Swap makes the change if nothing that it writes was written since
	// c.From and the store's clock isn't outside [c.After, c.Before]; it then
	// notifies every watcher. Otherwise it changes nothing and returns what is
	// stored. A change is made once: the same one again, because the answer was
	// lost, is Done and changes nothing; one older than its worker's last is
	// refused.
	Swap(ctx context.Context, c change) (reply, error)
	// Watch reports changes as they are made until ctx ends; the channel is
	// then closed. A change may be missed, so the reader compares versions;
	// a change with no fields says that one may have been.
	Watch(ctx context.Context) (<-chan change, error)
}

// change is one step from a version to the next.
type change struct {
	// From is the version that it was made from; to watchers, the one that
	// it was stored upon.
	From int64 `json:"-"`
	// By and Seq name the change: a worker, and a number that grows.
	By  string            `json:"w"`
	Seq int64             `json:"n"`
	Set map[string]string `json:"set,omitempty"`
	Del []string          `json:"del,omitempty"`
	// Reset drops every field that isn't in Set.
	Reset bool `json:"reset,omitempty"`
	// Restore says that the stored version is older than From, which is
	// known to have existed: the store lost something. It is taken over if
	// the stored version is still Expect.
	Restore bool  `json:"-"`
	Expect  int64 `json:"-"`
	// After and Before bound the store's clock, in microseconds; zero is open.
	After, Before int64 `json:"-"`
}

// snapshot is all that is stored.
type snapshot struct {
	Version int64
	Fields  map[string]string
	Time    int64 // the store's clock, microseconds since the Unix epoch
	// Last is the Seq of the asking worker's last change, as long as it is
	// remembered (see remembered); zero if it isn't.
	Last int64
}

// reply is the answer to a change.
type reply struct {
	Done bool
	Time int64
	// Now is what is stored, unless it is just what the change made of From.
	Now *snapshot
}

// storeTimeout bounds one round trip to the store.
const storeTimeout = 5 * time.Second

// remembered is for how long a worker's last change is known by its name:
// longer than any answer takes to be given up and asked for again.
const remembered = 10 * time.Minute

// recent is how many changes back a change may have been made from.
const recent = 64
