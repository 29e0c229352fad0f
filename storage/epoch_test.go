package storage

import (
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/thronghq/throng/proto"
)

// crash stops the store as a power loss would, with all that was written on
// disk, and opens what is left.
func crash(t *testing.T, s *Store, o *Options) *Store {
	t.Helper()
	awaitSafe(s)
	fs := o.FS.(*vfs.MemFS).CrashClone(vfs.CrashCloneCfg{})
	mustClose(t, s)
	o.FS = fs
	return mustOpen(t, *o)
}

func TestEpochKeptByCleanStop(t *testing.T) {
	o := testOptions(vfs.NewCrashableMem(), newClock())
	s := mustOpen(t, o)
	m := join(t, s, "lobby")
	m.send(numbered(1, 5)...)
	h := m.Head()
	for range 3 {
		mustClose(t, s)
		s = mustOpen(t, o)
		m = join(t, s, "lobby")
		if m.Head() != h || s.Generation() != 1 {
			t.Fatalf("after a clean stop: head %+v in generation %d, want %+v in 1", m.Head(), s.Generation(), h)
		}
	}
	mustClose(t, s)
}

// TestEpochsAfterCrashes crashes again and again, with and without messages in
// between, and asks for every position of every epoch.
func TestEpochsAfterCrashes(t *testing.T) {
	o := testOptions(vfs.NewCrashableMem(), newClock())
	s := mustOpen(t, o)
	type life struct {
		epoch string
		end   uint64
	}
	var lives []life
	for _, n := range []int{3, 0, 0, 2, 1, 0, 4} {
		m := join(t, s, "lobby")
		m.send(numbered(1, n)...)
		h := m.Head()
		lives = append(lives, life{h.Epoch, h.Offset})
		for _, l := range lives {
			for offset := range h.Offset + 3 {
				want := offset <= l.end
				if got := m.Covers(proto.Position{Epoch: l.epoch, Offset: offset}); got != want {
					t.Fatalf("in generation %d: position %d of epoch %s, which ended at %d: covered %v", s.Generation(), offset, l.epoch, l.end, got)
				}
			}
		}
		s = crash(t, s, &o)
	}
	mustClose(t, s)
	seen := make(map[string]bool)
	for _, l := range lives {
		if seen[l.epoch] {
			t.Errorf("epoch %s was given twice", l.epoch)
		}
		seen[l.epoch] = true
	}
}

func TestSyncRoomKeepsEpoch(t *testing.T) {
	o := testOptions(vfs.NewCrashableMem(), newClock())
	s := mustOpen(t, o)
	m := join(t, s, "safe:lobby")
	m.send(numbered(1, 5)...)
	h := m.Head()
	s = crash(t, s, &o)
	m = join(t, s, "safe:lobby")
	if m.Head() != h {
		t.Fatalf("after a crash: %+v, want %+v", m.Head(), h)
	}
	// A restore takes messages back: then its epoch ends, too.
	mustClose(t, s)
	restore(t, o)
	s = mustOpen(t, o)
	m = join(t, s, "safe:lobby")
	if m.Head().Epoch == h.Epoch || m.Head().Offset != h.Offset {
		t.Fatalf("after a restore: %+v, was %+v", m.Head(), h)
	}
	if !m.Covers(proto.Position{Epoch: h.Epoch, Offset: 2}) {
		t.Fatal("a position from before the restore is not covered")
	}
	mustClose(t, s)
}

// restore marks a closed store as restored from a backup.
func restore(t *testing.T, o Options) {
	t.Helper()
	s := mustOpen(t, o)
	s.generation++
	s.restored = s.generation
	mustClose(t, s)
}

// TestDurabilityChange moves a room between async and sync: what was shown and
// lost while it was async is never taken for what came later.
func TestDurabilityChange(t *testing.T) {
	o := testOptions(vfs.NewCrashableMem(), newClock())
	setDurability := func(d proto.Durability) {
		o.Namespaces = append([]proto.Namespace(nil), o.Namespaces...)
		o.Namespaces[0].Durability = d
	}
	setDurability(proto.Sync)
	s := mustOpen(t, o)
	join(t, s, "lobby").send("1", "2")
	mustClose(t, s)

	setDurability(proto.Async)
	o.SyncInterval, o.SyncStall = time.Second, time.Minute
	s = mustOpen(t, o)
	m := join(t, s, "lobby")
	kept := o.FS.(*vfs.MemFS).CrashClone(vfs.CrashCloneCfg{})
	m.send("3 lost", "4 lost")
	lost := m.Head()
	mustClose(t, s)

	o.FS = kept
	setDurability(proto.Sync)
	s = mustOpen(t, o)
	m = join(t, s, "lobby")
	m.send("3", "4", "5")
	if m.Covers(proto.Position{Epoch: lost.Epoch, Offset: lost.Offset}) {
		t.Fatal("a position in the lost tail is covered")
	}
	mustClose(t, s)
}

