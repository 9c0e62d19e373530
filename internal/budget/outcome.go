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
