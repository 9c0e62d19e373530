package nearest

import "testing"

func TestName(t *testing.T) {
	names := []string{"project_id", "clip_indices", "ratio", "resolution"}
	for word, want := range map[string]string{
		"projectid":    "project_id",
		"Project_ID":   "project_id",
		"clip_indexes": "clip_indices",
		"ratoi":        "ratio",
		"resolutio":    "resolution",
		"banana_split": "",
		"":             "",
	} {
		if got := Name(word, names); got != want {
			t.Errorf("Name(%q) = %q, want %q", word, got, want)
		}
	}
}
