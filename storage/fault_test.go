package storage

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/thronghq/throng/proto"
	"github.com/thronghq/throng/storage/storagetest"
)

// TestFaultsOfEdits is TestFaults with edits of an async room: what was answered
// holds.
func TestFaultsOfEdits(t *testing.T) {
	eachFault(t, func(t *testing.T, at int64, mode storagetest.FaultMode) string {
		told := new(toldSink)
		s, failed, err := lifeWithFault(t, at, mode, func(o Options) error { return editedLife(o, told) })
		told.mu.Lock()
		p := told.promised
		told.mu.Unlock()
		if err == nil && (len(p.deleted) != 10 || p.floor != 5 || !p.ended) {
			t.Fatalf("%s failed (%v) without an error: %+v", failed, mode, p)
		}
		checkPromised(t, s, "a", &p)
		mustClose(t, s)
		return failed
	})
}

// editedLife opens a store, appends and deletes messages in an async room, trims
// it, ends it, and closes the store, unless that says that it has failed.
func editedLife(o Options, told *toldSink) error {
	s, err := Open("data", o)
	if err != nil {
		return err
	}
	answers := make(chan *proto.Publish, 1)
	r, err := s.Room("a", func(pubs []*proto.Publish) {
		told.sink(pubs)
		answers <- pubs[0]
	})
	if err != nil {
		return err
	}
	do := func(p *proto.Publish) error {
		if err := r.Append(p); err != nil {
			return err
		}
		if p := <-answers; p.Err != nil {
			return p.Err
		}
		return nil
	}
	for i := range 10 {
		p := publish("x")
		if err := do(p); err != nil {
			return err
		}
		if err := do(tombstone(&p.Message)); err != nil {
			return err
		}
		if i == 6 {
			if err := do(trimTo(5, 0)); err != nil {
				return err
			}
		}
	}
	if err := do(endOfRoom()); err != nil {
		return err
	}
	return s.Close()
}

// TestLogFails breaks the write-ahead log for good while async and sync rooms
// publish: Fatal is called once, nothing is acknowledged any more, and the
// history is still read.
func TestLogFails(t *testing.T) {
	for _, kinds := range [][]errorfs.OpKind{
		{errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo},
		{errorfs.OpFileWrite},
	} {
		for _, name := range []string{"a", "safe:a"} {
			t.Run(fmt.Sprintf("%d/%s", kinds[0], name), func(t *testing.T) { testLogFails(t, kinds, name) })
		}
	}
}

func testLogFails(t *testing.T, kinds []errorfs.OpKind, name string) {
	var broken atomic.Bool
	o := testOptions(errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if broken.Load() && strings.HasSuffix(op.Path, ".log") {
			for _, k := range kinds {
				if op.Kind == k {
					return errorfs.ErrInjected
				}
			}
		}
		return nil
	})), newClock())
	var calls atomic.Int64
	fatal := make(chan error, 16)
	o.Fatal = func(err error) { calls.Add(1); fatal <- err }
	s := mustOpen(t, o)
	m := join(t, s, name)
	m.send("1", "2", "3")
	broken.Store(true)
	if err := m.Append(publish("4")); err != nil {
		t.Fatal(err)
	}
	err := <-fatal
	if !errors.Is(err, errorfs.ErrInjected) && !strings.Contains(err.Error(), "inject") {
		t.Errorf("Fatal got %v", err)
	}
	if s.Healthy() == nil || !errors.Is(s.Healthy(), proto.ErrStorage) {
		t.Errorf("healthy after the failure: %v", s.Healthy())
	}
	if refused := m.Append(publish("5")); refused == nil || refused.Code != proto.ErrStorage {
		t.Errorf("an append after the failure: %v", refused)
	}
	wantOffsets(t, "after the failure", m.read(proto.Range{Limit: 3}), upTo(1, 3))
	if _, err := s.Room("other", func([]*proto.Publish) {}); !errors.Is(err, proto.ErrStorage) {
		t.Errorf("a room wakes after the failure: %v", err)
	}
	if err := s.Close(); err == nil {
		t.Error("a store that has failed closes cleanly")
	}
	if name == "safe:a" && m.Head().Offset != 3 {
		t.Errorf("a sync room acknowledged what was not synced: %+v", m.Head())
	}
	if n := calls.Load(); n != 1 {
		t.Errorf("Fatal was called %d times", n)
	}
}

