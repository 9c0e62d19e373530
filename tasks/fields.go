package tasks

import "slices"

// field describes one field of an Export. Exactly one of text, flag, number,
// list, notify, labels and extra is set and says both its kind and where it lives.
type field struct {
	name string
	ours bool // never sent to the provider

	text   func(*Export) *string
	flag   func(*Export) *bool
	number func(*Export) *int
	list   func(*Export) *[]int
	notify func(*Export) **Notify
	labels func(*Export) *Labels
	extra  func(*Export) *Fields

	allowed []string // text: the only values
	def     string   // text: what the provider assumes when it is unset
	longest int      // text without allowed: bytes
	free    bool     // text: control characters and an explicit "" are let through
}

// fieldSet has bit i for fields[i].
type fieldSet uint32

// The bounds of free text, in bytes. The API's page states none; these keep a
// request a request.
const (
	maxProjectID  = 512
	maxTargetLang = 64
	maxStyle      = 128
	maxKeywords   = 4096
)

// fields is in the order of the API's page; ours come last.
var fields = []field{
	{name: "project_id", text: func(e *Export) *string { return &e.ProjectID }, longest: maxProjectID, free: true},
	{name: "clip_indices", list: func(e *Export) *[]int { return &e.ClipIndices }},
	{name: "target_lang", text: func(e *Export) *string { return &e.TargetLang }, longest: maxTargetLang},
	{
		name: "resolution", text: func(e *Export) *string { return &e.Resolution }, def: "SD_480",
		allowed: []string{"SD_480", "HD_720", "FHD_1080", "QHD_2K", "UHD_4K"},
	},
	{name: "enable_caption", flag: func(e *Export) *bool { return &e.EnableCaption }},
	{
		name: "caption_display", text: func(e *Export) *string { return &e.CaptionDisplay }, def: "original",
		allowed: []string{"both", "original", "translation"},
	},
	{name: "cc_style_tpl", text: func(e *Export) *string { return &e.CCStyleTpl }, def: "temp-7", longest: maxStyle},
	{name: "enable_ai_hook", flag: func(e *Export) *bool { return &e.EnableAIHook }},
	{
		name: "ai_hook_script_style", text: func(e *Export) *string { return &e.AIHookScriptStyle }, def: "serious",
		allowed: []string{
			"serious", "casual", "informative", "conversational", "humorous", "parody", "inspirational",
			"dramatic", "empathetic", "persuasive", "neutral", "excited", "calm",
		},
	},
	{
		name: "ai_hook_position", text: func(e *Export) *string { return &e.AIHookPosition }, def: "beginning",
		allowed: []string{"beginning", "end"},
	},
	{name: "ai_hook_keywords", text: func(e *Export) *string { return &e.AIHookKeywords }, longest: maxKeywords, free: true},
	{name: "ai_hook_text_duration", number: func(e *Export) *int { return &e.AIHookTextDuration }},
	{name: "enable_ai_reframe", flag: func(e *Export) *bool { return &e.EnableAIReframe }},
	{
		name: "ratio", text: func(e *Export) *string { return &e.Ratio },
		allowed: []string{"RATIO_9_16", "RATIO_1_1", "RATIO_4_5", "RATIO_16_9"},
	},
	{name: "extra", ours: true, extra: func(e *Export) *Fields { return &e.Extra }}, // its fields are sent, it is not
	{name: "job_id", ours: true, text: func(e *Export) *string { return &e.JobID }, longest: maxID},
	{
		name: "priority", ours: true, text: func(e *Export) *string { return &e.Priority },
		allowed: []string{PriorityHigh, PriorityNormal, PriorityLow},
	},
	{name: "account", ours: true, text: func(e *Export) *string { return &e.Account }, longest: maxName},
	{name: "tenant", ours: true, text: func(e *Export) *string { return &e.Tenant }, longest: maxName},
	{name: "labels", ours: true, labels: func(e *Export) *Labels { return &e.Labels }},
	{name: "notify", ours: true, notify: func(e *Export) **Notify { return &e.Notify }},
}

// FieldNames returns the names of all fields as JSON has them, the API's first.
func FieldNames() []string {
	names := make([]string, len(fields))
	for i := range fields {
		names[i] = fields[i].name
	}
	return names
}

// Allowed returns the values that the field of that name may have, nil when it
// isn't an enumeration.
func Allowed(name string) []string {
	if f := fieldNamed(name); f != nil {
		return slices.Clone(f.allowed)
	}
	return nil
}

// Default returns what is assumed where the field of that name is left out, "" where
// that is nothing in particular.
func Default(name string) string {
	if f := fieldNamed(name); f != nil {
		return f.def
	}
	return ""
}

func fieldNamed(name string) *field {
	if i := fieldIndex(name); i >= 0 {
		return &fields[i]
	}
	return nil
}

func fieldIndex(name string) int {
	return slices.IndexFunc(fields, func(f field) bool { return f.name == name })
}

// isSet reports whether the producer gave the field: by a value, or explicitly in JSON.
func (f *field) isSet(e *Export) bool {
	switch {
	case f.list != nil:
		return *f.list(e) != nil
	case f.notify != nil:
		return *f.notify(e) != nil
	case f.labels != nil:
		return len(*f.labels(e)) > 0
	case f.extra != nil:
		return len(*f.extra(e)) > 0
	case f.explicit(e):
		return true
	case f.text != nil:
		return *f.text(e) != ""
	case f.flag != nil:
		return *f.flag(e)
	default:
		return *f.number(e) != 0
	}
}

func (f *field) explicit(e *Export) bool {
	return e.set&(1<<fieldIndex(f.name)) != 0
}
