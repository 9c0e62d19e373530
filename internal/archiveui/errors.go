package archiveui

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/clipferry/clipferry/internal/telemetry/logkey"
)

// problem is an error that a page shows.
type problem struct {
	status int
	Title  string
	Text   string
}

func (p *problem) Error() string { return p.Title }

// because is the same with another text.
func (p *problem) because(text string) *problem { return &problem{p.status, p.Title, text} }

var (
	errNotFound   = &problem{http.StatusNotFound, "There is nothing here", "The address is wrong, or what it led to is not in this archive."}
	errBadRequest = &problem{http.StatusBadRequest, "That can't be done", "The address or the form holds something that can't be understood."}
	errTooMany    = &problem{http.StatusTooManyRequests, "Too many wrong logins", "Wait a minute, then try again."}
	errNotShared  = &problem{http.StatusNotFound, "This link does not work", "Some of it may be missing: copy it once more, whole. Or ask who sent it for another one."}
	errShareEnded = &problem{http.StatusGone, "This link has ended", "Shared links work for a limited time. Ask who sent it for another one."}
	errBusy       = &problem{http.StatusServiceUnavailable, "Too many downloads at once", "Wait a minute, then try again. Single clips can be downloaded now."}
	errFailed     = &problem{http.StatusInternalServerError, "Something went wrong", "It has been logged. Try again; if it stays, tell who runs this archive."}
	errLoading    = &problem{http.StatusServiceUnavailable, "The archive is being read", "This server has just started. The clips are here in a moment; the page opens by itself."}
	errStorage    = &problem{http.StatusServiceUnavailable, "The storage does not answer", "The list of clips is there, the clips can't be reached just now. Try again in a minute."}
)

// loaded returns why there is nothing to show yet, nil if there is.
func (u *UI) loaded() error {
	switch s := u.o.Clips.Status(); {
	case s.Loaded:
		return nil
	case s.Err != nil:
		return errStorage
	}
	return errLoading
}

// fail shows an error.
func (u *UI) fail(w http.ResponseWriter, r *http.Request, v visit, err error) {
	var p *problem
	if !errors.As(err, &p) {
		if r.Context().Err() != nil {
			return // nobody is there
		}
		u.log.ErrorContext(r.Context(), "archive page failed", logkey.Error, err)
		p = errFailed
	}
	if p.status == http.StatusTooManyRequests || p.status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", strconv.Itoa(int(time.Minute/time.Second)))
	}
	if p == errLoading {
		w.Header().Set("Retry-After", "2")
		w.Header().Set("Refresh", "2")
	}
	w.Header().Set("Cache-Control", "no-store")
	if err := u.render(w, r, p.status, visit{viewer: v.viewer}, "error", p); err != nil {
		u.log.ErrorContext(r.Context(), "archive page failed", logkey.Error, err)
		http.Error(w, p.Title, p.status)
	}
}
