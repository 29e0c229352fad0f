package storage

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/thronghq/throng/proto"
)

// traffic is how time passes between a room's messages.
type traffic struct {
	name string
	gap  func(rng *rand.Rand, i int) time.Duration
	// The mean and the highest number of seeks to an offset that are accepted.
	mean float64
	most int
}

// TestSeekOffset counts what it takes to find an offset among 20,000 messages
// over several buckets.
func TestSeekOffset(t *testing.T) {
	const messages = 20_000
	for _, tr := range []traffic{
		{"even", func(*rand.Rand, int) time.Duration { return 20 * time.Second }, 6, 12},
		{"random", func(rng *rand.Rand, _ int) time.Duration {
			return time.Duration(rng.ExpFloat64() * float64(20*time.Second))
		}, 8, 16},
		{"bursts", func(_ *rand.Rand, i int) time.Duration {
			if i%1000 == 0 {
				return 5 * time.Hour
			}
			return 0
		}, 11, 20},
	} {
		t.Run(tr.name, func(t *testing.T) {
			clock, rng := newClock(), rand.New(rand.NewPCG(1, 2))
			o := testOptions(vfs.NewMem(), clock)
			o.Namespaces[0].HistorySize = messages
			s := mustOpen(t, o)
			m := join(t, s, "lobby")
			for i := range messages {
				clock.advance(tr.gap(rng, i))
				m.send("x")
			}
			total, most := 0, 0
			const tries = 500
			for range tries {
				want := m.First() + rng.Uint64N(messages-m.First()+1)
				n := seeksTo(t, m.Room, want)
				total, most = total+n, max(most, n)
			}
			mean := float64(total) / tries
			t.Logf("%s: %.1f seeks, %d at most", tr.name, mean, most)
			if mean > tr.mean || most > tr.most {
				t.Errorf("an offset took %.1f seeks, %d at most; %.0f and %d are accepted", mean, most, tr.mean, tr.most)
			}
			mustClose(t, s)
		})
	}
}

// seeksTo finds an offset and returns the number of seeks.
func seeksTo(t *testing.T, r *Room, offset uint64) int {
	t.Helper()
	v := r.view()
	c, err := r.cursor(&v)
	if err != nil {
		t.Fatal(err)
	}
	if !c.seekOffset(offset, v.head) || c.key.offset != offset {
		t.Fatalf("offset %d: the cursor is at %d (%v)", offset, c.key.offset, c.err)
	}
	if err := c.close(); err != nil {
		t.Fatal(err)
	}
	return c.seeks
}

// TestSeekWithHint finds a position by the milliseconds that its client knows
// with one seek, and the newest messages with one, too.
func TestSeekWithHint(t *testing.T) {
	clock := newClock()
	s := mustOpen(t, testOptions(vfs.NewMem(), clock))
	m := join(t, s, "lobby")
	for range 50 {
		m.send(numbered(1, 20)...) // 20 within the same millisecond
		clock.advance(time.Hour)
	}
	v := m.view()
	for _, msg := range m.read(proto.Range{}) {
		if msg.Offset == v.head.offset {
			break
		}
		for _, rg := range []proto.Range{
			{After: msg.Offset, Hint: msg.Time / 1000 * 1000},
			{After: msg.Offset, Hint: msg.Time},
		} {
			b, _ := v.bounds(rg)
			c, err := m.cursor(&v)
			if err != nil {
				t.Fatal(err)
			}
			w := walk{cursor: c, bounds: b, head: v.head}
			if !w.seekLow(rg) || w.key.offset != msg.Offset+1 {
				t.Fatalf("%+v: at %d", rg, w.key.offset)
			}
			if msg.Offset%20 != 0 && c.seeks != 1 { // otherwise the next one may be in another bucket
				t.Fatalf("%+v took %d seeks", rg, c.seeks)
			}
			if err := c.close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	mustClose(t, s)
}
