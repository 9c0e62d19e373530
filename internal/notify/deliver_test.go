package notify

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/clipferry/clipferry/internal/queue"
	"github.com/clipferry/clipferry/internal/view"
)

// TestSignatureOfTheSpecification is the example that the libraries of Standard
// Webhooks test themselves with.
func TestSignatureOfTheSpecification(t *testing.T) {
	secrets, err := parseSecrets([]string{testSecret})
	if err != nil {
		t.Fatal(err)
	}
	h := http.Header{}
	sign(h, secrets, "msg_p5jXN8AQM9LWM0D4loKWxJek", time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`))
	if got := h.Get(headerSignature); got != "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=" {
		t.Errorf("signature %s", got)
	}
	if h.Get(headerTimestamp) != "1614265330" || h.Get(headerID) != "msg_p5jXN8AQM9LWM0D4loKWxJek" {
		t.Errorf("%v", h)
	}
}

// verify is what a receiver does, written from the specification.
func verify(t *testing.T, got received, secret string) {
	t.Helper()
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	if err != nil {
		t.Fatal(err)
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(got.header.Get("webhook-id") + "." + got.header.Get("webhook-timestamp") + "." + got.body))
	want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	for _, s := range strings.Fields(got.header.Get("webhook-signature")) {
		if s == want {
			return
		}
	}
	t.Errorf("no signature of %v is by this secret", got.header)
}

func TestAWebhookIsDelivered(t *testing.T) {
	const second = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
	f := newFixture(t, func(o *Options) { o.Secrets = append(o.Secrets, second) })
	to := newReceiver(t)
	r := f.archived("order-17", `{"webhook":"`+to.URL+`/hook/hush?token=hush"}`)
	for range 3 {
		if err := f.Ended(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	info, err := f.run()
	if err != nil {
		t.Fatal(err)
	}
	if info.Type != "export:notify" || info.ID != "notify:"+eventID(r)+":0" || info.Headers["traceparent"] != "00-abc" {
		t.Errorf("%+v", info)
	}
	if strings.Contains(string(info.Payload), "hush") || strings.Contains(f.log.String(), "hush") {
		t.Errorf("the address is shown: %s\n%s", info.Payload, f.log)
	}
	calls := to.calls()
	if len(calls) != 1 {
		t.Fatalf("%d calls", len(calls))
	}
	got := calls[0]
	verify(t, got, testSecret)
	verify(t, got, second)
	var e event
	if err := json.Unmarshal([]byte(got.body), &e); err != nil {
		t.Fatal(err)
	}
	if e.ID != got.header.Get("webhook-id") || strings.Contains(e.ID, ".") || e.Type != "export.archived" || e.Data.Manifest == "" ||
		got.header.Get("Content-Type") != "application/json" || got.header.Get("webhook-timestamp") != "1775563200" {
		t.Errorf("%+v %v", e, got.header)
	}
	if len(f.outcomes) != 1 || f.outcomes[0] != Delivered {
		t.Errorf("%v", f.outcomes)
	}
}

// TestRetriesOverADay: the same id and bytes each time, a fresh timestamp, waits
// that grow, and in the end a dead letter that an operator sees.
func TestRetriesOverADay(t *testing.T) {
	f := newFixture(t)
	to := newReceiver(t)
	for range 20 {
		to.answers = append(to.answers, status(500))
	}
	if err := f.Ended(t.Context(), f.archived("a", `{"webhook":"`+to.URL+`/hush"}`)); err != nil {
		t.Fatal(err)
	}
	for n := 0; ; n++ {
		if n > 20 {
			t.Fatal("it never gives up")
		}
		before := time.Now()
		info, err := f.run()
		if n < len(pauses) && err != nil || n >= len(pauses) && !errors.Is(err, queue.ErrGiveUp) {
			t.Fatalf("call %d: %v", n+1, err)
		}
		if err != nil {
			if strings.Contains(err.Error(), "hush") || !strings.Contains(err.Error(), "the receiver answered 500") {
				t.Errorf("error %v", err)
			}
			break
		}
		next := f.in(queue.Notify)
		if len(next) != 1 || next[0].ID == info.ID {
			t.Fatalf("call %d: next %v", n+1, next)
		}
		wait := next[0].NextProcessAt.Sub(before) // asynq's clock is the machine's
		if wait < pauses[n]*9/10 || wait > pauses[n]*11/10+slack {
			t.Errorf("call %d: %s until the next, want about %s", n+1, wait, pauses[n])
		}
		f.clock = f.clock.Add(wait)
	}
	calls := to.calls()
	if took := f.clock.Sub(t0); len(calls) != 11 || took < 20*time.Hour || took > 28*time.Hour {
		t.Errorf("%d calls in %s", len(calls), took)
	}
	for _, got := range calls {
		verify(t, got, testSecret)
		if got.body != calls[0].body || got.header.Get("webhook-id") != calls[0].header.Get("webhook-id") {
			t.Error("a repeated call is not the same")
		}
	}
	if calls[0].header.Get("webhook-timestamp") == calls[10].header.Get("webhook-timestamp") {
		t.Error("a receiver refuses an old timestamp")
	}
	if f.outcomes[10] != GaveUp || f.outcomes[9] != PutOff {
		t.Errorf("%v", f.outcomes)
	}
}

// slack is what a busy machine may add to a wait.
const slack = 30 * time.Second

func TestAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		answer  http.HandlerFunc
		outcome Outcome
		least   time.Duration // until the next call
	}{
		"accepted":        {status(202), Delivered, 0},
		"gone":            {status(410), GaveUp, 0},
		"not found":       {status(404), PutOff, 4 * time.Second},
		"redirect":        {status(302, "Location", "http://127.0.0.1:1/"), PutOff, 4 * time.Second},
		"busy":            {status(429, "Retry-After", "600"), PutOff, 600 * time.Second},
		"busy until":      {status(503, "Date", t0.Format(http.TimeFormat), "Retry-After", t0.Add(time.Hour).Format(http.TimeFormat)), PutOff, time.Hour - time.Second},
		"busy for ever":   {status(503, "Retry-After", "99999999999"), PutOff, 12 * time.Hour},
		"nonsense":        {status(503, "Retry-After", "-5"), PutOff, 4 * time.Second},
		"hangs up":        {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, PutOff, 4 * time.Second},
		"an endless body": {endless, Delivered, 0},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			to := newReceiver(t)
			to.answers = []http.HandlerFunc{c.answer}
			if err := f.Ended(t.Context(), f.archived("a", `{"webhook":"`+to.URL+`"}`)); err != nil {
				t.Fatal(err)
			}
			before := time.Now()
			_, err := f.run()
			if (c.outcome == GaveUp) != errors.Is(err, queue.ErrGiveUp) || len(f.outcomes) != 1 || f.outcomes[0] != c.outcome {
				t.Errorf("%v %v", f.outcomes, err)
			}
			next := f.in(queue.Notify)
			if (len(next) == 1) != (c.outcome == PutOff) {
				t.Fatalf("%d further calls", len(next))
			}
			if len(next) == 1 {
				if wait := next[0].NextProcessAt.Sub(before); wait < c.least || wait > c.least+slack {
					t.Errorf("%s until the next", wait)
				}
			}
		})
	}
}

func endless(w http.ResponseWriter, r *http.Request) {
	w.WriteHeader(http.StatusOK)
	for r.Context().Err() == nil {
		if _, err := w.Write(make([]byte, 64<<10)); err != nil {
			return
		}
	}
}

// TestAddressesAreGuarded: a webhook is foreign input and must not reach into our network.
func TestAddressesAreGuarded(t *testing.T) {
	to := newReceiver(t)
	port := to.URL[strings.LastIndexByte(to.URL, ':'):]
	for _, address := range []string{
		to.URL, "http://localhost" + port, "http://[::ffff:127.0.0.1]" + port, "http://0.0.0.0" + port,
		"http://169.254.169.254/latest/meta-data/", "http://10.0.0.1/", "http://[::1]" + port, "http://[fd00::1]/", "http://2130706433" + port,
	} {
		f := newFixture(t, func(o *Options) { o.AllowedCIDRs = nil })
		if err := f.Ended(t.Context(), f.archived("a", `{"webhook":"`+address+`/hush"}`)); err != nil {
			t.Fatal(err)
		}
		if _, err := f.run(); err != nil {
			t.Errorf("%s: %v", address, err)
		}
		if len(f.outcomes) != 1 || f.outcomes[0] != PutOff {
			t.Errorf("%s: %v", address, f.outcomes)
		}
		if log := f.log.String(); strings.Contains(log, "hush") {
			t.Errorf("log %s", log)
		}
	}
	if n := len(to.calls()); n != 0 {
		t.Errorf("%d calls came through", n)
	}
}

func TestTasksThatNobodyCanCarryOut(t *testing.T) {
	f := newFixture(t)
	f.archived("no-webhook", `{"task_type":"t"}`)
	f.archived("nobody", ``)
	for _, payload := range []string{
		``, `null`, `{}`, `{"id":"a/b","n":0,"event":{"id":"e"}}`, `{"id":"a","n":-1,"event":{"id":"e"}}`, `{"id":"a","n":0}`,
		`{"id":"a","n":0,"event":{}}`, `{"id":"a","n":0,"event":[]}`, `{"id":"unknown","n":0,"event":{"id":"e"}}`,
		`{"id":"no-webhook","n":0,"event":{"id":"e"}}`, `{"id":"nobody","n":0,"event":{"id":"e"}}`,
	} {
		if err := f.Deliver(t.Context(), []byte(payload), nil); !errors.Is(err, queue.ErrGiveUp) {
			t.Errorf("%s: %v", payload, err)
		}
	}
	broken := newFixture(t, func(o *Options) { o.Ledger = failingLedger{} })
	err := broken.Deliver(t.Context(), []byte(`{"id":"a","n":0,"event":{"id":"e"}}`), nil)
	if err == nil || errors.Is(err, queue.ErrGiveUp) {
		t.Errorf("a Redis that fails: %v", err)
	}
}

// FuzzProcessTask: the queue is open to other programs.
func FuzzPayload(f *testing.F) {
	f.Add([]byte(`{"id":"a","n":0,"event":{"id":"e","type":"t"}}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		n := &Notifier{o: Options{Ledger: failingLedger{}}}
		if err := n.Deliver(t.Context(), payload, nil); err == nil {
			t.Error("delivered to nobody")
		}
	})
}

