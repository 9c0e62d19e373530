//go:build race

package archiveui

// raceEnabled: the race detector makes everything some ten times slower.
const raceEnabled = true