// TestQueuedWhenLogFails has publishes waiting in the queue when the log fails:
// each gets its error.
func TestQueuedWhenLogFails(t *testing.T) {
	for _, name := range []string{"a", "safe:a"} {
		t.Run(name, func(t *testing.T) {
			var disk slowDisk
			var broken atomic.Bool
			o := testOptions(disk.wrap(errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
				if broken.Load() && strings.HasSuffix(op.Path, ".log") && op.Kind == errorfs.OpFileSyncData {
					return errorfs.ErrInjected
				}
				return nil
			}))), newClock())
			o.SyncInterval, o.SyncStall, o.QueueMessages = time.Microsecond, time.Microsecond, 50
			s := mustOpen(t, o)
			m, first := join(t, s, name), join(t, s, "first")
			disk.mu.Lock()
			first.send("written, and never synced")
			for m.Append(publish("x")) == nil {
				m.sent++
			}
			broken.Store(true)
			disk.mu.Unlock()
			for i, p := range m.wait() {
				if p.Err == nil {
					t.Errorf("message %d was acknowledged", i)
				}
			}
			if s.failure() == nil {
				t.Error("publishes failed without a failure of the store")
			}
			_ = s.Close() // it has failed
		})
	}
}

// TestBatchThatIsNotWritten has Pebble refuse a batch whose message needs no fsync:
// it is not acknowledged.
func TestBatchThatIsNotWritten(t *testing.T) {
	o := testOptions(vfs.NewMem(), newClock())
	o.SyncInterval, o.SyncStall = time.Second, time.Minute // no sync is first to meet the failure
	s := mustOpen(t, o)
	m := join(t, s, "a")
	close(s.stop)
	s.workers.Wait() // they use what is closed next
	if err := s.db.Close(); err != nil {
		t.Fatal(err)
	}
	if p := m.send("1")[0]; p.Err == nil {
		t.Error("the message was acknowledged")
	}
	if s.failure() == nil {
		t.Error("a batch was not written, and the store goes on")
	}
	s.queue.close()
	s.writers.Wait()
	close(s.drained)
	s.ticker.Wait()
}

// TestDamagedTable flips a byte in every table: reads return an error or all of
// the history, never less.
func TestDamagedTable(t *testing.T) {
	fs := vfs.NewMem()
	o := testOptions(fs, newClock())
	s := mustOpen(t, o)
	m := join(t, s, "a")
	for range 2000 {
		m.push(publish(string(payload)))
	}
	m.wait()
	if err := s.db.Flush(); err != nil {
		t.Fatal(err)
	}
	mustClose(t, s)
	names, err := fs.List("data")
	if err != nil {
		t.Fatal(err)
	}
	damaged := 0
	for _, name := range names {
		if !strings.HasSuffix(name, ".sst") {
			continue
		}
		b, err := fs.UnsafeGetFileDataBuffer("data/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if len(b) > 4000 {
			b[len(b)/2] ^= 0x40
			damaged++
		}
	}
	if damaged == 0 {
		t.Fatal("there was no table to damage")
	}
	s = mustOpen(t, o)
	r, err := s.Room("a", func([]*proto.Publish) {})
	if err == nil {
		var got []proto.Message
		if got, err = readAll(r, proto.Range{}); err == nil {
			t.Fatalf("%d of 2,000 messages were read from a damaged table without an error", len(got))
		}
	}
	if !errors.Is(err, proto.ErrStorage) {
		t.Fatalf("the error is %v", err)
	}
	if s.tele.corruptions.Get() == 0 {
		t.Fatal("the damage was not counted")
	}
	if s.Healthy() != nil {
		t.Fatal("a damaged table must not stop publishing")
	}
	mustClose(t, s)
}

