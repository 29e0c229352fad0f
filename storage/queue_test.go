package storage

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/thronghq/throng/proto"
)

// slowDisk is a disk whose syncs of the write-ahead log can be held up.
type slowDisk struct {
	mu      sync.Mutex // held: syncs wait
	n       atomic.Int64
	waiting atomic.Int64 // syncs that wait
}

func (d *slowDisk) wrap(fs vfs.FS) vfs.FS {
	return errorfs.Wrap(fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if strings.HasSuffix(op.Path, ".log") {
			switch op.Kind {
			case errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo:
				d.waiting.Add(1)
				d.mu.Lock()
				d.n.Add(1)
				d.waiting.Add(-1)
				d.mu.Unlock()
			}
		}
		return nil
	}))
}

// TestSyncWaitsForDisk holds up the disk: a sync room's message is not delivered
// and not read, and an async room's is.
func TestSyncWaitsForDisk(t *testing.T) {
	var disk slowDisk
	o := testOptions(disk.wrap(vfs.NewMem()), newClock())
	o.SyncStall = time.Minute
	s := mustOpen(t, o)
	safe, chat := join(t, s, "safe:a"), join(t, s, "a")
	disk.mu.Lock()
	safe.push(publish("1"))
	chat.send("1")
	chat.send("2")
	if h := safe.Head(); h.Offset != 0 {
		t.Fatalf("the head moved before the sync: %+v", h)
	}
	if got := safe.read(proto.Range{}); len(got) != 0 {
		t.Fatal("a message was read before its sync")
	}
	if got := safe.First(); got != 0 {
		t.Fatalf("the first offset before the sync is %d", got)
	}
	disk.mu.Unlock()
	safe.wait()
	if h := safe.Head(); h.Offset != 1 {
		t.Fatalf("after the sync: %+v", h)
	}
	mustClose(t, s)
}

// TestWrittenDuringASync writes while a sync is under way that does not cover it:
// another one follows.
func TestWrittenDuringASync(t *testing.T) {
	var disk slowDisk
	fs := vfs.NewCrashableMem()
	o := testOptions(disk.wrap(fs), newClock())
	o.SyncInterval, o.SyncStall = time.Microsecond, time.Minute
	s := mustOpen(t, o)
	m := join(t, s, "a")
	disk.mu.Lock()
	m.send("1")
	for disk.waiting.Load() == 0 {
		runtime.Gosched()
	}
	m.send("2")
	disk.mu.Unlock()
	awaitSafe(s)
	o.FS = fs.CrashClone(vfs.CrashCloneCfg{})
	mustClose(t, s)
	s = mustOpen(t, o)
	wantOffsets(t, "after a power failure", join(t, s, "a").read(proto.Range{}), upTo(1, 2))
	mustClose(t, s)
}

// TestStalledDisk lets publishes gather while nothing is synced: they wait, the
// rest is refused as overloaded, and all that were taken arrive.
func TestStalledDisk(t *testing.T) {
	for _, name := range []string{"a", "safe:a"} {
		t.Run(name, func(t *testing.T) {
			var disk slowDisk
			o := testOptions(disk.wrap(vfs.NewMem()), newClock())
			o.SyncInterval, o.SyncStall, o.QueueMessages = time.Millisecond, 5*time.Millisecond, 100
			s := mustOpen(t, o)
			m := join(t, s, name)
			disk.mu.Lock()
			var refused *proto.Error
			for refused == nil {
				if refused = m.Append(publish("x")); refused == nil {
					m.sent++
				}
				m.mu.Lock()
				if len(m.got) > 1<<20 {
					t.Fatal("a disk that syncs nothing did not hold up publishes")
				}
				m.mu.Unlock()
			}
			if refused.Code != proto.ErrOverloaded || refused.RetryAfter == 0 {
				t.Fatalf("refused with %v", refused)
			}
			disk.mu.Unlock()
			sent := m.sent
			for i, p := range m.wait() {
				if p.Err != nil || p.Offset != uint64(i+1) {
					t.Fatalf("publish %d of %d: offset %d, %v", i, sent, p.Offset, p.Err)
				}
			}
			refusals := uint64(1)
			for m.Append(publish("again")) != nil { // until the queue has let go of what was delivered
				refusals++
				runtime.Gosched()
			}
			m.sent++
			m.wait()
			if got := s.tele.refusedOverloaded.Get(); got != refusals {
				t.Fatalf("%d refusals were counted, want %d", got, refusals)
			}
			mustClose(t, s)
		})
	}
}

