package storage

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/thronghq/throng/auth"
	"github.com/thronghq/throng/auth/authtest"
	"github.com/thronghq/throng/proto"
	"github.com/thronghq/throng/storage/storagetest"
)

// maxOperations bounds what one short life of a store does to its disk.
const maxOperations = 5000

// kept says how much of what was not synced a disk keeps, in percent, after an
// operation has failed in each of the modes: nothing, as when a machine stops, or
// everything, as when only the process does. TestCrash keeps parts.
var kept = map[storagetest.FaultMode]int{storagetest.NotDone: 0, storagetest.Torn: 100, storagetest.Done: 100}

// eachFault calls live with each index of an operation, in each of the modes,
// until live says that no operation of that index has taken place.
func eachFault(t *testing.T, live func(t *testing.T, at int64, mode storagetest.FaultMode) (happened string)) {
	for _, mode := range storagetest.FaultModes {
		t.Run(mode.String(), func(t *testing.T) {
			t.Parallel()
			for at := int64(0); ; at++ {
				if at > maxOperations {
					t.Fatalf("%d operations in one short life of a store", maxOperations)
				}
				if live(t, at, mode) == "" {
					t.Logf("%d operations were failed one by one", at)
					return
				}
			}
		})
	}
}

// lifeWithFault lets a store live in which one operation of the disk fails, and
// opens it again on a disk that lost some of what was not synced by then. It
// returns which operation failed, if any, and how the life ended.
func lifeWithFault(t *testing.T, at int64, mode storagetest.FaultMode, live func(Options) error) (s *Store, failed string, err error) {
	t.Helper()
	disk := storagetest.NewDisk()
	fault := storagetest.NewFault(at, mode)
	o := testOptions(fault.FS(disk.FS()), newClock())
	err = liveUntilFatal(o, live)
	failed = fault.Happened()
	o.FS = disk.Crash(kept[mode], uint64(at)).FS()
	s, openErr := Open("data", o)
	if openErr != nil {
		t.Fatalf("%s failed, %v (%v), and then the store does not open: %v", failed, mode, err, openErr)
	}
	return s, failed, err
}

// liveUntilFatal returns what live returns, or what the store says that it dies
// of: live may hang for good then.
func liveUntilFatal(o Options, live func(Options) error) error {
	fatal := make(chan error, 1)
	o.Fatal = func(err error) { fatal <- err }
	ended := make(chan error, 1)
	go func() { ended <- live(o) }()
	select {
	case err := <-ended:
		return err
	case err := <-fatal:
		return err
	}
}

// witness has seen what a store acknowledged.
type witness struct {
	mu     sync.Mutex
	rooms  map[string][]proto.Message // acknowledged, by room
	epochs map[string]string
	users  []string
	outbox []string

	beforeClose func() // called by everyLife, where set
}

func newWitness() *witness {
	return &witness{rooms: make(map[string][]proto.Message), epochs: make(map[string]string)}
}

func (w *witness) note(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

// everyLife opens a store and does everything with it that must last: messages
// with keys in a sync and in an async room, accounts, the outbox, rooms that go
// idle and wake, tables and logs that are replaced, and two clean stops. It ends
// at the first error.
func (w *witness) everyLife(o Options) error {
	s, err := Open("data", o)
	if err != nil {
		return err
	}
	rooms := make(map[string]*scribe)
	for i := range 12 {
		for _, name := range []string{"safe:a", "a"} {
			if rooms[name] == nil {
				if rooms[name], err = newScribe(s, name); err != nil {
					return err
				}
				head := rooms[name].Head()
				w.note(func() { w.epochs[name] = head.Epoch })
			}
			p, err := rooms[name].write(fmt.Sprint("k", i))
			if err != nil {
				return err
			}
			w.note(func() { w.rooms[name] = append(w.rooms[name], p.Message) })
		}
		switch i {
		case 2, 8:
			name := fmt.Sprint("user", i)
			if err := s.Apply(&auth.Changes{Users: []auth.UserRecord{authtest.User(name)}}); err != nil {
				return err
			}
			w.note(func() { w.users = append(w.users, name) })
		case 3, 9:
			key := fmt.Sprint("event", i)
			if err := s.Outbox().Write([][]byte{[]byte(key)}, [][]byte{[]byte("waits")}); err != nil {
				return err
			}
			w.note(func() { w.outbox = append(w.outbox, key) })
		case 4, 7:
			if err := s.db.Flush(); err != nil {
				return err
			}
		case 5:
			for _, r := range rooms {
				r.Close()
			}
			clear(rooms)
		case 6:
			if err := s.Close(); err != nil {
				return err
			}
			if s, err = Open("data", o); err != nil {
				return err
			}
			clear(rooms)
		}
	}
	if w.beforeClose != nil {
		w.beforeClose()
	}
	return s.Close()
}

// scribe is a room whose messages are written one by one.
type scribe struct {
	*Room
	answers chan *proto.Publish
}

func newScribe(s *Store, name string) (*scribe, error) {
	w := &scribe{answers: make(chan *proto.Publish, 1)}
	var err error
	w.Room, err = s.Room(name, func(pubs []*proto.Publish) {
		for _, p := range pubs {
			w.answers <- p
		}
	})
	return w, err
}

func (w *scribe) write(key string) (*proto.Publish, error) {
	p := publish("said with " + key)
	p.Key = key
	if err := w.Append(p); err != nil {
		return nil, err
	}
	if p = <-w.answers; p.Err != nil {
		return nil, p.Err
	}
	return p, nil
}

// check looks at what is left of a life that ended with err.
func (w *witness) check(t *testing.T, s *Store, err error) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	clean := s.Generation() == 1
	if err == nil && !clean {
		t.Errorf("generation %d after a clean stop", s.Generation())
	}
	for _, name := range []string{"safe:a", "a"} {
		w.checkRoom(t, s, name, clean)
	}
	for _, name := range w.users {
		if u, err := s.User(name); u == nil || err != nil {
			t.Errorf("user %s was acknowledged, and is %v, %v", name, u, err)
		}
	}
	for _, key := range w.outbox {
		if v, err := s.Outbox().Get([]byte(key)); string(v) != "waits" || err != nil {
			t.Errorf("outbox record %s was acknowledged, and is %q, %v", key, v, err)
		}
	}
}

