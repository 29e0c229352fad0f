package storage

import (
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/thronghq/throng/proto"
)

// countMessages counts the stored messages of all rooms.
func countMessages(t *testing.T, s *Store) int {
	t.Helper()
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{firstClass}})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for ok := it.First(); ok; ok = it.Next() {
		n++
	}
	if err := it.Close(); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestRetentionByCount(t *testing.T) {
	o := testOptions(vfs.NewMem(), newClock())
	o.Namespaces[0].HistorySize = 10
	s := mustOpen(t, o)
	m := join(t, s, "lobby")
	epoch := m.Head().Epoch
	m.send(numbered(1, 25)...)
	wantOffsets(t, "all", m.read(proto.Range{}), upTo(16, 25))
	wantOffsets(t, "after 3", m.read(proto.Range{After: 3, Limit: 2}), upTo(16, 17))
	if m.First() != 16 {
		t.Fatalf("first is %d", m.First())
	}
	if m.Covers(proto.Position{Epoch: epoch, Offset: 14}) || !m.Covers(proto.Position{Epoch: epoch, Offset: 15}) {
		t.Fatal("what the room covers does not begin after offset 15")
	}
	mustClose(t, s)
}

// TestRetentionByAge lets messages expire one by one, exactly, and their buckets
// as a whole, later.
func TestRetentionByAge(t *testing.T) {
	clock := newClock()
	o := testOptions(vfs.NewMem(), clock)
	o.Namespaces[0].HistoryTTL = 80 * time.Second // buckets of 10 s
	s := mustOpen(t, o)
	m := join(t, s, "lobby")
	for range 40 {
		m.send("x")
		clock.advance(2 * time.Second)
	}
	// It is 80 s after the first message.
	wantOffsets(t, "at 80 s", m.read(proto.Range{}), upTo(1, 40))
	for i := range uint64(30) {
		clock.advance(time.Microsecond)
		wantOffsets(t, "just after", m.read(proto.Range{}), upTo(i+2, 40))
		clock.advance(2*time.Second - time.Microsecond)
		wantOffsets(t, "later", m.read(proto.Range{}), upTo(i+2, 40))
		if m.First() != i+2 {
			t.Fatalf("first is %d, want %d", m.First(), i+2)
		}
	}
	s.expire()
	n := countMessages(t, s)
	if n < 10 || n > 20 {
		t.Fatalf("%d messages are stored where 10 can be read; a bucket and the grace hold 10 more", n)
	}
	clock.advance(time.Hour)
	s.expire()
	if n := countMessages(t, s); n != 0 {
		t.Fatalf("%d messages are stored after all have expired", n)
	}
	if m.First() != 0 || len(m.read(proto.Range{})) != 0 {
		t.Fatal("expired messages can be read")
	}
	h := m.Head()
	if !m.Covers(proto.Position{Epoch: h.Epoch, Offset: 40}) || m.Covers(proto.Position{Epoch: h.Epoch, Offset: 39}) {
		t.Fatal("an expired log covers its head and nothing else")
	}
	if got := m.send("next"); got[0].Offset != 41 {
		t.Fatalf("the next offset is %d", got[0].Offset)
	}
	mustClose(t, s)
}

// TestRetentionChanges reopens the store with other retention times: nothing
// older than the shortest time that may be read is missing, what is read has no
// hole, and nothing is older than the present time allows.
func TestRetentionChanges(t *testing.T) {
	clock := newClock()
	o := testOptions(vfs.NewMem(), clock)
	day := 24 * time.Hour
	var last uint64
	for _, ttl := range []time.Duration{8 * day, day, 8 * day, 2 * day, 8 * day, day} {
		o.Namespaces[0].HistoryTTL = ttl
		s := mustOpen(t, o)
		m := join(t, s, "lobby")
		for range 30 {
			clock.advance(2 * time.Hour)
			m.send("x")
			s.expire()
			last++
			got := m.read(proto.Range{})
			back := m.read(proto.Range{Reverse: true})
			if len(got) == 0 || got[len(got)-1].Offset != last || len(back) != len(got) {
				t.Fatalf("with %v: %s and back %s, head %d", ttl, brief(offsets(got)), brief(offsets(back)), last)
			}
			wantOffsets(t, "no hole", got, upTo(got[0].Offset, last))
			if got[0].Offset != m.First() {
				t.Fatalf("first is %d, read %d", m.First(), got[0].Offset)
			}
			now := clock.Now().UnixMicro()
			if got[0].Time < now-ttl.Microseconds() {
				t.Fatalf("with %v: a message of %v ago is read", ttl, time.Duration(now-got[0].Time)*time.Microsecond)
			}
			if len(got) < 12 && last >= 12 {
				t.Fatalf("with %v: only %d messages of the last day are read", ttl, len(got))
			}
		}
		mustClose(t, s)
	}
	s := mustOpen(t, o)
	if n := len(s.classes); n != 4 { // 8 d, 1 d, 2 d, and the other namespaces' 7 d
		t.Fatalf("%d classes for four retention times", n)
	}
	mustClose(t, s)
}

