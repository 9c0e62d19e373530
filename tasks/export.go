package tasks

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
)

// Export is one request to export the clips of a project: the 14 fields of the
// provider's Clips Export API, Extra for those that it may add, and a few of our own:
// JobID and the following ones.
//
// A field left at its zero value is not set, and what is not set is not sent,
// so the provider's default holds. [ParseExport] (and [Export.UnmarshalJSON])
// also remember what a JSON body gave explicitly, so that
// {"enable_caption":false} is sent as given.
type Export struct {
	// ProjectID is the id of the original AI Clipping or Find Moments task.
	// Required; any non-empty string of at most 512 bytes.
	ProjectID string `json:"project_id"`
	// ClipIndices are the clips to export; nil means all of them. An empty list
	// that isn't nil, a duplicate and a negative index are faults.
	ClipIndices []int `json:"clip_indices,omitempty"`
	// TargetLang is the language of the output; unset, that of the source task.
	TargetLang string `json:"target_lang,omitempty"`
	// Resolution is SD_480 (default), HD_720, FHD_1080, QHD_2K or UHD_4K.
	Resolution string `json:"resolution,omitempty"`
	// EnableCaption adds the animated caption.
	EnableCaption bool `json:"enable_caption,omitempty"`
	// CaptionDisplay is both, original (default) or translation. Only used with EnableCaption.
	CaptionDisplay string `json:"caption_display,omitempty"`
	// CCStyleTpl is the caption style template, temp-7 by default. Only used with EnableCaption.
	CCStyleTpl string `json:"cc_style_tpl,omitempty"`
	// EnableAIHook adds a generated text hook.
	EnableAIHook bool `json:"enable_ai_hook,omitempty"`
	// AIHookScriptStyle is the hook's style, serious by default. Only used with EnableAIHook.
	AIHookScriptStyle string `json:"ai_hook_script_style,omitempty"`
	// AIHookPosition is beginning (default) or end. Only used with EnableAIHook.
	AIHookPosition string `json:"ai_hook_position,omitempty"`
	// AIHookKeywords steer the hook's text; at most 4,096 bytes. Only used with EnableAIHook.
	AIHookKeywords string `json:"ai_hook_keywords,omitempty"`
	// AIHookTextDuration is how long the hook's text is shown, in milliseconds. Only used with EnableAIHook.
	AIHookTextDuration int `json:"ai_hook_text_duration,omitempty"`
	// EnableAIReframe reframes the clips to Ratio, which it requires.
	EnableAIReframe bool `json:"enable_ai_reframe,omitempty"`
	// Ratio is RATIO_9_16, RATIO_1_1, RATIO_4_5 or RATIO_16_9.
	Ratio string `json:"ratio,omitempty"`
	// Extra are fields that this version does not know, passed on as they are: at
	// most 50, together 16 KiB. A field that is known must not be among them.
	Extra Fields `json:"extra,omitempty"`

	// JobID is the caller's own idempotency key and becomes the export's id:
	// 1–128 of [A-Za-z0-9._:-]. Unset, a random id is made. Never sent to the provider.
	JobID string `json:"job_id,omitempty"`
	// Priority is high, normal (default) or low: which queue the export waits in.
	// Never sent to the provider.
	Priority string `json:"priority,omitempty"`
	// Account names the provider's key that the export is ordered, and charged,
	// with, as the workers' configuration has it: 1–32 of [a-z0-9-]. Unset, the
	// default one. Under a JobID that is known already, what the first request
	// said stands. Never sent to the provider.
	Account string `json:"account,omitempty"`
	// Tenant names whose export it is: 1–32 of [a-z0-9-]. Unset, it is
	// [DefaultTenant]'s. Tenants share the provider's slots, see CLIPFERRY_TENANTS of
	// the workers. Under a JobID that is known already, what the first request said
	// stands. Never sent to the provider.
	Tenant string `json:"tenant,omitempty"`
	// Labels are the producer's own names and values, echoed wherever the export is
	// shown; exports are listed by them. At most 16: names of 1–63 of [a-z0-9._-],
	// values of at most 128 bytes without control characters. Under a JobID that is
	// known already, what the first request said stands. Never sent to the provider.
	Labels Labels `json:"labels,omitempty"`
	// Notify says who is to be told of the export's end; nil for nobody. Under a
	// JobID that is known already, what the first request said stands. Never sent
	// to the provider.
	Notify *Notify `json:"notify,omitempty"`

	// set has a bit for each field that a JSON body gave explicitly.
	set fieldSet
}

// Body returns the API's request body: canonical JSON of what is set, in the
// order of the API's page, then what is in Extra, by name; without the fields of
// our own. [ParseSent] reads it.
func (e Export) Body() []byte {
	return e.encode(func(f *field) bool { return !f.ours }, e.Extra)
}

// Digest identifies the body: the hexadecimal SHA-256 of [Export.Body]. Two
// requests under the same JobID are the same if their digests are.
func (e Export) Digest() string {
	sum := sha256.Sum256(e.Body())
	return hex.EncodeToString(sum[:])
}

// MarshalJSON returns the payload of the first task: the body, with extra as one
// field, and, where set, what is our own.
func (e Export) MarshalJSON() ([]byte, error) {
	return e.encode(func(*field) bool { return true }, nil), nil
}

// UnmarshalJSON is [ParseExport] for encoding/json: as strict, with [Faults] as its error.
func (e *Export) UnmarshalJSON(data []byte) error {
	parsed, err := ParseExport(data)
	if err != nil {
		return err
	}
	*e = parsed
	return nil
}

// WithDefaults returns a copy that spells out what the provider will assume for
// the enumerations left unset. It is for showing and emulating; what is sent
// stays as the producer gave it.
func (e Export) WithDefaults() Export {
	for i := range fields {
		f := &fields[i]
		if f.def != "" && *f.text(&e) == "" {
			*f.text(&e) = f.def
		}
	}
	e.ClipIndices = slices.Clone(e.ClipIndices)
	e.Extra, e.Labels = maps.Clone(e.Extra), maps.Clone(e.Labels)
	return e
}

func (e *Export) encode(want func(*field) bool, extra Fields) []byte {
	var out bytes.Buffer
	out.WriteByte('{')
	for i := range fields {
		f := &fields[i]
		if !want(f) || !f.isSet(e) {
			continue
		}
		if out.Len() > 1 {
			out.WriteByte(',')
		}
		out.WriteString(strconv.Quote(f.name))
		out.WriteByte(':')
		f.write(&out, e)
	}
	extra.write(&out)
	out.WriteByte('}')
	return out.Bytes()
}

func (f *field) write(out *bytes.Buffer, e *Export) {
	switch {
	case f.text != nil:
		writeText(out, *f.text(e))
	case f.flag != nil:
		out.WriteString(strconv.FormatBool(*f.flag(e)))
	case f.number != nil:
		out.WriteString(strconv.Itoa(*f.number(e)))
	case f.list != nil:
		out.WriteByte('[')
		for i, n := range *f.list(e) {
			if i > 0 {
				out.WriteByte(',')
			}
			out.WriteString(strconv.Itoa(n))
		}
		out.WriteByte(']')
	case f.extra != nil:
		out.WriteByte('{')
		f.extra(e).write(out)
		out.WriteByte('}')
	case f.notify != nil:
		(*f.notify(e)).write(out)
	case f.labels != nil:
		f.labels(e).write(out)
	}
}

func writeText(out *bytes.Buffer, text string) {
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(text)        // a string into memory can't fail
	out.Truncate(out.Len() - 1) // the encoder's newline
}
