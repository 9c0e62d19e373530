package s3test

import (
	"os/exec"
	"syscall"
)

// dieWithParent keeps a server from outliving a test that was killed.
func dieWithParent(c *exec.Cmd) {
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}

// freeBytes is the room on a file system, 0 when it cannot be told.
func freeBytes(path string) int64 {
	var s syscall.Statfs_t
	if err := syscall.Statfs(path, &s); err != nil {
		return 0
	}
	return int64(s.Bavail) * s.Bsize
}
