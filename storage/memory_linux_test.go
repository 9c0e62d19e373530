//go:build !race

package storage

import (
	"testing"
	"unsafe"
)

func TestABufferBeginsWithALargePage(t *testing.T) {
	for _, size := range []int{5_000_001, DefaultPartSize, 7 << 20} {
		for range 3 {
			b := allocate(size)
			if at := uintptr(unsafe.Pointer(&b[0])); at%hugePage != 0 || len(b) != size || cap(b) != size {
				t.Errorf("%d bytes: at %#x, %d of %d", size, at, len(b), cap(b))
			}
			b[0], b[size-1] = 1, 1
			if discard(b); b[0] != 0 || b[size-1] != 0 {
				t.Errorf("%d bytes: not given back", size)
			}
		}
	}
}
