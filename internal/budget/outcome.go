package budget

import (
	"github.com/clipferry/clipferry/internal/fault"
	"github.com/clipferry/clipferry/internal/provider"
)

// results says what each kind of the provider's failures counts as. A kind that is
// missing is a fault of the provider that passes.
var results = map[provider.Kind]Result{
	provider.NotSent:         NotSent,
	provider.InDoubt:         InDoubt,
	provider.AcceptedUnknown: NotUnderstood,
	provider.RateLimited:     Refused,
	provider.Forbidden:       Forbidden,
	provider.OutOfUnits:      OutOfUnits,
	provider.NotFound:        Answered,
	provider.Rejected:        Answered,
	provider.Unavailable:     Failed,
	provider.NotUnderstood:   NotUnderstood,
}

// PassedOutcomeOf returns what is counted of a request that a client asks for, nil of one
// that was answered. That the key or units are refused may be for this call alone: exports
// find out by themselves.
func PassedOutcomeOf(err error) Outcome {
	if err == nil {
		return Outcome{Result: Answered}
	}
	o := OutcomeOf(err)
	if o.Result == Forbidden || o.Result == OutOfUnits {
		return Outcome{Result: Answered, Neutral: true}
	}
	return o
}

// OutcomeOf returns what is counted of a request that failed. An error of unknown
// origin counts as in doubt, the kind that assumes the least.
func OutcomeOf(err error) Outcome {
	kind := provider.KindOf(err)
	if kind == "" {
		kind = provider.InDoubt
	}
	result, known := results[kind]
	if !known {
		result = Failed
	}
	return Outcome{Result: result, RetryAfter: fault.RetryAfterOf(err)}
}
