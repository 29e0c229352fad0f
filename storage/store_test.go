package storage

import (
	"bytes"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/thronghq/throng/proto"
)

func TestOptions(t *testing.T) {
	if err := (Options{}).Validate(); err != nil {
		t.Fatalf("the defaults: %v", err)
	}
	memory := proto.NewNamespace("memory")
	memory.Durability = proto.Memory
	short := proto.NewNamespace("short")
	short.HistoryTTL = time.Millisecond
	negative := proto.NewNamespace("negative")
	negative.HistorySize = -1
	err := Options{
		CacheBytes: 1, SyncInterval: 2 * time.Second, SyncStall: time.Hour, QueueMessages: -1, QueueBytes: -1,
		Namespaces: []proto.Namespace{memory, short, negative, negative},
	}.Validate()
	for _, want := range []string{
		"CacheBytes: 1 ", "SyncInterval: 2s", "SyncStall: 1h", "QueueMessages: -1", "QueueBytes: -1",
		`"memory" has durability none`, `"short" keeps history for 1ms`, `"negative" has a history size of -1`, `"negative" is given twice`,
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the errors lack %q: %v", want, err)
		}
	}
	if _, err := Open("data", Options{FS: vfs.NewMem(), CacheBytes: 1}); err == nil {
		t.Error("a store opens with bad options")
	}
}

func TestSettings(t *testing.T) {
	o := testOptions(vfs.NewCrashableMem(), newClock())
	s := mustOpen(t, o)
	m := join(t, s, "lobby")
	if m.Settings() != nil {
		t.Fatalf("a new room has settings %q", m.Settings())
	}
	set := func(m *member, settings string, only bool) *proto.Publish {
		p := publish("x")
		p.Settings, p.SettingsOnly = []byte(settings), only
		m.push(p)
		return m.wait()[0]
	}
	if p := set(m, "one", true); p.Err != nil || p.Offset != 0 || m.Head().Offset != 0 {
		t.Fatalf("settings alone: offset %d, %v, head %+v", p.Offset, p.Err, m.Head())
	}
	if m.Settings() != nil {
		t.Fatal("the settings of the wake have changed")
	}
	s = crash(t, s, &o)
	m = join(t, s, "lobby")
	if string(m.Settings()) != "one" || m.Head().Offset != 0 {
		t.Fatalf("after a crash: settings %q, head %+v", m.Settings(), m.Head())
	}
	if p := set(m, "two", false); p.Err != nil || p.Offset != 1 {
		t.Fatalf("settings with a message: offset %d, %v", p.Offset, p.Err)
	}
	m.send("2", "3")
	s = crash(t, s, &o)
	m = join(t, s, "lobby")
	if string(m.Settings()) != "two" || m.Head().Offset != 3 {
		t.Fatalf("after a crash: settings %q, head %+v", m.Settings(), m.Head())
	}
	set(m, "three", true) // beside a record that is not clean
	m.send("4")
	set(m, "four", true)
	m.Close()
	m = join(t, s, "lobby")
	if string(m.Settings()) != "four" || m.Head().Offset != 4 {
		t.Fatalf("after idling: settings %q, head %+v", m.Settings(), m.Head())
	}
	wantOffsets(t, "the messages", m.read(proto.Range{}), upTo(1, 4))
	mustClose(t, s)
}

// TestNamesAreInternedLate wakes rooms without storing anything.
func TestNamesAreInternedLate(t *testing.T) {
	s := mustOpen(t, testOptions(vfs.NewMem(), newClock()))
	for _, name := range []string{"a", "b", "c"} {
		join(t, s, name).Close()
		join(t, s, name)
	}
	if n, err := getNumber(s.db, keyRooms); err != nil || n != 0 {
		t.Fatalf("%d names were interned (%v)", n, err)
	}
	mustClose(t, s)
}

func TestUnknownNamespace(t *testing.T) {
	s := mustOpen(t, testOptions(vfs.NewMem(), newClock()))
	if _, err := s.Room("nobody:a", nil); err == nil || !strings.Contains(err.Error(), `"nobody"`) {
		t.Fatalf("a room of an unknown namespace: %v", err)
	}
	mustClose(t, s)
}

