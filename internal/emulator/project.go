package emulator

import (
	"strconv"
	"strings"
	"time"
)

// Project is what the provider knows of the task whose clips are exported.
type Project struct {
	// Name is the export task's name.
	Name string
	// Clips is how many there are, for an export that doesn't list any.
	Clips int
	// Clip describes the clip of an index. It must be pure.
	Clip func(idx int) Clip
	// Fail is the error_message that every export of it ends with; empty if none.
	Fail string
	// Render is how long its exports take; zero leaves that to Options.Render.
	Render time.Duration
}

// Clip is what the provider knows of one clip.
type Clip struct {
	Title, Desc string
	Tags        []string
	Score       float64
	// BeginMS and EndMS are milliseconds in the source video.
	BeginMS, EndMS int64
	// Ratio is that of the source, as in the API ("RATIO_16_9"); empty is the same.
	Ratio string
	// Size is the rendered file's, in bytes; zero leaves it to Options.ClipSize. A
	// file is never smaller than the sample that it is made from, about 30 KB.
	Size int64
}

// seconds is how long the clip plays.
func (c Clip) seconds() float64 { return max(float64(c.EndMS-c.BeginMS)/1000, 1) }

// exampleProject is the project of the API page's example.
const exampleProject = "proj_abc123"

// SampleProject is the project that an emulator has for an id when nobody says
// otherwise. An id may carry wishes after a "~", as in
// "proj_1~clips=40~size=20MB~titles=hostile~fail=out of disk~render=90s":
//
//	clips=N         how many clips (1 to 10,000)
//	size=N[KB|MB|GB] each clip's size, up to 50GB
//	titles=hostile  titles that no file system would like
//	fail[=reason]   its exports fail
//	render=D        how long its exports take, such as 90s
//
// What isn't understood is part of the name.
func SampleProject(seed uint64, id string) Project {
	if id == exampleProject {
		return Project{Name: "sample export task", Clips: 3, Clip: exampleClip}
	}
	c := newChance(seed, "project", id)
	p := Project{Clips: 3 + c.below(10)}
	var size int64
	var hostile bool
	for _, wish := range strings.Split(id, "~")[1:] {
		key, value, _ := strings.Cut(wish, "=")
		switch key {
		case "clips":
			if n, err := strconv.Atoi(value); err == nil && n >= 1 && n <= 10_000 {
				p.Clips = n
			}
		case "size":
			size = parseSize(value)
		case "titles":
			hostile = value == "hostile"
		case "fail":
			if p.Fail = value; value == "" {
				p.Fail = "rendering failed"
			}
		case "render":
			if d, err := time.ParseDuration(value); err == nil && d > 0 {
				p.Render = d
			}
		}
	}
	p.Name = pick(c, subjects) + ", the clips"
	p.Clip = func(idx int) Clip {
		clip := sampleClip(newChance(seed, "clip", id, idx))
		clip.Size = size
		if hostile {
			clip.Title = hostileTitles[idx%len(hostileTitles)]
		}
		return clip
	}
	return p
}

func exampleClip(idx int) Clip {
	begin := 15000 + int64(idx)*75000
	return Clip{
		Title: "sample title", Desc: "sample description", Tags: []string{"insight", "analysis"},
		Score: 81, BeginMS: begin, EndMS: begin + 60000,
	}
}

func sampleClip(c *chance) Clip {
	subject, tag := pick(c, subjects), pick(c, tags)
	begin := int64(c.below(3600)) * 1000
	return Clip{
		Title: strings.ReplaceAll(pick(c, titles), "%", subject),
		Desc:  "Where the talk turns to " + subject + ".",
		Tags:  []string{tag, pick(c, tags)},
		Score: float64(50 + c.below(50)), BeginMS: begin, EndMS: begin + int64(20+c.below(41))*1000,
		Ratio: pick(c, []string{"RATIO_16_9", "RATIO_16_9", "RATIO_16_9", "RATIO_9_16"}),
	}
}

func pick(c *chance, from []string) string { return from[c.below(len(from))] }

var (
	subjects = []string{
		"night trains", "the price of bread", "deep-sea cables", "growing tomatoes", "old bridges", "sleep",
		"a first marathon", "the last lighthouse keeper", "learning to listen", "small languages", "bees", "maps",
	}
	titles = []string{
		"Why % matter more than you think", "The truth about %", "3 things nobody says about %", "What % taught me",
		"%: before and after", "Stop worrying about %", "How % changed everything", "“%” – explained in a minute",
	}
	tags = []string{"insight", "analysis", "story", "advice", "humor", "history", "science", "work", "travel", "food"}
)

// hostileTitles are what a file name, a header, a terminal and a log must survive.
var hostileTitles = []string{
	"../../../../etc/passwd",
	"..\\..\\windows\\system32\\config",
	"",
	"   ",
	".",
	"line\r\nX-Injected: yes\r\n\r\nbody",
	"nul\x00 bell\x07 escape\x1b[2J\x1b]0;owned\x07",
	"photo\u202egpj.mp4",
	"zero\u200bwidth\u2066isolates\u2069",
	strings.Repeat("long ", 2000),
	strings.Repeat("\u0301", 500),
	"CON",
	"quote\" ; filename=\"evil.exe",
	"%2e%2e%2f%00",
	"<script>alert(1)</script>",
	"{\"a\":1}",
	"日本語のタイトル 🎬👩‍👩‍👧‍👦",
	"ﷺ الترجمة العربية",
	"a/b/c.mp4",
	"$(touch /tmp/x) `id` | ; &",
}

// parseSize reads "20MB"; zero if it isn't a size.
func parseSize(s string) int64 {
	unit := int64(1)
	for suffix, u := range map[string]int64{"KB": 1e3, "MB": 1e6, "GB": 1e9} {
		if rest, ok := strings.CutSuffix(s, suffix); ok {
			s, unit = rest, u
		}
	}
	n, err := strconv.ParseFloat(s, 64)
	if err != nil || !(n > 0) || n*float64(unit) > float64(maxClipSize) {
		return 0
	}
	return int64(n * float64(unit))
}
