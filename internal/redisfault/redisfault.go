// Package redisfault says what a failure of Redis means: its code, what metrics call
// it, a sentence for people where Redis or its client has none, and what to do. It is
// the one table of that; whether to try again is decided by those who asked.
package redisfault

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net"
	"regexp"
	"slices"
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
	// Reason is what metrics call a refusal; empty for those that they call other.
	Reason string
}

// address is what most hints are about.
const address = "CLIPFERRY_REDIS_URL"

// refusals are how Redis begins to say that it does not do what it was asked,
// until somebody acts or something has passed.
var refusals = []Fault{
	{"NOPERM", "", "let the user of " + address + " run all commands on the keys clipferry:* and asynq:*, on the same channels, and INFO", ""},
	{"OOM", "", "give it more memory (maxmemory): nothing moves until it takes writes", "out_of_memory"},
	{"READONLY", "", "point " + address + " at the master, or at the sentinels", "readonly"},
	{"MISCONF", "", "it can't save: look at its log and its disk", "readonly"},
	{"NOREPLICAS", "", "bring its replicas back: min-replicas-to-write asks for more than there are", "readonly"},
	{"WRONGPASS", "it refuses the user name or the password", "see " + address + "; characters such as / ? # @ in a password must be percent-encoded", ""},
	{"NOAUTH", "it asks for a password", "put it into " + address + ": redis://user:password@host, or redis://:password@host", ""},
	{"LOADING", "", "it reads its data and will answer when that is done", "loading"},
	{"MASTERDOWN", "", "it is a replica whose master is away: see its log", "loading"},
	{"CLUSTERDOWN", "", "a part of the cluster is away: see CLUSTER INFO and the nodes' logs", "loading"},
	{"TRYAGAIN", "", "the cluster is moving slots; that passes", "loading"},
	{"BUSY", "", "a script takes too long: see SLOWLOG, or end it with SCRIPT KILL", ""},
}

// unfit is a Redis that can't do what is asked of it, whoever asks.
var unfit = Fault{Code: "ERR", Text: "it does not know a command that is used here", Hint: "it must be Redis 6.2 or newer, or compatible with it, with no command renamed"}

// phrases are what Redis says without a code of its own, and what its client says.
var phrases = []struct {
	holds string
	Fault
}{
	{"max number of clients", Fault{Code: "ERR", Text: "it has as many clients as it takes (maxclients)", Hint: "raise its maxclients, or add ?pool_size=… to " + address + " of workers"}},
	{"ERR syntax error", unfit},
	{"ERR unknown command", unfit},
	{"without any password configured", Fault{Code: "ERR", Text: "it has no password, and was given one", Hint: "remove the password from " + address}},
	{"first record does not look like a TLS handshake", Fault{Text: "it does not speak TLS", Hint: "let " + address + " begin with redis://, not rediss://"}},
	{"certificate required", Fault{Text: "it asks for a client certificate", Hint: "add ?tls_cert_file=…&tls_key_file=… to " + address}},
	{"unknown certificate authority", Fault{Text: "it does not trust our client certificate", Hint: "see tls_cert_file in " + address}},
	{"signed by unknown authority", Fault{Text: "its certificate is of an authority that is not trusted here", Hint: "add ?tls_ca_file=… to " + address}},
	{"bad certificate", Fault{Text: "it refuses our client certificate", Hint: "see tls_cert_file and tls_key_file in " + address}},
}

// scriptName is what Redis adds to a fault in a script, which says nothing to people.
var scriptName = regexp.MustCompile(` ?script: [0-9a-f]{40}, on @user_script:\d+\.?$`)

// Of returns what err means, which is not nil.
func Of(err error) Fault {
	text := scriptName.ReplaceAllString(err.Error(), "")
	sentinels := strings.Contains(text, "all sentinels specified")
	fault := meaning(err, text)
	switch {
	case sentinels && strings.Contains(text, "without any password configured"):
		return Fault{
			Code: "ERR", Text: "the sentinels have no password, and the address gives them one",
			Hint: "if it is that of Redis itself, write it as ?password=… : what is before the @ of a sentinel address is the sentinels' own",
		}
	case sentinels && (fault.Code == "WRONGPASS" || fault.Code == "NOAUTH"):
		return Fault{
			Code: fault.Code, Text: "the sentinels refuse the user name or the password",
			Hint: "what is before the @ of a sentinel address is the sentinels' own; those of Redis itself are ?username=…&password=…",
		}
	case sentinels && fault.Text == text:
		fault.Text = "no sentinel answers: " + text[strings.LastIndex(text, "unreachable: ")+len("unreachable: "):]
	}
	return fault
}

// Refused reports whether Redis itself has refused to do anything. What a script
// says, and that it must be sent first, is none.
func Refused(err error) bool {
	var answer redis.Error
	return errors.As(err, &answer) && slices.ContainsFunc(refusals, func(r Fault) bool { return r.in(answer.Error()) })
}

// in reports whether a text holds the refusal. Before Redis 7 a script's error
// has it behind a dash.
func (f Fault) in(text string) bool {
	return strings.Contains(" "+text+" ", " "+f.Code+" ") || strings.Contains(text, "-"+f.Code+" ")
}

func meaning(err error, text string) Fault {
	var network net.Error
	for _, p := range phrases {
		if strings.Contains(text, p.holds) {
			return p.Fault
		}
	}
	if i := slices.IndexFunc(refusals, func(r Fault) bool { return r.in(text) }); i >= 0 {
		r := refusals[i]
		r.Text = cmp.Or(r.Text, text)
		return r
	}
	switch {
	case errors.Is(err, redis.Nil):
		return Fault{Text: "it has lost what was asked for"}
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return Fault{Text: "it closed the connection"}
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &network) && network.Timeout():
		return Fault{Text: "no answer in time"}
	case errors.Is(err, context.Canceled):
		return Fault{Text: "the question was given up"}
	}
	return Fault{Text: text}
}
