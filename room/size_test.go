package room

import (
	"testing"
	"unsafe"
)

// TestSizes bounds what there is one of for each connection and room. Go's
// allocator has classes of 48 and 64 bytes, and of 480 and 512.
func TestSizes(t *testing.T) {
	if size := unsafe.Sizeof(Membership{}); size > 48 {
		t.Errorf("a Membership takes %d bytes, want 48 at most", size)
	}
	if size := unsafe.Sizeof(Room{}); size > 480 {
		t.Errorf("a Room takes %d bytes, want 480 at most", size)
	}
}
