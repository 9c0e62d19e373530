package e2e_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// client is a program as the public ones for this API are written: base URL and key
// from its environment, a clipping task with enable_export, a look at its results
// every so often, and each link downloaded. Another base URL is all that changes.
type client struct {
	base, key string
	every     time.Duration
	// refusedReads and waits count the answers 429 to reads and to submits.
	refusedReads, waits *atomic.Int64
}

const doorKey, otherKey = "a-key-of-the-front-door", "the-key-of-another-tenant"

// ask sends a request until there is an answer: a server may be away for a moment.
// A 429 to a submit says when to come back.
func (c client) ask(method, path, idempotencyKey string, body []byte) (int, []byte, error) {
	for try := 0; ; try++ {
		req, err := http.NewRequest(method, c.base+path, bytes.NewReader(body))
		if err != nil {
			return 0, nil, err
		}
		req.Header.Set("Authorization", "Bearer "+c.key)
		req.Header.Set("x-wayinvideo-api-version", "v2")
		req.Header.Set("Content-Type", "application/json")
		if idempotencyKey != "" {
			req.Header.Set("Idempotency-Key", idempotencyKey)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			if try > 100 {
				return 0, nil, err
			}
			time.Sleep(100 * time.Millisecond)
			continue
		}
		answer, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil && try < 100 {
			continue
		}
		if resp.StatusCode != http.StatusTooManyRequests {
			return resp.StatusCode, answer, err
		}
		if method == http.MethodGet {
			c.refusedReads.Add(1)
		}
		c.waits.Add(1)
		seconds, err := strconv.Atoi(resp.Header.Get("Retry-After"))
		if err != nil {
			return 0, nil, fmt.Errorf("429 that doesn't say when to come back: %s", answer)
		}
		time.Sleep(time.Duration(seconds) * time.Second)
	}
}

type clipTask struct {
	Data struct {
		ID     string `json:"id"`
		TaskID string `json:"export_task_id"`
		Status string `json:"status"`
		Clips  []struct {
			ExportLink string `json:"export_link"`
		} `json:"clips"`
	} `json:"data"`
}

// clip makes the task and downloads its clips. It returns the task's id.
func (c client) clip(name string, clips int) (string, error) {
	order, _ := json.Marshal(map[string]any{
		"video_url": "https://video.example/" + name, "project_name": fmt.Sprintf("%s~clips=%d~render=2s", name, clips),
		"target_duration": "DURATION_30_60", "enable_export": true, "resolution": "HD_720",
	})
	status, answer, err := c.ask("POST", "/api/v2/clips", name, order)
	var made clipTask
	if err != nil || status != 200 || json.Unmarshal(answer, &made) != nil {
		return "", fmt.Errorf("submit: %d %s %w", status, answer, err)
	}
	return made.Data.ID, c.follow("/api/v2/clips/results/"+made.Data.ID, clips)
}

// export orders the project's clips once more, in another form.
func (c client) export(project string, clips int) error {
	order, _ := json.Marshal(map[string]any{"project_id": project, "resolution": "SD_480"})
	status, answer, err := c.ask("POST", "/api/v2/clips/export", "export-"+project, order)
	var made clipTask
	if err != nil || status != 200 || json.Unmarshal(answer, &made) != nil {
		return fmt.Errorf("export: %d %s %w", status, answer, err)
	}
	return c.follow("/api/v2/clips/export/"+made.Data.TaskID, clips)
}

func (c client) follow(path string, clips int) error {
	for began := time.Now(); time.Since(began) < 3*time.Minute; time.Sleep(c.every) {
		status, answer, err := c.ask("GET", path, "", nil)
		if err != nil || status >= 500 { // a server that comes back has none
			continue
		}
		var now clipTask
		if status != 200 || json.Unmarshal(answer, &now) != nil || now.Data.Status == "FAILED" {
			return fmt.Errorf("read: %d %s", status, answer)
		}
		if now.Data.Status != "SUCCEEDED" || len(now.Data.Clips) < clips {
			continue
		}
		for _, clip := range now.Data.Clips {
			resp, err := http.Get(clip.ExportLink)
			if err != nil {
				return err
			}
			size, err := io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			if err != nil || resp.StatusCode != 200 || size < 10_000 {
				return fmt.Errorf("a clip: %s, %d bytes, %w", resp.Status, size, err)
			}
		}
		return nil
	}
	return fmt.Errorf("%s is not done after 3 minutes", path)
}

// door is where the HTTP API listens, as a process that may be killed.
type door struct {
	h    *house
	addr string
	cmd  *exec.Cmd
}