// TestHistoryTurnedOff counts offsets without keeping messages, and does not
// show messages from before and after as if nothing had been between.
func TestHistoryTurnedOff(t *testing.T) {
	o := testOptions(vfs.NewCrashableMem(), newClock())
	s := mustOpen(t, o)
	m := join(t, s, "counted:a")
	m.send(numbered(1, 5)...)
	if m.First() != 0 || len(m.read(proto.Range{})) != 0 {
		t.Fatal("messages can be read")
	}
	h := m.Head()
	s = crash(t, s, &o)
	m = join(t, s, "counted:a")
	if m.Head().Offset != 5 || m.Head().Epoch == h.Epoch {
		t.Fatalf("after a crash: %+v, was %+v", m.Head(), h)
	}
	mustClose(t, s)
	for i, size := range []int{100, 0, 100} {
		o.Namespaces[2].HistorySize = size
		s = mustOpen(t, o)
		m = join(t, s, "counted:a")
		m.send(numbered(1, 5)...)
		last := uint64(10 + 5*i)
		var want []uint64
		if size > 0 {
			want = upTo(last-4, last)
		}
		wantOffsets(t, "history", m.read(proto.Range{}), want)
		mustClose(t, s)
	}
}

// TestTrim overflows a room by far more than it may keep: the rest goes before
// its bucket does.
func TestTrim(t *testing.T) {
	clock := newClock()
	o := testOptions(vfs.NewMem(), clock)
	o.Namespaces[0].HistorySize = 100
	s := mustOpen(t, o)
	m := join(t, s, "lobby")
	neighbour := join(t, s, "neighbour")
	neighbour.send(numbered(1, 50)...)
	const total = 5 * trimSlack / 2
	for n := 0; n < total; n += 512 {
		for range 512 {
			m.push(publish("x"))
		}
		m.wait()
		if n%(1<<14) == 0 {
			clock.advance(3 * time.Hour) // over several buckets
		}
	}
	if n := countMessages(t, s); n > 2*trimSlack+4096 || n < 100 {
		t.Fatalf("%d of %d messages are stored", n, total)
	}
	wantOffsets(t, "the room", m.read(proto.Range{}), upTo(total-99, total))
	wantOffsets(t, "its neighbour", neighbour.read(proto.Range{}), upTo(1, 50))
	mustClose(t, s)

	o.Namespaces[0].HistorySize = 10 * trimSlack // what was trimmed does not come back
	s = mustOpen(t, o)
	m = join(t, s, "lobby")
	got := m.read(proto.Range{})
	wantOffsets(t, "with more history", got, upTo(m.First(), total))
	mustClose(t, s)
}

func TestClasses(t *testing.T) {
	classes := make(map[byte]class)
	for i := range 128 {
		c, isNew, err := classFor(classes, time.Duration(i+1)*time.Hour)
		if err != nil || !isNew || int(c.number) != firstClass+i {
			t.Fatalf("class %d: %+v, %v, %v", i, c, isNew, err)
		}
	}
	if c, isNew, err := classFor(classes, 5*time.Hour); err != nil || isNew || c.ttl != (5*time.Hour).Microseconds() {
		t.Fatalf("a known retention: %+v, %v, %v", c, isNew, err)
	}
	if _, _, err := classFor(classes, time.Minute); err == nil {
		t.Fatal("a 129th class was given out")
	}
}
