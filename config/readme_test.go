package config_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/clipferry/clipferry/config"
)

// TestTheReadmeNamesEveryVariable keeps the README's table complete and its
// defaults true. Where it fails it prints the rows to paste.
func TestTheReadmeNamesEveryVariable(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	var rows strings.Builder
	missing := false
	for _, v := range config.Variables() {
		row := fmt.Sprintf("| `%s` | %s | %s |\n", v.Name, code(v.Default), strings.ReplaceAll(v.Description, "|", "\\|"))
		rows.WriteString(row)
		if !strings.Contains(string(readme), row) {
			missing = true
			t.Errorf("the README's table lacks or misstates %s", v.Name)
		}
	}
	if missing {
		t.Logf("the rows are:\n%s", rows.String())
	}
}

func code(s string) string {
	if s == "" {
		return ""
	}
	return "`" + s + "`"
}
