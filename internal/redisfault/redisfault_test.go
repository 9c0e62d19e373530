package redisfault

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
)

func TestOf(t *testing.T) {
	sentinels := func(says string) error {
		return fmt.Errorf("redis: all sentinels specified in configuration are unreachable: %w", errors.New(says))
	}
	for _, c := range []struct {
		err              error
		code, text, hint string // hint: what it holds
	}{
		{errors.New("OOM command not allowed"), "OOM", "OOM command not allowed", "maxmemory"},
		{
			errors.New("READONLY You can't write against a read only replica. script: 50080d91a103c84d0b5032f627e86d636bf3bd2a, on @user_script:1."),
			"READONLY", "READONLY You can't write against a read only replica.", "at the master",
		},
		{errors.New("ERR Error running script: -OOM command not allowed"), "OOM", "ERR Error running script: -OOM command not allowed", "maxmemory"},
		{errors.New("WRONGPASS invalid username-password pair"), "WRONGPASS", "it refuses the user name or the password", "percent-encoded"},
		{errors.New("ERR max number of clients reached"), "ERR", "it has as many clients as it takes (maxclients)", "pool_size"},
		{errors.New("ERR syntax error"), "ERR", "it does not know a command that is used here", "6.2 or newer"},
		{errors.New("ERR unknown command 'GETEX', with args beginning with: "), "ERR", "it does not know a command that is used here", "6.2 or newer"},
		{fmt.Errorf("read: %w", io.EOF), "", "it closed the connection", ""},
		{redis.Nil, "", "it has lost what was asked for", ""},
		{fmt.Errorf("x: %w", context.Canceled), "", "the question was given up", ""},
		{fmt.Errorf("x: %w", context.DeadlineExceeded), "", "no answer in time", ""},
		{errors.New("dial tcp: connection refused"), "", "dial tcp: connection refused", ""},
		{sentinels("ERR AUTH <password> called without any password configured for the default user"), "ERR", "the sentinels have no password, and the address gives them one", "?password=…"},
		{sentinels("WRONGPASS invalid"), "WRONGPASS", "the sentinels refuse the user name or the password", "?username=…"},
		{sentinels("dial tcp: connection refused"), "", "no sentinel answers: dial tcp: connection refused", ""},
	} {
		got := Of(c.err)
		if got.Code != c.code || got.Text != c.text || !strings.Contains(got.Hint, c.hint) || c.hint == "" && got.Hint != "" {
			t.Errorf("%v: %+v", c.err, got)
		}
	}
}

// One table serves throttling and metrics, too.
func TestRefused(t *testing.T) {
	for text, want := range map[string]string{
		"OOM command not allowed": "out_of_memory",
		"ERR Error running script: @user_script: 3: -OOM command not allowed": "out_of_memory",
		"READONLY You can't write against a read only replica.":               "readonly",
		"LOADING Redis is loading the dataset in memory":                      "loading",
		"NOPERM this user has no permissions":                                 "",
	} {
		err := fmt.Errorf("x: %w", answer(text))
		if !Refused(err) || Of(err).Reason != want {
			t.Errorf("%s: refused %v, reason %q", text, Refused(err), Of(err).Reason)
		}
	}
	for _, err := range []error{nil, redis.Nil, io.EOF, errors.New("OOM of something else"), answer("NOSCRIPT No matching script"), answer("ERR unknown command")} {
		if Refused(err) {
			t.Errorf("%v counts as a refusal", err)
		}
	}
}

type answer string

func (a answer) Error() string { return string(a) }
func (answer) RedisError()     {}
