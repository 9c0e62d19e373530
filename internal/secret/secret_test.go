package secret

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func TestNeverShown(t *testing.T) {
	const hidden = "sk-very-secret-0123456789"
	key := String(hidden)
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "key", key)
	marshaled, err := json.Marshal(map[string]String{"key": key})
	if err != nil {
		t.Fatal(err)
	}
	shown := []string{log.String(), string(marshaled)}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%T"} {
		shown = append(shown, fmt.Sprintf(verb, key), fmt.Sprintf(verb, struct{ Key String }{key}))
	}
	for _, s := range shown {
		if strings.Contains(s, hidden) || strings.Contains(s, fmt.Sprintf("%x", hidden)) {
			t.Errorf("the secret is shown: %s", s)
		}
	}
	if key.Reveal() != hidden {
		t.Error("the secret can't be had at all")
	}
}
