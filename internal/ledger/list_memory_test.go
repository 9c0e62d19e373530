package ledger

import (
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/redistest"
)

// Lists of records as large as they may be are loaded a few at a time, and keep of each
// what a list shows.
func TestListsOfLargeRecordsAreBoundedInMemory(t *testing.T) {
	l := New(Options{Redis: redistest.Start(t).Client()})
	request := json.RawMessage(`{"project_id":"p","x":"` + strings.Repeat("x", 64<<10-100) + `"}`)
	const records = 500
	for i := range records {
		r := export.New(fmt.Sprint("e", i), request, "digest", "p", time.Unix(int64(i), 0))
		if err := r.Fail(r.CreatedAt, export.Problem{Reason: export.ReasonRenderFailed, Detail: strings.Repeat("no", 4<<10)}); err != nil {
			t.Fatal(err)
		}
		if _, err := l.Create(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	runtime.GC()
	var before, now runtime.MemStats
	runtime.ReadMemStats(&before)
	var most atomic.Uint64
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			case <-time.After(2 * time.Millisecond):
				runtime.ReadMemStats(&now)
				most.Store(max(most.Load(), now.HeapAlloc))
			}
		}
	}()
	var lists sync.WaitGroup
	for range 4 {
		lists.Go(func() {
			found, err := l.List(t.Context(), Filter{Limit: records}, nil)
			if err != nil || len(found) != records {
				t.Errorf("%d, %v", len(found), err)
			}
		})
	}
	lists.Wait()
	close(stop)
	<-stopped
	grown := (int64(most.Load()) - int64(before.HeapAlloc)) >> 20
	t.Logf("%d MiB", grown)
	if grown > 100 {
		t.Errorf("four lists of %d records take %d MiB more", records, grown)
	}
}
