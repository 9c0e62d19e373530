//go:build race

package worker_test

// manyClips is less under the race detector, which makes each a dozen times
// dearer; .ci/check runs the whole number without it.
const manyClips = 500
