//go:build !linux

package main

import "os/exec"

// dieWithParent is for Linux alone; elsewhere a killed run leaves its workers behind.
func dieWithParent(*exec.Cmd) {}