// TestClockOnlyMovesForward sets the clock back, within a life and over a
// restart.
func TestClockOnlyMovesForward(t *testing.T) {
	clock := newClock()
	o := testOptions(vfs.NewCrashableMem(), clock)
	s := mustOpen(t, o)
	m := join(t, s, "lobby")
	last := m.send("1")[0].Time
	later := func(p *proto.Publish) {
		t.Helper()
		if p.Time <= last {
			t.Fatalf("time went from %d to %d", last, p.Time)
		}
		last = p.Time
	}
	clock.advance(-10 * time.Minute)
	for _, p := range m.send("2", "3") {
		later(p)
	}
	other := join(t, s, "other")
	if p := other.send("1")[0]; p.Time < last-2 {
		t.Fatalf("another room's time is %d, the store has reached %d", p.Time, last)
	}
	mustClose(t, s)
	clock.advance(-10 * time.Minute)
	s = mustOpen(t, o)
	if p := join(t, s, "new").send("1")[0]; p.Time < last-2 {
		t.Fatalf("after a restart a new room's time is %d, the store had reached %d", p.Time, last)
	}
	later(join(t, s, "lobby").send("4")[0])
	s = crash(t, s, &o)
	later(join(t, s, "lobby").send("5")[0])
	mustClose(t, s)
}

// TestClockFarBehind starts with a clock that is more than an hour behind the
// newest message, after a clean stop and after a crash.
func TestClockFarBehind(t *testing.T) {
	for _, clean := range []bool{true, false} {
		clock := newClock()
		o := testOptions(vfs.NewCrashableMem(), clock)
		s := mustOpen(t, o)
		m := join(t, s, "lobby")
		m.send("1")
		clock.advance(24 * time.Hour)
		m.send("2")
		awaitSafe(s)
		left := o.FS.(*vfs.MemFS).CrashClone(vfs.CrashCloneCfg{})
		mustClose(t, s)
		if !clean {
			o.FS = left
		}
		clock.advance(-maxAhead - 2*time.Second)
		if s, err := Open("data", o); err == nil || !strings.Contains(err.Error(), "clock") {
			_ = s.Close()
			t.Fatalf("clean %v: a clock more than an hour behind: %v", clean, err)
		}
		clock.advance(4 * time.Second)
		mustClose(t, mustOpen(t, o)) // stores nothing, and forgets nothing
		clock.advance(-4 * time.Second)
		if s, err := Open("data", o); err == nil {
			_ = s.Close()
			t.Fatalf("clean %v: the newest message's time was forgotten", clean)
		}
	}
}

// TestInUse opens a store that another process holds.
func TestInUse(t *testing.T) {
	const held = "THRONG_TEST_HELD_DIR"
	if dir := os.Getenv(held); dir != "" { // this is the other process
		if _, err := Open(dir, testOptions(nil, newClock())); err != nil {
			_, _ = os.Stdout.WriteString(err.Error())
		}
		return
	}
	dir := filepath.Join(t.TempDir(), "data")
	s, err := Open(dir, testOptions(nil, newClock()))
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the data directory: %v, %v", info.Mode(), err)
	}
	other := exec.Command(os.Args[0], "-test.run=^TestInUse$")
	other.Env = append(os.Environ(), held+"="+dir)
	out, err := other.Output()
	if want := dir + " is in use by another process"; err != nil || !strings.Contains(string(out), want) {
		t.Errorf("the other process said %q (%v), want %q", out, err, want)
	}
	mustClose(t, s)
	mustClose(t, s) // again does nothing
}