func TestUnknownEpochs(t *testing.T) {
	s := mustOpen(t, testOptions(vfs.NewMem(), newClock()))
	m, other := join(t, s, "lobby"), join(t, s, "other")
	m.send("1")
	epoch := m.Head().Epoch
	for _, e := range []string{"", ".", "x", epoch + "0", "0" + epoch[1:], other.Head().Epoch, "." + epoch} {
		if m.Covers(proto.Position{Epoch: e, Offset: 1}) {
			t.Errorf("a position of epoch %q is covered", e)
		}
	}
	mustClose(t, s)
}

// TestTailExpiredUnseen is a room whose newest bucket expired after a crash
// before anything woke it: its last offset is not known any more.
func TestTailExpiredUnseen(t *testing.T) {
	for _, name := range []string{"lobby", "safe:lobby"} {
		clock := newClock()
		o := testOptions(vfs.NewCrashableMem(), clock)
		s := mustOpen(t, o)
		m := join(t, s, name)
		m.send("1")
		m.send(numbered(2, 9)...) // the record still says 1
		h := m.Head()
		s = crash(t, s, &o)
		clock.advance(30 * 24 * time.Hour)
		s.expire()
		m = join(t, s, name)
		if m.Head().Epoch == h.Epoch {
			t.Fatalf("%s: the epoch goes on although its end is lost", name)
		}
		if got := m.First(); got != 0 {
			t.Fatalf("%s: offset %d can be read", name, got)
		}
		m.send("new")
		if m.Covers(proto.Position{Epoch: h.Epoch, Offset: h.Offset}) {
			t.Fatalf("%s: a position beyond the lost end is covered", name)
		}
		mustClose(t, s)
	}
}

// A room that wakes after a crash and gets no message goes idle with a record of
// what it found: when all of that has expired, its offsets go on, and no epoch
// has a name that another had.
func TestExpiredAfterACrashUnwritten(t *testing.T) {
	for _, name := range []string{"lobby", "safe:lobby"} {
		clock := newClock()
		o := testOptions(vfs.NewCrashableMem(), clock)
		s := mustOpen(t, o)
		m := join(t, s, name)
		m.send("1")
		m.send("2") // the record still says 1
		s = crash(t, s, &o)
		m = join(t, s, name)
		h := m.Head()
		if h.Offset != 2 {
			t.Fatalf("%s: after the crash the head is %d", name, h.Offset)
		}
		m.Close()
		clock.advance(30 * 24 * time.Hour)
		s.expire()
		m = join(t, s, name)
		got := m.send("new")[0]
		if got.Offset != 3 {
			t.Fatalf("%s: offset %d was given out again", name, got.Offset)
		}
		mustClose(t, s)
	}
}

func TestEpochListIsBounded(t *testing.T) {
	epochs := []epoch{{generation: 1, start: 1}}
	for g := uint64(2); g < 500; g++ {
		epochs = beginEpoch(epochs, epoch{generation: g, start: g * 10}, 1)
	}
	if len(epochs) != maxEpochs {
		t.Fatalf("%d epochs are kept", len(epochs))
	}
	if _, ok := epochEnd(epochs, 5, 10_000); ok {
		t.Fatal("a forgotten epoch is known")
	}
	kept := beginEpoch(epochs, epoch{generation: 500, start: 6000}, 4500)
	if end, ok := epochEnd(kept, 449, 10_000); !ok || end != 4499 {
		t.Fatalf("the epoch that covers the oldest message: end %d, %v", end, ok)
	}
	if _, ok := epochEnd(kept, 448, 10_000); ok {
		t.Fatal("an epoch that ended before the oldest message is kept")
	}
}
