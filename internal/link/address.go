package link

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/clipferry/clipferry/internal/fault"
	"github.com/clipferry/clipferry/internal/telemetry/logkey"
)

// allowHint is what an operator can do about a link that is refused for where it points.
const allowHint = "if this address is meant, add its range to CLIPFERRY_LINK_ALLOWED_CIDRS"

// wrongHint is what to do about a link that no setting makes a good one.
const wrongHint = "no clip has such a link: ask the provider"

// parseLink accepts what may be requested at all; where it leads is judged at
// dial time.
func parseLink(link string) (*url.URL, error) {
	u, err := url.Parse(strings.TrimSpace(link))
	if err != nil {
		// the parser's error quotes the link
		return nil, badLink("is not a URL", nil)
	}
	if u.Scheme == "" && u.Host != "" { // //host/path, as pages have it
		u.Scheme = "https"
	}
	if err := checkURL(u); err != nil {
		return nil, err
	}
	return u, nil
}

func checkURL(u *url.URL) error {
	switch {
	case !strings.EqualFold(u.Scheme, "http") && !strings.EqualFold(u.Scheme, "https"):
		return badLink(fmt.Sprintf("has the scheme %.20q, not http or https", u.Scheme), nil)
	case u.User != nil:
		return badLink("carries a user name or password", nil)
	case u.Hostname() == "":
		return badLink("names no host", nil)
	}
	return nil
}

// badLink asks for another link: the provider may give a good one the next time.
func badLink(why string, err error) *fault.Fault {
	if err != nil {
		err = fmt.Errorf("%w: %w", ErrUnusable, err)
	} else {
		err = ErrUnusable
	}
	return fault.New(fault.LinkExpired, "the export link "+why, err).WithHint(wrongHint)
}

// checkRedirect holds a redirect to the rules of the link itself.
func (c *Client) checkRedirect(req *http.Request, via []*http.Request) error {
	// the referrer would carry a signed link's query to another host
	req.Header.Del("Referer")
	if len(via) > c.opts.MaxRedirects {
		return badLink(fmt.Sprintf("redirects more than %d times", c.opts.MaxRedirects), nil)
	}
	if err := checkURL(req.URL); err != nil {
		return fmt.Errorf("after a redirect: %w", err)
	}
	c.log.DebugContext(req.Context(), "export link redirected", logkey.To, redacted(req.URL))
	return nil
}

// redacted is a link as it may be logged: no query, no fragment, no user.
func redacted(u *url.URL) string {
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}

// scrubbedError keeps the chain and drops what follows a question mark, where
// signed links keep their secrets.
type scrubbedError struct{ err error }

func (e scrubbedError) Error() string {
	var b strings.Builder
	hiding := false
	for _, r := range e.err.Error() {
		switch {
		case hiding && (r == ' ' || r == '"' || r == '\n'):
			hiding = false
		case r == '?' && !hiding:
			hiding = true
			b.WriteString("?…")
		}
		if !hiding {
			b.WriteRune(r)
		}
	}
	return b.String()
}

func (e scrubbedError) Unwrap() error { return e.err }

// scrub prepares an error of net/http for logs: url.Error quotes the whole link.
func scrub(err error) error {
	var ue *url.Error
	for errors.As(err, &ue) {
		err = ue.Err
	}
	return scrubbedError{err}
}
