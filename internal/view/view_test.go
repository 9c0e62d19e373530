package view_test

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/view"
)

var noon = time.Date(2026, 4, 7, 12, 0, 0, 0, time.UTC)

// rendering is an export that the provider has accepted.
func rendering(t *testing.T) *export.Record {
	t.Helper()
	r := export.New("exp_a", []byte(`{}`), "d", "p", noon)
	must(t, r.Intend(noon, "me"))
	must(t, r.Accept(noon, "task1", "", ""))
	return r
}

func answer(t *testing.T, r *export.Record, status string, cost float64, links ...string) {
	t.Helper()
	a := export.Reading{
		Status: status, Succeeded: status == "SUCCEEDED", Failed: status == "FAILED", Message: "no such clip",
		CostUsage: max(cost, 0), Free: cost == 0, ExpireAt: noon.Add(48 * time.Hour),
	}
	for i, link := range links {
		a.Clips = append(a.Clips, export.Clip{Idx: i, Link: link})
	}
	must(t, r.Answer(noon, "task1", r.Step, a, noon.Add(time.Minute)))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestSentences(t *testing.T) {
	for name, c := range map[string]struct {
		record func(t *testing.T) *export.Record
		reason export.Reason
		cli    []string // what the CLI's sentence says
		http   []string // what the HTTP API's says instead of the commands
	}{
		"links are missing": {
			func(t *testing.T) *export.Record {
				r := rendering(t)
				r.Wanted = []int{0, 1}
				for range export.MaxMisses {
					answer(t, r, "SUCCEEDED", 48, "a", "")
				}
				must(t, r.ClipDone(noon, "task1", 0, 1, export.Object{}, nil, ""))
				answer(t, r, "SUCCEEDED", 48, "a", "")
				return r
			}, export.ReasonClipsFailed,
			[]string{"1 of 2 clips", "clip 1: the provider says SUCCEEDED but gave no export link for it in 6 reads", "`clipferry retry -- exp_a`", "until 2026-04-09T12:00:00Z"},
			[]string{"a retry takes them up again until 2026-04-09"},
		},
		"clips without an index": {
			func(*testing.T) *export.Record {
				return &export.Record{
					ID: "exp_a", State: export.Failed, Nameless: 2, ArchivedCount: 1,
					Problem: export.Problem{Reason: export.ReasonClipsUnidentified, Count: 6},
				}
			}, export.ReasonClipsUnidentified,
			[]string{"2 clips could not be archived, the other 1 are", "clipferry retry -- exp_a"},
			[]string{"a retry reads them again"},
		},
		"no clips": {func(t *testing.T) *export.Record {
			r := rendering(t)
			for range export.MaxMisses + 1 {
				answer(t, r, "SUCCEEDED", 48)
			}
			return r
		}, export.ReasonNoClips, []string{"lists no clip in 6 reads", "clipferry retry -- exp_a"}, []string{"a retry reads it again"}},
		"a render that cost nothing": {func(t *testing.T) *export.Record {
			r := rendering(t)
			answer(t, r, "FAILED", 0)
			return r
		}, export.ReasonRenderFailed, []string{"no such clip", "submits it again"}, []string{"it cost nothing"}},
		"a render that was charged": {func(t *testing.T) *export.Record {
			r := rendering(t)
			answer(t, r, "FAILED", 48)
			return r
		}, export.ReasonRenderFailed, []string{"charged 48 units", "--pay-again"}, []string{"charged 48 units", `{"pay_again": true}`}},
		"a render that failed after one clip": {func(t *testing.T) *export.Record {
			r := rendering(t)
			answer(t, r, "FAILED", 48, "a", "")
			must(t, r.ClipDone(noon, "task1", 0, 1, export.Object{}, nil, ""))
			return r
		}, export.ReasonRenderFailed, []string{"no such clip; ", "1 of 2 clips are archived", "charged 48 units", "--pay-again"}, nil},
		"a render of an unknown charge": {func(t *testing.T) *export.Record {
			r := rendering(t)
			answer(t, r, "FAILED", -1)
			return r
		}, export.ReasonRenderFailed, []string{"did not say what it charged", "--pay-again"}, []string{`{"pay_again": true}`}},
		"a held export": {
			func(t *testing.T) *export.Record {
				r := export.New("exp_a", []byte(`{}`), "d", "p", noon)
				must(t, r.Intend(noon, "me"))
				must(t, r.Lose(noon, "me", noon, export.Hold, export.Problem{Reason: export.ReasonAnswerLost, Detail: "connection reset"}))
				return r
			}, export.ReasonAnswerLost,
			[]string{"its answer was lost (connection reset)", "project \"p\"", "2026-04-07T12:00:00Z", "retry --submitted-as TASK_ID -- exp_a", "retry --pay-again -- exp_a"},
			[]string{"project \"p\"", `{"submitted_as": "TASK_ID"}`},
		},
		"canceled in doubt": {func(t *testing.T) *export.Record {
			r := export.New("exp_a", []byte(`{}`), "d", "p", noon)
			must(t, r.Intend(noon, "me"))
			must(t, r.Cancel(noon))
			must(t, r.Lose(noon, "me", noon, export.Resubmit, export.Problem{Reason: export.ReasonAnswerLost}))
			return r
		}, export.ReasonAnswerLost, []string{"a paid request was sent at 2026-04-07T12:00:00Z and its answer was lost"}, nil},
		"expired": {
			func(t *testing.T) *export.Record {
				r := rendering(t)
				answer(t, r, "SUCCEEDED", 48, "a", "b")
				must(t, r.ClipDone(noon, "task1", 1, 1, export.Object{}, nil, ""))
				must(t, r.ClipRefused(noon.Add(49*time.Hour), 0, 1, "a", export.Problem{Reason: export.ReasonLinkRefused, Detail: "403"}))
				return r
			}, export.ReasonDeadlinePassed,
			[]string{"expired: clip 0: its link is refused (403)", "1 of 2 clips were saved", "`clipferry retry --pay-again -- exp_a`"},
			[]string{`{"pay_again": true}`},
		},
		"not known to the provider": {func(t *testing.T) *export.Record {
			r := rendering(t)
			for range export.MaxUnknown {
				must(t, r.DoesNotKnow(noon, r.Step, noon))
			}
			return r
		}, export.ReasonTaskUnknown, []string{"does not know task task1", "accepted at 2026-04-07T12:00:00Z", "takes it up again where it stopped"}, nil},
		"rejected": {func(t *testing.T) *export.Record {
			r := export.New("exp_a", []byte(`{}`), "d", "p", noon)
			must(t, r.Intend(noon, "me"))
			must(t, r.Reject(noon, "me", export.Problem{Reason: export.ReasonRequestRejected, Detail: "project unknown"}))
			return r
		}, export.ReasonRequestRejected, []string{"the provider refused the request (project unknown); correct the request"}, nil},
		"lost from Redis": {func(t *testing.T) *export.Record {
			r := rendering(t)
			r.Problem = export.Problem{Reason: export.ReasonRecordLost}
			return r
		}, export.ReasonRecordLost, []string{"`clipferry recover`"}, []string{"do not order it again"}},
		"a reason of a later version": {func(t *testing.T) *export.Record {
			r := rendering(t)
			r.Problem = export.Problem{Reason: "moon_phase", Detail: "full"}
			return r
		}, "moon_phase", []string{"moon_phase (full)"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			r := c.record(t)
			if v := view.Of(r, view.CLI); v.Reason != c.reason {
				t.Errorf("%s: reason %q, want %q", v.State, v.Reason, c.reason)
			}
			says(t, view.Of(r, view.CLI).Error, c.cli)
			says(t, view.Of(r, view.HTTP).Error, c.http)
		})
	}
}

func says(t *testing.T, text string, want []string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(text, w) {
			t.Errorf("%q does not say %q", text, w)
		}
	}
}

