package storage

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/thronghq/throng/proto"
)

// acked remembers what a room's sink was given.
type acked struct {
	mu   sync.Mutex
	head proto.Head // of the last publish
	n    int
}

func (a *acked) sink(pubs []*proto.Publish) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, p := range pubs {
		if p.Err == nil {
			a.head.Offset, a.head.Time, a.n = p.Offset, p.Time, a.n+1
		}
	}
}

func (a *acked) offset() uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.head.Offset
}

// awaitSafe waits until everything that was delivered so far is synced.
func awaitSafe(s *Store) {
	d := &s.durable
	d.mu.Lock()
	defer d.mu.Unlock()
	for target := d.written; d.synced < target; {
		d.changed.Wait()
	}
}

// awaitDelivered waits until the sinks have all that was appended.
func awaitDelivered(s *Store) {
	for n, _ := s.queue.load(); n > 0; n, _ = s.queue.load() {
		runtime.Gosched()
	}
}

// TestCrash stops the machine in the middle of publishes and keeps a share of
// what was not synced. What was synced is there, nothing has a hole, offsets
// are not given out twice under one epoch, and every position that a client can
// have is answered rightly.
func TestCrash(t *testing.T) {
	for _, percent := range []int{0, 10, 50, 100} {
		for seed := range uint64(8) {
			t.Run(fmt.Sprintf("%d%%/%d", percent, seed), func(t *testing.T) { testCrash(t, percent, seed) })
		}
	}
}

func testCrash(t *testing.T, percent int, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, uint64(percent)))
	fs, clock := vfs.NewCrashableMem(), newClock()
	o := testOptions(fs, clock)
	o.SyncInterval = time.Millisecond
	s := mustOpen(t, o)
	names := []string{"a", "b", "safe:a", "safe:b", "counted:a"}
	rooms := make(map[string]*Room)
	sinks := make(map[string]*acked)
	for _, name := range names {
		sinks[name] = new(acked)
		r, err := s.Room(name, sinks[name].sink)
		if err != nil {
			t.Fatal(err)
		}
		rooms[name] = r
	}
	burst := func(n int) {
		for range n {
			name := names[rng.IntN(len(names))]
			if err := rooms[name].Append(publish(name)); err != nil {
				t.Error(err)
			}
			if rng.IntN(20) == 0 {
				clock.advance(time.Duration(rng.Int64N(int64(time.Hour))))
			}
		}
	}
	burst(200 + rng.IntN(500))
	if seed%2 == 0 {
		awaitDelivered(s)
	}
	safe := make(map[string]uint64) // offsets that must survive
	for _, name := range names {
		safe[name] = sinks[name].offset()
	}
	awaitSafe(s)
	var publishing sync.WaitGroup
	publishing.Go(func() { burst(rng.IntN(500)) })
	for _, name := range []string{"safe:a", "safe:b"} {
		safe[name] = sinks[name].offset()
	}
	crashed := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rand.New(rand.NewPCG(seed, 1))})
	publishing.Wait()
	before := make(map[string]proto.Head)
	mustClose(t, s)
	for _, name := range names {
		before[name] = rooms[name].Head()
	}

	o.FS = crashed
	s2 := mustOpen(t, o)
	if s2.Generation() != s.Generation()+1 {
		t.Fatalf("generation %d after a crash in %d", s2.Generation(), s.Generation())
	}
	for _, name := range names {
		checkSurvivor(t, s2, name, before[name], safe[name])
	}
	mustClose(t, s2)
}

// checkSurvivor checks one room after a crash. Before is its head when the
// machine stopped, or later; safe is the offset that must have survived.
func checkSurvivor(t *testing.T, s *Store, name string, before proto.Head, safe uint64) {
	t.Helper()
	m := join(t, s, name)
	head := m.Head()
	if head.Offset < safe {
		t.Fatalf("%s: %d of %d safe messages survived", name, head.Offset, safe)
	}
	if m.namespace.HistorySize > 0 {
		wantOffsets(t, name, m.read(proto.Range{}), upTo(1, head.Offset))
	}
	if sameEpoch := head.Epoch == before.Epoch; sameEpoch != m.sync && head.Offset > 0 {
		t.Fatalf("%s: epoch %s after a crash in %s", name, head.Epoch, before.Epoch)
	}
	readable := m.namespace.HistorySize > 0
	if head.Offset == 0 {
		return
	}
	got := m.send("after")
	if got[0].Offset != head.Offset+1 || got[0].Time <= head.Time {
		t.Fatalf("%s: the next message got offset %d and time %d after %+v", name, got[0].Offset, got[0].Time, head)
	}
	if readable && !m.Covers(proto.Position{Epoch: before.Epoch, Offset: head.Offset}) {
		t.Fatalf("%s: a position that survived is not covered", name)
	}
	lost := proto.Position{Epoch: before.Epoch, Offset: head.Offset + 1}
	if !m.sync && m.Covers(lost) {
		t.Fatalf("%s: a position in a lost tail is covered", name)
	}
	if !m.Covers(proto.Position{Epoch: head.Epoch, Offset: head.Offset + 1}) {
		t.Fatalf("%s: the head is not covered", name)
	}
}

// TestCrashControl shows that the test above can fail: without a sync, what was
// acknowledged is lost.
func TestCrashControl(t *testing.T) {
	fs := vfs.NewCrashableMem()
	o := testOptions(fs, newClock())
	o.SyncInterval, o.SyncStall = time.Second, time.Minute
	s := mustOpen(t, o)
	m := join(t, s, "lobby")
	m.send(numbered(1, 10)...)
	o.FS = fs.CrashClone(vfs.CrashCloneCfg{})
	mustClose(t, s)
	s = mustOpen(t, o)
	if h := join(t, s, "lobby").Head(); h.Offset != 0 {
		t.Fatalf("%d messages survived without a sync", h.Offset)
	}
	mustClose(t, s)
}
