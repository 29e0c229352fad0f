package room

import (
	"testing"
	"unsafe"
)

// TestSizes bounds what there is one of for each connection and room. Go's
// allocator has a class of 48 bytes, and then of 64.
func TestSizes(t *testing.T) {
	if size := unsafe.Sizeof(Membership{}); size > 48 {
		t.Errorf("a Membership takes %d bytes, want 48 at most", size)
	}
}
