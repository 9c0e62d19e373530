package e2e_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/clipferry/clipferry/internal/emulator"
	"github.com/clipferry/clipferry/internal/ledger"
	"github.com/clipferry/clipferry/internal/s3test"
)

// order puts faults in force at the provider; mend ends all.
func (h *house) order(faults ...emulator.Fault) {
	h.t.Helper()
	body, err := json.Marshal(faults)
	must(h.t, err)
	req, err := http.NewRequest(http.MethodPost, h.provider+"/_emulator/faults", bytes.NewReader(body))
	must(h.t, err)
	h.get(req)
}

func (h *house) mend() {
	h.t.Helper()
	req, err := http.NewRequest(http.MethodDelete, h.provider+"/_emulator/faults", nil)
	must(h.t, err)
	resp, err := http.DefaultClient.Do(req)
	must(h.t, err)
	must(h.t, resp.Body.Close())
}

// state is what status says of one export.
func (h *house) state(id string) status {
	h.t.Helper()
	out, _ := h.clipferry("", "status", "--json", id)
	var s status
	must(h.t, json.Unmarshal([]byte(out), &s))
	return s
}

func TestAStopWaitsForAPostAndCutsATransfer(t *testing.T) {
	const parts, perFile = 10, 4 // of 60 MB in parts of 6 MiB
	h := newHouse(t, "--requests-per-minute", "0")
	h.order(
		emulator.Fault{Kind: emulator.FaultDelay, Route: emulator.RouteSubmit, Project: "slow*", Delay: emulator.Duration(10 * time.Second)},
		emulator.Fault{Kind: emulator.FaultSlow, Route: emulator.RouteClip, Project: "large*", Rate: 1 << 19},
	)
	w := h.worker()
	h.enqueue(`{"project_id":"large~clips=1~size=60MB~render=1s","job_id":"large"}`)
	fetched := func() int { return h.books().Requests[emulator.RouteClip]["206"] }
	h.eventually("half of the transfer is done", time.Minute, func() bool { return fetched() > perFile })
	h.enqueue(`{"project_id":"slow~clips=1~render=1s","job_id":"slow"}`)
	h.eventually("the paid request is under way", time.Minute, func() bool { return h.state("slow").State == "submitting" })

	began := time.Now()
	must(t, w.Process.Signal(syscall.SIGTERM))
	if err := w.Wait(); err != nil {
		t.Errorf("a worker that was told to stop: %v", err)
	}
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("it took %s to stop", took)
	}
	if s := h.state("slow"); s.State != "rendering" || s.ExportTaskID == "" {
		t.Errorf("the answer to the paid request was not waited for: %+v", s)
	}
	if s := h.state("large"); s.State != "mirroring" {
		t.Errorf("the transfer was over already: %+v", s)
	}
	h.mend()
	h.worker()
	for _, s := range h.awaitAll([]string{"large", "slow"}, "archived", time.Minute) {
		h.compare(s)
		rec, err := ledger.New(ledger.Options{Redis: h.redis.Client()}).LoadHead(t.Context(), s.ID)
		must(t, err)
		if rec.Doubts != 0 {
			t.Errorf("%s: %d doubts", s.ID, rec.Doubts)
		}
	}
	if n := h.submits(); n != 2 {
		t.Errorf("the provider charged %d exports, 2 were asked for", n)
	}
	// The two clips are read once more by compare, and "slow" is one request.
	if n := fetched(); n > parts+perFile+1 {
		t.Errorf("%d ranges were fetched of a clip of %d parts, of which at most %d were in flight", n, parts, perFile)
	}
}

func TestASecondSignalEndsAWorkerAtOnce(t *testing.T) {
	h := newHouse(t, "--requests-per-minute", "0")
	h.order(emulator.Fault{Kind: emulator.FaultDelay, Route: emulator.RouteSubmit, Delay: emulator.Duration(20 * time.Second)})
	w := h.worker()
	h.enqueue(`{"project_id":"slow","job_id":"slow"}`)
	h.eventually("the paid request is under way", time.Minute, func() bool { return h.state("slow").State == "submitting" })
	ended := make(chan error, 1)
	go func() { ended <- w.Wait() }()
	must(t, w.Process.Signal(syscall.SIGTERM))
	select {
	case err := <-ended:
		t.Fatalf("it did not wait for the paid request: %v", err)
	case <-time.After(2 * time.Second):
	}
	must(t, w.Process.Signal(syscall.SIGTERM))
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Fatal("it still runs 10 s after the second signal")
	}
	if status, ok := w.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGTERM {
		t.Errorf("ended by %v", w.ProcessState)
	}
}

