package provider

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/clipferry/clipferry/internal/retry"
)

// words are what a refusal says, as it came.
type words struct {
	code, message, traceID string
	// own is set if the refusal is of one of the API's shapes.
	own bool
}

// wordsOf reads the body of a refusal. The API answers
// {"timestamp","status","error","path"}, {"message","trace_id"} or an envelope with
// a code; what has none of that (a page of HTML, nothing at all, another program's
// JSON) is not the API's.
func wordsOf(body []byte) words {
	var shape struct {
		Code         json.RawMessage `json:"code"`
		Message      json.RawMessage `json:"message"`
		Msg          json.RawMessage `json:"msg"`
		ErrorMessage json.RawMessage `json:"error_message"`
		Detail       json.RawMessage `json:"detail"`
		Error        json.RawMessage `json:"error"`
		TraceID      json.RawMessage `json:"trace_id"`
		Status       json.RawMessage `json:"status"`
		Path         json.RawMessage `json:"path"`
	}
	if json.Unmarshal(trimMark(body), &shape) != nil {
		return words{}
	}
	var w words
	for _, raw := range []json.RawMessage{shape.Message, shape.Msg, shape.ErrorMessage, shape.Detail, shape.Error} {
		if s, _ := text(raw); strings.TrimSpace(s) != "" {
			w.message = s
			break
		}
	}
	w.traceID, _ = label(shape.TraceID)
	w.code, _ = label(shape.Code)
	w.own = !absent(shape.Message) || !absent(shape.TraceID) || failureCode(w.code) != "" ||
		!absent(shape.Error) && (!absent(shape.Status) || !absent(shape.Path))
	return w
}

// refusal is the failure that a status other than 2xx means. sent is the body of
// the request, nil for a read.
func (c *Client) refusal(op string, resp *http.Response, body []byte, sent json.RawMessage) *Error {
	status, w := resp.StatusCode, wordsOf(body)
	if status < 400 || !w.own && status != http.StatusTooManyRequests {
		return c.foreignAnswer(op, resp)
	}
	e := c.refused(op, kindOfStatus(op, status), w, sent)
	e.Status, e.RetryAfter = status, retry.After(resp.Header, time.Now(), maxRetryAfter)
	return e
}

// refused is a refusal of the API's own, of the kind that its status or code
// means, unless its words are those of an account without units.
func (c *Client) refused(op string, kind Kind, w words, sent json.RawMessage) *Error {
	e := &Error{Kind: kind, Op: op, Code: c.clean(failureCode(w.code)), Message: c.clean(w.message), TraceID: c.clean(w.traceID)}
	if kind != Rejected && kind != Forbidden {
		return e
	}
	said := terms(w.code + " " + w.message)
	named := namesField(said, sent) || namesValue(w.message, sent) || namesProject(said)
	if says, sure := outOfUnits(said); sure || says && !named {
		e.Kind, e.Unsure = OutOfUnits, !sure
		return e
	}
	e.Specific = kind == Rejected && named
	if op == opSubmit && kind == Rejected && !named && slices.Contains(said, "duplicate") { // of which one, that was sent before?
		e.Kind = InDoubt
	}
	return e
}

// refusedByCode is the failure of an answer with a good status and an envelope
// that says otherwise. A code that is an HTTP status means what that means. Of other
// codes a read may work later; a submit is refused if they clearly say so, see
// [saysRefused], and else it is in doubt.
func (c *Client) refusedByCode(op string, status int, w words, sent json.RawMessage) *Error {
	kind := Rejected
	n, err := strconv.Atoi(w.code)
	known := err == nil && n >= http.StatusBadRequest && n < 600
	if known {
		kind = kindOfStatus(op, n)
	}
	e := c.refused(op, kind, w, sent)
	e.Status = status
	switch {
	case e.Kind != Rejected || known:
	case op == opRead:
		e.Kind = Unavailable
	case !e.Specific && !saysRefused(w):
		e.Kind = InDoubt
	}
	if e.Message == "" {
		e.Message = "code " + e.Code
	}
	return e
}

// foreignAnswer is an answer that is not the API's: of a gateway that is being
// reconfigured or blocks us, of a CDN, of a wrong address. It fails no export and
// says nothing of the account; but what a submit did behind it, nobody knows.
func (c *Client) foreignAnswer(op string, resp *http.Response) *Error {
	e := &Error{
		Kind: Unavailable, Op: op, Foreign: true, Status: resp.StatusCode, RetryAfter: retry.After(resp.Header, time.Now(), maxRetryAfter),
		Message: fmt.Sprintf("something that is not the API answers %d; if it lasts, check CLIPFERRY_API_BASE_URL and what lies between", resp.StatusCode),
	}
	if op == opSubmit {
		e.Kind = InDoubt
	}
	if resp.StatusCode >= 500 { // a server or gateway in trouble, whatever its page looks like
		e.Message = ""
	}
	if resp.StatusCode < 400 {
		e.Message = "it answers with a redirect, which is not followed; set CLIPFERRY_API_BASE_URL to the address it now has"
		if u, err := resp.Location(); err == nil {
			e.Message += ", perhaps " + c.clean(u.Scheme+"://"+u.Host)
		}
	}
	return e
}

// kindOfStatus classes a status of the API's own answers, 2xx apart.
func kindOfStatus(op string, status int) Kind {
	switch status {
	case http.StatusTooManyRequests:
		return RateLimited
	case http.StatusUnauthorized, http.StatusForbidden:
		return Forbidden
	case http.StatusPaymentRequired:
		return OutOfUnits
	case http.StatusNotFound, http.StatusGone:
		if op == opRead {
			return NotFound
		}
	}
	switch {
	case status >= 400 && status < 500 && !slices.Contains(unclear, status) && (op == opRead || !slices.Contains(conflicts, status)):
		return Rejected
	case op == opSubmit:
		return InDoubt
	}
	return Unavailable
}