// TestWhatIsSentIsOfTheRecord: whoever writes to the queue can't have us sign theirs.
func TestWhatIsSentIsOfTheRecord(t *testing.T) {
	f := newFixture(t)
	to := newReceiver(t)
	r := f.archived("a", `{"webhook":"`+to.URL+`/"}`)
	forged := `{"id":"a","n":0,"event":{"id":"` + eventID(r) + `","type":"export.failed","data":{"error":"forged"}}}`
	if err := f.Deliver(t.Context(), []byte(forged), nil); err != nil {
		t.Fatal(err)
	}
	if calls := to.calls(); len(calls) != 1 || strings.Contains(calls[0].body, "forged") || !strings.Contains(calls[0].body, `"export.archived"`) {
		t.Errorf("%+v", calls)
	}
	if err := f.Deliver(t.Context(), []byte(`{"id":"a","n":0,"event":"evt_of-another-end"}`), nil); err != nil || len(to.calls()) != 1 {
		t.Errorf("an end that is no more: %v, %d calls", err, len(to.calls()))
	}
	if last := f.outcomes[len(f.outcomes)-1]; last != Superseded {
		t.Errorf("%s", last)
	}
}

// TestAHostThatHangsHoldsUpNobodyElse: it takes half of the calls at most.
func TestAHostThatHangsHoldsUpNobodyElse(t *testing.T) {
	f := newFixture(t)
	for range perHost {
		if !f.enter("slow.example.com") {
			t.Fatal("refused too early")
		}
	}
	to := newReceiver(t)
	host := strings.TrimPrefix(to.URL, "http://")
	r := f.archived("a", `{"webhook":"`+to.URL+`/"}`)
	payload := []byte(`{"id":"a","n":0,"event":"` + eventID(r) + `"}`)
	if err := f.Deliver(t.Context(), payload, nil); err != nil {
		t.Errorf("another host: %v", err)
	}
	for range perHost {
		f.enter(host)
	}
	if err := f.Deliver(t.Context(), payload, nil); !errors.Is(err, queue.ErrLater) {
		t.Errorf("a host that is called enough: %v", err)
	}
	f.leave(host)
	if err := f.Deliver(t.Context(), payload, nil); err != nil {
		t.Errorf("once a call has ended: %v", err)
	}
}

func TestAnEventIsBounded(t *testing.T) {
	e := event{ID: "e"}
	for i := range 3000 {
		e.Data.Clips = append(e.Data.Clips, view.Clip{Idx: i, Title: strings.Repeat("x", 200)})
	}
	body, err := e.encode()
	if err != nil || len(body) > maxEvent {
		t.Fatalf("%d bytes, %v", len(body), err)
	}
	var got event
	if err := json.Unmarshal(body, &got); err != nil || len(got.Data.Clips)+got.ClipsLeftOut != 3000 || len(got.Data.Clips) == 0 {
		t.Errorf("%d clips, %d left out, %v", len(got.Data.Clips), got.ClipsLeftOut, err)
	}
}
