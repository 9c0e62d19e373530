// Package redisfault says what a failure of Redis means: its code, a sentence for
// people where Redis or its client has none, and what to do. It is the one table
// of that; whether to try again is decided by those who asked.
package redisfault

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"

	"github.com/redis/go-redis/v9"
)

// Fault is what a failure of Redis means.
type Fault struct {
	// Code is what Redis's refusal begins with, such as OOM; empty when Redis did
	// not refuse but was not reached.
	Code string
	// Text says what happened.
	Text string
	// Hint says what to do; empty where nothing special is known.
	Hint string
}

// address is what most hints are about.
const address = "CLIPFERRY_REDIS_URL"

// refusals are how Redis begins to say that it does not do what it was asked,
// until somebody acts or something has passed.
var refusals = []Fault{
	{"NOPERM", "", "let the user of " + address + " run all commands on the keys clipferry:* and asynq:*, on the same channels, and INFO"},
	{"OOM", "", "give it more memory (maxmemory): nothing moves until it takes writes"},
	{"READONLY", "", "point " + address + " at the master, or at the sentinels"},
	{"MISCONF", "", "it can't save: look at its log and its disk"},
	{"NOREPLICAS", "", "bring its replicas back: min-replicas-to-write asks for more than there are"},
	{"WRONGPASS", "it refuses the user name or the password", "see " + address + "; characters such as / ? # @ in a password must be percent-encoded"},
	{"NOAUTH", "it asks for a password", "put it into " + address + ": redis://user:password@host, or redis://:password@host"},
	{"LOADING", "", "it reads its data and will answer when that is done"},
	{"MASTERDOWN", "", "it is a replica whose master is away: see its log"},
	{"CLUSTERDOWN", "", "a part of the cluster is away: see CLUSTER INFO and the nodes' logs"},
	{"TRYAGAIN", "", "the cluster is moving slots; that passes"},
	{"BUSY", "", "a script takes too long: see SLOWLOG, or end it with SCRIPT KILL"},
}

// phrases are what Redis says without a code of its own, and what its client says.
var phrases = []struct {
	holds string
	Fault
}{
	{"max number of clients", Fault{"ERR", "it has as many clients as it takes (maxclients)", "raise its maxclients, or add ?pool_size=… to " + address + " of workers"}},
	{"without any password configured", Fault{"ERR", "it has no password, and was given one", "remove the password from " + address}},
	{"first record does not look like a TLS handshake", Fault{"", "it does not speak TLS", "let " + address + " begin with redis://, not rediss://"}},
	{"certificate required", Fault{"", "it asks for a client certificate", "add ?tls_cert_file=…&tls_key_file=… to " + address}},
	{"unknown certificate authority", Fault{"", "it does not trust our client certificate", "see tls_cert_file in " + address}},
	{"signed by unknown authority", Fault{"", "its certificate is of an authority that is not trusted here", "add ?tls_ca_file=… to " + address}},
	{"bad certificate", Fault{"", "it refuses our client certificate", "see tls_cert_file and tls_key_file in " + address}},
}

// Of returns what err means, which is not nil.
func Of(err error) Fault {
	text := err.Error()
	sentinels := strings.Contains(text, "all sentinels specified")
	fault := meaning(err, text)
	switch {
	case sentinels && strings.Contains(text, "without any password configured"):
		return Fault{
			"ERR", "the sentinels have no password, and the address gives them one",
			"if it is that of Redis itself, write it as ?password=… : what is before the @ of a sentinel address is the sentinels' own",
		}
	case sentinels && (fault.Code == "WRONGPASS" || fault.Code == "NOAUTH"):
		return Fault{
			fault.Code, "the sentinels refuse the user name or the password",
			"what is before the @ of a sentinel address is the sentinels' own; those of Redis itself are ?username=…&password=…",
		}
	case sentinels && fault.Text == text:
		return Fault{fault.Code, "no sentinel answers: " + text[strings.LastIndex(text, "unreachable: ")+len("unreachable: "):], fault.Hint}
	}
	return fault
}

func meaning(err error, text string) Fault {
	var network net.Error
	for _, p := range phrases {
		if strings.Contains(text, p.holds) {
			return p.Fault
		}
	}
	for _, r := range refusals {
		// Before Redis 7 a script's error has it behind a dash.
		if strings.Contains(" "+text+" ", " "+r.Code+" ") || strings.Contains(text, "-"+r.Code+" ") {
			if r.Text == "" {
				r.Text = text
			}
			return r
		}
	}
	switch {
	case errors.Is(err, redis.Nil):
		return Fault{"", "it has lost what was asked for", ""}
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return Fault{"", "it closed the connection", ""}
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &network) && network.Timeout():
		return Fault{"", "no answer in time", ""}
	case errors.Is(err, context.Canceled):
		return Fault{"", "the question was given up", ""}
	}
	return Fault{"", text, ""}
}