// Statuses below 500 that are no clear refusal. What conflicts with a submit may be the
// same one, sent on twice by what lies between.
var (
	unclear   = []int{http.StatusRequestTimeout, http.StatusTooEarly, 499}
	conflicts = []int{http.StatusConflict, http.StatusLocked}
)

// The terms of codes that refuse a request, and those of failures behind which
// anything may have happened.
var (
	refusing = []string{
		"invalid", "illegal", "bad", "malformed", "missing", "not", "no", "required", "unsupported", "expired", "forbidden", "denied",
		"unauthorized", "limit", "limited", "exceeded", "exceeds", "too", "empty", "wrong", "insufficient", "rejected", "refused",
		"param", "params", "parameter", "parameters", "argument", "validation", "format",
	}
	failing = []string{
		"internal", "server", "system", "timeout", "timed", "unavailable", "busy", "unknown", "unexpected", "duplicate", "processing", "exception",
		"gateway", "upstream", "network", "service", "ready", "created", "accepted", "queued", "pending",
		"系统", "内部", "服务器", "超时", "繁忙", "重复", "处理中",
	}
)

// saysRefused reports whether a code that is no HTTP status, in an answer with a good
// one, clearly says that a submit is refused: a number, as the API page has it, or a
// word that means that, and nothing that speaks of a failure.
func saysRefused(w words) bool {
	said := terms(w.code + " " + w.message)
	if slices.ContainsFunc(said, func(term string) bool {
		return slices.ContainsFunc(failing, func(word string) bool {
			return term == word || word[0] > unicode.MaxASCII && strings.Contains(term, word)
		})
	}) {
		return false
	}
	_, err := strconv.ParseFloat(w.code, 64)
	return err == nil || slices.ContainsFunc(terms(w.code), func(term string) bool { return slices.Contains(refusing, term) })
}

// failureCode is an envelope's code, empty for those that mean success.
func failureCode(code string) string {
	code = strings.ToLower(strings.TrimSpace(code))
	if n, err := strconv.ParseFloat(code, 64); err == nil && (n == 0 || n >= 200 && n < 300) {
		return ""
	}
	switch code {
	case "ok", "success", "succeed", "succeeded":
		return ""
	}
	return code
}

// terms are the words of a text in lower case. A field's name is split as well, in
// snake_case and camelCase, so that it is found in whatever style it is written.
func terms(s string) []string {
	var b strings.Builder
	var before rune
	for _, r := range s {
		if unicode.IsUpper(r) && unicode.IsLower(before) {
			b.WriteByte(' ')
		}
		b.WriteRune(unicode.ToLower(r))
		before = r
	}
	return strings.FieldsFunc(b.String(), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
}

// The words of an account without units, taken from the provider's pricing. Firm ones
// have few other uses; a loose one may be about a field or the video as well ("not in
// your plan"). What is wrong with them is said by the others.
var (
	firm  = []string{"unit", "units", "credit", "credits", "quota", "quotas", "balance", "payment"}
	loose = []string{"purchase", "plan", "subscription"}
	lack  = []string{"insufficient", "enough", "left", "exceeded", "exceeds", "exhausted", "depleted", "reached", "required"}
)

// outOfUnits reports whether a refusal is one of an account without units, and whether
// that is sure: one word alone may be about something else ("the plan of your source").
func outOfUnits(said []string) (says, sure bool) {
	count := func(words []string) (n int) {
		for _, word := range said {
			if slices.Contains(words, word) {
				n++
			}
		}
		return n
	}
	firmly := count(firm)
	sure = firmly >= 2 || firmly == 1 && count(lack) > 0
	return sure || firmly+count(loose) > 0, sure
}

// pageFields are the fields of a submit as the API page names them.
var pageFields = []string{
	"project_id", "clip_indices", "target_lang", "resolution", "enable_caption", "caption_display", "cc_style_tpl",
	"enable_ai_hook", "ai_hook_script_style", "ai_hook_position", "ai_hook_keywords", "ai_hook_text_duration",
	"enable_ai_reframe", "ratio",
}

// namesField reports whether a refusal names a field, of the page or of the request.
func namesField(said []string, sent json.RawMessage) bool {
	for _, field := range slices.Concat(pageFields, slices.Collect(maps.Keys(fieldsOf(sent)))) {
		if containsRun(said, terms(field)) {
			return true
		}
	}
	return false
}

// namesValue reports whether a refusal repeats a value that the request has, such
// as its project's id. Values that are common words don't count.
func namesValue(message string, sent json.RawMessage) bool {
	for _, raw := range fieldsOf(sent) {
		value, _ := text(raw)
		if len(value) >= 4 && strings.ContainsAny(value, "_0123456789") && strings.Contains(message, value) {
			return true
		}
	}
	return false
}

// namesProject reports whether a refusal is about the project, and not about how
// many of them an account may have.
func namesProject(said []string) bool {
	return slices.Contains(said, "project") && !slices.ContainsFunc(said, func(word string) bool {
		return slices.Contains([]string{"limit", "limits", "maximum", "max", "many", "concurrent", "account"}, word)
	})
}

// fieldsOf returns the fields of a request, nil of one that is no object.
func fieldsOf(sent json.RawMessage) map[string]json.RawMessage {
	var fields map[string]json.RawMessage
	if json.Unmarshal(sent, &fields) != nil {
		return nil
	}
	return fields
}

// containsRun reports whether run is in said, its words one after another.
func containsRun(said, run []string) bool {
	for i := 0; len(run) > 0 && i+len(run) <= len(said); i++ {
		if slices.Equal(said[i:i+len(run)], run) {
			return true
		}
	}
	return false
}