// TestNothingIsAcknowledgedOnAStalledDisk holds the disk up for longer than
// SyncStall: the queue fills, and nothing leaves it. What an async room loses in a
// power failure is bounded by that.
func TestNothingIsAcknowledgedOnAStalledDisk(t *testing.T) {
	for _, name := range []string{"a", "safe:a"} {
		t.Run(name, func(t *testing.T) {
			var disk slowDisk
			o := testOptions(disk.wrap(vfs.NewMem()), newClock())
			o.SyncInterval, o.SyncStall, o.QueueMessages = time.Microsecond, time.Microsecond, 100
			s := mustOpen(t, o)
			m, first := join(t, s, name), join(t, s, "first")
			disk.mu.Lock()
			first.send("written, and never synced")
			for range 100_000 { // a committer that does not wait has room for more soon
				if m.Append(publish("x")) == nil {
					m.sent++
				}
				runtime.Gosched()
			}
			m.mu.Lock()
			if n := len(m.got); n > 0 || m.sent != o.QueueMessages {
				t.Errorf("%d of %d messages were acknowledged", n, m.sent)
			}
			m.mu.Unlock()
			disk.mu.Unlock()
			m.wait()
			if s.tele.stalls.Get() == 0 {
				t.Error("the stall was not counted")
			}
			mustClose(t, s)
		})
	}
}

func TestQueueBounds(t *testing.T) {
	var q queue
	q.init(3, 1000)
	r := new(Room)
	big := publish(strings.Repeat("x", 2000))
	small := publish("x")
	want := func(what string, got, want *proto.Code) {
		t.Helper()
		if got != want {
			t.Fatalf("%s: %v, want %v", what, got, want)
		}
	}
	want("an empty queue takes any message", q.push(r, big), nil)
	want("bytes are bounded", q.push(r, small), proto.ErrOverloaded)
	ops, ok := q.swap(nil)
	if !ok || len(ops) != 1 {
		t.Fatalf("%d operations", len(ops))
	}
	want("what is being written counts", q.push(r, small), proto.ErrOverloaded)
	q.release(1, queueBytes(big))
	for range 3 {
		want("a free queue", q.push(r, small), nil)
	}
	want("messages are bounded", q.push(r, small), proto.ErrOverloaded)
	other := new(Room)
	q.pushIdle(other) // is not counted
	q.pushIdle(other)
	want("after Close", q.push(other, small), proto.ErrInternal)
	q.close()
	want("a closed queue", q.push(r, small), proto.ErrShuttingDown)
	if ops, ok = q.swap(ops[:0]); !ok || len(ops) != 4 {
		t.Fatalf("a closed queue gives up %d operations", len(ops))
	}
	if _, ok = q.swap(ops[:0]); ok {
		t.Fatal("an empty closed queue goes on")
	}
}

// TestCut bounds a batch by messages and by bytes.
func TestCut(t *testing.T) {
	c := committer{maxBytes: 1000}
	ops := func(sizes ...int) (out []op) {
		for _, n := range sizes {
			out = append(out, op{pub: publish(strings.Repeat("x", n-64))})
		}
		return out
	}
	for _, tc := range []struct {
		ops  []op
		want int
	}{
		{ops(100), 1},
		{ops(5000), 1},
		{ops(5000, 100), 1},
		{ops(400, 600, 100), 2},
		{ops(400, 601), 1},
		{make([]op, 3*maxBatchMessages), maxBatchMessages},
	} {
		if got := c.cut(tc.ops); got != tc.want {
			t.Errorf("%d operations: %d in the first batch, want %d", len(tc.ops), got, tc.want)
		}
	}
}