// Every reason has a sentence, in every state, and an HTTP client, who has no
// command line, is never told to run a command.
func TestEveryReasonIsSaidToEveryReader(t *testing.T) {
	for _, reason := range export.Reasons() {
		for _, state := range export.States() {
			r := &export.Record{ID: "exp_a", State: state, Problem: export.Problem{Reason: reason, Cause: &export.Problem{Reason: reason}}}
			for _, reader := range []view.Reader{view.CLI, view.HTTP} {
				text := view.Sentence(r, reader)
				if text == "" || text == string(reason) || strings.ContainsAny(strings.ReplaceAll(strings.ReplaceAll(text, `{"pay_again": true}`, ""), `{"submitted_as": "TASK_ID"}`, ""), "{}") {
					t.Errorf("%s while %s: %q", reason, state, text)
				}
				if reader == view.HTTP && (strings.Contains(text, "`") || strings.Contains(text, "clipferry ") || strings.Contains(text, "--")) {
					t.Errorf("%s while %s tells an HTTP client to run a command: %q", reason, state, text)
				}
			}
		}
	}
}

// The codes are part of the outside contract: all of them are documented.
func TestTheDocsNameEveryReason(t *testing.T) {
	text, err := os.ReadFile("../../docs/http-api.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, reason := range export.Reasons() {
		if !strings.Contains(string(text), "`"+string(reason)+"`") {
			t.Errorf("%s is not in docs/http-api.md", reason)
		}
	}
}