// TestSweep removes the records of rooms that have ended, and only those.
func TestSweep(t *testing.T) {
	clock := newClock()
	o := testOptions(vfs.NewMem(), clock)
	s := mustOpen(t, o)
	old := join(t, s, "old")
	old.send("1")
	before := old.Head()
	receipts := []proto.Receipt{{Room: "old", User: "ada", Offset: 1}, {Room: "old", User: "bob", Offset: 1}, {Room: "open", User: "ada", Offset: 1}}
	old.Close()
	open := join(t, s, "open")
	open.send("1")
	if err := s.SaveReceipts(receipts); err != nil {
		t.Fatal(err)
	}
	hosted := join(t, s, "hosted")
	p := publish("x")
	p.Settings = []byte("host")
	hosted.push(p)
	hosted.wait()
	hosted.Close()
	mustJoinIdle := func(name string) { join(t, s, name).Close() }
	mustJoinIdle("old") // waits until the record is written
	sweep := func() int {
		t.Helper()
		n, err := s.sweep()
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n := sweep(); n != 0 {
		t.Fatalf("%d rooms were removed at once", n)
	}
	clock.advance(7 * 24 * time.Hour)
	young := join(t, s, "young")
	young.send("1")
	young.Close()
	mustJoinIdle("young")
	clock.advance(2 * 24 * time.Hour)
	s.expire()
	if n := sweep(); n != 1 {
		t.Fatalf("%d rooms were removed, want 1", n)
	}
	for _, r := range receipts {
		id := map[string]uint64{"old": old.id, "open": open.id}[r.Room]
		got, err := s.receipt(appendReceiptKey(nil, id, r.User))
		want := map[string]uint64{"old": 0, "open": 1}[r.Room]
		if err != nil || got != want {
			t.Fatalf("the receipt of %s in %s is %d, %v, want %d", r.User, r.Room, got, err, want)
		}
	}
	if h := join(t, s, "old").Head(); h.Offset != 0 || h.Epoch == before.Epoch {
		t.Fatalf("the room that ended has head %+v, it was %+v", h, before)
	}
	if h := join(t, s, "hosted").Head(); h.Offset != 1 {
		t.Fatalf("a room with settings was removed: %+v", h)
	}
	if got := open.send("2")[0]; got.Offset != 2 {
		t.Fatalf("an open room was removed: offset %d", got.Offset)
	}
	wantOffsets(t, "young", join(t, s, "young").read(proto.Range{}), upTo(1, 1))
	mustClose(t, s)
}

// TestAppendAfterClose is a caller's mistake that must not harm the log.
func TestAppendAfterClose(t *testing.T) {
	s := mustOpen(t, testOptions(vfs.NewMem(), newClock()))
	m := join(t, s, "lobby")
	m.send("1")
	m.Close()
	m.Close()
	if err := m.Append(publish("2")); err == nil || err.Code != proto.ErrInternal {
		t.Fatalf("an append after Close: %v", err)
	}
	if got := join(t, s, "lobby").send("2")[0]; got.Offset != 2 {
		t.Fatalf("offset %d", got.Offset)
	}
	mustClose(t, s)
}

// TestMetrics looks for the metrics by their names, and for gauges that outlive
// their store.
func TestMetrics(t *testing.T) {
	o := testOptions(vfs.NewMem(), newClock())
	o.Metrics = metrics.NewSet()
	for range 2 { // the same set serves a store that is opened again
		s := mustOpen(t, o)
		m := join(t, s, "safe:lobby")
		m.send("1", "2", "3")
		var out bytes.Buffer
		o.Metrics.WritePrometheus(&out)
		for _, want := range []string{
			"throng_storage_batch_messages_bucket", "throng_storage_append_seconds_bucket", "throng_storage_fsync_seconds_bucket",
			"throng_storage_queued_messages 0", "throng_storage_queued_bytes 0", `throng_storage_refused_total{reason="overloaded"} 0`,
			"throng_storage_generation 1", "throng_storage_free_bytes ", "throng_storage_disk_bytes ", "throng_storage_l0_files ",
			"throng_storage_compaction_debt_bytes ", "throng_storage_open_rooms 1", "throng_storage_refusing 0",
		} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("the metrics lack %s", want)
			}
		}
		mustClose(t, s)
	}
	var out bytes.Buffer
	o.Metrics.WritePrometheus(&out)
	if strings.Contains(out.String(), "throng_storage_open_rooms") {
		t.Error("a gauge outlives its store")
	}
}

// TestNoGoroutineIsLeft closes a busy store.
func TestNoGoroutineIsLeft(t *testing.T) {
	count := func() int { return strings.Count(stacks(), "storage.(*Store)") }
	before := count()
	s := mustOpen(t, testOptions(vfs.NewMem(), newClock()))
	m := join(t, s, "safe:lobby")
	m.send(numbered(1, 100)...)
	if count() <= before {
		t.Fatal("the count does not see the store's goroutines")
	}
	mustClose(t, s)
	if after := count(); after > before {
		t.Fatalf("%d goroutines of the store are left:\n%s", after-before, stacks())
	}
}

// stacks returns the stacks of all goroutines; stores that were made to fail
// leave many.
func stacks() string {
	for size := 1 << 20; ; size *= 2 {
		b := make([]byte, size)
		if n := runtime.Stack(b, true); n < size {
			return string(b[:n])
		}
	}
}

// TestAppendAllocates holds the path of a message, from Append to its sink, to
// less than one allocation. A machine with other work makes the batches small, and
// each has some: one quiet moment of many shows what a message needs.
func TestAppendAllocates(t *testing.T) {
	s := mustOpen(t, testOptions(vfs.NewMem(), newClock()))
	done := make(chan int, 1)
	n := 0
	r, err := s.Room("lobby", func(pubs []*proto.Publish) {
		if n += len(pubs); n == 1000 {
			n = 0
			done <- 1
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	pubs := make([]*proto.Publish, 1000)
	for i := range pubs {
		pubs[i] = publish("0123456789abcdef")
	}
	perThousand := math.Inf(1)
	for tries := 0; tries < 50 && perThousand >= 1000; tries++ {
		perThousand = min(perThousand, testing.AllocsPerRun(5, func() {
			for _, p := range pubs {
				if err := r.Append(p); err != nil {
					t.Error(err)
				}
			}
			<-done
		}))
	}
	if perThousand >= 1000 { // batches, syncs and what Pebble does meanwhile make some hundred
		t.Errorf("%.0f allocations for 1,000 messages", perThousand)
	}
	mustClose(t, s)
}
