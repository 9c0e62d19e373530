//go:build !race

package archiveui

const raceEnabled = false
