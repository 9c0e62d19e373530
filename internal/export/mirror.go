package export

import (
	"fmt"
	"time"
)

// UrgentBelow is the time to a clip's deadline from which its mirror goes first.
const UrgentBelow = time.Hour

// ClipDone records that mirror round n has brought a clip into S3, proven, with
// its thumbnail or the reason for having none. A clip that arrives late, in a
// round that was given up or after the export has ended, is recorded all the
// same: what was saved is named. Only one of another task than the export's own,
// an earlier paid one, is not.
func (r *Record) ClipDone(now time.Time, task string, idx, n int, object Object, thumb *Object, warning string) error {
	if err := r.mayTask(EvClipDone, task); err != nil {
		return err
	}
	c, err := r.mayClip(EvClipDone, idx)
	if err != nil {
		return err
	}
	if n <= r.RoundsBefore || n > c.Round {
		return fmt.Errorf("clip %d, round %d: %w", idx, n, ErrStale)
	}
	if c.State == ClipArchived {
		return nil
	}
	if c.State == ClipFailed {
		r.FailedCount--
	}
	c.State = ClipArchived
	c.Problem.clear()
	c.Object, c.Thumb, c.Warning, c.ArchivedAt = object, thumb, warning, now
	r.UpdatedAt = now
	r.ArchivedCount++
	r.ArchivedBytes += object.Size
	r.settle()
	return nil
}

// ClipRetry records that mirror round n of a clip failed in a way that passes;
// the next one is due at notBefore. badBody says that what came was not the clip.
func (r *Record) ClipRetry(now time.Time, idx, n int, why Problem, badBody bool, notBefore time.Time) error {
	c, err := r.mayRound(EvClipRetry, idx, n)
	if err != nil {
		return err
	}
	c.Faults++
	if badBody {
		c.BadBodies++
	}
	c.Problem.note(now, why)
	c.Round++
	c.NotBefore = notBefore
	c.Urgent = c.Urgent || r.NearDeadline(notBefore)
	r.UpdatedAt = now
	return nil
}

// refusalWait is how long a clip rests after its nth refused link, before the
// link is tried again as it is.
func refusalWait(n int) time.Duration { return min(time.Second<<min(n, 10), 10*time.Minute) }

// worthAsking reports whether the nth refusal of a clip's links is worth a read of
// the export: the second, and ever fewer after that. The link's server may recover,
// and to ask it again costs the provider nothing.
func worthAsking(n int) bool { return n == 2 || n == 4 || n > 0 && n%8 == 0 }

// ownWait is the age from which on a link that is refused died while its clip waited
// in our own queue; a younger one was dead when it came.
const ownWait = 2 * time.Second

// mayRefresh reports whether the provider is asked for links because of their age: not
// again before a clip has come through, unless it is asked anyway. So a wrong idea of
// how long links live costs one read a clip at most.
func (r *Record) mayRefresh(now time.Time) bool {
	asked := r.Read != ReadNone && !r.PollAt.After(now)
	return r.LinkLife > 0 && r.Unknown < MaxUnknown && !r.PastDeadline(now) && (asked || r.ArchivedCount >= r.RefreshFrom)
}

// LinkTooOld reports whether the clip's link is as old as links of the export do not
// become, so that a fresh one is asked for before it is tried.
func (r *Record) LinkTooOld(now time.Time, idx int) bool {
	c := r.Clips[idx]
	return c != nil && !c.LinkAt.IsZero() && r.mayRefresh(now) && now.Sub(c.LinkAt) >= r.LinkLife
}

// ClipAged has the provider asked for another link in the place of one that is too
// old, in mirror round n. One read serves all clips of the export.
func (r *Record) ClipAged(now time.Time, idx, n int) error {
	c, err := r.mayRound(EvClipRefused, idx, n)
	if err != nil {
		return err
	}
	if !r.LinkTooOld(now, idx) {
		return fmt.Errorf("clip %d has a link that may live: %w", idx, ErrStale)
	}
	r.UpdatedAt = now
	r.askForLink(now, c)
	return nil
}