func (h *house) door(extra ...string) *door {
	h.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(h.t, err)
	d := &door{h: h, addr: l.Addr().String()}
	must(h.t, l.Close())
	h.env = append(h.env, extra...)
	d.open()
	return d
}

func (d *door) open() {
	d.h.t.Helper()
	d.cmd = exec.Command(binaries.clipferry, "serve")
	d.cmd.Env = append(append([]string{}, d.h.env...), "CLIPFERRY_HTTP_ADDR="+d.addr,
		"CLIPFERRY_HTTP_API_KEYS=web:"+doorKey+",other:"+otherKey, "CLIPFERRY_HTTP_SECRET=a-secret-of-thirty-two-characters!")
	d.h.start(d.cmd)
}

func (d *door) client(every time.Duration) client {
	return client{"http://" + d.addr, doorKey, every, &atomic.Int64{}, &atomic.Int64{}}
}

// refused is what the provider refused, by reason, and how many tasks it has made.
func (h *house) refused() (map[string]int, int) {
	h.t.Helper()
	req, err := http.NewRequest(http.MethodGet, h.provider+"/_emulator/state", nil)
	must(h.t, err)
	var state struct {
		Refused map[string]int
		Submits []json.RawMessage
		Active  int
	}
	must(h.t, json.Unmarshal(h.get(req), &state))
	return state.Refused, len(state.Submits)
}

// made is how many tasks of the kind the provider has made.
func (h *house) made(kind string) int {
	h.t.Helper()
	req, err := http.NewRequest(http.MethodGet, h.provider+"/_emulator/state", nil)
	must(h.t, err)
	var state struct{ Submits []struct{ Kind string } }
	must(h.t, json.Unmarshal(h.get(req), &state))
	n := 0
	for _, s := range state.Submits {
		if s.Kind == kind {
			n++
		}
	}
	return n
}

