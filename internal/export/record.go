package export

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// ErrNotNow is returned by an event that may not happen in the record's state.
// The caller lost a race or is late: it leaves without an effect.
var ErrNotNow = errors.New("not possible in this state")

// ErrStale is returned by an event that belongs to a step which is no longer
// the current one.
var ErrStale = errors.New("step is no longer the current one")

// DefaultTenant is whose exports are that name none.
const DefaultTenant = "default"

// ReadReason says why a status read is wanted.
type ReadReason string

// The reasons for a status read; the empty one means that none is wanted.
const (
	ReadNone    ReadReason = ""
	ReadRender  ReadReason = "render"  // the provider is still at work
	ReadMissing ReadReason = "missing" // it says it is done, but clips or links are missing
	ReadRefresh ReadReason = "refresh" // a link is refused, and the provider is asked for it
	ReadSettle  ReadReason = "settle"  // it says it is done and further clips may come, see [Record.SettlesAt]
	ReadLate    ReadReason = "late"    // it is archived, and clips may have appeared since
	ReadDrain   ReadReason = "drain"   // canceled here, but the provider still holds a slot for it
)

// Outcome is how the provider's render ended; empty while it has not.
type Outcome string

// The outcomes of a render.
const (
	RenderSucceeded Outcome = "succeeded"
	RenderFailed    Outcome = "failed"
)

