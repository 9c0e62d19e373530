package s3test

import (
	"os/exec"
	"syscall"
)

// dieWithParent keeps a server from outliving a test that was killed.
func dieWithParent(c *exec.Cmd) {
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
