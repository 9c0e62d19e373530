package link

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// maxRetryAfter bounds what a source can make us wait.
const maxRetryAfter = time.Hour

// contentRange is a parsed Content-Range of the unit bytes.
type contentRange struct{ first, last, total int64 }

// parseContentRange reads "bytes first-last/total". A total of "*" is refused:
// without it a truncated file looks like a whole one.
func parseContentRange(s string) (contentRange, error) {
	bad := func() (contentRange, error) {
		return contentRange{}, fmt.Errorf("Content-Range %.60q", s)
	}
	unit, rest, ok := strings.Cut(strings.TrimSpace(s), " ")
	if !ok || !strings.EqualFold(unit, "bytes") {
		return bad()
	}
	span, total, ok := strings.Cut(rest, "/")
	if !ok {
		return bad()
	}
	first, last, ok := strings.Cut(span, "-")
	if !ok {
		return bad()
	}
	var cr contentRange
	var err error
	if cr.first, err = parseSize(first); err != nil {
		return bad()
	}
	if cr.last, err = parseSize(last); err != nil {
		return bad()
	}
	if cr.total, err = parseSize(total); err != nil {
		return bad()
	}
	if cr.first > cr.last || cr.last >= cr.total {
		return bad()
	}
	return cr, nil
}

// parseSize reads decimal digits only: no sign, no space.
func parseSize(s string) (int64, error) {
	if s == "" || strings.Trim(s, "0123456789") != "" {
		return 0, errors.New("not a number")
	}
	return strconv.ParseInt(s, 10, 64)
}

// answers checks that cr is the range asked for, to its end, and that the
// message is as long as it says (length is -1 when it was not announced).
func (cr contentRange) answers(rg Range, length int64) error {
	wantLast := cr.total - 1
	if rg.To >= 0 && rg.To < wantLast {
		wantLast = rg.To
	}
	if cr.first != rg.From || cr.last != wantLast {
		return fmt.Errorf("asked for %s, got bytes %d-%d of %d", rg.header(), cr.first, cr.last, cr.total)
	}
	if want := cr.last - cr.first + 1; length >= 0 && length != want {
		return fmt.Errorf("Content-Range holds %d bytes, Content-Length says %d", want, length)
	}
	return nil
}

// strongETag returns a strong entity tag as sent, or "".
func strongETag(s string) string {
	s = strings.TrimSpace(s)
	if len(s) < 3 || len(s) > 256 || s[0] != '"' || s[len(s)-1] != '"' {
		return ""
	}
	for _, r := range s[1 : len(s)-1] {
		if r == '"' || r < 0x21 || r == 0x7f {
			return ""
		}
	}
	return s
}

// strongDate returns the Last-Modified date as sent when it is safely older
// than the answer; a younger one might be that of two versions (RFC 9110, 8.8.2.2).
func strongDate(modified, date string) string {
	m, err := http.ParseTime(modified)
	if err != nil {
		return ""
	}
	d, err := http.ParseTime(date)
	if err != nil || d.Sub(m) < time.Minute {
		return ""
	}
	return modified
}
