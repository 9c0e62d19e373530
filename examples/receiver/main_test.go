package main

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// The secret, id, time and signature are those of the example in the
// specification of Standard Webhooks.
const (
	secret    = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	id        = "msg_p5jXN8AQM9LWM0D4loKWxJek"
	timestamp = "1614265330"
	body      = `{"test": 2432232314}`
	signature = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
)

func TestReceiver(t *testing.T) {
	for name, c := range map[string]struct {
		body, signature string
		late            time.Duration
		want            int
	}{
		"a good call":                   {body, signature, 0, http.StatusNoContent},
		"one of two secrets":            {body, "v1,b3RoZXI= " + signature, 0, http.StatusNoContent},
		"other bytes":                   {body + " ", signature, 0, http.StatusUnauthorized},
		"no signature":                  {body, "", 0, http.StatusUnauthorized},
		"a signature of another secret": {body, "v1,b3RoZXI=", 0, http.StatusUnauthorized},
		"a call of an hour ago":         {body, signature, time.Hour, http.StatusUnauthorized},
		"a call from the future":        {body, signature, -time.Hour, http.StatusUnauthorized},
		"a body without end":            {strings.Repeat("x", 2<<20), signature, 0, http.StatusBadRequest},
	} {
		t.Run(name, func(t *testing.T) {
			out := &bytes.Buffer{}
			r, err := newReceiver(secret, out)
			if err != nil {
				t.Fatal(err)
			}
			r.now = func() time.Time { return time.Unix(1614265330, 0).Add(c.late) }
			req := httptest.NewRequest("POST", "/", strings.NewReader(c.body))
			req.Header.Set("webhook-id", id)
			req.Header.Set("webhook-timestamp", timestamp)
			req.Header.Set("webhook-signature", c.signature)
			w := httptest.NewRecorder()
			r.ServeHTTP(w, req)
			if taken := out.Len() > 0; w.Code != c.want || taken != (c.want == http.StatusNoContent) {
				t.Errorf("answers %d %s, and prints %q", w.Code, w.Body, out)
			}
		})
	}
}

// The events are those of docs/notifications.md.
func TestReceiverPrintsWhatEnded(t *testing.T) {
	for body, want := range map[string]string{
		`{"type":"export.archived","data":{"id":"exp_1","state":"archived","manifest":"p/t/manifest.json"}}`:        "export.archived exp_1 archived p/t/manifest.json \n",
		`{"type":"batch.completed","data":{"batch":"season-1","members":300,"states":{"failed":3,"archived":297}}}`: "batch.completed season-1 300 map[archived:297 failed:3]\n",
	} {
		out := &bytes.Buffer{}
		r, err := newReceiver(secret, out)
		if err != nil {
			t.Fatal(err)
		}
		r.now = func() time.Time { return time.Unix(1614265330, 0) }
		mac := hmac.New(sha256.New, r.key)
		mac.Write([]byte(id + "." + timestamp + "." + body))
		req := httptest.NewRequest("POST", "/", strings.NewReader(body))
		req.Header.Set("webhook-id", id)
		req.Header.Set("webhook-timestamp", timestamp)
		req.Header.Set("webhook-signature", "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
		r.ServeHTTP(httptest.NewRecorder(), req)
		if got := out.String(); got != want {
			t.Errorf("%s: printed %q, want %q", body, got, want)
		}
	}
}

func TestReceiverNeedsASecret(t *testing.T) {
	for _, s := range []string{"", "whsec_", "whsec_%"} {
		if _, err := newReceiver(s, nil); err == nil {
			t.Errorf("takes %q", s)
		}
	}
}
