package tasks

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

func TestLabelsAreNoPartOfTheRequest(t *testing.T) {
	e, err := ParseExport([]byte(`{"project_id":"p","labels":{"show":"42","a.b_c-1":"Ü \"quoted\""}}`))
	if err != nil {
		t.Fatal(err)
	}
	if got := string(e.Body()); got != `{"project_id":"p"}` || e.Digest() != (Export{ProjectID: "p"}).Digest() {
		t.Errorf("body %s", got)
	}
	payload, _ := json.Marshal(e)
	if want := `{"project_id":"p","labels":{"a.b_c-1":"Ü \"quoted\"","show":"42"}}`; string(payload) != want {
		t.Errorf("payload %s", payload)
	}
	var again Export
	if err := json.Unmarshal(payload, &again); err != nil || len(again.Labels) != 2 || again.Labels["show"] != "42" {
		t.Errorf("%v, %v", again.Labels, err)
	}
}

func TestWrongLabels(t *testing.T) {
	many := make([]string, 17)
	for i := range many {
		many[i] = fmt.Sprintf(`"l%d":""`, i)
	}
	for labels, want := range map[string]string{
		`[]`:                                "must be an object, not a list",
		`{"show":42}`:                       "show must be a string, not a number",
		`{"show":null}`:                     "show must be a string, not null",
		`{"a":"1","a":"1"}`:                 "a is given more than once",
		`{"":"1"}`:                          `a name must be 1–63 of the characters a–z 0–9 . _ -, not ""`,
		`{"Show":"1"}`:                      "not Show",
		`{"a b":"1"}`:                       "not a b",
		`{"a":"x\u0000"}`:                   "must not hold control characters",
		`{"a":"\u202eevil"}`:                "must not hold control characters",
		`{"a":"\ud800"}`:                    "half of a surrogate pair",
		"{" + strings.Join(many, ",") + "}": "must have at most 16 pairs, not 17",
		`{"a":"` + strings.Repeat("x", 129) + `"}`: "is too long: 129 bytes, at most 128",
		`{"` + strings.Repeat("x", 64) + `":""}`:   "a name must be 1–63",
	} {
		_, err := ParseExport([]byte(`{"project_id":"p","labels":` + labels + `}`))
		if err == nil || !strings.HasPrefix(err.Error(), "labels: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", labels, err)
		}
	}
	if err := (Export{ProjectID: "p", Labels: Labels{strings.Repeat("x", 63): strings.Repeat("x", 128), "e": ""}}).Validate(); err != nil {
		t.Error(err)
	}
}
