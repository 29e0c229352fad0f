package session

import (
	"math"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/thronghq/throng/proto"
)

func TestBuckets(t *testing.T) {
	const second = int64(time.Second)
	for _, c := range []struct {
		name  string
		rate  proto.Rate
		steps []struct{ at, n, wait int64 }
	}{
		{"a burst, then one after the other", proto.Rate{PerSecond: 2, Burst: 3}, []struct{ at, n, wait int64 }{
			{0, 1, 0}, {0, 2, 0}, {0, 1, second / 2}, {second / 2, 1, 0}, {second / 2, 1, second / 2}, {2 * second, 3, 0},
		}},
		{"an idle bucket is full, not more", proto.Rate{PerSecond: 1, Burst: 2}, []struct{ at, n, wait int64 }{
			{100 * second, 2, 0}, {100 * second, 1, second},
		}},
		{"more than a bucket holds", proto.Rate{PerSecond: 10, Burst: 5}, []struct{ at, n, wait int64 }{
			{0, 20, 0}, {0, 1, 16 * second / 10}, {second, 20, second}, {2 * second, 5, 0},
		}},
		{"by the hour", proto.Rate{PerSecond: 1.0 / 3600, Burst: 1}, []struct{ at, n, wait int64 }{
			{0, 1, 0}, {1800 * second, 1, 1800 * second}, {3600 * second, 1, 0},
		}},
		{"nothing", proto.Rate{PerSecond: 1, Burst: 1}, []struct{ at, n, wait int64 }{{0, 0, 0}, {0, 1, 0}, {0, 0, 0}}},
	} {
		var b bucket
		s := newSpeed(c.rate)
		for i, step := range c.steps {
			if wait := b.take(step.at, s.span(int(step.n)), s.burst); wait != step.wait {
				t.Errorf("%s, step %d: wait %d, want %d", c.name, i, wait, step.wait)
			}
		}
	}
}

func TestABucketIsSharedByMany(t *testing.T) {
	var b bucket
	var taken atomic.Int64
	s := newSpeed(proto.Rate{PerSecond: 1, Burst: 1000})
	var work sync.WaitGroup
	for range 8 {
		work.Go(func() {
			for range 1000 {
				if b.take(0, s.each, s.burst) == 0 {
					taken.Add(1)
				}
			}
		})
	}
	work.Wait()
	if n := taken.Load(); n != 1000 {
		t.Errorf("%d of 1000 tokens were taken", n)
	}
}

// FuzzBucket holds the arithmetic to its promises, at any rate and time: a wait
// is what it takes, a bucket gives a burst and no more at once, and what is
// given back is there again.
func FuzzBucket(f *testing.F) {
	f.Add(10.0, 5, int64(0), int64(1e9), 3)
	f.Add(1.0/3600, 1, int64(5), int64(1), 1)
	f.Add(float64(1<<30), 1<<30, int64(1e15), int64(1e9), 1<<20)
	f.Add(1e-300, 1<<30, int64(math.MaxInt64/4), int64(0), 1<<30)
	f.Fuzz(func(t *testing.T, perSecond float64, burst int, at, later int64, n int) {
		if !(perSecond > 0 && perSecond <= 1<<30) || burst < 1 || burst > 1<<30 || n < 1 || n > 1<<30 {
			t.Skip()
		}
		const years = int64(100 * 365 * 24 * time.Hour)
		at, later = min(max(at, 0), years), min(max(later, 0), years)
		s := newSpeed(proto.Rate{PerSecond: perSecond, Burst: burst})
		if s.off() || s.each < 1 || s.burst < 1 {
			t.Fatalf("%+v", s)
		}
		var b bucket
		if wait := b.take(at, s.span(burst), s.burst); wait != 0 {
			t.Fatalf("a full bucket does not hold its burst: wait %d", wait)
		}
		wait := b.take(at, s.each, s.burst)
		if s.span(burst) < maxSpan && wait != s.each {
			t.Fatalf("an empty bucket has a token in %d ns, want %d", wait, s.each)
		}
		before := b.full.Load()
		switch wait := b.take(at+later, s.span(n), s.burst); {
		case wait < 0:
			t.Fatalf("a wait of %d", wait)
		case wait > 0:
			if b.full.Load() != before {
				t.Fatal("a refusal took something")
			}
			if again := b.take(at+later+wait, s.span(n), s.burst); again != 0 {
				t.Fatalf("after the wait of %d it is %d", wait, again)
			}
		default:
			if full := max(before, at+later) + s.span(n); b.full.Load() != full {
				t.Fatalf("full at %d, want %d", b.full.Load(), full)
			}
			b.put(s.span(n))
			if full := max(before, at+later); b.full.Load() != full {
				t.Fatalf("full at %d after all was given back, want %d", b.full.Load(), full)
			}
		}
	})
}
