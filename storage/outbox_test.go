package storage

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/thronghq/throng/internal/outboxtest"
	"github.com/thronghq/throng/proto"
)

func TestOutbox(t *testing.T) {
	outboxtest.Test(t, func(t *testing.T) outboxtest.Outbox {
		s := mustOpen(t, testOptions(vfs.NewMem(), newClock()))
		t.Cleanup(func() { mustClose(t, s) })
		return s.Outbox()
	})
}

// TestOutboxStaysApart checks that records of the outbox and the store's own do
// not see each other.
func TestOutboxStaysApart(t *testing.T) {
	o := testOptions(vfs.NewMem(), newClock())
	s := mustOpen(t, o)
	m := join(t, s, "lobby")
	m.send("hello")
	if err := s.Outbox().Write([][]byte{{}, {0xff, 0xff}}, [][]byte{{1}, {2}}); err != nil {
		t.Fatal(err)
	}
	n := 0
	if err := s.Outbox().Scan(nil, nil, func(_, _ []byte) bool { n++; return true }); err != nil || n != 2 {
		t.Errorf("a scan of everything visited %d records (%v)", n, err)
	}
	mustClose(t, s)
	s = mustOpen(t, o)
	wantOffsets(t, "lobby", join(t, s, "lobby").read(proto.Range{}), upTo(1, 1))
	mustClose(t, s)
}

// TestOutboxCrash stops the machine while the outbox is written beside messages:
// what a commit acknowledged is there, whole, and so are the messages that were
// delivered before it was made. A pointer never leads to what was lost.
func TestOutboxCrash(t *testing.T) {
	for _, percent := range []int{0, 50, 100} {
		for seed := range uint64(6) {
			t.Run(fmt.Sprintf("%d%%/%d", percent, seed), func(t *testing.T) { testOutboxCrash(t, percent, seed) })
		}
	}
}

func testOutboxCrash(t *testing.T, percent int, seed uint64) {
	fs := vfs.NewCrashableMem()
	o := testOptions(fs, newClock())
	s := mustOpen(t, o)
	var sink acked
	r, err := s.Room("lobby", sink.sink)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	acknowledged := 0
	written := func() int {
		mu.Lock()
		defer mu.Unlock()
		return acknowledged
	}
	var working sync.WaitGroup
	working.Go(func() {
		for range 3000 {
			if err := r.Append(publish("x")); err != nil {
				t.Error(err)
			}
		}
	})
	working.Go(func() {
		for i := 1; i <= 200; i++ {
			// Each record points to the newest message that was delivered.
			value := fmt.Append(nil, sink.offset())
			key := fmt.Appendf(nil, "%03d", i)
			if err := s.Outbox().Write([][]byte{key, append(key, 'b')}, [][]byte{value, value}); err != nil {
				t.Error(err)
			}
			mu.Lock()
			acknowledged = i
			mu.Unlock()
		}
	})
	for target := int(seed+1) * 25; written() < target; {
	}
	safe := written()
	crashed := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rand.New(rand.NewPCG(seed, 9))})
	working.Wait()
	mustClose(t, s)

	o.FS = crashed
	s = mustOpen(t, o)
	var values []string
	err = s.Outbox().Scan(nil, nil, func(_, value []byte) bool {
		values = append(values, string(value))
		return true
	})
	if err != nil || len(values)%2 != 0 || len(values)/2 < safe {
		t.Fatalf("%d records after %d acknowledged commits of two (%v)", len(values), safe, err)
	}
	head := join(t, s, "lobby").Head().Offset
	for i, value := range values {
		if i%2 == 1 && value != values[i-1] {
			t.Fatalf("half a commit survived: %q beside %q", values[i-1], value)
		}
		var offset uint64
		if _, err := fmt.Sscan(value, &offset); err != nil || offset > head {
			t.Fatalf("record %d points to message %s, the log ends at %d (%v)", i, value, head, err)
		}
	}
	mustClose(t, s)
}

// TestOutboxCrashControl shows that the test above can fail: what Write has not
// acknowledged can be lost.
func TestOutboxCrashControl(t *testing.T) {
	fs := vfs.NewCrashableMem()
	o := testOptions(fs, newClock())
	s := mustOpen(t, o)
	before := fs.CrashClone(vfs.CrashCloneCfg{})
	if err := s.Outbox().Write([][]byte{{1}}, [][]byte{{1}}); err != nil {
		t.Fatal(err)
	}
	mustClose(t, s)
	o.FS = before
	s = mustOpen(t, o)
	if b, err := s.Outbox().Get([]byte{1}); b != nil || err != nil {
		t.Errorf("got %v, %v from a disk as it was before the write", b, err)
	}
	mustClose(t, s)
}

func TestOutboxAfterClose(t *testing.T) {
	s := mustOpen(t, testOptions(vfs.NewMem(), newClock()))
	mustClose(t, s)
	if err := s.Outbox().Write([][]byte{{1}}, [][]byte{{1}}); !errors.Is(err, proto.ErrShuttingDown) {
		t.Errorf("a write to a closed store: %v", err)
	}
	if _, err := s.Outbox().Get([]byte{1}); !errors.Is(err, proto.ErrShuttingDown) {
		t.Errorf("a read from a closed store: %v", err)
	}
	if err := s.Logs().Rooms("", func(string, string, uint64) bool { return true }); !errors.Is(err, proto.ErrShuttingDown) {
		t.Errorf("the rooms of a closed store: %v", err)
	}
}

