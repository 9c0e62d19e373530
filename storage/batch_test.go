package storage

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/clipferry/clipferry/internal/index"
	"github.com/clipferry/clipferry/internal/s3test"
)

func TestBatchesAreKept(t *testing.T) {
	servers(t, func(t *testing.T, srv *s3test.Server) {
		a := newArchive(t, srv)
		found := func() (names []string, faults []error) {
			for b, err := range a.Batches(t.Context()) {
				if err != nil {
					faults = append(faults, err)
					continue
				}
				names = append(names, fmt.Sprintf("%s %d %d %s %v", b.Name, b.Count, b.Done, b.Notify, b.Members))
			}
			return names, faults
		}
		b := Batch{Batch: index.Batch{Name: "season:1", Count: 2, Done: 1, Created: someTime, Notify: json.RawMessage(`{}`)}, Members: []string{"a", "b"}}
		for range 2 {
			if err := a.KeepBatch(t.Context(), b); err != nil {
				t.Fatal(err)
			}
		}
		if err := a.batches.Write(t.Context(), "other.json", "application/json", []byte(`{"name":"season:1"}`)); err != nil {
			t.Fatal(err)
		}
		names, faults := found()
		if len(names) != 1 || names[0] != "season:1 2 1 {} [a b]" {
			t.Errorf("%q", names)
		}
		if len(faults) != 1 || !strings.Contains(faults[0].Error(), "_batches/other.json is not a batch") {
			t.Errorf("%v", faults)
		}
		for _, name := range []string{"season:1", "other", "never"} {
			if err := a.ForgetBatch(t.Context(), name); err != nil {
				t.Error(err)
			}
		}
		if names, faults := found(); len(names)+len(faults) > 0 {
			t.Errorf("%q, %v", names, faults)
		}
	})
}
