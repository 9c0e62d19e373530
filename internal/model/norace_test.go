//go:build !race

package model

// maxWorlds bounds a scenario; without the race detector each is visited whole.
const maxWorlds = 1 << 62
