package session

import (
	"math"
	"math/bits"
	"sync/atomic"
	"time"

	"github.com/thronghq/throng/proto"
)

// bucket is a token bucket in eight bytes: it holds nothing but the time at
// which it will be full again, on its limiter's clock in nanoseconds (the
// generic cell rate algorithm). A bucket that nobody has used is full, and so is
// one whose time has passed. It is safe for concurrent use.
type bucket struct{ full atomic.Int64 }

// speed is a proto.Rate for buckets. The zero value is no bound.
type speed struct {
	each  int64 // ns for one token to come back
	burst int64 // ns for an empty bucket to be full
}

// maxSpan bounds what a bucket counts, so that no sum overflows: 36 years.
const maxSpan = 1 << 60

// newSpeed rounds to whole nanoseconds between two tokens.
func newSpeed(r proto.Rate) speed {
	if r.Off() {
		return speed{}
	}
	each := int64(min(math.Round(float64(time.Second)/r.PerSecond), maxSpan))
	s := speed{each: max(each, 1)}
	s.burst = s.span(r.Burst)
	return s
}

func (s speed) off() bool { return s.each == 0 }

// span is the time in which n tokens come back.
func (s speed) span(n int) int64 {
	high, low := bits.Mul64(uint64(max(n, 0)), uint64(s.each))
	if high > 0 || low > maxSpan {
		return maxSpan
	}
	return int64(low)
}

// take takes what costs that much, a speed's span, or nothing, and tells how many
// nanoseconds it is until there will be enough. More than a full bucket holds can
// be taken from a full one, which is then the longer in coming back: a large
// frame passes late, but passes.
func (b *bucket) take(now, cost, burst int64) (wait int64) {
	for {
		full := b.full.Load()
		start := max(full, now)
		if wait := start + min(cost, burst) - now - burst; wait > 0 {
			return wait
		}
		if b.full.CompareAndSwap(full, start+cost) {
			return 0
		}
	}
}

// put gives back what take has just taken.
func (b *bucket) put(cost int64) { b.full.Add(-cost) }
