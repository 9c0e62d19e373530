package notify

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/clipferry/clipferry/internal/index"
)

// The address of a batch's webhook is in its record alone, as an export's is.
func TestTheWebhookOfABatchIsDelivered(t *testing.T) {
	f := newFixture(t)
	to := newReceiver(t)
	b := index.Batch{Name: "season-1", Count: 3, Created: t0, Notify: json.RawMessage(`{"webhook":"` + to.URL + `/hush"}`)}
	if err := index.SaveBatch(t.Context(), f.o.Redis, b); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time is the same event
		if err := f.BatchCompleted(t.Context(), b, t0, map[string]int{"archived": 2, "failed": 1}); err != nil {
			t.Fatal(err)
		}
	}
	info, err := f.run()
	if err != nil || strings.Contains(string(info.Payload), "hush") || strings.Contains(f.log.String(), "hush") {
		t.Fatalf("%v: %+v", err, info)
	}
	calls := to.calls()
	if len(calls) != 1 {
		t.Fatalf("%d calls", len(calls))
	}
	verify(t, calls[0], testSecret)
	want := `,"type":"batch.completed","timestamp":"2026-04-07T12:00:00.123456789Z","data":{"batch":"season-1","members":3,"states":{"archived":2,"failed":1}}}`
	if _, rest, _ := strings.Cut(calls[0].body, `"`+calls[0].header.Get("webhook-id")+`"`); rest != want {
		t.Errorf("%s", calls[0].body)
	}
}
