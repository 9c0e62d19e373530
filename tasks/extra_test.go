package tasks

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

func TestExtraIsSentAsItIs(t *testing.T) {
	e, err := ParseExport([]byte(`{"extra":{"z":null,"reframe_layout": {"a": 1.50, "n": 12345678901234567890}},"project_id":"p","job_id":"j"}`))
	if err != nil {
		t.Fatal(err)
	}
	const body = `{"project_id":"p","reframe_layout":{"a":1.50,"n":12345678901234567890},"z":null}`
	if got := string(e.Body()); got != body {
		t.Errorf("body %s", got)
	}
	payload, _ := json.Marshal(e)
	if want := `{"project_id":"p","extra":{"reframe_layout":{"a":1.50,"n":12345678901234567890},"z":null},"job_id":"j"}`; string(payload) != want {
		t.Errorf("payload %s", payload)
	}
	var again Export
	if err := json.Unmarshal(payload, &again); err != nil || again.Digest() != e.Digest() {
		t.Errorf("the payload is another request: %v", err)
	}
	sent, err := ParseSent(e.Body())
	if err != nil || sent.Digest() != e.Digest() {
		t.Errorf("the body is another request: %v", err)
	}
	if plain := (Export{ProjectID: "p"}); plain.Digest() == e.Digest() {
		t.Error("extra is no part of the digest")
	}
	spaced := Export{ProjectID: "p", Extra: Fields{"a": json.RawMessage("[1,  2]")}}
	if got := string(spaced.Body()); got != `{"project_id":"p","a":[1,2]}` {
		t.Errorf("body %s", got)
	}
}

// TestWhatWasSentIsReadWhateverItsNames: inside extra everything is free, so that a
// request that was taken can be read back.
func TestWhatWasSentIsReadWhateverItsNames(t *testing.T) {
	e := Export{ProjectID: "p", Extra: Fields{"enable_captions": json.RawMessage("true")}}
	if err := e.Validate(); err != nil {
		t.Fatal(err)
	}
	if sent, err := ParseSent(e.Body()); err != nil || sent.Digest() != e.Digest() {
		t.Errorf("%s: %v", e.Body(), err)
	}
	if _, err := ParseBody(e.Body()); err == nil || !strings.Contains(err.Error(), "did you mean enable_caption?") {
		t.Errorf("a misspelled field was passed on: %v", err)
	}
}

func TestParseBodyPassesOnWhatIsUnknown(t *testing.T) {
	e, err := ParseBody([]byte(`{"project_id":"p","reframe_layout":"Auto","enable_express_mode":true,"enable_more_results":true,"limit":3,"extra":{"b":1}}`))
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"project_id":"p","b":1,"enable_express_mode":true,"enable_more_results":true,"limit":3,"reframe_layout":"Auto"}`
	if got := string(e.Body()); got != want {
		t.Errorf("body %s", got)
	}
}

func TestExtraFaults(t *testing.T) {
	many := make([]string, maxExtra+1)
	for i := range many {
		many[i] = fmt.Sprintf(`"f%d":1`, i)
	}
	for in, want := range map[string]string{
		`[]`:                                "must be an object, not a list",
		`{"ratio":"x"}`:                     "must not hold ratio, which is a known field: give it beside extra",
		`{"job_id":"x"}`:                    "must not hold job_id, which is a known field: give it beside extra",
		`{"extra":{}}`:                      "must not hold extra, which is a known field: give it beside extra",
		`{"a":1,"a":2}`:                     "a is given more than once",
		`{"":1}`:                            "the name of a field must be 1–128 bytes long, not 0",
		`{"a\u0000b":1}`:                    `the name a\x00b must not hold control characters`,
		`{"\u202eevil":1}`:                  `the name \u202eevil must not hold control characters`,
		`{` + strings.Join(many, ",") + `}`: "must have at most 50 fields, not 51",
		`{"a":"` + strings.Repeat("x", maxExtraBytes) + `"}`: "too large: 16386 bytes, at most 16384",
		`{"` + strings.Repeat("n", maxExtraName+1) + `":1}`:  "the name of a field must be 1–128 bytes long, not 129",
	} {
		_, err := ParseExport([]byte(`{"project_id":"p","extra":` + in + `}`))
		if err == nil || err.Error() != "extra: "+want {
			t.Errorf("%.60s: %v", in, err)
		}
	}
	if err := (Export{ProjectID: "p", Extra: Fields{"a": json.RawMessage("nope")}}).Validate(); err == nil {
		t.Error("a value that is no JSON was accepted")
	}
	for _, repeated := range []string{`{"project_id":"p","x":1,"extra":{"x":2}}`, `{"project_id":"p","extra":{"x":2},"x":1}`, `{"project_id":"p","x":1,"x":1}`} {
		if _, err := ParseBody([]byte(repeated)); err == nil {
			t.Errorf("%s was accepted", repeated)
		}
	}
}
