package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/clipferry/clipferry/cmd/internal/cli"
	"github.com/clipferry/clipferry/tasks"
)

// fieldFlags are the flags of one export, in the order of the API's page.
var fieldFlags = []struct {
	field, usage string
	define       func(set *pflag.FlagSet, name, usage string)
}{
	{"project_id", "the original AI Clipping or Find Moments task `ID`; required", text},
	{"clip_indices", "clips to export, as `0,2`; left out, all of them", text},
	{"target_lang", "`language` of the output; left out, that of the source", text},
	{"resolution", "", text},
	{"enable_caption", "add the animated caption", flag},
	{"caption_display", "", text},
	{"cc_style_tpl", "caption style `template`", text},
	{"enable_ai_hook", "add a generated text hook", flag},
	{"ai_hook_script_style", "", text},
	{"ai_hook_position", "", text},
	{"ai_hook_keywords", "`keywords` that steer the hook's text", text},
	{"ai_hook_text_duration", "how long the hook's text shows, in `milliseconds`", number},
	{"enable_ai_reframe", "reframe to --ratio", flag},
	{"ratio", "", text},
	{"extra", "a field that this version does not know, passed on as it is: `NAME=JSON`; may be repeated", pairs},
	{"job_id", "your own idempotency `key`, which becomes the export's id", text},
	{"priority", "`VALUE`: high, normal, low (default normal)", text},
	{"account", "the provider's account to use, by its `name` in CLIPFERRY_API_KEYS; left out, the default", text},
	{"tenant", "`name` of the tenant whose export it is; left out, default", text},
	{"labels", "a label of your own, `NAME=VALUE`; may be repeated", pairs},
}

func text(set *pflag.FlagSet, name, usage string)   { set.String(name, "", usage) }
func flag(set *pflag.FlagSet, name, usage string)   { set.Bool(name, false, usage) }
func number(set *pflag.FlagSet, name, usage string) { set.Int(name, 0, usage) }
func pairs(set *pflag.FlagSet, name, usage string)  { set.StringArray(name, nil, usage) }

// flagName returns the flag of a field. One label is given at a time.
func flagName(field string) string {
	if field == "labels" {
		return "label"
	}
	return strings.ReplaceAll(field, "_", "-")
}

func defineFields(cmd *cobra.Command) {
	set := cmd.Flags()
	for _, f := range fieldFlags {
		usage := f.usage
		if usage == "" {
			usage = "`VALUE`: " + strings.Join(tasks.Allowed(f.field), ", ")
		}
		if d := tasks.Default(f.field); d != "" {
			usage += fmt.Sprintf(" (default %s)", d)
		}
		f.define(set, flagName(f.field), usage)
		completes(cmd, flagName(f.field), tasks.Allowed(f.field))
	}
	for _, f := range notifyFlags {
		text(set, notifyFlag(f.field), f.usage)
	}
}

// completes lets a shell complete the values of a flag, where there is a list of them.
func completes(cmd *cobra.Command, flag string, values []string) {
	if len(values) > 0 {
		_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)) // fails only for a flag that is not there
	}
}

// notifyFlags are the flags of the one field that is an object.
var notifyFlags = []struct{ field, usage string }{
	{"webhook", "`URL` to be called when the export has ended"},
	{"task_type", "`TYPE` of an Asynq task to be enqueued when the export has ended"},
	{"queue", "`QUEUE` of that task (default default)"},
}

func notifyFlag(field string) string { return flagName("notify_" + field) }

// fieldsGiven lists the flags of the export that are on the command line.
func fieldsGiven(set *pflag.FlagSet) []string {
	var given []string
	for _, f := range fieldFlags {
		if name := flagName(f.field); set.Changed(name) {
			given = append(given, name)
		}
	}
	for _, f := range notifyFlags {
		if name := notifyFlag(f.field); set.Changed(name) {
			given = append(given, name)
		}
	}
	return given
}

