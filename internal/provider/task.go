package provider

import (
	"encoding/json"
	"time"
)

// Status is how far an export has come, in the provider's words.
type Status string

// The states of the API page. A word that isn't one of them is kept as it came
// and counts as not ended: the next read may bring one that we know.
const (
	StatusCreated   Status = "CREATED"
	StatusQueued    Status = "QUEUED"
	StatusOngoing   Status = "ONGOING"
	StatusSucceeded Status = "SUCCEEDED"
	StatusFailed    Status = "FAILED"
)

// Ended reports whether the provider is done with the export, for better or worse.
func (s Status) Ended() bool { return s == StatusSucceeded || s == StatusFailed }

// Known reports whether the API page has this status.
func (s Status) Known() bool {
	switch s {
	case StatusCreated, StatusQueued, StatusOngoing, StatusSucceeded, StatusFailed:
		return true
	}
	return false
}

// Task is an export as the provider answered it.
type Task struct {
	ExportTaskID string
	Name         string
	Status       Status
	// ErrorMessage is the provider's reason when Status is StatusFailed, as it came:
	// of any length and with any characters.
	ErrorMessage string
	// ExpireAt is when the provider forgets the task; zero if the answer didn't say.
	ExpireAt time.Time
	// CostUsage is what the export cost, in API units; zero if the answer didn't say.
	CostUsage float64
	// Free is set where the answer says in so many words that it cost nothing.
	Free bool
	// Clips are in the provider's order, each idx once. While the export is
	// ongoing they may be some of those to come.
	Clips []Clip
	// Nameless is how many entries of Clips were left out because nobody can say
	// which clip they are.
	Nameless int
	// Warnings say what in the answer was unusable and therefore left out, one
	// short sentence each; there are never many.
	Warnings []string
	// Odd says what of the answer has a form that nobody here knows, such as its
	// status; empty if nothing has. See [Task.OddFor].
	Odd string
	// Raw is the "data" object exactly as it was answered.
	Raw json.RawMessage
}

// Clip is one clip of an export. Its texts are the provider's: of any length and
// with any characters.
type Clip struct {
	Idx   int
	Title string
	// BeginMS and EndMS are milliseconds in the source video.
	BeginMS, EndMS int64
	Thumbnail      string
	Desc           string
	// ExportLink is where the rendered clip is, empty while there is none. It
	// carries a signature: it must not be logged whole.
	ExportLink string
	Tags       []string
	Score      float64
	// Odd says, of one without a link though the task has succeeded, what may have taken
	// the link's place.
	Odd string
}
