package httpapi

import (
	"bytes"
	_ "embed"
	"html/template"
	"net/http"
)

//go:embed index.html
var indexSource string

var indexPage = template.Must(template.New("index").Parse(indexSource))

const pagesOff = "the archive's pages are off: nobody may open them (CLIPFERRY_ARCHIVE_AUTH)"

// place is one line of the index page.
type place struct {
	Path, Name, What string
	Off              string // why it is not there; empty when it is
}

// index is the page at /: what is there, with links.
func (a *API) index(w http.ResponseWriter, _ *http.Request) error {
	api, metrics := "", ""
	if len(a.keys) == 0 {
		api = "Off: no keys are configured (CLIPFERRY_HTTP_API_KEYS)."
	}
	if a.o.Metrics == nil {
		metrics = "Off."
	}
	_, monitor := a.o.Monitor.on()
	pages := ""
	if a.o.Pages == nil {
		pages = "Off: nobody may open it (CLIPFERRY_ARCHIVE_AUTH)."
	}
	data := struct {
		Version string
		Places  []place
	}{a.o.Version, []place{
		{"/archive/", "Archive", "Find, watch, download and share the clips.", pages},
		{"/monitor/", "Queues", "Asynqmon: what waits, what runs, what was scheduled, every payload.", monitor},
		{"/readyz", "Ready", "Whether Redis, S3 and the provider's key are usable now, check by check.", ""},
		{"/healthz", "Alive", "Whether the process answers.", ""},
		{"/metrics", "Metrics", "For Prometheus.", metrics},
		{"/api/openapi.json", "API description", "OpenAPI 3.1 of everything below /api/.", ""},
		{"", "/api/v2/clips/export", "The Clips Export API, in front of the queue; with a bearer key.", api},
	}}
	var page bytes.Buffer
	if err := indexPage.Execute(&page, data); err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
	h.Set("Cache-Control", "no-store")
	_, _ = w.Write(page.Bytes()) // a client that has gone is not our fault
	return nil
}
