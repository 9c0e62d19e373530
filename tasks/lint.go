package tasks

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/clipferry/clipferry/internal/nearest"
)

// Lint returns what is odd about an export that is valid: what the provider will
// perhaps not take, or take without an effect. It is for showing; nothing is refused
// for it, since the provider may know more by now than the lists here.
func (e Export) Lint() Faults {
	var odd Faults
	if warning := LintTask(e.ProjectID); warning != "" {
		odd.add("project_id", warning)
	}
	if e.TargetLang != "" && !slices.Contains(knownLanguages, e.TargetLang) {
		odd.add("target_lang", unknownValue(e.TargetLang, "language", knownLanguage(e.TargetLang)))
	}
	if e.CCStyleTpl != "" && !slices.Contains(knownStyles, e.CCStyleTpl) {
		odd.add("cc_style_tpl", unknownValue(e.CCStyleTpl, "caption style", nearest.Name(strings.ToLower(e.CCStyleTpl), knownStyles)))
	}
	style := cmp.Or(e.CCStyleTpl, defaultStyle)
	if e.EnableCaption && e.CaptionDisplay == "both" && !strings.HasPrefix(style, staticStyle) {
		odd.add("caption_display", fmt.Sprintf("both is known to work with a style %s… only, not with %s", staticStyle, clip(style)))
	}
	for _, s := range switches {
		if s.on(e) {
			continue
		}
		for _, name := range s.fields {
			if fieldNamed(name).isSet(&e) {
				odd.add(name, "has no effect without "+s.name)
			}
		}
	}
	return odd
}

// LintTask returns what is odd about the id of a task of the provider's, or "".
func LintTask(id string) string {
	if strings.HasPrefix(id, websiteTask) {
		return "ids that begin with " + websiteTask + " are the website's own, which the API does not know"
	}
	return ""
}

// switches are the fields that need another one to be true.
var switches = []struct {
	name   string
	on     func(Export) bool
	fields []string
}{
	{"enable_caption", func(e Export) bool { return e.EnableCaption }, []string{"caption_display", "cc_style_tpl"}},
	{
		"enable_ai_hook", func(e Export) bool { return e.EnableAIHook },
		[]string{"ai_hook_script_style", "ai_hook_position", "ai_hook_keywords", "ai_hook_text_duration"},
	},
	{"enable_ai_reframe", func(e Export) bool { return e.EnableAIReframe }, []string{"ratio"}},
}

func unknownValue(value, kind, meant string) string {
	text := fmt.Sprintf("\"%s\" is no known %s", clip(value), kind)
	if meant != "" {
		text += "; did you mean " + meant + "?"
	}
	return text
}

// knownLanguage returns the code that was probably meant, as en for EN or en_US.
// Codes are too short for one that is merely similar.
func knownLanguage(tag string) string {
	tag = strings.ReplaceAll(strings.ToLower(tag), "_", "-")
	language, _, _ := strings.Cut(tag, "-")
	for _, code := range []string{tag, language} {
		if slices.Contains(knownLanguages, code) {
			return code
		}
	}
	return ""
}