// askForLink has the clip wait for a read, which is due at once.
func (r *Record) askForLink(now time.Time, c *Clip) {
	c.State = ClipStale
	if r.Read != ReadNone && !r.PollAt.After(now) {
		return
	}
	r.RefreshFrom = r.ArchivedCount + 1
	reason := ReadRefresh
	if !r.over() {
		reason = ReadRender
	}
	r.wantRead(reason, now)
}

// ClipRefused records that the server of the link used in mirror round n refuses
// it. That does not end a link: it is tried again as it is, then the provider is
// asked, and whatever that gives, the same link too, is tried until the deadline.
// One read serves all clips of the export that wait for a link.
func (r *Record) ClipRefused(now time.Time, idx, n int, link string, why Problem) error {
	c, err := r.mayRound(EvClipRefused, idx, n)
	if err != nil {
		return err
	}
	r.UpdatedAt = now
	c.Faults++
	c.Round++
	if c.Link != link { // a read has brought another one meanwhile
		c.NotBefore = now
		return nil
	}
	if r.PastDeadline(now) {
		return r.lapseClip(now, c, why)
	}
	c.Problem.note(now, why)
	if c.DiedAfter == 0 && !c.LinkAt.IsZero() {
		c.DiedAfter = max(now.Sub(c.LinkAt), 1)
	}
	if c.DiedAfter >= ownWait && r.mayRefresh(now) { // as others did
		r.askForLink(now, c)
		return nil
	}
	c.Refusals++
	if !worthAsking(c.Refusals) {
		c.NotBefore = r.afterRefusal(now, c)
		return nil
	}
	r.askForLink(now, c)
	return nil
}

// afterRefusal is when a refused link is tried again: once more at the deadline.
func (r *Record) afterRefusal(now time.Time, c *Clip) time.Time {
	at := now.Add(refusalWait(c.Refusals))
	if !r.ExpireAt.IsZero() && at.After(r.ExpireAt) {
		return r.ExpireAt.Add(time.Second)
	}
	return at
}

// lapseClip gives up a clip whose link is dead and for which no fresh one can be
// had any more. The export expires once its other clips are through: their
// links may still live.
func (r *Record) lapseClip(now time.Time, c *Clip, why Problem) error {
	if r.ArchivedCount+r.FailedCount+1 < r.ClipCount {
		r.failClip(now, c, because(ReasonDeadlinePassed, why))
		return nil
	}
	return r.expire(now, why.of(c.Idx))
}

// ClipFail records that a clip cannot be archived; the others go on, and the
// export fails when they are through.
func (r *Record) ClipFail(now time.Time, idx, n int, why Problem) error {
	c, err := r.mayRound(EvClipFail, idx, n)
	if err != nil {
		return err
	}
	r.failClip(now, c, why)
	r.UpdatedAt = now
	r.settle()
	return nil
}

func (r *Record) failClip(now time.Time, c *Clip, why Problem) {
	if c == nil || c.State == ClipFailed {
		return
	}
	c.State = ClipFailed
	c.Problem.note(now, why)
	r.FailedCount++
	r.ClipProblem = c.Problem.of(c.Idx)
}

// Urge moves a clip whose deadline is near to the urgent queue: a new round, so
// that no two queues hold the same task.
func (r *Record) Urge(now time.Time, idx, n int) error {
	c, err := r.mayRound(EvUrge, idx, n)
	if err != nil {
		return err
	}
	if c.Urgent || !r.NearDeadline(now) {
		return fmt.Errorf("clip %d: %w", idx, ErrStale)
	}
	c.Urgent = true
	c.Round++
	r.UpdatedAt = now
	return nil
}