// TestManyWriters appends from many goroutines to many rooms that come and go,
// while others read. Each room's sink must see 1, 2, 3, … and nothing twice.
func TestManyWriters(t *testing.T) {
	s := mustOpen(t, testOptions(vfs.NewMem(), newClock()))
	var writers sync.WaitGroup
	for w := range 8 {
		writers.Go(func() {
			name := fmt.Sprintf("room%d", w)
			if w%2 == 1 {
				name = "safe:" + name
			}
			last := uint64(0)
			for range 15 {
				m, err := tryJoin(t, s, name)
				if err != nil {
					t.Error(err)
					return
				}
				var both sync.WaitGroup
				for range 2 {
					both.Go(func() {
						for range 40 {
							if err := m.Append(publish("x")); err != nil {
								t.Error(err)
							}
						}
					})
				}
				both.Go(func() {
					for range 5 {
						if _, err := readAll(m.Room, proto.Range{Limit: 10, Reverse: true}); err != nil {
							t.Error(err)
						}
						m.First()
					}
				})
				both.Wait()
				m.sent = 80
				for _, p := range m.wait() {
					if last++; p.Offset != last || p.Err != nil {
						t.Errorf("%s: offset %d after %d (%v)", name, p.Offset, last-1, p.Err)
						return
					}
				}
				m.Close()
			}
		})
	}
	writers.Wait()
	mustClose(t, s)
}

// TestCloseOnStalledDisk stops a store whose disk has not synced for too long
// while much is queued: it goes on once the disk does.
func TestCloseOnStalledDisk(t *testing.T) {
	for _, name := range []string{"a", "safe:a"} {
		var disk slowDisk
		o := testOptions(disk.wrap(vfs.NewMem()), newClock())
		o.SyncInterval, o.SyncStall, o.QueueMessages = time.Millisecond, time.Millisecond, 5*maxBatchMessages
		s := mustOpen(t, o)
		m := join(t, s, name)
		disk.mu.Lock()
		for m.Append(publish("x")) == nil {
			m.sent++
		}
		closed := make(chan error, 1)
		go func() { closed <- s.Close() }()
		for { // until the queue is closed
			if err := m.Append(publish("x")); err == nil {
				m.sent++
			} else if err.Code == proto.ErrShuttingDown {
				break
			}
		}
		disk.mu.Unlock()
		if err := <-closed; err != nil {
			t.Fatal(err)
		}
		for i, p := range m.wait() {
			if p.Err != nil || p.Offset != uint64(i+1) {
				t.Fatalf("%s: publish %d: offset %d, %v", name, i, p.Offset, p.Err)
			}
		}
	}
}

// TestCloseFlushes appends right before the stop: all of it is delivered and
// found.
func TestCloseFlushes(t *testing.T) {
	o := testOptions(vfs.NewCrashableMem(), newClock())
	s := mustOpen(t, o)
	m, safe := join(t, s, "a"), join(t, s, "safe:a")
	for range 1000 {
		m.push(publish("x"))
		safe.push(publish("x"))
	}
	mustClose(t, s)
	if len(m.wait()) != 1000 || len(safe.wait()) != 1000 {
		t.Fatal("not all was delivered")
	}
	if err := m.Append(publish("late")); err == nil || err.Code != proto.ErrShuttingDown {
		t.Fatalf("an append after the stop: %v", err)
	}
	if err := m.Read(proto.Range{}, func(*proto.Message) bool { return true }); err == nil {
		t.Fatal("a read after the stop")
	}
	m.Close()
	o.FS = o.FS.(*vfs.MemFS).CrashClone(vfs.CrashCloneCfg{})
	s = mustOpen(t, o)
	if s.Generation() != 1 {
		t.Fatal("the stop was not clean")
	}
	wantOffsets(t, "async", join(t, s, "a").read(proto.Range{}), upTo(1, 1000))
	wantOffsets(t, "sync", join(t, s, "safe:a").read(proto.Range{}), upTo(1, 1000))
	mustClose(t, s)
}
