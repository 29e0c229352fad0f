package main

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	trimEvery = 5 * time.Second
	quiet     = 2 << 20 // bytes allocated between two looks, at most, in a quiet process
	worthTrim = 1 << 20 // bytes allocated since the last trim that make another one worth it
	worthPart = 16      // and in large heaps this part of what is live
)

// trimHeap gives memory back to the kernel when the process has become quiet:
// after many clients have come, or a burst of messages, the heap holds about as
// much garbage as live data, and an idle process would not collect it for
// minutes. A trim is one collection; docs/design/0051-trim.md has what it costs
// and gives. It runs until ctx ends.
func trimHeap(ctx context.Context) {
	samples := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}, {Name: "/gc/heap/live:bytes"}}
	heap := func() (allocated, live uint64) {
		metrics.Read(samples)
		return samples[0].Value.Uint64(), samples[1].Value.Uint64()
	}
	tick := time.NewTicker(trimEvery)
	defer tick.Stop()
	last, _ := heap()
	trimmed := last
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now, live := heap()
		if now-last < quiet && now-trimmed > max(worthTrim, live/worthPart) {
			debug.FreeOSMemory()
			trimmed, _ = heap()
		}
		last = now
	}
}
