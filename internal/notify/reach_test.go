package notify

import (
	"net/netip"
	"testing"
)

func TestUnreachable(t *testing.T) {
	allowed := []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}
	const cause = " is not a public address on port 80 or 443, unless CLIPFERRY_WEBHOOK_ALLOWED_CIDRS of the workers has it"
	for webhook, address := range map[string]string{
		"http://10.0.0.1/":              "10.0.0.1:80",
		"https://127.0.0.1:9000/?token": "127.0.0.1:9000",
		"https://[::1]/":                "[::1]:443",
		"https://8.8.8.8:9000/":         "8.8.8.8:9000",
		"https://10.1.2.3:9000/":        "",
		"https://8.8.8.8/":              "",
		"https://internal.example.com/": "", // its addresses are those at the time of the call
		"https://localhost:9000/":       "",
		"":                              "",
	} {
		want := ""
		if address != "" {
			want = "notify: the webhook is not called: " + address + cause
		}
		if got := Unreachable(webhook, allowed); got != want {
			t.Errorf("%s: %q, want %q", webhook, got, want)
		}
	}
}
