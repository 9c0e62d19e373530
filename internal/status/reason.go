package status

// Reason says to a machine what an export waits for. The codes are part of the
// outside contract: one is added, never renamed.
type Reason string

// What an export may wait for. The reasons of a halted account are those of
// package pace.
const (
	WaitWorker        Reason = "worker"         // none is running
	WaitAccountWorker Reason = "account_worker" // none of those running has the account
	WaitQueue         Reason = "queue_paused"
	WaitStorage       Reason = "storage" // S3 fails every worker
	WaitRetry         Reason = "retry"   // the time of the next try
	WaitDailyUnits    Reason = "daily_units"
	WaitTurn          Reason = "turn" // in a worker
	WaitSlot          Reason = "slot"
	WaitRequest       Reason = "request"
	WaitAnswer        Reason = "answer" // of the paid request
	WaitRender        Reason = "render"
	WaitLink          Reason = "link" // one that the provider has not given, or a fresh one
	WaitTransfer      Reason = "transfer"
	WaitManifest      Reason = "manifest"
)

// Waiting is what an export waits for: a code, and words that follow "waits for".
type Waiting struct {
	Reason Reason
	Text   string
}

// but adds what is in the way, if anything is.
func (w Waiting) but(in Waiting) Waiting {
	if in.Text == "" {
		return w
	}
	return Waiting{in.Reason, w.Text + "; " + in.Text}
}