// exportFromFlags takes the way through JSON, so that flags and files have the
// same rules, the same messages and the same notion of what was set.
func exportFromFlags(set *pflag.FlagSet) (tasks.Export, error) {
	if len(fieldsGiven(set)) == 0 {
		return tasks.Export{}, cli.Usagef("give --project-id, or --file")
	}
	body := map[string]any{}
	for _, f := range fieldFlags {
		name := flagName(f.field)
		if !set.Changed(name) {
			continue
		}
		value, err := flagJSON(set.Lookup(name), f.field)
		if err != nil {
			return tasks.Export{}, err
		}
		body[f.field] = value
	}
	notify := map[string]string{}
	for _, f := range notifyFlags {
		if name := notifyFlag(f.field); set.Changed(name) {
			notify[f.field] = set.Lookup(name).Value.String()
		}
	}
	if len(notify) > 0 {
		body["notify"] = notify
	}
	data, err := json.Marshal(body)
	if err != nil {
		return tasks.Export{}, cli.Usagef("%v", err)
	}
	e, err := tasks.ParseExport(data)
	if err != nil {
		return tasks.Export{}, &inputError{faultLines("", err)}
	}
	return e, nil
}

func flagJSON(f *pflag.Flag, field string) (json.RawMessage, error) {
	value := f.Value.String()
	switch {
	case field == "clip_indices":
		return indicesJSON(value)
	case field == "labels":
		labels, err := labelsOf(f.Value.(pflag.SliceValue).GetSlice())
		if err != nil {
			return nil, &inputError{[]string{"labels: " + err.Error()}}
		}
		return json.Marshal(labels)
	case field == "extra":
		return extraJSON(f.Value.(pflag.SliceValue).GetSlice())
	case f.Value.Type() == "string":
		quoted, err := json.Marshal(value)
		return quoted, err
	default: // bool and int are JSON as they stand
		return json.RawMessage(value), nil
	}
}

// labelsOf reads name=value pairs.
func labelsOf(given []string) (tasks.Labels, error) {
	labels := tasks.Labels{}
	for _, pair := range given {
		name, value, found := strings.Cut(pair, "=")
		if !found {
			return nil, fmt.Errorf("must be NAME=VALUE, as show=42, not %q", pair)
		}
		if _, repeated := labels[name]; repeated {
			return nil, fmt.Errorf("%q is given more than once", name)
		}
		if problem := tasks.CheckLabel(name, value); problem != "" {
			return nil, errors.New(problem)
		}
		labels[name] = value
	}
	return labels, nil
}

// extraJSON makes an object of name=json pairs. A value that is no JSON is taken for
// the text that it is: quotes rarely survive a shell.
func extraJSON(given []string) (json.RawMessage, error) {
	extra := map[string]json.RawMessage{}
	for _, pair := range given {
		name, value, found := strings.Cut(pair, "=")
		_, repeated := extra[name]
		switch {
		case !found:
			return nil, &inputError{[]string{fmt.Sprintf(`extra: must be NAME=JSON, as reframe_layout=\"Auto\", not %q`, pair)}}
		case repeated:
			return nil, &inputError{[]string{fmt.Sprintf("extra: %q is given more than once", name)}}
		}
		extra[name] = json.RawMessage(value)
		if !json.Valid(extra[name]) {
			extra[name], _ = json.Marshal(value) // a string always marshals
		}
	}
	return json.Marshal(extra)
}

func indicesJSON(list string) (json.RawMessage, error) {
	numbers := []json.RawMessage{}
	for item := range strings.SplitSeq(list, ",") {
		item = strings.TrimSpace(item)
		if item == "" && list == "" {
			break
		}
		if !json.Valid([]byte(item)) {
			return nil, &inputError{[]string{fmt.Sprintf("clip_indices: must be whole numbers with commas between them, as 0,2, not %q", list)}}
		}
		numbers = append(numbers, json.RawMessage(item))
	}
	return json.Marshal(numbers)
}
