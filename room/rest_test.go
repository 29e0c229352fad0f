package room

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/thronghq/throng/proto"
)

// TestARoomThatIsJoinedAsItRestsStays has a join wait right behind the sweep's
// question whether the room may leave memory.
func TestARoomThatIsJoinedAsItRestsStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, newMemory())
		defer h.hub.Close()
		ana, bob := h.client("ana"), h.client("bob")
		h.publish(bob, nil, "r", "1", `1`)
		synctest.Wait()

		// The room's worker is busy when the sweep comes by.
		busy := make(chan struct{})
		h.hub.post("r", h.namespace("r"), func(*Room, *proto.Error) { <-busy })
		time.Sleep(roomLinger + 2*sweepEvery)
		h.join(ana, "r", proto.Since{})
		close(busy)
		synctest.Wait()

		h.publish(bob, nil, "r", "2", `2`)
		if got := offsets(ana.readAll(t), "message"); !slices.Equal(got, span(2, 2)) {
			t.Errorf("the member got %v, want the message at offset 2", got)
		}
	})
}