// While a clip is tried again and again, it and its export say what is wrong,
// since when, and when it is tried next.
func TestAClipThatIsTriedAgainSaysWhatIsWrong(t *testing.T) {
	r := rendering(t)
	answer(t, r, "SUCCEEDED", 48, "a", "b")
	wrong := export.Problem{Reason: export.ReasonTransferFailed, Detail: "S3 is down"}
	must(t, r.ClipRetry(noon, 0, 1, wrong, false, noon.Add(time.Minute)))
	must(t, r.ClipRetry(noon.Add(time.Minute), 0, 2, wrong, false, noon.Add(10*time.Minute)))
	v := view.Of(r, view.CLI)
	c := v.Clips[0]
	if c.Reason != export.ReasonTransferFailed || c.Error != "S3 is down" || c.Tries != 2 || !at(c.Since, noon) || !at(c.NextTry, noon.Add(10*time.Minute)) {
		t.Errorf("the clip: %s", shown(c))
	}
	if v.Reason != export.ReasonTransferFailed || v.Error != "clip 0: S3 is down" || !at(v.Since, noon) || !at(v.NextTry, noon.Add(10*time.Minute)) {
		t.Errorf("the export: %s", shown(v))
	}
	if c := v.Clips[1]; c.Reason != "" || c.Error != "" || c.Since != nil || c.NextTry != nil {
		t.Errorf("the other clip: %s", shown(c))
	}
	must(t, r.ClipDone(noon, "task1", 0, 3, export.Object{}, nil, ""))
	if v := view.Of(r, view.CLI); v.Reason != "" || v.Error != "" || v.Since != nil || v.NextTry != nil {
		t.Errorf("after the clip was archived: %s", shown(v))
	}
}

// A clip whose link died is tried next when the provider is asked.
func TestAClipWithoutALinkIsTriedAtTheNextRead(t *testing.T) {
	r := rendering(t)
	answer(t, r, "SUCCEEDED", 48, "a")
	dead := export.Problem{Reason: export.ReasonLinkRefused, Detail: "403"}
	must(t, r.ClipRefused(noon, 0, 1, "a", dead))
	if next := r.Clips[0].NotBefore; !at(view.Of(r, view.CLI).Clips[0].NextTry, next) {
		t.Errorf("the clip is tried at %s: %s", next, shown(view.Of(r, view.CLI)))
	}
	must(t, r.ClipRefused(noon, 0, 2, "a", dead))
	r.PollAt = noon.Add(time.Minute)
	v := view.Of(r, view.CLI)
	if c := v.Clips[0]; c.Reason != export.ReasonLinkRefused || !at(c.NextTry, noon.Add(time.Minute)) {
		t.Errorf("the clip: %s", shown(c))
	}
	if !at(v.NextTry, noon.Add(time.Minute)) || !strings.Contains(v.Error, "clip 0: its link is refused (403); it is tried again, and the provider is asked") {
		t.Errorf("the export: %s", shown(v))
	}
}

func TestViewShowsNoSecret(t *testing.T) {
	r := rendering(t)
	answer(t, r, "SUCCEEDED", 48, "https://cdn/x?sig=secret")
	r.Clips[0].Thumbnail = "https://cdn/t?sig=secret"
	if text := fmt.Sprintf("%+v", view.Of(r, view.CLI)); strings.Contains(text, "secret") || strings.Contains(text, "cdn") {
		t.Errorf("a link is shown: %s", text)
	}
	v := view.Of(export.New("exp_a", nil, "", "p", noon), view.CLI)
	if v.Clips == nil || v.ExpireAt != nil {
		t.Errorf("clips %v, expire_at %v; want an empty list and null", v.Clips, v.ExpireAt)
	}
}

func at(got *time.Time, want time.Time) bool { return got != nil && got.Equal(want) }

func shown(v any) string {
	text, _ := json.Marshal(v)
	return string(text)
}

// No clip of an export that has ended is shown as if something were still done for it.
func TestClipsOfAnEndedExportHaveEnded(t *testing.T) {
	for state, want := range map[export.State]string{export.Failed: "failed", export.Expired: "failed", export.Canceled: "canceled", export.Rendering: "mirroring"} {
		r := rendering(t)
		answer(t, r, "ONGOING", 48, "a", "b")
		must(t, r.ClipDone(noon, "task1", 0, 1, export.Object{}, nil, ""))
		r.State = state
		if v := view.Of(r, view.CLI); v.Clips[0].State != "archived" || v.Clips[1].State != want {
			t.Errorf("%s: %+v", state, v.Clips)
		}
	}
}

// A try that was due waits for something else: no time in the past is shown as the next.
func TestTheNextTryIsNeverPast(t *testing.T) {
	r := rendering(t)
	answer(t, r, "ONGOING", 48, "a", "b")
	must(t, r.ClipRetry(noon, 0, 1, export.Problem{Reason: export.ReasonTransferFailed}, false, noon.Add(time.Minute)))
	must(t, r.ReadFault(noon, r.Step, export.Problem{Reason: export.ReasonProviderUnavailable}, noon.Add(time.Minute)))
	if v := view.Of(r, view.CLI).At(noon); v.NextTry == nil || v.Clips[0].NextTry == nil {
		t.Errorf("%+v", v)
	}
	if v := view.Of(r, view.CLI).At(noon.Add(time.Hour)); v.NextTry != nil || v.Clips[0].NextTry != nil {
		t.Errorf("%+v", v)
	}
}
