package archiveui

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/clipferry/clipferry/internal/catalog"
	"github.com/clipferry/clipferry/storage"
)

// What a page shows of a text, in bytes: the provider has no limits.
const (
	maxTitleShown = 400
	maxDescShown  = 8 << 10
)

// titleOf is the title of a clip as a page can show it.
func titleOf(l catalog.Line) string {
	if t := shown(l.Title, maxTitleShown); t != "" {
		return t
	}
	return fmt.Sprintf("Untitled clip %d", l.Idx+1)
}

// exportTitle is the name of an export, or its id where it has none.
func exportTitle(l catalog.Line) string {
	if t := shown(l.ExportName, maxTitleShown); t != "" {
		return t
	}
	return l.ExportID
}

// shown is a text without what is not to be seen in it: control characters, and
// those that turn the direction of the text around it. Spaces become one.
func shown(s string, most int) string {
	cut := len(s) > most
	for cut && most > 0 && !utf8.RuneStart(s[most]) {
		most--
	}
	if cut {
		s = s[:most]
	}
	s = strings.Join(strings.Fields(strings.Map(visible, s)), " ")
	if cut {
		s += "…"
	}
	return s
}

func visible(r rune) rune {
	switch {
	case unicode.IsSpace(r):
		return ' '
	case unicode.IsControl(r), r == utf8.RuneError:
		return -1
	case r >= '\u202a' && r <= '\u202e', r >= '\u2066' && r <= '\u2069', r == '\u200e', r == '\u200f':
		return -1
	}
	return r
}

// clock is a length as players show it: 0:42, 1:02:03.
func clock(ms int64) string {
	s := (ms + 500) / 1000
	if s < 3600 {
		return fmt.Sprintf("%d:%02d", s/60, s%60)
	}
	return fmt.Sprintf("%d:%02d:%02d", s/3600, s/60%60, s%60)
}

// period is a length in words, as long as the largest two units need.
func period(ms int64) string {
	s := (ms + 500) / 1000
	var parts []string
	for _, unit := range []struct {
		size int64
		name string
	}{{86400, "d"}, {3600, "h"}, {60, "min"}, {1, "s"}} {
		if n := s / unit.size; n > 0 && len(parts) < 2 {
			parts = append(parts, strconv.FormatInt(n, 10)+" "+unit.name)
		}
		s %= unit.size
	}
	return cmp.Or(strings.Join(parts, " "), "0 s")
}

// bytesIn is a size in the unit that suits it.
func bytesIn(n int64) string {
	if n < 1000 {
		return strconv.FormatInt(n, 10) + " bytes"
	}
	f, unit := float64(n), -1
	for f >= 999.5 && unit < 4 {
		f, unit = f/1000, unit+1
	}
	if f < 10 {
		return strconv.FormatFloat(f, 'f', 1, 64) + " " + []string{"kB", "MB", "GB", "TB", "PB"}[unit]
	}
	return strconv.FormatFloat(f, 'f', 0, 64) + " " + []string{"kB", "MB", "GB", "TB", "PB"}[unit]
}

// number is a number with its thousands apart.
func number(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// count is a number of things.
func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return number(n) + " " + many
}

// decimal is a number as short as it can be said.
func decimal(f float64) string {
	return strings.TrimSuffix(strconv.FormatFloat(f, 'f', 1, 64), ".0")
}

func day(t time.Time) string    { return t.UTC().Format("2 Jan 2006") }
func moment(t time.Time) string { return t.UTC().Format("2 Jan 2006, 15:04 UTC") }

// resolutions and ratios are the provider's values in words.
var resolutions = []choice{
	{Value: "SD_480", Name: "480p"},
	{Value: "HD_720", Name: "720p"},
	{Value: "FHD_1080", Name: "1080p"},
	{Value: "QHD_2K", Name: "2K"},
	{Value: "UHD_4K", Name: "4K"},
}

var ratios = []choice{
	{Value: "RATIO_16_9", Name: "16:9 wide"},
	{Value: "RATIO_9_16", Name: "9:16 upright"},
	{Value: "RATIO_1_1", Name: "1:1 square"},
	{Value: "RATIO_4_5", Name: "4:5 upright"},
}

