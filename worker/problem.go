package worker

import (
	"cmp"
	"errors"

	"github.com/clipferry/clipferry/internal/budget"
	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/fault"
	"github.com/clipferry/clipferry/internal/link"
	"github.com/clipferry/clipferry/internal/provider"
	"github.com/clipferry/clipferry/storage"
)

// meanings says, for each kind of the provider's failures, which reason an export
// is given and what the budget counts. A kind that is missing counts as a fault of
// the provider that passes.
var meanings = map[provider.Kind]struct {
	reason export.Reason
	result budget.Result
}{
	provider.NotSent:         {export.ReasonProviderUnreachable, budget.NotSent},
	provider.InDoubt:         {export.ReasonAnswerLost, budget.InDoubt},
	provider.AcceptedUnknown: {export.ReasonNotUnderstood, budget.NotUnderstood},
	provider.RateLimited:     {export.ReasonRateLimited, budget.Refused},
	provider.Forbidden:       {export.ReasonKeyRefused, budget.Forbidden},
	provider.OutOfUnits:      {export.ReasonOutOfUnits, budget.OutOfUnits},
	provider.NotFound:        {export.ReasonTaskUnknown, budget.Answered},
	provider.Rejected:        {export.ReasonRequestRejected, budget.Answered},
	provider.Unavailable:     {export.ReasonProviderUnavailable, budget.Failed},
	provider.NotUnderstood:   {export.ReasonNotUnderstood, budget.NotUnderstood},
}

// kindOf returns how the provider failed; an error of unknown origin counts as
// in doubt, the kind that assumes the least.
func kindOf(err error) provider.Kind { return cmp.Or(provider.KindOf(err), provider.InDoubt) }

// outcomeOf returns what the budget counts of a request that failed.
func outcomeOf(err error) budget.Outcome {
	meaning, known := meanings[kindOf(err)]
	if !known {
		meaning.result = budget.Failed
	}
	return budget.Outcome{Result: meaning.result, RetryAfter: fault.RetryAfterOf(err)}
}

// providerProblem is what a failed request to the provider tells of an export.
func providerProblem(err error) export.Problem {
	var e *provider.Error
	if !errors.As(err, &e) {
		return export.Problem{Reason: export.ReasonProviderUnavailable, Detail: fault.SentenceOf(err)}
	}
	detail := e.Detail()
	if e.Kind == provider.AcceptedUnknown && e.Answer != "" { // all there is of what was paid for
		detail += ": " + e.Answer
	}
	return export.Problem{Reason: cmp.Or(meanings[e.Kind].reason, export.ReasonProviderUnavailable), Detail: detail}
}

// transferProblem is what a failed transfer tells of a clip.
func transferProblem(err error) export.Problem {
	p := export.Problem{Reason: export.ReasonTransferFailed, Detail: fault.SentenceOf(err)}
	switch class := fault.ClassOf(err); {
	case errors.Is(err, link.ErrUnusable):
		p.Reason = export.ReasonLinkUnusable
	case class == fault.LinkExpired:
		p.Reason = export.ReasonLinkRefused
	case errors.Is(err, storage.ErrContent):
		p.Reason = export.ReasonContentWrong
	case class == fault.Terminal:
		p.Reason = export.ReasonLinkUnusable
	}
	return p
}
