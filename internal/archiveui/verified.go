package archiveui

import (
	"context"
	"path"
	"sync"
	"time"

	"github.com/clipferry/clipferry/internal/telemetry/logkey"
	"github.com/clipferry/clipferry/internal/verification"
)

// verified is what was verified when. It is in many small objects in S3, so it is
// read once a minute at most.
type verified struct {
	mu    sync.Mutex
	state verification.State
	next  time.Time
}

const readVerifiedEvery = time.Minute

// lastVerified adds when the export was last read again and compared, and what was
// wrong then.
func (u *UI) lastVerified(ctx context.Context, view *exportView, manifest string) {
	if u.o.Verified == nil {
		return
	}
	at, bad := u.verifiedState(ctx).Of(manifest, view.Archived)
	view.Verified = "not yet"
	if !at.IsZero() {
		view.Verified = moment(at)
	}
	for _, b := range bad {
		view.Warnings = append(view.Warnings, shown(path.Base(b.Key), maxTitleShown)+" is not what was archived: "+shown(b.Problem, maxTitleShown)+".")
	}
}

func (u *UI) verifiedState(ctx context.Context) verification.State {
	u.verified.mu.Lock()
	defer u.verified.mu.Unlock()
	if u.now().Before(u.verified.next) {
		return u.verified.state
	}
	ctx, cancel := context.WithTimeout(ctx, manifestTimeout)
	defer cancel()
	state, err := u.o.Verified(ctx)
	if err != nil { // what is known stays
		u.log.WarnContext(ctx, "what was verified could not be read", logkey.Error, err)
	} else {
		u.verified.state = state
	}
	u.verified.next = u.now().Add(readVerifiedEvery)
	return u.verified.state
}