// TestAPublicClientRunsUnchanged: against the provider, and against us.
func TestAPublicClientRunsUnchanged(t *testing.T) {
	h := newHouse(t, "--requests-per-minute", "0")
	d := h.door("CLIPFERRY_HTTP_PASSTHROUGH_ARCHIVE=false") // without a worker
	for name, c := range map[string]client{
		"provider": {h.provider, "dev-key", 100 * time.Millisecond, &atomic.Int64{}, &atomic.Int64{}},
		"door":     d.client(100 * time.Millisecond),
	} {
		if _, err := c.clip(name, 2); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestTwentyClientsAtOnce share the budget with exports, while a worker and the
// server are killed: no read is refused, the provider refuses nothing, no task is
// made twice, and every export is archived.
func TestTwentyClientsAtOnce(t *testing.T) {
	h := newHouse(t, "--requests-per-minute", "600", "--limit-shape", "sliding")
	twentyClients(t, h, 500*time.Millisecond, "CLIPFERRY_API_REQUESTS_PER_MINUTE=600")
}

// TestTwentyClientsAtFifteenAMinute is the same at the provider's own limits, with its
// time six times faster: see [TestTheBudgetIsSpentWell].
func TestTwentyClientsAtFifteenAMinute(t *testing.T) {
	if os.Getenv("CLIPFERRY_SOAK") == "" {
		t.Skip("set CLIPFERRY_SOAK=1 to run it; it takes about three minutes")
	}
	h := newHouse(t, "--speed", "6", "--limit-shape", "fixed")
	twentyClients(t, h, 8*time.Second/6, "CLIPFERRY_API_REQUESTS_PER_MINUTE=84")
}

func twentyClients(t *testing.T, h *house, every time.Duration, rate string) {
	const clients, exports = 20, 5
	d := h.door(rate, "CLIPFERRY_HTTP_PASSTHROUGH_WAIT=3s", "CLIPFERRY_IMPORT_QUIET=5s")
	workers := []*exec.Cmd{h.worker(), h.worker()}
	c := d.client(every)
	var all, submitted sync.WaitGroup
	for i := range clients {
		all.Go(func() {
			project, err := c.clip(fmt.Sprintf("client-%d", i), 2)
			if err == nil && i < exports {
				err = c.export(project, 2)
			}
			if err != nil {
				t.Errorf("client %d: %v", i, err)
			}
		})
	}
	submitted.Go(func() {
		time.Sleep(2 * time.Second) // let there be something under way
		must(t, workers[0].Process.Signal(syscall.SIGKILL))
		for h.made("clips") < clients {
			time.Sleep(100 * time.Millisecond)
		}
		time.Sleep(300 * time.Millisecond) // its answers are out
		must(t, d.cmd.Process.Signal(syscall.SIGKILL))
		d.open()
	})
	all.Wait()
	submitted.Wait()
	refused, made := h.refused()
	if made != clients+exports {
		t.Errorf("the provider made %d tasks", made)
	}
	if refused["rate"]+refused["active"] > 0 {
		t.Errorf("the provider refused %v", refused)
	}
	if n := c.refusedReads.Load(); n > 0 {
		t.Errorf("%d reads were answered 429", n)
	}
	t.Logf("%d submits were told when to come back", c.waits.Load())
	for began := time.Now(); ; time.Sleep(time.Second) {
		out, _ := h.clipferry("", "list", "--state", "archived", "--json", "--limit", "100")
		if n := strings.Count(out, "\n"); n == clients+exports {
			break
		} else if time.Since(began) > time.Minute {
			t.Fatalf("%d of %d are archived", n, clients+exports)
		}
	}
	if out, code := h.clipferry("", "verify", "--all"); code != 0 {
		t.Errorf("verify: exit %d: %s", code, out)
	}
}

// TestAServerThatDiesWithAnOrder: a repeat says what is known of it, and pays for
// nothing again. Its slot is free when its lease has ended.
func TestAServerThatDiesWithAnOrder(t *testing.T) {
	h := newHouse(t, "--requests-per-minute", "0")
	d := h.door()
	fault, err := http.Post(h.provider+"/_emulator/faults", "application/json", strings.NewReader(`{"kind":"stall","route":"create","delay":"1m","count":1}`))
	must(t, err)
	must(t, fault.Body.Close())
	c := d.client(100 * time.Millisecond)
	first := make(chan error, 1)
	go func() {
		status, answer, err := c.ask("POST", "/api/v2/clips", "order", []byte(`{"video_url":"v","project_name":"p~clips=1~render=1s"}`))
		if err == nil && (status != http.StatusConflict || !bytes.Contains(answer, []byte(`"reason":"answer_lost"`))) {
			err = fmt.Errorf("the repeat: %d %s", status, answer)
		}
		first <- err
	}()
	for began := time.Now(); h.stalled() == 0; time.Sleep(50 * time.Millisecond) {
		if time.Since(began) > 30*time.Second {
			t.Fatal("nothing was sent")
		}
	}
	must(t, d.cmd.Process.Signal(syscall.SIGKILL))
	_ = d.cmd.Wait()
	d.open() // the client repeats its request on its own
	must(t, <-first)
	if n := h.made("clips"); n > 1 {
		t.Errorf("%d tasks", n)
	}
}

// TestAnOrderOutlivesRedis, and the server that sent it: the repeat gets the answer, the
// task is still its tenant's, and recover has it read to its end.
func TestAnOrderOutlivesRedis(t *testing.T) {
	h := newHouse(t, "--requests-per-minute", "0")
	d := h.door()
	c := d.client(100 * time.Millisecond)
	order := []byte(`{"video_url":"v","project_name":"p~clips=1~render=5s"}`)
	_, first, err := c.ask("POST", "/api/v2/clips", "order", order)
	must(t, err)
	var made clipTask
	must(t, json.Unmarshal(first, &made))
	must(t, d.cmd.Process.Signal(syscall.SIGKILL))
	_ = d.cmd.Wait()
	must(t, h.redis.Client().FlushAll(t.Context()).Err())
	d.open()
	results := "/api/v2/clips/results/" + made.Data.ID
	other := c
	other.key = otherKey
	if status, answer, err := other.ask("GET", results, "", nil); err != nil || status != http.StatusNotFound {
		t.Errorf("another tenant reads it: %d %s %v", status, answer, err)
	}
	if status, again, err := c.ask("POST", "/api/v2/clips", "order", order); err != nil || status != 200 || !bytes.Equal(first, again) {
		t.Errorf("the repeat: %d %s %v", status, again, err)
	}
	if n := h.made("clips"); n != 1 {
		t.Errorf("%d tasks were made", n)
	}
	must(t, h.redis.Client().FlushAll(t.Context()).Err())
	if out, code := h.clipferry("", "recover"); code != 0 || !strings.Contains(out, "restored 2 records") {
		t.Errorf("recover: exit %d: %s", code, out)
	}
	h.eventually("it is read to its end by itself", 30*time.Second, func() bool {
		status, answer, err := c.ask("GET", results, "", nil)
		must(t, err)
		var now clipTask
		return status == 200 && json.Unmarshal(answer, &now) == nil && now.Data.Status == "SUCCEEDED"
	})
}

// stalled is how many requests the fault has hit.
func (h *house) stalled() int {
	h.t.Helper()
	req, err := http.NewRequest(http.MethodGet, h.provider+"/_emulator/faults", nil)
	must(h.t, err)
	var faults []struct{ Hits int }
	must(h.t, json.Unmarshal(h.get(req), &faults))
	return faults[0].Hits
}