// NearDeadline reports whether the export's deadline is less than [UrgentBelow] away.
func (r *Record) NearDeadline(now time.Time) bool {
	return !r.ExpireAt.IsZero() && r.ExpireAt.Sub(now) < UrgentBelow
}

func (r *Record) mayClip(e Event, idx int) (*Clip, error) {
	if err := r.may(e); err != nil {
		return nil, err
	}
	c := r.Clips[idx]
	if c == nil {
		return nil, fmt.Errorf("clip %d is unknown: %w", idx, ErrStale)
	}
	return c, nil
}

func (r *Record) mayRound(e Event, idx, n int) (*Clip, error) {
	c, err := r.mayClip(e, idx)
	if err != nil {
		return nil, err
	}
	if c.State != ClipReady || c.Round != n {
		return nil, fmt.Errorf("clip %d is %s in round %d, not %d: %w", idx, c.State, c.Round, n, ErrStale)
	}
	return c, nil
}

// settle ends the mirroring as failed once every clip is through and one of
// them failed, or can't be told apart, or they are not all that was to be rendered. All
// archived means that the seal is due, see [Due].
func (r *Record) settle() {
	if r.State != Mirroring || r.Read != ReadNone || r.ArchivedCount+r.FailedCount < r.ClipCount {
		return
	}
	switch {
	case r.Outcome == RenderFailed:
		r.State = Failed
		if r.Problem.Reason != ReasonRenderFailed {
			r.Problem.note(r.UpdatedAt, Problem{Reason: ReasonRenderFailed})
		}
		return
	case r.FailedCount+r.Nameless == 0:
		return
	}
	if r.PastDeadline(r.UpdatedAt) {
		r.State = Expired
		r.Problem.note(r.UpdatedAt, because(ReasonDeadlinePassed, r.ClipProblem))
		return
	}
	r.State = Failed
	if r.FailedCount == 0 {
		r.Problem.note(r.UpdatedAt, Problem{Reason: ReasonClipsUnidentified, Count: r.Misses})
		return
	}
	r.Problem.note(r.UpdatedAt, because(ReasonClipsFailed, r.ClipProblem))
}

// Sealable reports whether all is archived and only the manifest is missing.
func (r *Record) Sealable() bool {
	return r.State == Mirroring && r.over() && r.Outcome != RenderFailed && r.Read == ReadNone && r.ClipCount > 0 && r.ArchivedCount == r.ClipCount && r.Nameless == 0
}

// Seal records that the manifest stands under key.
func (r *Record) Seal(now time.Time, key string) error {
	if err := r.may(EvSeal); err != nil {
		return err
	}
	if !r.Sealable() {
		return fmt.Errorf("%d of %d clips archived: %w", r.ArchivedCount, r.ClipCount, ErrStale)
	}
	r.State, r.Manifest, r.UpdatedAt = Archived, key, now
	r.Problem.clear()
	r.forgetLinks()
	return nil
}

// forgetLinks drops what only the way to the archive needed. An archived export
// is remembered for a month, and its links and the provider's answer, which the
// manifest holds, would be most of what that costs.
func (r *Record) forgetLinks() {
	r.LastAnswer = []byte{} // stored as none
	r.LinkLife, r.RefreshFrom, r.TakenOver = 0, 0, takenOver{}
	for _, c := range r.Clips {
		c.Link, c.Thumbnail, c.LinkAt, c.DiedAfter, c.TakenOver = "", "", time.Time{}, 0, takenOver{}
	}
}

// SealRetry records that seal round n failed; the next is due at notBefore.
func (r *Record) SealRetry(now time.Time, n int, why Problem, notBefore time.Time) error {
	if err := r.may(EvSealRetry); err != nil {
		return err
	}
	if n != r.SealRound || !r.Sealable() {
		return fmt.Errorf("seal round %d, current is %d: %w", n, r.SealRound, ErrStale)
	}
	r.SealRound++
	r.SealAt, r.UpdatedAt = notBefore, now
	r.Problem.note(now, why)
	return nil
}
