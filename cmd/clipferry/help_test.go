package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/clipferry/clipferry/cmd/internal/cli"
)

func TestHelpFitsANarrowTerminal(t *testing.T) {
	texts := map[string]string{}
	names := []string{""}
	for _, cmd := range rootCommand(&console{}).Commands() {
		names = append(names, cmd.Name())
	}
	for _, name := range names {
		var out bytes.Buffer
		if code := run(t.Context(), append(strings.Fields(name), "--help"), nil, nil, &out, &out); code != cli.Done {
			t.Fatalf("%s: exit code %d", name, code)
		}
		texts[name] = out.String()
	}
	for name, text := range texts {
		for line := range strings.Lines(text) {
			if cli.Columns(strings.TrimRight(line, "\n")) > cli.HelpWidth {
				t.Errorf("%s: %s", name, line)
			}
		}
	}
}
