//go:build !race

package storage

import (
	"syscall"
	"unsafe"
)

// hugePage is what one fault brings in, where the system gives large pages.
const hugePage = 2 << 20

// allocate returns memory outside the Go heap: beside buffers in it, the collector lets
// as much again pile up in garbage before it runs. The buffer begins with a large page,
// so that a part takes no more of them than it fills, however large the buffer is.
func allocate(size int) []byte {
	b, err := syscall.Mmap(-1, 0, size+2*hugePage, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		return make([]byte, size)
	}
	begin := int(-uintptr(unsafe.Pointer(&b[0])) % hugePage)
	// A fault for each 2 MiB instead of each 4 KiB; refused, it costs only those.
	_ = syscall.Madvise(b, syscall.MADV_HUGEPAGE)
	return b[begin : begin+size : begin+size]
}

// discard gives the pages of a buffer back to the system. The buffer stays usable, full
// of zeros.
func discard(b []byte) {
	_ = syscall.Madvise(b, syscall.MADV_DONTNEED) // of heap memory it fails, which only keeps it
}
