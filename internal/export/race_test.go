//go:build race

package export

// The race detector has nothing to find in one goroutine and makes it ten times
// slower: under it the walks are few, and .ci/check makes all of them without.
const (
	machineWalks = 40
	everyWalk    = false
)
