package config

import (
	"bytes"
	"fmt"
	"strings"
	"sync"

	"github.com/kelseyhightower/envconfig"

	"github.com/clipferry/clipferry/internal/nearest"
)

// Variable describes one environment variable.
type Variable struct {
	Name        string
	Default     string // empty: none
	Description string
}

// Variables lists every variable that [Load] knows, in the order of the documentation.
func Variables() []Variable { return variables() }

const variableLine = "{{range .}}{{usage_key .}}\t{{usage_default .}}\t{{usage_description .}}\n{{end}}"

var variables = sync.OnceValue(func() []Variable {
	var out bytes.Buffer
	if err := envconfig.Usagef("", &Config{}, &out, variableLine); err != nil {
		panic("config: " + err.Error()) // the struct's tags are ours
	}
	var list []Variable
	for line := range strings.Lines(out.String()) {
		parts := strings.SplitN(strings.TrimSuffix(line, "\n"), "\t", 3)
		list = append(list, Variable{parts[0], parts[1], parts[2]})
	}
	return list
})

// unknown finds variables with our prefix that mean nothing.
func unknown(env []string) Faults {
	names := make([]string, len(Variables()))
	known := map[string]bool{}
	for i, v := range Variables() {
		names[i] = v.Name
		known[v.Name] = true
	}
	var faults Faults
	for _, pair := range env {
		name, _, _ := strings.Cut(pair, "=")
		if !strings.HasPrefix(name, Prefix) || known[name] {
			continue
		}
		message := "unknown variable"
		switch meant := nearest.Name(name, names); {
		case awsOwn[name] != "":
			message = fmt.Sprintf("unknown variable; it is the AWS SDK's own %s", awsOwn[name])
		case meant != "":
			message = fmt.Sprintf("unknown variable; did you mean %s?", meant)
		}
		faults.add(name, message)
	}
	return faults
}

// awsOwn are names that people try for what the AWS SDK reads itself.
var awsOwn = map[string]string{
	"CLIPFERRY_S3_REGION":            "AWS_REGION",
	"CLIPFERRY_S3_ENDPOINT":          "AWS_ENDPOINT_URL_S3",
	"CLIPFERRY_S3_ENDPOINT_URL":      "AWS_ENDPOINT_URL_S3",
	"CLIPFERRY_S3_ACCESS_KEY":        "AWS_ACCESS_KEY_ID",
	"CLIPFERRY_S3_ACCESS_KEY_ID":     "AWS_ACCESS_KEY_ID",
	"CLIPFERRY_S3_SECRET_KEY":        "AWS_SECRET_ACCESS_KEY",
	"CLIPFERRY_S3_SECRET_ACCESS_KEY": "AWS_SECRET_ACCESS_KEY",
	"CLIPFERRY_S3_PROFILE":           "AWS_PROFILE",
}
