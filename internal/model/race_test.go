//go:build race

package model

// The race detector has nothing to find in one goroutine and makes it ten times
// as slow: under it only the nearest worlds are visited.
const maxWorlds = 1500
