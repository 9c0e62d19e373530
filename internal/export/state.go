// Package export is an export as a state machine: what is recorded of it, what
// may happen to it, and what must be done next. It is pure: no clock, no I/O;
// every method that needs the time is given it. The ledger stores a [Record],
// the worker applies events to it under compare-and-swap and then makes sure
// that every task [Due] names exists.
//
//	queued ──Intend──► submitting ──Accept──► rendering ──Answer──► mirroring ──Seal──► archived
//	   ▲                   │  ▲                    │                    │
//	   └─ PutBack, Lose ───┘  └── Accept (late)    └── Fail, Expire ────┴──► failed, expired
//	                       └── Lose (hold) ──► held
//	any open state ──Cancel──► canceled        failed, expired, canceled, held ──Retry──► where it stopped
package export

// State is where an export stands. The names are part of the outside contract.
type State string

// The states of an export.
const (
	Queued     State = "queued"     // waits for a slot and a request
	Submitting State = "submitting" // the intent to send the paid request is recorded
	Rendering  State = "rendering"  // accepted (and charged); polled until the provider is done
	Mirroring  State = "mirroring"  // the provider is done; clips are on their way to S3
	Archived   State = "archived"   // the manifest stands
	Failed     State = "failed"     // ended by an error; Retry goes on where it stopped
	Expired    State = "expired"    // the provider's deadline passed before all clips were saved
	Canceled   State = "canceled"   // stopped by a person
	Held       State = "held"       // the answer to a paid request was lost; a person decides
)

// Unreadable is shown instead of a state where Redis holds no record under an export's
// id, but something else. No record has it.
const Unreadable State = "unknown"

// States lists every state, open ones first.
func States() []State {
	return []State{Queued, Submitting, Rendering, Mirroring, Archived, Failed, Expired, Canceled, Held}
}

// Final reports whether nothing happens in s until a person says Retry.
func (s State) Final() bool {
	switch s {
	case Archived, Failed, Expired, Canceled, Held, Unreadable:
		return true
	default:
		return false
	}
}

// Known reports whether s is one of [States].
func (s State) Known() bool { return s != "" && next[s] != nil }

// Event is something that happens to an export.
type Event string

// The events of an export; each is a method of [Record] of the same name.
const (
	EvIntend      Event = "intend"       // about to send the paid request
	EvAccept      Event = "accept"       // the provider took it and named a task
	EvPutBack     Event = "put_back"     // not sent, or refused in a way that passes
	EvReject      Event = "reject"       // the provider will never take it, or it can't be sent under its id
	EvLose        Event = "lose"         // sent, or perhaps sent, and the answer is lost
	EvAnswer      Event = "answer"       // a status read was answered
	EvReadFault   Event = "read_fault"   // a status read failed
	EvClipDone    Event = "clip_done"    // a clip is in S3, proven
	EvClipRetry   Event = "clip_retry"   // a clip's transfer failed in a way that passes
	EvClipRefused Event = "clip_refused" // a clip's link is refused
	EvClipFail    Event = "clip_fail"    // a clip cannot be archived
	EvUrge        Event = "urge"         // a clip moves to the urgent queue
	EvSeal        Event = "seal"         // the manifest stands
	EvSealRetry   Event = "seal_retry"   // the manifest could not be written yet
	EvExpire      Event = "expire"       // the provider's deadline passed
	EvFail        Event = "fail"         // a step can't go on (dead letter)
	EvCancel      Event = "cancel"       // a person stops it
	EvRetry       Event = "retry"        // a person takes it up again
	EvRestore     Event = "restore"      // its manifest was found: it was archived before Redis forgot it
	EvReplace     Event = "replace"      // it was paid for again before Redis forgot that
	EvTakeOver    Event = "take_over"    // the worker that had a step died; it goes on under its next number
	EvYield       Event = "yield"        // its id is another's that was paid for, which comes back in its place
)

