package view

import (
	"time"

	"github.com/clipferry/clipferry/internal/export"
)

// Batch is a batch as it is shown. Field names are part of the outside contract.
type Batch struct {
	Batch     string         `json:"batch"`
	Members   int            `json:"members"`
	CreatedAt time.Time      `json:"created_at"`
	States    map[string]int `json:"states"`
	Missing   int            `json:"missing"` // not enqueued yet, or forgotten
	Final     int            `json:"final"`
	Complete  bool           `json:"complete"`
	Problems  []BatchProblem `json:"problems"` // members that ended without an archive, the newest ones
}

// BatchProblem is what is wrong with a member of a batch.
type BatchProblem struct {
	ID     string        `json:"id"`
	State  string        `json:"state"`
	Reason export.Reason `json:"reason"`
	Error  string        `json:"error"`
}
