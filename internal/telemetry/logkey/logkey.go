// Package logkey names the keys of structured log lines, so that a search for
// one export, one account or one clip finds every line of every package that
// speaks of it. It is only names: no logger, no dependency.
//
// Three rules go with them. A value is never a secret (an export link is scheme,
// host and path at most; keys never). An error's text stands under [Error], its
// class under [Class]. A duration is logged as a time.Duration and a size as a
// number of bytes.
package logkey

// What a line is about.
const (
	Export         = "export"         // our id of an export
	ExportTaskID   = "export_task_id" // the provider's id of it
	ProjectID      = "project_id"
	Account        = "account"
	State          = "state"
	ProviderStatus = "provider_status"
	ExpireAt       = "expire_at"
	SentAt         = "sent_at"
	Until          = "until"
	Clip           = "clip"     // index of a clip
	Clips          = "clips"    // how many
	Archived       = "archived" // how many of them
	Key            = "key"      // of an object in S3
	Manifest       = "manifest" // key of a manifest
	Next           = "next"     // the export that goes on in its place
	Part           = "part"     // of the archive, such as 3/30
	Size           = "size"     // bytes of one object
	Bytes          = "bytes"    // bytes of several
	Count          = "count"
	Parts          = "parts" // of an object in S3
	Kept           = "kept"  // of them, those that an earlier try has left
)

// Where in the machinery it happened.
const (
	Task     = "task"    // asynq's TaskID
	Type     = "type"    // asynq's task type
	Server   = "server"  // which of a worker's asynq servers
	Source   = "source"  // what metrics are read from
	Batch    = "batch"   // name of one
	Event    = "event"   // id of what a producer is notified of
	Address  = "address" // that a server listens on
	Host     = "host"    // of an address, never more of it
	Try      = "try"
	Took     = "took"
	Wait     = "wait"      // until the next try
	TaskType = "task_type" // of a producer's own
	Retried  = "retried"   // how often asynq has tried before
	Last     = "last"      // whether this was its last try
	Version  = "version"   // of the budget's state in memory
	Found    = "found"     // and in Redis
	Worker   = "worker"    // id of one in the budget
)

// Who asked for what.
const (
	Client      = "client" // name of a key of the HTTP API
	Remote      = "remote" // address that a request came from
	Method      = "method"
	Route       = "route"  // pattern of a path, never the path
	Status      = "status" // of an HTTP response
	To          = "to"     // of a redirect, without its query
	PayAgain    = "pay_again"
	SubmittedAs = "submitted_as"
)

// What went wrong, and what follows.
const (
	Error        = "error"
	ReceiptError = "receipt_error"
	Class        = "class"    // of a fault, see package fault
	Reason       = "reason"   // a stable code, see package export
	TraceID      = "trace_id" // of a failed request: ours over HTTP, the provider's of its own
	Why          = "why"      // what exactly, in words
	Warning      = "warning"
	Hint         = "hint"    // what to do
	Faults       = "faults"  // how many so far
	Policy       = "policy"  // of submits in doubt
	Receipt      = "receipt" // what the receipt in S3 says
	Action       = "action"  // what follows from that
)
