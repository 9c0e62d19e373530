package budget

import (
	"context"
	"time"
)

// store keeps one account's state: named fields under one version. Every
// change names the version it was made from, so that of two that were made
// from the same one, one wins and the other is made again.
type store interface {
	// Load returns everything there is. An account that nobody has written
	// yet has version 0 and no fields.
	Load(ctx context.Context) (snapshot, error)
	// Swap makes the change if the stored version is c.From and the store's
	// clock isn't outside [c.After, c.Before]; it then tells every watcher.
	// Otherwise it changes nothing and returns what is stored.
	Swap(ctx context.Context, c change) (reply, error)
	// Watch reports changes as they are made until ctx ends; the channel is
	// then closed. A change may be missed, so the reader compares versions;
	// a change with no fields says that one may have been.
	Watch(ctx context.Context) (<-chan change, error)
}

// change is one step from a version to the next.
type change struct {
	From int64             `json:"v"`
	Set  map[string]string `json:"set,omitempty"`
	Del  []string          `json:"del,omitempty"`
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
}

// reply is the answer to a change.
type reply struct {
	Done bool
	Time int64
	// Now is what is stored, if the change was not made.
	Now snapshot
}

// storeTimeout bounds one round trip to the store.
const storeTimeout = 5 * time.Second
