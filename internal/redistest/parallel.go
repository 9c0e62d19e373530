package redistest

import (
	"flag"
	"strconv"
)

// Parallel lets at least n tests of a package run at once, where the command line
// does not say how many. It is for tests that wait, for servers and for intervals,
// more than they compute: Go runs only as many at once as there are processors.
// TestMain calls it before it runs the tests.
func Parallel(n int) {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	atOnce := flag.Lookup("test.parallel")
	if usual, err := strconv.Atoi(atOnce.Value.String()); !given && err == nil && usual < n {
		_ = flag.Set("test.parallel", strconv.Itoa(n))
	}
}
