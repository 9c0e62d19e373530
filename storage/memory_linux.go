//go:build !race

package storage

import "syscall"

// allocate returns memory outside the Go heap: beside buffers in it, the collector lets
// as much again pile up in garbage before it runs.
func allocate(size int) []byte {
	b, err := syscall.Mmap(-1, 0, size, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		return make([]byte, size)
	}
	// A fault for each 2 MiB instead of each 4 KiB; refused, it costs only those.
	_ = syscall.Madvise(b, syscall.MADV_HUGEPAGE)
	return b
}

// discard gives the pages of a buffer back to the system. The buffer stays usable, full
// of zeros.
func discard(b []byte) {
	_ = syscall.Madvise(b, syscall.MADV_DONTNEED) // of heap memory it fails, which only keeps it
}
