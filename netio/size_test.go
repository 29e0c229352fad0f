package netio

import (
	"testing"
	"unsafe"
)

// TestSizes bounds what there is one of for each connection. Go's allocator has
// classes of 96, 112 and 128 bytes: one field more may cost 16.
func TestSizes(t *testing.T) {
	if size := unsafe.Sizeof(Conn{}); size > 112 {
		t.Errorf("a Conn takes %d bytes, want 112 at most", size)
	}
	if size := unsafe.Sizeof(slotChunk{}); size > 24*slotsPerChunk {
		t.Errorf("a slot takes %d bytes, want 24 at most", size/slotsPerChunk)
	}
}