// TestDamagedLog flips a byte in the middle of the write-ahead log of a store
// that did not stop cleanly: it must not open with half of what was synced.
func TestDamagedLog(t *testing.T) {
	disk := vfs.NewCrashableMem()
	o := testOptions(disk, newClock())
	s := mustOpen(t, o)
	m := join(t, s, "safe:a")
	for range 1000 {
		m.send(string(payload))
	}
	crashed := disk.CrashClone(vfs.CrashCloneCfg{})
	mustClose(t, s)
	names, err := crashed.List("data")
	if err != nil {
		t.Fatal(err)
	}
	damaged := false
	for _, name := range names {
		if !strings.HasSuffix(name, ".log") {
			continue
		}
		b, err := crashed.UnsafeGetFileDataBuffer("data/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if len(b) > 100_000 {
			b[len(b)/2] ^= 0x40
			damaged = true
		}
	}
	if !damaged {
		t.Fatal("there was no log to damage")
	}
	o.FS = crashed
	if s, err := Open("data", o); err == nil {
		n := join(t, s, "safe:a").Head().Offset
		t.Fatalf("the store opened with %d of 1,000 synced messages", n)
	}
}

// TestHole takes messages out of the middle and from the end of a room's log, as
// no failure should: a read that meets the hole returns an error.
func TestHole(t *testing.T) {
	s := mustOpen(t, testOptions(vfs.NewMem(), newClock()))
	m := join(t, s, "a")
	m.send(numbered(1, 20)...)
	remove := func(msg proto.Message) {
		t.Helper()
		c := m.namespace.class
		key := appendMessageKey(nil, messageKey{class: c.number, bucket: c.bucket(msg.Time), room: m.id, time: msg.Time, offset: msg.Offset})
		if err := s.db.Delete(key, nil); err != nil {
			t.Fatal(err)
		}
	}
	want := func(rg proto.Range, holed bool) {
		t.Helper()
		if _, err := readAll(m.Room, rg); (err != nil) != holed || (holed && !errors.Is(err, proto.ErrStorage)) {
			t.Errorf("%+v: %v", rg, err)
		}
	}
	all := m.read(proto.Range{})
	remove(all[9])
	want(proto.Range{}, true)
	want(proto.Range{Reverse: true}, true)
	want(proto.Range{After: 10}, false)
	want(proto.Range{Before: 10, Reverse: true}, false)
	want(proto.Range{Limit: 9}, false)
	remove(all[19])
	want(proto.Range{After: 15}, true)
	want(proto.Range{After: 18}, true)
	for _, msg := range all {
		remove(msg)
	}
	want(proto.Range{}, true)
	want(proto.Range{Reverse: true}, true)
	if m.First() == 0 {
		t.Error("a log whose messages are missing counts as empty")
	}
	if s.tele.readErrors.Get() == 0 {
		t.Error("the errors were not counted")
	}
	mustClose(t, s)
}

// TestFlushFails fails every table that is written for a while: the store goes
// on, counts, logs little, and flushes when it can.
func TestFlushFails(t *testing.T) {
	var broken atomic.Bool
	var failures atomic.Int64
	o := testOptions(errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if broken.Load() && op.Kind == errorfs.OpCreate && strings.HasSuffix(op.Path, ".sst") {
			if failures.Add(1) == 200 {
				broken.Store(false)
			}
			return errorfs.ErrInjected
		}
		return nil
	})), newClock())
	var logged lineCounter
	o.Logger = slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelError}))
	s := mustOpen(t, o)
	m := join(t, s, "a")
	m.send(numbered(1, 10)...)
	broken.Store(true)
	flushed, err := s.db.AsyncFlush()
	if err != nil {
		t.Fatal(err)
	}
	for broken.Load() {
		m.send("x")
	}
	<-flushed
	if s.Healthy() != nil {
		t.Fatal(s.Healthy())
	}
	if n := s.tele.backgroundErrors.Get(); n != 200 {
		t.Errorf("%d of 200 failures were counted", n)
	}
	if n := logged.n.Load(); n == 0 || n > 100 {
		t.Errorf("%d lines were logged for 200 failures", n)
	}
	wantOffsets(t, "the history", m.read(proto.Range{}), upTo(m.First(), m.Head().Offset))
	mustClose(t, s)
}

// lineCounter counts writes.
type lineCounter struct{ n atomic.Int64 }

func (c *lineCounter) Write(b []byte) (int, error) {
	c.n.Add(1)
	return len(b), nil
}
