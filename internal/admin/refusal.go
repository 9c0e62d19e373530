package admin

import (
	"errors"
	"fmt"
	"strings"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/ledger"
)

// impossible says to a person why what was asked is not possible; it is still
// the error that it explains.
type impossible struct {
	text  string
	cause error
}

func (e *impossible) Error() string { return e.text }
func (e *impossible) Unwrap() error { return e.cause }

// explain puts into words that an export's state, or what is in its place, forbids an event.
func explain(r *export.Record, e export.Event, err error) error {
	if errors.Is(err, ledger.ErrUnreadable) {
		return &impossible{"what Redis holds under its id is no record of an export, so that it can't be changed", err}
	}
	if r == nil || !errors.Is(err, export.ErrNotNow) || export.Allowed(r.State, e) && r.State != export.Rendering {
		return err
	}
	what := "only what is under way can be canceled"
	if e == export.EvRetry {
		what = "only what is failed, expired, canceled or held can be taken up again"
	}
	return &impossible{fmt.Sprintf("the export is %s: %s", r.State, what), err}
}

// CheckTask says what is wrong with what is said to be the provider's id of a
// task, or "". Taken for none it would have the export ordered, and paid for,
// once more.
func CheckTask(task string) string {
	if task == "" {
		return "must not be empty: it is the id of the provider's task"
	}
	if len(task) > maxTask {
		return fmt.Sprintf("must have at most %d characters", maxTask)
	}
	for _, c := range task {
		if c <= ' ' || c > '~' {
			return "must be the id of the provider's task, without spaces"
		}
	}
	if strings.ContainsAny(task, "/?#") {
		return "must be the id of the provider's task alone, not its address"
	}
	return ""
}

// maxTask bounds the id of a provider's task, in bytes.
const maxTask = 256