func (w *witness) checkRoom(t *testing.T, s *Store, name string, clean bool) {
	t.Helper()
	m := join(t, s, name)
	acked, epoch, head := w.rooms[name], w.epochs[name], m.Head()
	log := m.read(proto.Range{})
	wantOffsets(t, name, log, upTo(1, head.Offset))
	if (m.sync || clean) && head.Offset < uint64(len(acked)) {
		t.Fatalf("%s: %d messages of %d acknowledged ones", name, head.Offset, len(acked))
	}
	for i := range min(len(acked), len(log)) {
		a, b := &acked[i], &log[i]
		if a.ID != b.ID || a.Time != b.Time || a.Key != b.Key || string(a.Content) != string(b.Content) {
			t.Fatalf("%s: offset %d was %+v, and is %+v", name, i+1, a, b)
		}
	}
	if same := head.Epoch == epoch; head.Offset > 0 && len(acked) > 0 && same != (m.sync || clean) {
		t.Fatalf("%s: epoch %s, and %s before; a clean stop: %v", name, head.Epoch, epoch, clean)
	}
	for offset := range uint64(len(acked) + 2) {
		want := head.Offset > 0 && offset <= head.Offset // an empty room's log may have begun anew
		if got := m.Covers(proto.Position{Epoch: epoch, Offset: offset}); got != want && len(acked) > 0 {
			t.Fatalf("%s: position %d of the old epoch, %d survived: covered %v", name, offset, head.Offset, got)
		}
	}
	next := m.send("after")[0]
	if next.Err != nil || next.Offset != head.Offset+1 || next.Time <= head.Time {
		t.Fatalf("%s: after %+v came %+v, %v", name, head, next.Message, next.Err)
	}
	lost := proto.Position{Epoch: epoch, Offset: head.Offset + 1}
	if head.Epoch != epoch && m.Covers(lost) {
		t.Fatalf("%s: position %d, which was lost, matches another message", name, lost.Offset)
	}
	if slices.ContainsFunc(acked, func(a proto.Message) bool { return a.ID == next.Message.ID }) {
		t.Fatalf("%s: an id came twice", name)
	}
}

// TestFaults fails each operation of the disk in the short life of a store: not
// done, half done, and done but reported as failed. Whatever happens, what was
// acknowledged as durable is there afterwards, nothing has a hole, no position
// from a lost tail matches another message, and the store never says that all is
// well after it lost something.
func TestFaults(t *testing.T) {
	eachFault(t, func(t *testing.T, at int64, mode storagetest.FaultMode) string {
		w := newWitness()
		s, failed, err := lifeWithFault(t, at, mode, w.everyLife)
		w.check(t, s, err)
		mustClose(t, s)
		if t.Failed() {
			t.Fatalf("operation %d, %s, failed (%v): %v", at, failed, mode, err)
		}
		return failed
	})
}

// TestFaultsOfRecovery stops a machine before its store has been closed, and
// fails each operation of the recovery: the next one finds everything.
func TestFaultsOfRecovery(t *testing.T) {
	w := newWitness()
	running := storagetest.NewDisk()
	var crashed *storagetest.Disk
	w.beforeClose = func() { crashed = running.Crash(0, 1) }
	if err := w.everyLife(testOptions(running.FS(), newClock())); err != nil {
		t.Fatal(err)
	}
	eachFault(t, func(t *testing.T, at int64, mode storagetest.FaultMode) string {
		disk := crashed.Crash(100, 1)
		fault := storagetest.NewFault(at, mode)
		o := testOptions(fault.FS(disk.FS()), newClock())
		err := liveUntilFatal(o, func(o Options) error {
			s, err := Open("data", o)
			if err != nil {
				return err
			}
			return s.Close()
		})
		o.FS = disk.Crash(kept[mode], uint64(at)).FS()
		s := mustOpen(t, o)
		if s.Generation() < 2 {
			t.Errorf("generation %d after an unclean stop", s.Generation())
		}
		w.check(t, s, errUnclean)
		mustClose(t, s)
		if t.Failed() {
			t.Fatalf("operation %d, %s, failed (%v): %v", at, fault.Happened(), mode, err)
		}
		return fault.Happened()
	})
}

// errUnclean stands for a stop that was not clean.
var errUnclean = errors.New("the machine stopped")
