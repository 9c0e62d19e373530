package main

import (
	"encoding/json"
	"fmt"
	"strconv"
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
func number(set *pflag.FlagSet, name, usage string) { set.Var(&unchecked{kind: "int"}, name, usage) }
func pairs(set *pflag.FlagSet, name, usage string)  { set.StringArray(name, nil, usage) }

func flag(set *pflag.FlagSet, name, usage string) {
	set.Var(&unchecked{kind: "bool"}, name, usage)
	set.Lookup(name).NoOptDefVal = "true"
}

// unchecked is a value that is checked with those of the other fields, so that all that
// are wrong are named at once.
type unchecked struct{ kind, value string }

func (u *unchecked) String() string         { return u.value }
func (u *unchecked) Set(value string) error { u.value = value; return nil }
func (u *unchecked) Type() string           { return u.kind }

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
	wrong := &inputError{}
	for _, f := range fieldFlags {
		name := flagName(f.field)
		if !set.Changed(name) {
			continue
		}
		value, faults := flagJSON(set.Lookup(name), f.field)
		for _, fault := range faults {
			wrong.lines = append(wrong.lines, f.field+": "+fault)
		}
		if len(faults) == 0 {
			body[f.field] = value
		}
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
		wrong.lines = append(wrong.lines, faultLines("", err)...)
	}
	if len(wrong.lines) > 0 {
		return tasks.Export{}, wrong
	}
	return e, nil
}

// flagJSON returns a flag's value as the field of the request has it, and what is wrong
// with it that the field does not say.
func flagJSON(f *pflag.Flag, field string) (value any, faults []string) {
	text := f.Value.String()
	switch {
	case field == "clip_indices":
		return indicesJSON(text)
	case field == "labels":
		return labelsOf(f.Value.(pflag.SliceValue).GetSlice())
	case field == "extra":
		return extraJSON(f.Value.(pflag.SliceValue).GetSlice())
	case f.Value.Type() == "bool":
		on, err := strconv.ParseBool(text)
		if err != nil {
			return nil, []string{fmt.Sprintf("must be true or false, not %q", text)}
		}
		return on, nil
	case f.Value.Type() == "int":
		if n, err := strconv.Atoi(text); err == nil {
			return n, nil
		}
		if number := json.Number(text); json.Valid([]byte(text)) && strings.Trim(text, "-0123456789.eE+") == "" {
			return number, nil
		}
		return nil, []string{fmt.Sprintf("must be a whole number, not %q", text)}
	default:
		return text, nil
	}
}

// labelsOf reads name=value pairs; faults says what is wrong with them.
func labelsOf(given []string) (labels tasks.Labels, faults []string) {
	labels = tasks.Labels{}
	for _, pair := range given {
		name, value, found := strings.Cut(pair, "=")
		_, repeated := labels[name]
		switch problem := tasks.CheckLabel(name, value); {
		case !found:
			faults = append(faults, fmt.Sprintf("must be NAME=VALUE, as show=42, not %q", pair))
		case repeated:
			faults = append(faults, fmt.Sprintf("%q is given more than once", name))
		case problem != "":
			faults = append(faults, problem)
		default:
			labels[name] = value
		}
	}
	return labels, faults
}

// extraJSON makes an object of name=json pairs. A value that is no JSON is taken for
// the text that it is: quotes rarely survive a shell.
func extraJSON(given []string) (extra map[string]json.RawMessage, faults []string) {
	extra = map[string]json.RawMessage{}
	for _, pair := range given {
		name, value, found := strings.Cut(pair, "=")
		_, repeated := extra[name]
		switch {
		case !found:
			faults = append(faults, fmt.Sprintf(`must be NAME=JSON, as reframe_layout=\"Auto\", not %q`, pair))
			continue
		case repeated:
			faults = append(faults, fmt.Sprintf("%q is given more than once", name))
		}
		extra[name] = json.RawMessage(value)
		if !json.Valid(extra[name]) {
			extra[name], _ = json.Marshal(value) // a string always marshals
		}
	}
	return extra, faults
}

func indicesJSON(list string) (numbers []json.RawMessage, faults []string) {
	numbers = []json.RawMessage{}
	for item := range strings.SplitSeq(list, ",") {
		item = strings.TrimSpace(item)
		if item == "" && list == "" {
			break
		}
		if !json.Valid([]byte(item)) {
			return nil, []string{fmt.Sprintf("must be whole numbers with commas between them, as 0,2, not %q", list)}
		}
		numbers = append(numbers, json.RawMessage(item))
	}
	return numbers, nil
}
