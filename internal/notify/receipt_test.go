package notify

import (
	"encoding/json"
	"strings"
	"testing"
)

// otherSecret is another valid one.
const otherSecret = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="

func envelope(t *testing.T, secrets ...string) Envelope {
	t.Helper()
	e, err := NewEnvelope(secrets)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestWhomToTellSurvivesInAReceipt(t *testing.T) {
	e := envelope(t, testSecret)
	for _, notify := range []string{
		`{"webhook":"https://example.com/hook?token=hush&x=<1>"}`,
		`{"task_type":"video:exported","queue":"videos"}`,
		`{"task_type":"video:exported"}`,
	} {
		receipt := e.ForReceipt("order-17", json.RawMessage(notify))
		if strings.Contains(string(receipt), "example.com") || strings.Contains(string(receipt), "hush") {
			t.Errorf("a webhook's address can be read in the receipt: %s", receipt)
		}
		// A secret that was added in front must not shut out older receipts.
		rotated := envelope(t, otherSecret, testSecret)
		got, err := rotated.FromReceipt("order-17", receipt)
		var want, is any
		if err != nil || json.Unmarshal(got, &is) != nil || json.Unmarshal([]byte(notify), &want) != nil {
			t.Fatalf("%s: %s, %v", notify, got, err)
		}
		if a, b := mustJSON(t, is), mustJSON(t, want); a != b {
			t.Errorf("got %s, want %s", a, b)
		}
	}
}

func mustJSON(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestASealedWebhookOpensForItsExportAlone(t *testing.T) {
	e := envelope(t, testSecret)
	receipt := e.ForReceipt("order-17", json.RawMessage(`{"webhook":"https://example.com/hook?token=hush"}`))
	var k kept
	if err := json.Unmarshal(receipt, &k); err != nil {
		t.Fatal(err)
	}
	k.Sealed[len(k.Sealed)-1] ^= 1
	changed, _ := json.Marshal(k)
	for name, open := range map[string]func() (json.RawMessage, error){
		"another export":  func() (json.RawMessage, error) { return e.FromReceipt("order-18", receipt) },
		"another secret":  func() (json.RawMessage, error) { return envelope(t, otherSecret).FromReceipt("order-17", receipt) },
		"no secret":       func() (json.RawMessage, error) { return envelope(t).FromReceipt("order-17", receipt) },
		"a changed byte":  func() (json.RawMessage, error) { return e.FromReceipt("order-17", changed) },
		"nothing inside":  func() (json.RawMessage, error) { return e.FromReceipt("order-17", []byte(`{"webhook_sealed":""}`)) },
		"another form":    func() (json.RawMessage, error) { return e.FromReceipt("order-17", []byte(`[1]`)) },
		"not even base64": func() (json.RawMessage, error) { return e.FromReceipt("order-17", []byte(`{"webhook_sealed":"%"}`)) },
	} {
		if got, err := open(); err == nil {
			t.Errorf("%s opens it: %s", name, got)
		}
	}
}

func TestNobodyToTellIsNothingInAReceipt(t *testing.T) {
	e := envelope(t)
	for _, notify := range []string{``, `"rubbish"`, `{"webhook":"https://example.com"}`} { // the last can't be sealed
		if got := e.ForReceipt("a", json.RawMessage(notify)); got != nil {
			t.Errorf("%q: %s", notify, got)
		}
	}
	if got, err := e.FromReceipt("a", nil); got != nil || err != nil {
		t.Errorf("%s, %v", got, err)
	}
}

// FuzzFromReceipt: a receipt is a file that anybody with a key to the bucket may have written.
func FuzzFromReceipt(f *testing.F) {
	e, err := NewEnvelope([]string{testSecret})
	if err != nil {
		f.Fatal(err)
	}
	f.Add("order-17", []byte(e.ForReceipt("order-17", json.RawMessage(`{"webhook":"https://example.com/hook"}`))))
	f.Add("order-17", []byte(`{"task_type":"a","queue":"b"}`))
	f.Add("", []byte(`{"webhook_sealed":"AAAA"}`))
	f.Fuzz(func(t *testing.T, id string, receipt []byte) {
		got, err := e.FromReceipt(id, receipt)
		if err == nil && got != nil && !json.Valid(got) {
			t.Errorf("%s", got)
		}
	})
}
