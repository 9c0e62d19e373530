package queue

import (
	"testing"

	"github.com/clipferry/clipferry/tasks"
)

// Whoever may add tasks must not name an export so that a command takes it for a
// flag: not even its failure is recorded under such a name.
func TestAnIDThatLooksLikeAFlagIsNobodys(t *testing.T) {
	for _, c := range []struct{ taskID, payload, want string }{
		{"submit:--pay-again", `{"project_id":"p"}`, ""},
		{"submit:--pay-again", `{"project_id":""}`, ""},
		{"--pay-again", `{"project_id":"p"}`, ""},
		{"submit:..", `{"project_id":"p"}`, ""},
		{"some-uuid", `{"project_id":"p","job_id":"--pay-again"}`, "some-uuid"},
	} {
		if s, err := Parse(c.taskID, tasks.TypeSubmit, []byte(c.payload)); err == nil || s.ID != c.want {
			t.Errorf("%s %s: %+v, %v", c.taskID, c.payload, s, err)
		}
	}
}