// next is the whole machine: for each state the events that may happen in it
// and the states that each may lead to. An event that is not here is refused
// with [ErrNotNow] and changes nothing.
//
// Accept is allowed everywhere: whatever we believed meanwhile, an answer that
// says "accepted" has been paid for and is never dropped.
var next = map[State]map[Event][]State{
	Queued: {
		EvIntend:   {Submitting},
		EvAccept:   {Rendering},
		EvPutBack:  {Queued},
		EvRestore:  {Archived},
		EvReject:   {Failed},
		EvLose:     {Queued, Held},
		EvTakeOver: {Queued},
		EvYield:    {Rendering, Archived, Held},
		EvFail:     {Failed},
		EvCancel:   {Canceled},
	},
	Submitting: {
		EvAccept:   {Rendering},
		EvPutBack:  {Queued, Submitting}, // another run's request stays in doubt
		EvReject:   {Failed},
		EvLose:     {Queued, Held},
		EvTakeOver: {Submitting},
		EvRestore:  {Archived},
		EvFail:     {Held},
		EvCancel:   {Canceled},
	},
	Rendering: {
		EvAccept:      {Rendering},
		EvAnswer:      {Rendering, Mirroring, Failed, Expired, Held},
		EvReadFault:   {Rendering, Mirroring, Held},
		EvClipDone:    {Rendering},
		EvClipRetry:   {Rendering},
		EvClipRefused: {Rendering, Expired},
		EvClipFail:    {Rendering},
		EvUrge:        {Rendering},
		EvRestore:     {Archived},
		EvReplace:     {Rendering},
		EvTakeOver:    {Rendering},
		EvExpire:      {Expired},
		EvFail:        {Failed},
		EvCancel:      {Canceled},
		EvRetry:       {Rendering}, // as another task, see [Record.Retry]
	},
	Mirroring: {
		EvAccept:      {Mirroring},
		EvAnswer:      {Mirroring, Failed, Expired},
		EvReadFault:   {Mirroring},
		EvClipDone:    {Mirroring, Failed, Expired},
		EvClipRetry:   {Mirroring},
		EvClipRefused: {Mirroring, Expired},
		EvClipFail:    {Mirroring, Failed, Expired},
		EvUrge:        {Mirroring},
		EvSeal:        {Archived},
		EvSealRetry:   {Mirroring},
		EvRestore:     {Archived},
		EvReplace:     {Rendering},
		EvTakeOver:    {Mirroring},
		EvExpire:      {Mirroring, Expired},
		EvFail:        {Failed},
		EvCancel:      {Canceled},
	},
	Archived: {EvAccept: {Archived}, EvAnswer: {Archived}, EvReadFault: {Archived}},
	Failed: {
		EvAccept: {Failed, Rendering}, EvClipDone: {Failed}, EvRetry: {Queued, Rendering, Mirroring},
		EvRestore: {Archived}, EvReplace: {Rendering},
	},
	Expired: {
		EvAccept: {Expired}, EvClipDone: {Expired}, EvRetry: {Queued, Rendering, Mirroring},
		EvRestore: {Archived}, EvReplace: {Rendering},
	},
	Canceled: {
		EvAccept:    {Canceled},
		EvAnswer:    {Canceled},
		EvReadFault: {Canceled},
		EvClipDone:  {Canceled},
		EvPutBack:   {Canceled},
		EvReject:    {Canceled},
		EvLose:      {Canceled},
		EvTakeOver:  {Canceled},
		EvExpire:    {Canceled},
		EvFail:      {Canceled},
		EvRetry:     {Queued, Submitting, Rendering, Mirroring},
	},
	Held: {EvAccept: {Rendering}, EvRetry: {Queued, Rendering}, EvRestore: {Archived}},
}

// Allowed reports whether the event may happen in the state.
func Allowed(s State, e Event) bool { return len(next[s][e]) > 0 }
