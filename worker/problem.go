package worker

import (
	"cmp"
	"errors"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/fault"
	"github.com/clipferry/clipferry/internal/link"
	"github.com/clipferry/clipferry/internal/provider"
	"github.com/clipferry/clipferry/storage"
)

// reasons says which reason an export is given for each kind of the provider's
// failures. A kind that is missing is a fault of the provider that passes.
var reasons = map[provider.Kind]export.Reason{
	provider.NotSent:         export.ReasonProviderUnreachable,
	provider.InDoubt:         export.ReasonAnswerLost,
	provider.AcceptedUnknown: export.ReasonNotUnderstood,
	provider.RateLimited:     export.ReasonRateLimited,
	provider.Forbidden:       export.ReasonKeyRefused,
	provider.OutOfUnits:      export.ReasonOutOfUnits,
	provider.NotFound:        export.ReasonTaskUnknown,
	provider.Rejected:        export.ReasonRequestRejected,
	provider.Unavailable:     export.ReasonProviderUnavailable,
	provider.NotUnderstood:   export.ReasonNotUnderstood,
}

// kindOf returns how the provider failed; an error of unknown origin counts as
// in doubt, the kind that assumes the least.
func kindOf(err error) provider.Kind { return cmp.Or(provider.KindOf(err), provider.InDoubt) }

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
	return export.Problem{Reason: cmp.Or(reasons[e.Kind], export.ReasonProviderUnavailable), Detail: detail, TraceID: e.TraceID}
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
