package notify

import (
	"bytes"
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/view"
)

// eventTypes are the states that producers are notified of, and the names of their events.
var eventTypes = map[export.State]string{
	export.Archived: "export.archived",
	export.Failed:   "export.failed",
	export.Expired:  "export.expired",
	export.Held:     "export.held",
}

// event is what a receiver gets. Its form is part of the outside contract.
type event struct {
	// ID is the same every time the event is sent.
	ID   string `json:"id"`
	Type string `json:"type"`
	// Timestamp is when the export ended.
	Timestamp time.Time `json:"timestamp"`
	// Data is the export as `clipferry status --json` shows it: no link, no secret.
	Data view.Export `json:"data"`
	// ClipsLeftOut counts the last clips of an export with so many that they would make
	// the event too large; the manifest has them all.
	ClipsLeftOut int `json:"clips_left_out,omitempty"`
}

// maxEvent bounds an event, in bytes.
const maxEvent = 256 << 10

func newEvent(r *export.Record) event {
	return event{ID: eventID(r), Type: eventTypes[r.State], Timestamp: r.UpdatedAt.UTC(), Data: view.Of(r, view.HTTP)}
}

// eventID names one end of an export. An export that was taken up again and ends
// again has a new one: every retry moves one of the three numbers on, and nothing
// else does while it is final. A task is archived once, and its manifest proves
// it when Redis, and with it the numbers, was lost: so it is named by the task.
func eventID(r *export.Record) string {
	end := fmt.Sprintf("%d.%d.%d", r.Round, r.Step, r.SealRound)
	if r.State == export.Archived {
		end = r.ExportTaskID
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "clipferry event\x00%s\x00%s\x00%s", r.ID, r.State, end))
	return "evt_" + strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:16]))
}

// encode returns the bytes that are signed and sent.
func (e event) encode() (json.RawMessage, error) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	for {
		out.Reset()
		if err := enc.Encode(e); err != nil {
			return nil, err
		}
		n := len(e.Data.Clips)
		if out.Len() <= maxEvent || n == 0 {
			break
		}
		e.Data.Clips, e.ClipsLeftOut = e.Data.Clips[:n/2], e.ClipsLeftOut+n-n/2
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
}
