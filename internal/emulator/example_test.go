package emulator_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/clipferry/clipferry/internal/emulator"
)

// An export is accepted, and its answer lost on the way.
func Example() {
	provider, err := emulator.New(emulator.Options{Limits: emulator.DocumentedLimits()})
	if err != nil {
		panic(err)
	}
	srv := httptest.NewServer(provider)
	defer srv.Close()

	submit := func() {
		req, err := http.NewRequest("POST", srv.URL+"/api/v2/clips/export", strings.NewReader(`{"project_id":"proj_abc123"}`))
		if err != nil {
			panic(err)
		}
		req.Header.Set("Authorization", "Bearer dev-key")
		req.Header.Set("x-wayinvideo-api-version", "v2")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			fmt.Println("no answer")
			return
		}
		defer func() { _ = resp.Body.Close() }()
		body, err := io.ReadAll(resp.Body)
		fmt.Println(resp.StatusCode, string(body), err)
	}
	submit()
	if _, err := provider.Inject(emulator.Fault{Kind: emulator.FaultLost, Route: emulator.RouteSubmit}); err != nil {
		panic(err)
	}
	submit()
	for _, s := range provider.State().Submits {
		fmt.Println(s.ProjectID, s.CostUsage, s.AnswerLost)
	}
	http.DefaultClient.CloseIdleConnections()
	// Output:
	// 200 {"data":{"export_task_id":"export_task_xl3lphxq6k4vgk2u","name":"sample export task","status":"CREATED"}} <nil>
	// no answer
	// proj_abc123 12 false
	// proj_abc123 12 true
}
