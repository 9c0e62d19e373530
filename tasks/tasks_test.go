package tasks

import (
	"strings"
	"testing"
)

func TestTheFirstTask(t *testing.T) {
	task := NewTask(Export{ProjectID: "<p>", JobID: "a", Priority: "low"}, "a", map[string]string{"traceparent": "00-x"})
	if got, want := task.Type()+" "+string(task.Payload()), `export:submit {"project_id":"<p>","job_id":"a","priority":"low"}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if task.Headers()["traceparent"] != "00-x" {
		t.Errorf("headers %v", task.Headers())
	}
}

func TestNewID(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		id := NewID()
		if len(id) != 30 || !strings.HasPrefix(id, "exp_") || !ValidID(id) || seen[id] || id != strings.ToLower(id) {
			t.Fatalf("id %q", id)
		}
		seen[id] = true
	}
}

func TestValidID(t *testing.T) {
	for id, want := range map[string]bool{
		"a": true, "A.b_c:d-9": true, strings.Repeat("a", 128): true,
		"": false, strings.Repeat("a", 129): false, "a b": false, "a/b": false, "ä": false, "a\n": false, "{a}": false,
	} {
		if ValidID(id) != want {
			t.Errorf("ValidID(%q) is not %v", id, want)
		}
	}
}
