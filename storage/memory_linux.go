//go:build !race

package storage

import "golang.org/x/sys/unix"

// allocate returns memory outside the Go heap: of buffers that live on, the
// collector would let as much again pile up in garbage before it runs.
func allocate(size int) []byte {
	b, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return make([]byte, size)
	}
	// A fault for each 2 MiB instead of each 4 KiB; refused, it costs only those.
	_ = unix.Madvise(b, unix.MADV_HUGEPAGE)
	return b
}

// discard gives the pages of a buffer back to the system. The buffer stays
// usable, full of zeros.
func discard(b []byte) {
	_ = unix.Madvise(b, unix.MADV_DONTNEED) // of heap memory it fails, which only keeps it
}
