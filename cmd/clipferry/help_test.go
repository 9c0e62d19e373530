package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestHelpFitsANarrowTerminal(t *testing.T) {
	texts := map[string]string{"": help()}
	for _, cmd := range commands() {
		var out bytes.Buffer
		if code := run(t.Context(), []string{cmd.name, "--help"}, nil, nil, &out, &out); code != exitDone {
			t.Fatalf("%s: exit code %d", cmd.name, code)
		}
		texts[cmd.name] = out.String()
	}
	for name, text := range texts {
		for line := range strings.Lines(text) {
			if columns(strings.TrimRight(line, "\n")) > helpWidth {
				t.Errorf("%s: %s", name, line)
			}
		}
	}
}
