package httpapi

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"net/http"
)

// openAPI describes the API; the tests hold every real answer to it. Its version
// is that of a build without one.
//
//go:embed openapi.json
var openAPI []byte

func (a *API) serveOpenAPI(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-cache")
	_, _ = w.Write(openAPIOf(a.o.Version))
	return nil
}

// openAPIOf is the document of a version of the program.
func openAPIOf(version string) []byte {
	quoted, err := json.Marshal(version)
	if version == "" || err != nil {
		return openAPI
	}
	return bytes.Replace(openAPI, []byte(`"(devel)"`), quoted, 1)
}
