package notify

import (
	"cmp"
	"net/netip"
	"net/url"

	"github.com/clipferry/clipferry/internal/egress"
)

// Unreachable returns what is odd about a webhook whose address can be judged before it is
// called, because its host is a literal one; "" for any other. allowed is as in [Options].
func Unreachable(webhook string, allowed []netip.Prefix) string {
	u, err := url.Parse(webhook)
	if err != nil {
		return ""
	}
	host, err := netip.ParseAddr(u.Hostname())
	if err != nil {
		return ""
	}
	port := cmp.Or(u.Port(), map[string]string{"http": "80", "https": "443"}[u.Scheme])
	network, address := "tcp6", "["+host.String()+"]:"+port
	if host.Is4() {
		network, address = "tcp4", host.String()+":"+port
	}
	if err := egress.New(allowed).Check(network, address); err != nil {
		return "notify: the webhook is not called: " + err.Error() + ", unless CLIPFERRY_WEBHOOK_ALLOWED_CIDRS of the workers has it"
	}
	return ""
}
