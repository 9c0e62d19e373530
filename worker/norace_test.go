//go:build !race

package worker_test

// manyClips is how many clips an export has that has far too many.
const manyClips = 5000
