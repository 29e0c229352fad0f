package api

import (
	"net/netip"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/thronghq/throng/internal/budget"
	"github.com/thronghq/throng/proto"
)

// What waits for slow readers is bounded for each, and for all together: then
// each has less, but never too little for one delivery.
func TestStreamsShareTheirMemory(t *testing.T) {
	t.Parallel()
	limits := proto.DefaultLimits()
	limits.Outbox = 1000
	a := &API{Options: Options{Limits: &limits, StreamBytes: 4000}, meters: newMeters(metrics.NewSet()), streamed: budget.New(0, nil).Kind("streams")}
	frames := make([]byte, 300)
	for _, c := range []struct{ streams, taken int }{{1, 3}, {4, 3}, {5, 2}, {10, 1}, {1000, 1}} {
		a.meters.streams.Store(int64(c.streams))
		box, taken := a.newStreamBox(netip.Addr{}, func(time.Time) error { return nil }), 0
		for box.Deliver(frames) {
			taken++
		}
		if taken != c.taken {
			t.Errorf("of %d streams, one takes %d deliveries of 300 bytes, want %d", c.streams, taken, c.taken)
		}
		if frames, _ := box.take(); len(frames) != taken || !box.drained() {
			t.Errorf("%d deliveries wait, want %d, and the session is to be told when they are written", len(frames), taken)
		}
	}
}
