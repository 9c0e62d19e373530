package worker

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/fault"
	"github.com/clipferry/clipferry/internal/link"
	"github.com/clipferry/clipferry/internal/provider"
	"github.com/clipferry/clipferry/storage"
)

// reasonOf is the reason that each kind of the provider's failures stands for.
var reasonOf = map[provider.Kind]export.Reason{
	provider.NotSent:     export.ReasonProviderUnreachable,
	provider.InDoubt:     export.ReasonAnswerLost,
	provider.RateLimited: export.ReasonRateLimited,
	provider.Forbidden:   export.ReasonKeyRefused,
	provider.NotFound:    export.ReasonTaskUnknown,
	provider.Rejected:    export.ReasonRequestRejected,
	provider.Unavailable: export.ReasonProviderUnavailable,
	provider.Malformed:   export.ReasonNotUnderstood,
}

// providerProblem is what a failed request to the provider tells of an export.
func providerProblem(err error) export.Problem {
	var e *provider.Error
	if !errors.As(err, &e) {
		return export.Problem{Reason: export.ReasonProviderUnavailable, Detail: fault.SentenceOf(err)}
	}
	detail := e.Message
	if detail == "" && e.Status >= 300 {
		detail = strings.TrimSpace(fmt.Sprintf("%d %s", e.Status, http.StatusText(e.Status)))
	}
	return export.Problem{Reason: cmp.Or(reasonOf[e.Kind], export.ReasonProviderUnavailable), Detail: detail}
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
