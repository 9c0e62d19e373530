//go:build !linux

package redistest

import "os/exec"

// dieWithParent is only known on Linux; elsewhere the test's clean-up has to do.
func dieWithParent(*exec.Cmd) {}
