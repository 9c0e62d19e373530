package tasks

// The task types.
const (
	TypeSubmit = "export:submit"
	TypePoll   = "export:poll"
	TypeMirror = "export:mirror"
	TypeSeal   = "export:seal"
	// TypeNotify calls a producer's webhook.
	TypeNotify = "export:notify"
)

// The queues, named so that an operator sees the flow at a glance.
const (
	// QueueFront holds exports that already had a turn: they go before new ones.
	QueueFront = "clipferry-front"
	// QueueSubmitHigh, QueueSubmit and QueueSubmitLow hold new exports by priority.
	QueueSubmitHigh = "clipferry-submit-high"
	QueueSubmit     = "clipferry-submit"
	QueueSubmitLow  = "clipferry-submit-low"
	// QueuePoll holds the reads of running exports.
	QueuePoll = "clipferry-poll"
	// QueueMirror and QueueUrgent hold transfers; urgent are those near their deadline.
	QueueMirror = "clipferry-mirror"
	QueueUrgent = "clipferry-urgent"
	// QueueSeal holds what writes manifests.
	QueueSeal = "clipferry-seal"
	// QueueNotify holds the calls of producers' webhooks.
	QueueNotify = "clipferry-notify"
)

// The priorities of [Export.Priority].
const (
	PriorityHigh   = "high"
	PriorityNormal = "normal"
	PriorityLow    = "low"
)

// Queues returns the names of all queues, in the order of an export's way.
func Queues() []string {
	return append(append([]string{QueueFront}, SubmitQueues()...), QueuePoll, QueueMirror, QueueUrgent, QueueSeal, QueueNotify)
}

// SubmitQueues returns the queues that producers enqueue to, by falling priority.
func SubmitQueues() []string {
	return []string{QueueSubmitHigh, QueueSubmit, QueueSubmitLow}
}

// QueueFor returns the queue that exports of the priority wait in.
func QueueFor(priority string) string {
	switch priority {
	case PriorityHigh:
		return QueueSubmitHigh
	case PriorityLow:
		return QueueSubmitLow
	default:
		return QueueSubmit
	}
}
