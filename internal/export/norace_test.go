//go:build !race

package export

// machineWalks are enough for every transition to happen: the rarest takes some
// 260 walks.
const (
	machineWalks = 400
	everyWalk    = true
)