// choice is an option of a form.
type choice struct {
	Value, Name string
	Chosen      bool
}

// nameOf is the name of a value, the value itself where nobody knows it.
func nameOf(of []choice, value string) string {
	for _, c := range of {
		if c.Value == value {
			return c.Name
		}
	}
	return value
}

// chosen are the choices with the one that is taken.
func chosen(of []choice, value string) []choice {
	of = slices.Clone(of)
	for i := range of {
		of[i].Chosen = of[i].Value == value
	}
	return of
}

// fact is a line of a list: what, and how it is.
type fact struct{ Name, Value string }

// settingNames are what can be ordered, in the order of the provider's documentation.
var settingNames = []fact{
	{"resolution", "Resolution"},
	{"enable_ai_reframe", "Reframed by AI"},
	{"ratio", "Ratio"},
	{"target_lang", "Language"},
	{"enable_caption", "Captions"},
	{"caption_display", "Captions show"},
	{"cc_style_tpl", "Caption style"},
	{"enable_ai_hook", "AI hook"},
	{"ai_hook_script_style", "Hook style"},
	{"ai_hook_position", "Hook position"},
	{"ai_hook_keywords", "Hook keywords"},
	{"ai_hook_text_duration", "Hook shown for"},
}

// ordered is a request to the provider in words.
func ordered(settings json.RawMessage) []fact {
	var fields map[string]json.RawMessage
	if json.Unmarshal(settings, &fields) != nil {
		return nil
	}
	var facts []fact
	for _, known := range settingNames {
		if raw, given := fields[known.Name]; given {
			facts = append(facts, fact{known.Value, settingIn(known.Name, raw)})
		}
		delete(fields, known.Name)
	}
	rest := make([]string, 0, len(fields))
	for name := range fields {
		rest = append(rest, name)
	}
	slices.Sort(rest)
	for _, name := range rest {
		if name != "project_id" && name != "clip_indices" {
			facts = append(facts, fact{shown(name, maxTitleShown), settingIn(name, fields[name])})
		}
	}
	return facts
}

func settingIn(name string, raw json.RawMessage) string {
	var text string
	switch raw = bytes.TrimSpace(raw); {
	case string(raw) == "true":
		return "yes"
	case string(raw) == "false":
		return "no"
	case name == "ai_hook_text_duration":
		return string(raw) + " ms"
	case json.Unmarshal(raw, &text) != nil:
		return shown(string(raw), maxTitleShown)
	case name == "resolution":
		return nameOf(resolutions, text)
	case name == "ratio":
		return nameOf(ratios, text)
	}
	return shown(text, maxTitleShown)
}

// proofNames are the checks that a file has passed, in words.
var proofNames = map[string]string{
	storage.ProofLength:        "as long as the source said",
	storage.ProofContainer:     "a whole video file, nothing missing",
	storage.ProofContainerWeak: "a video file, whole as far as it can be seen",
	"container-open-end":       "a video file, whole as far as it can be seen",
	storage.ProofContainerTail: "a whole video file, with something added at its end",
	storage.ProofServedTwice:   "the source gave the same bytes twice",
	storage.ProofSignature:     "a picture",
	storage.ProofS3Parts:       "the storage checked each part",
	storage.ProofS3Object:      "the storage keeps a checksum of the whole",
	storage.ProofHead:          "the storage was asked afterwards",
	storage.ProofReadBack:      "read back and compared",
	storage.ProofEarlier:       "proven by an earlier transfer",
}

// proven are the checks that a file has passed, in words.
func proven(proofs []string) []string {
	var words []string
	for _, p := range proofs {
		if algorithm, ok := strings.CutPrefix(p, "digest:"); ok {
			algorithm, _, _ = strings.Cut(algorithm, ":")
			words = append(words, "the source's own checksum ("+shown(algorithm, 40)+")")
			continue
		}
		words = append(words, cmp.Or(proofNames[p], shown(p, 80)))
	}
	return words
}
