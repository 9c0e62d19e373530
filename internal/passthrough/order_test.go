package passthrough

import (
	"fmt"
	"testing"

	"github.com/clipferry/clipferry/internal/emulator"
)

// TestAnAnswerOfTheAPIIsNoLostOne: whatever it says, the client gets it, a repeat too, and
// it says nothing of the account, however often a client asks for it.
func TestAnAnswerOfTheAPIIsNoLostOne(t *testing.T) {
	for name, c := range map[string]struct {
		fault  emulator.Fault
		status int
	}{
		"a conflict":      {emulator.Fault{Kind: emulator.FaultStatus, Status: 409, Message: "the video is being clipped"}, 409},
		"a duplicate":     {emulator.Fault{Kind: emulator.FaultStatus, Status: 400, Message: "duplicate request"}, 400},
		"an unclear code": {emulator.Fault{Kind: emulator.FaultCode, Code: "SYSTEM_BUSY", Message: "come back"}, 200},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			c.fault.Route = emulator.RouteCreate
			_, err := r.emulator.Inject(c.fault)
			must(t, err)
			for n := range 6 {
				key := fmt.Sprint("order ", n)
				first, err := r.do("web", "POST", "clips", talk, key)
				if err != nil || first.Status != c.status {
					t.Fatalf("%d: %d %s, %v", n, first.Status, first.Body, err)
				}
				if again, err := r.do("web", "POST", "clips", talk, key); err != nil || string(again.Body) != string(first.Body) || again.Status != c.status {
					t.Errorf("the repeat: %d %s, %v", again.Status, again.Body, err)
				}
			}
			if h, err := r.gate.Health(t.Context()); err != nil || h.Halted != "" || r.slots() != 0 || r.sent(emulator.RouteCreate) != 6 {
				t.Errorf("%+v, %v, %d slots, %d requests", h, err, r.slots(), r.sent(emulator.RouteCreate))
			}
		})
	}
}