// Record is everything known of one export. The fields up to Clips are stored
// as one document, each clip as its own, so that a mirror step moves only its
// clip: Clips may then hold just that one, and the counters speak for the rest.
type Record struct {
	ID       string            `json:"id"`
	Account  string            `json:"account,omitempty"`
	Tenant   string            `json:"tenant,omitempty"`   // empty for the default one, see [Record.TenantName]
	Lane     string            `json:"lane,omitempty"`     // the tenant in whose own queues its orders wait; empty for the plain ones
	Unserved bool              `json:"unserved,omitempty"` // no worker has its account: its orders wait in the plain queues
	Labels   map[string]string `json:"labels,omitempty"`   // the producer's own
	Batch    string            `json:"batch,omitempty"`    // that it is a member of
	Priority string            `json:"priority,omitempty"`
	State    State             `json:"state"`

	Kind      TaskKind        `json:"kind,omitempty"`    // of a task that was made elsewhere
	ReadAs    string          `json:"read_as,omitempty"` // the provider's id of the task, if ExportTaskID is not: see [Record.Next]
	Skip      []int           `json:"skip,omitempty"`    // clips of it that another export has archived
	Late      []int           `json:"late,omitempty"`    // clips that appeared after the manifest was written
	Passed    bool            `json:"passed,omitempty"`  // it was made through the HTTP API, and holds its slot since
	Request   json.RawMessage `json:"request,omitempty"` // the body for the provider
	Digest    string          `json:"digest,omitempty"`  // of Request, to tell a repeated job id from a reused one
	ProjectID string          `json:"project_id"`
	Wanted    []int           `json:"wanted,omitempty"` // requested clip indices; none means all

	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`

	Round    int `json:"round,omitempty"`    // number of the current submit task
	Attempts int `json:"attempts,omitempty"` // times the paid request was about to be sent
	Doubts   int `json:"doubts,omitempty"`   // times its answer was lost
	// DoubtsBefore of these were settled by a person, who lets it be paid for again.
	DoubtsBefore int       `json:"doubts_before,omitempty"`
	IntentAt     time.Time `json:"intent_at,omitzero"`
	IntentBy     string    `json:"intent_by,omitempty"` // token of the run that was about to send
	// Settled are tokens of intents that may stand in S3 and whose end is known, or left to a person.
	Settled []string `json:"settled_intents,omitempty"`
	// RefusedAt is when its request was refused for no reason of its own, by the budget's clock.
	RefusedAt time.Time `json:"refused_at,omitzero"`
	NotBefore time.Time `json:"not_before,omitzero"` // the current submit task is not due earlier

	ExportTaskID   string    `json:"export_task_id,omitempty"`
	Duplicates     []string  `json:"duplicates,omitempty"`  // further tasks paid for by lost answers
	NamedWrong     []string  `json:"named_wrong,omitempty"` // tasks that a person named, and that are others'
	Previous       []string  `json:"previous,omitempty"`    // tasks given up for a new paid one
	Named          bool      `json:"named,omitempty"`       // a person named the task, and no read has shown yet that it is the export's
	Name           string    `json:"name,omitempty"`
	ProviderStatus string    `json:"provider_status,omitempty"`
	Outcome        Outcome   `json:"outcome,omitempty"` // how the render ended
	SubmittedAt    time.Time `json:"submitted_at,omitzero"`
	FinishedAt     time.Time `json:"finished_at,omitzero"` // when a read saw the render's end
	ExpireAt       time.Time `json:"expire_at,omitzero"`
	CostUsage      float64   `json:"cost_usage,omitempty"`
	Free           bool      `json:"free,omitempty"`     // the render failed, and the provider says that it charged nothing
	Receipt        string    `json:"receipt,omitempty"`  // what the receipt in S3 says, see [Record.ReceiptDue]
	Receipts       int       `json:"receipts,omitempty"` // times the receipt was written

	Read       ReadReason `json:"read,omitempty"` // why the current poll step is wanted
	Step       int        `json:"step,omitempty"` // number of the current poll step
	PollAt     time.Time  `json:"poll_at,omitzero"`
	Polls      int        `json:"polls,omitempty"`       // reads that were answered
	ReadAt     time.Time  `json:"read_at,omitzero"`      // when the last of these was
	ReadFaults int        `json:"read_faults,omitempty"` // reads that failed since the last answer that was understood
	Unknown    int        `json:"unknown,omitempty"`     // answers in a row that did not know the task
	Nameless   int        `json:"nameless,omitempty"`    // clips of the last answer at SUCCEEDED that nobody can tell apart
	Misses     int        `json:"misses,omitempty"`      // reads at SUCCEEDED with links still missing
	NewsAt     time.Time  `json:"news_at,omitzero"`      // when a read last brought a clip or a link that was not known
	StaleReads int        `json:"stale_reads,omitempty"` // reads that brought no link in the place of a refused one
	// LinkLife is the least age at which a link had died in our queue; RefreshFrom is how many clips are to be archived
	// before links are asked for because of their age again.
	LinkLife    time.Duration `json:"link_life,omitempty"`
	RefreshFrom int           `json:"refresh_from,omitempty"`

	SealRound int       `json:"seal_round,omitempty"`
	SealAt    time.Time `json:"seal_at,omitzero"`
	Manifest  string    `json:"manifest,omitempty"`

	TakenOver takenOver `json:"taken_over,omitzero"` // of the current step, see [Record.TakeOver]

	Problem Problem `json:"problem,omitzero"` // what is wrong now, or what ended it

	Trace  map[string]string `json:"trace,omitempty"`  // trace context of the enqueue
	Notify json.RawMessage   `json:"notify,omitempty"` // who is to be told of the end

	ClipCount     int           `json:"clip_count,omitempty"`
	ArchivedCount int           `json:"archived_count,omitempty"`
	FailedCount   int           `json:"failed_count,omitempty"`
	ClipProblem   Problem       `json:"clip_problem,omitzero"`   // why the last of the failed clips failed
	RoundsBefore  int           `json:"rounds_before,omitempty"` // mirror rounds up to here belong to earlier paid exports
	ArchivedBytes int64         `json:"archived_bytes,omitempty"`
	Clips         map[int]*Clip `json:"-"`

	// Short says that the rest of it is in the manifest: the ledger keeps of an
	// archived export what is shown, and of its clips no more than title and object.
	Short bool `json:"-"`

	// LastAnswer is the provider's last answer as it came; set by Answer, stored
	// beside the document, and loaded only to write the manifest.
	LastAnswer json.RawMessage `json:"-"`
}

// ClipState is where one clip stands.
type ClipState string

// The states of a clip.
const (
	ClipWaiting  ClipState = "waiting"   // known, but without a link yet
	ClipReady    ClipState = "mirroring" // has a link; its mirror task is due
	ClipStale    ClipState = "stale"     // its link is refused; the provider is asked for one
	ClipArchived ClipState = "archived"
	ClipFailed   ClipState = "failed"
)

// Clip is one clip of an export. Link and Thumbnail are secrets: they are
// stored for the mirror step and shown nowhere.
type Clip struct {
	Idx   int       `json:"idx"`
	State ClipState `json:"state"`

	Title     string   `json:"title,omitempty"`
	Desc      string   `json:"desc,omitempty"`
	Tags      []string `json:"tags,omitempty"`
	Score     float64  `json:"score,omitempty"`
	BeginMS   int64    `json:"begin_ms,omitempty"`
	EndMS     int64    `json:"end_ms,omitempty"`
	Link      string   `json:"link,omitempty"`
	Thumbnail string   `json:"thumbnail,omitempty"`

	Round     int       `json:"round,omitempty"` // number of the current mirror task
	Urgent    bool      `json:"urgent,omitempty"`
	NotBefore time.Time `json:"not_before,omitzero"`
	Faults    int       `json:"faults,omitempty"`     // transfers that failed
	Refusals  int       `json:"refusals,omitempty"`   // of these, for a link that its server refused
	BadBodies int       `json:"bad_bodies,omitempty"` // of these, with content that was not the clip
	// LinkAt is when a read brought the link, and DiedAfter how old it was when it was refused first.
	LinkAt    time.Time     `json:"link_at,omitzero"`
	DiedAfter time.Duration `json:"died_after,omitempty"`
	Problem   Problem       `json:"problem,omitzero"`
	TakenOver takenOver     `json:"taken_over,omitzero"` // of the current round

	Object     Object    `json:"object,omitzero"`
	Thumb      *Object   `json:"thumb,omitempty"`
	Warning    string    `json:"warning,omitempty"` // why there is no thumbnail
	ArchivedAt time.Time `json:"archived_at,omitzero"`
}

// Object is a file in S3 as it was proven: what storage returns, what the ledger
// keeps and what the manifest lists.
type Object struct {
	Key         string   `json:"key"`
	Size        int64    `json:"size"`
	SHA256      string   `json:"sha256"`          // hex
	CRC32       string   `json:"crc32,omitempty"` // base64, as S3 has it; empty when not known
	ContentType string   `json:"content_type,omitempty"`
	Proofs      []string `json:"proofs,omitempty"` // the checks that applied
}

// New returns the record of an export that was just taken up.
func New(id string, request json.RawMessage, digest, project string, now time.Time) *Record {
	return &Record{
		ID: id, State: Queued, Request: request, Digest: digest, ProjectID: project,
		CreatedAt: now, UpdatedAt: now, Clips: map[int]*Clip{},
	}
}

// TenantName is the name of the tenant whose export it is.
func (r *Record) TenantName() string {
	if r.Tenant == "" {
		return DefaultTenant
	}
	return r.Tenant
}

// may refuses an event that is not allowed in the current state.
func (r *Record) may(e Event) error {
	if Allowed(r.State, e) {
		return nil
	}
	return fmt.Errorf("%s while %s: %w", e, r.State, ErrNotNow)
}

// mayTask refuses an event that another task of the provider than the export's
// own brings: a step may outlive the task that it was for.
func (r *Record) mayTask(e Event, task string) error {
	if err := r.may(e); err != nil {
		return err
	}
	if task != r.ExportTaskID {
		return fmt.Errorf("%s of task %q, current is %q: %w", e, task, r.ExportTaskID, ErrStale)
	}
	return nil
}

// accepted reports whether the provider has taken the export.
func (r *Record) accepted() bool { return r.ExportTaskID != "" }

// over reports whether the provider is done with the export, one way or the
// other, so that it holds no slot there.
func (r *Record) over() bool { return !r.FinishedAt.IsZero() }

// HoldsSlot reports whether the provider counts the export as running. Of a task that
// was made elsewhere nobody knows that before it was read, and one that it does not know
// does not run.
func (r *Record) HoldsSlot() bool {
	if r.Imported() && !r.Passed && r.Polls == 0 || r.accepted() && r.Unknown >= MaxUnknown {
		return false
	}
	return r.State == Submitting || r.accepted() && !r.over() && (!r.State.Final() || r.Read == ReadDrain)
}
