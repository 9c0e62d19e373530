package passthrough

import (
	"errors"
	"net/http"
	"testing"

	"github.com/clipferry/clipferry/internal/budget"
	"github.com/clipferry/clipferry/internal/provider"
)

// TestWhatOneCallSaysOfTheAccount: that it is refused, nothing.
func TestWhatOneCallSaysOfTheAccount(t *testing.T) {
	known, unknown := call{name: "clips", known: true}, call{name: "translations"}
	failure := func(kind provider.Kind, status int) provider.Reply {
		return provider.Reply{Status: status, Failure: &provider.Error{Kind: kind, Status: status, TraceID: "own"}}
	}
	made := provider.Reply{Status: 200, Task: provider.Task{ExportTaskID: "clips_1"}}
	for name, c := range map[string]struct {
		call  call
		reply provider.Reply
		err   error
		want  budget.Outcome
	}{
		"an answer":                       {known, made, nil, budget.Outcome{Accepted: true}},
		"an unknown call's":               {unknown, made, nil, budget.Outcome{Accepted: true}},
		"… that names no task":            {unknown, provider.Reply{Status: 200}, nil, budget.Outcome{}},
		"a known call's that names none":  {known, provider.Reply{Status: 200}, nil, budget.Outcome{Result: budget.NotUnderstood}},
		"a wrong request":                 {known, failure(provider.Rejected, 400), nil, budget.Outcome{}},
		"a refused key":                   {known, failure(provider.Forbidden, 403), nil, budget.Outcome{Neutral: true}},
		"no units":                        {known, failure(provider.OutOfUnits, 402), nil, budget.Outcome{Neutral: true}},
		"the service's own 500":           {known, failure(provider.InDoubt, 500), nil, budget.Outcome{Neutral: true}},
		"a gateway's":                     {known, failure(provider.InDoubt, 502), nil, budget.Outcome{Result: budget.InDoubt}},
		"too many":                        {unknown, failure(provider.RateLimited, 429), nil, budget.Outcome{Result: budget.Refused}},
		"an unknown call's failure":       {unknown, failure(provider.Unavailable, 503), nil, budget.Outcome{Neutral: true}},
		"an unknown call that is refused": {unknown, failure(provider.Rejected, 400), nil, budget.Outcome{Neutral: true}},
		"one that could not be made":      {known, provider.Reply{}, &provider.Error{Kind: provider.Rejected}, budget.Outcome{}},
		"no answer":                       {unknown, provider.Reply{}, errors.New("reset"), budget.Outcome{Result: budget.InDoubt}},
	} {
		o := ordered{call: c.call}
		if got := outcomeOf(c.call, c.reply, c.err, o.outcome); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
	gone := failure(provider.NotFound, http.StatusNotFound)
	if got := outcomeOf(unknown, gone, nil, progress); !got.Ended || !got.Neutral {
		t.Errorf("a task that is gone: %+v", got)
	}
}
