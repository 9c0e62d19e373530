package httpapi

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/tasks"
)

func document(t *testing.T) *openapi3.T {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromData(openAPI)
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

func TestTheDocumentIsServedAndIsOpenAPI31(t *testing.T) {
	f := newFixture(t)
	got := f.call("GET", "/api/openapi.json", "", "Authorization", "")
	if got.status != 200 || got.body != string(openAPI) || got.header.Get("Content-Type") != "application/json" {
		t.Errorf("%d", got.status)
	}
	if doc := document(t); !doc.IsOpenAPI31OrLater() {
		t.Errorf("it says %s", doc.OpenAPI)
	}
}

func TestTheDocumentNamesTheProgramsVersion(t *testing.T) {
	f := newFixture(t, func(o *Options) { o.Version = "v1.2.3" })
	doc, err := openapi3.NewLoader().LoadFromData([]byte(f.call("GET", "/api/openapi.json", "").body))
	if err != nil || doc.Info.Version != "v1.2.3" {
		t.Errorf("version %q, %v", doc.Info.Version, err)
	}
}

// TestTheDocumentKnowsTheRequest holds it to the one table of fields.
func TestTheDocumentKnowsTheRequest(t *testing.T) {
	schema := document(t).Components.Schemas["ExportRequest"].Value
	var names []string
	for name := range schema.Properties {
		names = append(names, name)
	}
	want := tasks.FieldNames()
	slices.Sort(names)
	slices.Sort(want)
	if !slices.Equal(names, want) {
		t.Errorf("the document has %v, requests have %v", names, want)
	}
	for _, name := range want {
		allowed := tasks.Allowed(name)
		if len(allowed) == 0 {
			continue
		}
		var enum []string
		for _, v := range schema.Properties[name].Value.Enum {
			if s, ok := v.(string); ok {
				enum = append(enum, s)
			}
		}
		if !slices.Equal(enum, allowed) {
			t.Errorf("%s: the document allows %v, requests %v", name, enum, allowed)
		}
	}
	states := document(t).Components.Schemas["Export"].Value.Properties["state"].Value.Enum
	if len(states) != len(export.States())+1 { // and "unknown"
		t.Errorf("the document has the states %v", states)
	}
}

// TestTheContractCatches: the check behind every other test can fail.
func TestTheContractCatches(t *testing.T) {
	router := contract(t)
	req, _ := http.NewRequest(http.MethodGet, "http://x/api/v2/clips/export/a", nil)
	route, params, err := router.FindRoute(req)
	if err != nil {
		t.Fatal(err)
	}
	good := `{"data":{"export_task_id":"a","name":"n","status":"ONGOING","clips":[]}}`
	for body, want := range map[string]bool{
		good: true,
		strings.Replace(good, "ONGOING", "DONE", 1):                  false,
		strings.Replace(good, `"clips":[]`, `"clips":null`, 1):       false,
		strings.Replace(good, `"clips":[]`, `"clips":[{}]`, 1):       false,
		strings.Replace(good, "ONGOING", "FAILED", 1):                false, // without error_message
		strings.Replace(good, `"name"`, `"error_message":"","n"`, 1): false,
	} {
		out := (&openapi3filter.ResponseValidationInput{
			RequestValidationInput: &openapi3filter.RequestValidationInput{Request: req, PathParams: params, Route: route},
			Status:                 200, Header: http.Header{"Content-Type": {"application/json"}},
			Options: &openapi3filter.Options{IncludeResponseStatus: true},
		}).SetBodyBytes([]byte(body))
		if err := openapi3filter.ValidateResponse(t.Context(), out); (err == nil) != want {
			t.Errorf("%s: %v", body, err)
		}
	}
}

// TestTheDocumentsExampleIsAccepted sends what the document shows.
func TestTheDocumentsExampleIsAccepted(t *testing.T) {
	f := newFixture(t)
	example := document(t).Paths.Find("/api/v2/clips/export").Post.RequestBody.Value.Content["application/json"].Example
	body, err := json.Marshal(example)
	if err != nil {
		t.Fatal(err)
	}
	f.submit(string(body))
}