// roomEnd is what Rooms says of a room.
type roomEnd struct {
	room, epoch string
	offset      uint64
}

func roomEnds(t *testing.T, s *Store, after string) (ends []roomEnd) {
	t.Helper()
	err := s.Logs().Rooms(after, func(room, epoch string, offset uint64) bool {
		ends = append(ends, roomEnd{room, epoch, offset})
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	return ends
}

func readRun(t *testing.T, s *Store, room, epoch string, first, last uint64) (got []uint64) {
	t.Helper()
	err := s.Logs().Read(room, epoch, first, last, func(m *proto.Message) bool {
		got = append(got, m.Offset)
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// TestLogs reads rooms by name while they are open, when they rest, after a clean
// stop and after a crash.
func TestLogs(t *testing.T) {
	clock := newClock()
	o := testOptions(vfs.NewCrashableMem(), clock)
	s := mustOpen(t, o)
	lobby := join(t, s, "lobby")
	lobby.send(numbered(1, 5)...)
	join(t, s, "safe:b").send("1")
	join(t, s, "empty")
	epoch := lobby.Head().Epoch
	since := clock.Now().UnixMicro() + 1_000_000
	clock.advance(2_000_000_000)
	lobby.send(numbered(6, 5)...)
	check := func(when string) {
		t.Helper()
		ends := roomEnds(t, s, "")
		if len(ends) != 2 || ends[0].room != "lobby" || ends[0].offset != 10 || ends[1].room != "safe:b" || ends[1].offset != 1 {
			t.Fatalf("%s: the rooms are %+v", when, ends)
		}
		if after := roomEnds(t, s, "lobby"); len(after) != 1 || after[0] != ends[1] {
			t.Errorf("%s: after lobby come %+v", when, after)
		}
		for _, e := range []string{epoch, ends[0].epoch} {
			if got := readRun(t, s, "lobby", e, 3, 8); !slices.Equal(got, upTo(3, 8)) {
				t.Errorf("%s: epoch %s: offsets %v", when, e, got)
			}
			if got := readRun(t, s, "lobby", e, 9, 99); !slices.Equal(got, upTo(9, 10)) {
				t.Errorf("%s: epoch %s: offsets %v at the end", when, e, got)
			}
		}
		if got := readRun(t, s, "lobby", "zz.1", 1, 10); got != nil {
			t.Errorf("%s: another log's messages are %v", when, got)
		}
		if got := readRun(t, s, "nowhere", epoch, 1, 10); got != nil {
			t.Errorf("%s: messages of no room: %v", when, got)
		}
		for _, test := range []struct {
			epoch string
			after uint64
			since int64
			want  uint64
		}{{epoch, 3, 0, 4}, {epoch, 0, 0, 1}, {epoch, 10, 0, 0}, {"", 0, since, 6}, {epoch, 8, since, 9}, {"zz.1", 9, 0, 1}, {"", 0, since * 2, 0}} {
			got, err := s.Logs().Resume("lobby", test.epoch, test.after, test.since)
			if err != nil || got != test.want {
				t.Errorf("%s: resuming at (%s, %d) since %d: %d, want %d (%v)", when, test.epoch, test.after, test.since, got, test.want, err)
			}
		}
	}
	check("while open")
	lobby.Close()
	s.mu.Lock()
	forgotten := lobby.whenForgottenLocked()
	if s.rooms["lobby"] == nil {
		close(lobby.forgotten)
	}
	s.mu.Unlock()
	<-forgotten
	check("at rest")
	mustClose(t, s)
	s = mustOpen(t, o)
	check("after a clean stop")
	join(t, s, "lobby")
	check("awake again")
	s = crash(t, s, &o)
	check("after a crash")
	mustClose(t, s)
}

// TestLogsLostTail asks for messages that a crash took, under the epoch that
// showed them.
func TestLogsLostTail(t *testing.T) {
	fs := vfs.NewCrashableMem()
	o := testOptions(fs, newClock())
	s := mustOpen(t, o)
	m := join(t, s, "lobby")
	m.send(numbered(1, 3)...)
	awaitSafe(s)
	epoch := m.Head().Epoch
	o.FS = fs.CrashClone(vfs.CrashCloneCfg{})
	mustClose(t, s)
	s = mustOpen(t, o)
	m = join(t, s, "lobby")
	m.send(numbered(4, 3)...)
	if got := readRun(t, s, "lobby", epoch, 2, 6); !slices.Equal(got, upTo(2, 3)) {
		t.Errorf("the old epoch's messages are %v", got)
	}
	if got := readRun(t, s, "lobby", m.Head().Epoch, 2, 6); !slices.Equal(got, upTo(2, 6)) {
		t.Errorf("the new epoch's messages are %v", got)
	}
	mustClose(t, s)
}

// TestOutboxKeyVector holds the documented key to the code; package hook does so
// for what stands in the outbox.
func TestOutboxKeyVector(t *testing.T) {
	page, err := os.ReadFile("../docs/storage-format.md")
	if err != nil {
		t.Fatal(err)
	}
	line := "| key of the outbox's own record | `" + hex.EncodeToString(appendOutboxKey(nil, []byte{'s'})) + "` |"
	if !strings.Contains(string(page), line) {
		t.Errorf("docs/storage-format.md lacks the line\n%s", line)
	}
}