func TestAStopWhileRedisIsAwayIsOrderly(t *testing.T) {
	h := newHouse(t, "--requests-per-minute", "0")
	w := h.worker("CLIPFERRY_SHUTDOWN_TIMEOUT=2s")
	h.enqueue(batch(8, 5*time.Minute, 0)) // more than there are slots: the others wait for their turn in the worker
	h.eventually("all slots are taken", time.Minute, func() bool { return h.submits() == 5 })
	h.redis.Pause()
	defer h.redis.Resume()
	began := time.Now()
	must(t, w.Process.Signal(syscall.SIGTERM))
	if err := w.Wait(); err != nil { // a panic of what is left behind would be one
		t.Errorf("it ended with %v", err)
	}
	if took := time.Since(began); took > 15*time.Second { // a hang would be over a minute
		t.Errorf("it took %s", took)
	}
}

func TestARevokedKeyStopsTheWholeFleet(t *testing.T) {
	h := newHouse(t, "--requests-per-minute", "0")
	address := s3test.FreeAddr(t)
	forbidden := emulator.Fault{Kind: emulator.FaultStatus, Status: http.StatusForbidden}
	submits, reads := forbidden, forbidden
	submits.Route, reads.Route = emulator.RouteSubmit, emulator.RouteRead
	ids := h.enqueue(batch(8, 4*time.Second, 6*time.Second))
	h.worker("CLIPFERRY_HTTP_ADDR=" + address)
	h.worker()
	h.eventually("some are paid for", time.Minute, func() bool { return h.submits() >= 3 })
	h.order(submits, reads)
	h.eventually("readyz says that the key is refused", time.Minute, func() bool {
		code, body := ready(address)
		return code == http.StatusServiceUnavailable && strings.Contains(body, "refuses the API key")
	})
	// What was in flight may still be refused; the next probe is 12 s away.
	time.Sleep(time.Second)
	refused := func() int {
		by := h.books().Requests
		return by[emulator.RouteSubmit]["403"] + by[emulator.RouteRead]["403"]
	}
	before := refused()
	for deadline := time.Now().Add(7 * time.Second); time.Now().Before(deadline); time.Sleep(500 * time.Millisecond) {
		if n := refused(); n > before+1 { // the one probe, where the first refusal was long ago
			t.Fatalf("%d requests while the key is refused, after %d", n, before)
		}
	}
	h.mend()
	for _, s := range h.awaitAll(ids, "archived", 3*time.Minute) {
		h.compare(s)
	}
	if n := h.submits(); n != len(ids) {
		t.Errorf("the provider charged %d exports, %d were asked for", n, len(ids))
	}
	if code, body := ready(address); code != http.StatusOK {
		t.Errorf("readyz says %d after the key works again: %s", code, body)
	}
}

func ready(address string) (int, string) {
	resp, err := http.Get("http://" + address + "/readyz")
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(body)
}

// A provider that creates and charges and then answers 500 is paid three times at most,
// and an acceptance whose task is called id is one.
func TestAnswersThatHideAnAcceptance(t *testing.T) {
	h := newHouse(t, "--requests-per-minute", "0")
	h.order(
		emulator.Fault{Kind: emulator.FaultStatus, Route: emulator.RouteSubmit, Project: "charged*", Status: http.StatusInternalServerError, Acted: true},
		emulator.Fault{Kind: emulator.FaultBody, Route: emulator.RouteSubmit, Project: "named*", Body: `{"data":{"id":"t1","name":"x","status":"CREATED"}}`},
	)
	h.worker()
	h.enqueue(`{"project_id":"named~clips=1","job_id":"named"}`)
	h.eventually("the order whose task is called id is accepted", time.Minute, func() bool { return h.state("named").ExportTaskID == "t1" })
	h.enqueue(`{"project_id":"charged~clips=1","job_id":"charged"}`)
	h.eventually("the order in doubt is held", 2*time.Minute, func() bool { return h.state("charged").State == "held" })
	time.Sleep(2 * time.Second) // for what must not come
	if n := h.submits(); n != 1+3 {
		t.Errorf("the provider charged %d exports; want one, and three of the one in doubt", n)
	}
}
