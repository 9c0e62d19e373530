package config

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"

	"github.com/kelseyhightower/envconfig"
)

// environment guards the process's environment while decode borrows it.
var environment sync.Mutex

// decode has envconfig fill c. envconfig reads the process's environment and
// stops at the first fault, so our own variables in it are exchanged for env's
// as long as it takes, and one that is at fault is taken out before it tries again.
func decode(env []string, c *Config) Faults {
	environment.Lock()
	defer environment.Unlock()
	defer exchange(env)()
	var faults Faults
	for {
		err := envconfig.Process("", c)
		if err == nil {
			return faults
		}
		var parse *envconfig.ParseError
		if !errors.As(err, &parse) {
			faults.add(Prefix+"*", err.Error())
			return faults
		}
		faults.add(parse.KeyName, explain(parse))
		if os.Unsetenv(parse.KeyName) != nil || len(faults) > len(Variables()) {
			return faults
		}
	}
}

// exchange puts env's variables of ours into the process's environment, and
// returns what puts back those that were there.
func exchange(env []string) (restore func()) {
	before := clearOurs()
	for _, pair := range env {
		setOurs(pair)
	}
	return func() {
		clearOurs()
		for _, pair := range before {
			setOurs(pair)
		}
	}
}

func clearOurs() (removed []string) {
	for _, pair := range os.Environ() {
		if name, _, _ := strings.Cut(pair, "="); strings.HasPrefix(name, Prefix) {
			removed = append(removed, pair)
			_ = os.Unsetenv(name) // fails only for names that can't be in the environment
		}
	}
	return removed
}

func setOurs(pair string) {
	if name, value, _ := strings.Cut(pair, "="); strings.HasPrefix(name, Prefix) {
		_ = os.Setenv(name, value) // as above
	}
}

// explain says what a value should have been. The value itself is left out
// where nothing of ours wrote the message: it may be anything, a key included.
func explain(e *envconfig.ParseError) string {
	switch e.TypeName {
	case "int":
		return fmt.Sprintf("must be a whole number, not %q", short(e.Value))
	case "bool":
		return fmt.Sprintf("must be true or false, not %q", short(e.Value))
	case "time.Duration":
		return fmt.Sprintf("must be a duration such as 30s or 720h, not %q", short(e.Value))
	case "slog.Level":
		return fmt.Sprintf("must be debug, info, warn or error, not %q", short(e.Value))
	default:
		return e.Err.Error()
	}
}

func short(s string) string {
	const longest = 40
	if len(s) > longest {
		return s[:longest] + "…"
	}
	return s
}
