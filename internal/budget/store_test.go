package budget

import (
	"fmt"
	"maps"
	"testing"
)

// swapping makes changes to a store, each with the next number of its worker.
type swapping struct {
	t     *testing.T
	store store
	seq   map[string]int64
}

func (s *swapping) next(worker string, c change) change {
	s.seq[worker]++
	c.By, c.Seq = worker, s.seq[worker]
	return c
}

func (s *swapping) swap(c change) reply {
	s.t.Helper()
	r, err := s.store.Swap(s.t.Context(), c)
	if err != nil {
		s.t.Fatal(err)
	}
	return r
}

// holds says what must be stored, and that it is told to the asking worker.
func (s *swapping) holds(version int64, fields map[string]string) {
	s.t.Helper()
	snap, err := s.store.Load(s.t.Context(), "a")
	if err != nil {
		s.t.Fatal(err)
	}
	if snap.Version != version || !maps.Equal(snap.Fields, fields) {
		s.t.Fatalf("stored are version %d and %v, want %d and %v", snap.Version, snap.Fields, version, fields)
	}
}

func onStores(t *testing.T, test func(s *swapping)) {
	t.Parallel()
	onEach(t, func(t *testing.T, f fleet) {
		test(&swapping{t: t, store: f.store(), seq: map[string]int64{}})
	})
}

func one(field, value string) map[string]string { return map[string]string{field: value} }

func TestStorePassesWhatDoesNotMeet(t *testing.T) {
	onStores(t, func(s *swapping) {
		if r := s.swap(s.next("a", change{Set: map[string]string{"x": "1", "y": "1"}})); !r.Done || r.Now != nil {
			s.t.Fatalf("%+v", r)
		}
		s.swap(s.next("a", change{From: 1, Set: one("x", "2")}))
		// Made from version 1: y is as it was, x isn't.
		if r := s.swap(s.next("b", change{From: 1, Set: one("x", "3")})); r.Done || r.Now == nil || r.Now.Fields["x"] != "2" {
			s.t.Fatalf("overwrote what it didn't know of: %+v", r)
		}
		if r := s.swap(s.next("b", change{From: 1, Del: []string{"x"}})); r.Done {
			s.t.Fatalf("deleted what it didn't know of: %+v", r)
		}
		r := s.swap(s.next("b", change{From: 1, Set: one("y", "3")}))
		if !r.Done || r.Now == nil || r.Now.Version != 3 || r.Now.Last != s.seq["b"] ||
			!maps.Equal(r.Now.Fields, map[string]string{"x": "2", "y": "3"}) {
			s.t.Fatalf("the two didn't meet: %+v", r)
		}
		// What is gone was written, too.
		s.swap(s.next("a", change{From: 3, Del: []string{"x"}}))
		if r := s.swap(s.next("b", change{From: 3, Set: one("x", "4")})); r.Done {
			s.t.Fatalf("%+v", r)
		}
		// Nobody may be ahead of what is stored.
		if r := s.swap(s.next("b", change{From: 9, Set: one("z", "1")})); r.Done {
			s.t.Fatalf("%+v", r)
		}
		s.holds(4, one("y", "3"))
	})
}

func TestStoreRemembersOnlySoMuch(t *testing.T) {
	onStores(t, func(s *swapping) {
		for v := range int64(recent + 1) {
			s.swap(s.next("a", change{From: v, Set: one("x", fmt.Sprint(v))}))
		}
		if r := s.swap(s.next("b", change{From: 1, Set: one("y", "1")})); !r.Done {
			s.t.Fatalf("%d changes back: %+v", recent, r)
		}
		if r := s.swap(s.next("b", change{From: 1, Set: one("z", "1")})); r.Done {
			s.t.Fatalf("%d changes back, and nothing speaks for it: %+v", recent+1, r)
		}
	})
}

func TestStoreMakesAChangeOnce(t *testing.T) {
	onStores(t, func(s *swapping) {
		old := s.next("a", change{Set: one("x", "1")})
		c := s.next("a", change{Set: one("x", "2")})
		s.swap(c)
		s.swap(s.next("b", change{From: 1, Set: one("x", "3")}))
		// Its answer was lost, and it is asked for again.
		if r := s.swap(c); !r.Done || r.Now == nil || r.Now.Version != 2 || r.Now.Last != c.Seq {
			s.t.Fatalf("%+v", r)
		}
		// One from before arrives at last, though it would fit.
		old.From = 2
		if r := s.swap(old); r.Done {
			s.t.Fatalf("%+v", r)
		}
		s.holds(2, one("x", "3"))
	})
}

func TestStoreRestores(t *testing.T) {
	onStores(t, func(s *swapping) {
		s.swap(s.next("a", change{Set: map[string]string{"x": "1", "y": "1"}}))
		back := change{From: 500, Set: one("x", "9"), Reset: true, Restore: true, Expect: 2}
		if r := s.swap(s.next("b", back)); r.Done {
			s.t.Fatalf("not what is stored: %+v", r)
		}
		back.Expect = 1
		if r := s.swap(s.next("b", back)); !r.Done {
			s.t.Fatalf("%+v", r)
		}
		s.holds(501, one("x", "9"))
		// What was made from the lost state fits nowhere.
		if r := s.swap(s.next("a", change{From: 1, Set: one("z", "1")})); r.Done {
			s.t.Fatalf("%+v", r)
		}
	})
}

func TestStoreTellsUponWhat(t *testing.T) {
	onStores(t, func(s *swapping) {
		told, err := s.store.Watch(s.t.Context())
		if err != nil {
			s.t.Fatal(err)
		}
		s.swap(s.next("a", change{Set: one("x", "1")}))
		s.swap(s.next("b", change{Set: one("y", "2"), Del: []string{"z"}}))
		for from, by := range []string{"a", "b"} {
			c := <-told
			for c.By == "" { // a real Redis says first that it listens
				c = <-told
			}
			if c.From != int64(from) || c.By != by || c.Seq != 1 || len(c.Set) != 1 {
				s.t.Fatalf("%+v", c)
			}
		}
	})
}
