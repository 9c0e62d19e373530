package tasks

import (
	"slices"
	"testing"
)

func TestLint(t *testing.T) {
	for in, want := range map[string][]string{
		`{"project_id":"p"}`: nil,
		`{"project_id":"p","target_lang":"zh-cn","enable_caption":true,"caption_display":"both","cc_style_tpl":"temp-static-3"}`: nil,
		`{"project_id":"hmtask123"}`:                 {"project_id: ids that begin with hmtask are the website's own, which the API does not know"},
		`{"project_id":"p","target_lang":"EN"}`:      {`target_lang: "EN" is no known language; did you mean en?`},
		`{"project_id":"p","target_lang":"zh_CN"}`:   {`target_lang: "zh_CN" is no known language; did you mean zh-cn?`},
		`{"project_id":"p","target_lang":"en-US"}`:   {`target_lang: "en-US" is no known language; did you mean en?`},
		`{"project_id":"p","target_lang":"klingon"}`: {`target_lang: "klingon" is no known language`},
		`{"project_id":"p","enable_caption":true,"cc_style_tpl":"word-focsu"}`: {
			`cc_style_tpl: "word-focsu" is no known caption style; did you mean word-focus?`,
		},
		`{"project_id":"p","enable_caption":true,"caption_display":"both"}`: {
			"caption_display: both is known to work with a style temp-static-… only, not with temp-7",
		},
		`{"project_id":"p","enable_caption":false,"caption_display":"both","cc_style_tpl":"word-focus","ai_hook_position":"end","ai_hook_keywords":"","ratio":"RATIO_1_1"}`: {
			"caption_display: has no effect without enable_caption", "cc_style_tpl: has no effect without enable_caption",
			"ai_hook_position: has no effect without enable_ai_hook", "ai_hook_keywords: has no effect without enable_ai_hook",
			"ratio: has no effect without enable_ai_reframe",
		},
	} {
		e, err := ParseExport([]byte(in))
		if err != nil {
			t.Fatal(err)
		}
		if got := e.Lint().Texts(); !slices.Equal(got, want) {
			t.Errorf("%s:\n got %q\nwant %q", in, got, want)
		}
	}
}
