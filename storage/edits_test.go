package storage

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/thronghq/throng/proto"
	"github.com/thronghq/throng/storage/storagetest"
)

// tombstone is the edit that deletes a message.
func tombstone(m *proto.Message) *proto.Publish {
	p := &proto.Publish{Message: *m, Edit: proto.EditDelete, Durable: true}
	p.Kind, p.Content = proto.KindDeleted, nil
	return p
}

func trimTo(offset uint64, micros int64) *proto.Publish {
	return &proto.Publish{Message: proto.Message{Offset: offset, Time: micros}, Edit: proto.EditTrim, Durable: true}
}

func endOfRoom() *proto.Publish { return &proto.Publish{Edit: proto.EditEnd, Durable: true} }

// edit appends an edit and returns what became of it.
func (m *member) edit(p *proto.Publish) *proto.Error {
	m.t.Helper()
	m.push(p)
	return m.wait()[0].Err
}

// losePower stops the machine: only what was synced is left.
func losePower(t *testing.T, s *Store, o *Options) *Store {
	t.Helper()
	left := o.FS.(*vfs.MemFS).CrashClone(vfs.CrashCloneCfg{})
	mustClose(t, s)
	o.FS = left
	return mustOpen(t, *o)
}

// TestDeleteMessage deletes messages in rooms of all kinds; right after the
// answer the machine stops.
func TestDeleteMessage(t *testing.T) {
	for _, name := range []string{"a", "safe:a"} {
		t.Run(name, func(t *testing.T) { testDeleteMessage(t, name) })
	}
}

func testDeleteMessage(t *testing.T, name string) {
	o := testOptions(vfs.NewCrashableMem(), newClock())
	o.SyncInterval, o.SyncStall = time.Second, time.Minute
	s := mustOpen(t, o)
	m := join(t, s, name)
	for i := range 5 {
		p := publish(fmt.Sprint(i))
		p.Key = fmt.Sprint("k", i)
		m.push(p)
	}
	m.wait()
	before := m.read(proto.Range{})
	for _, offset := range []uint64{2, 5, 2} { // the newest, too, and one twice
		if err := m.edit(tombstone(&before[offset-1])); err != nil {
			t.Fatal(err)
		}
	}
	beyond := before[4]
	beyond.Offset = 6
	if err := m.edit(tombstone(&beyond)); !errors.Is(err, proto.ErrNotFound) {
		t.Fatalf("a message that is not there is deleted: %v", err)
	}
	for life := range 2 {
		after := m.read(proto.Range{})
		for i := range after {
			want := before[i]
			if i == 1 || i == 4 {
				want.Kind, want.Content = proto.KindDeleted, nil
			}
			if got := after[i]; got.ID != want.ID || got.Offset != want.Offset || got.Time != want.Time || got.From != want.From ||
				got.Key != want.Key || got.Kind != want.Kind || !bytes.Equal(got.Content, want.Content) {
				t.Fatalf("life %d: %+v, want %+v", life, got, want)
			}
		}
		if len(after) != 5 {
			t.Fatalf("life %d: %d messages", life, len(after))
		}
		if life == 0 {
			s = losePower(t, s, &o)
			m = join(t, s, name)
		}
	}
	if p := m.send("next")[0]; p.Offset != 6 || p.Time <= before[4].Time {
		t.Fatalf("the next message: %+v", p)
	}
	mustClose(t, s)
}

// TestDurableSettings stores settings of an async room; right after the answer the
// machine stops.
func TestDurableSettings(t *testing.T) {
	o := testOptions(vfs.NewCrashableMem(), newClock())
	o.SyncInterval, o.SyncStall = time.Second, time.Minute
	s := mustOpen(t, o)
	m := join(t, s, "a")
	m.push(&proto.Publish{Settings: []byte("{}"), SettingsOnly: true, Durable: true})
	m.wait()
	s = losePower(t, s, &o)
	if got := join(t, s, "a").Settings(); string(got) != "{}" {
		t.Fatalf("the settings are %q", got)
	}
	mustClose(t, s)
}

// TestDeleteOlderMessages deletes in buckets and classes that the room has left,
// and not what has expired.
func TestDeleteOlderMessages(t *testing.T) {
	clock := newClock()
	o := testOptions(vfs.NewMem(), clock)
	o.Namespaces[0].HistoryTTL = 80 * time.Second
	s := mustOpen(t, o)
	m := join(t, s, "a")
	for range 4 {
		m.send("old")
		clock.advance(15 * time.Second)
	}
	mustClose(t, s)
	o.Namespaces[0].HistoryTTL = 160 * time.Second
	s = mustOpen(t, o)
	m = join(t, s, "a")
	m.send("new", "new")
	all := m.read(proto.Range{})
	clock.advance(30 * time.Second) // the first one expires
	if err := m.edit(tombstone(&all[0])); !errors.Is(err, proto.ErrNotFound) {
		t.Fatalf("an expired message is deleted: %v", err)
	}
	for _, i := range []int{1, 3, 4} {
		if err := m.edit(tombstone(&all[i])); err != nil {
			t.Fatal(err)
		}
	}
	var kinds []proto.Kind
	for _, msg := range m.read(proto.Range{}) {
		kinds = append(kinds, msg.Kind)
	}
	const gone = proto.KindDeleted
	if want := []proto.Kind{gone, 0, gone, gone, 0}; !slices.Equal(kinds, want) {
		t.Fatalf("kinds %v, want %v", kinds, want)
	}
	wantOffsets(t, "all", m.read(proto.Range{}), upTo(2, 6))
	mustClose(t, s)
}

// TestEditsKeepTheirOrder holds the disk's syncs back: what an async room appends
// after a durable edit waits behind it, and other rooms do not.
func TestEditsKeepTheirOrder(t *testing.T) {
	disk := storagetest.NewDisk()
	o := testOptions(disk.FS(), newClock())
	o.SyncStall = time.Minute
	s := mustOpen(t, o)
	m, other := join(t, s, "a"), join(t, s, "b")
	m.send("first")
	first := m.read(proto.Range{})[0]
	disk.HoldSyncs()
	for i := range 10 {
		if i%3 == 0 {
			m.push(tombstone(&first))
		} else {
			m.push(publish("x"))
		}
		other.send("y") // so that the committer has done with the one before
	}
	m.mu.Lock()
	early := len(m.got)
	m.mu.Unlock()
	disk.Release()
	if early > 0 {
		t.Fatalf("%d publishes were delivered before the edit that they follow", early)
	}
	var last uint64 = 1
	for i, p := range m.wait() {
		switch {
		case p.Err != nil, (i%3 == 0) != (p.Edit == proto.EditDelete):
			t.Fatalf("publish %d: %+v", i, p)
		case p.Edit == proto.EditNone && p.Offset != last+1:
			t.Fatalf("offset %d follows %d", p.Offset, last)
		case p.Edit == proto.EditNone:
			last++
		}
	}
	m.send("then") // with nothing held, nothing waits
	mustClose(t, s)
}

func TestTrimmed(t *testing.T) {
	o := testOptions(vfs.NewCrashableMem(), newClock())
	o.SyncInterval, o.SyncStall = time.Second, time.Minute
	s := mustOpen(t, o)
	m := join(t, s, "a")
	m.send(numbered(1, 30)...)
	for _, floor := range []uint64{11, 7} { // a lower one changes nothing
		if err := m.edit(trimTo(floor, 0)); err != nil {
			t.Fatal(err)
		}
	}
	for life := range 2 {
		wantOffsets(t, "trimmed", m.read(proto.Range{}), upTo(11, 30))
		wantOffsets(t, "after 3", m.read(proto.Range{After: 3, Limit: 2}), upTo(11, 12))
		epoch := m.Head().Epoch
		if m.First() != 11 || m.Covers(proto.Position{Epoch: epoch, Offset: 9}) || !m.Covers(proto.Position{Epoch: epoch, Offset: 10}) {
			t.Fatalf("life %d: first is %d", life, m.First())
		}
		if life == 0 {
			s = losePower(t, s, &o)
			m = join(t, s, "a")
		}
	}
	all := m.read(proto.Range{})
	if err := m.edit(tombstone(&proto.Message{Offset: 10, Time: all[0].Time - 1})); !errors.Is(err, proto.ErrNotFound) {
		t.Fatalf("a trimmed message is deleted: %v", err)
	}

	// All of it: the log goes on where it was.
	epoch := m.Head().Epoch
	if err := m.edit(trimTo(31, 0)); err != nil {
		t.Fatal(err)
	}
	s = losePower(t, s, &o)
	m = join(t, s, "a")
	if h := m.Head(); h.Offset != 30 || m.First() != 0 || len(m.read(proto.Range{})) != 0 {
		t.Fatalf("all is trimmed: %+v, first is %d", h, m.First())
	}
	if !m.Covers(proto.Position{Epoch: epoch, Offset: 30}) || m.Covers(proto.Position{Epoch: epoch, Offset: 29}) {
		t.Fatal("the wrong positions are covered")
	}
	m.send("next")
	wantOffsets(t, "after all", m.read(proto.Range{}), []uint64{31})
	mustClose(t, s)
}

// TestTrimMany trims so much that it leaves the disk at once, all but the newest
// message, after which nothing is lost in a crash.
func TestTrimmedFar(t *testing.T) {
	o := testOptions(vfs.NewCrashableMem(), newClock())
	o.Namespaces[0].HistorySize = 4 * trimSlack
	s := mustOpen(t, o)
	m := join(t, s, "a")
	for range 10 {
		m.send(numbered(1, trimSlack/8)...)
	}
	head := m.Head()
	if err := m.edit(trimTo(head.Offset+1, 0)); err != nil {
		t.Fatal(err)
	}
	if n := countMessages(t, s); n != 1 {
		t.Fatalf("%d messages are on the disk", n)
	}
	s = losePower(t, s, &o)
	m = join(t, s, "a")
	if h := m.Head(); h.Offset != head.Offset {
		t.Fatalf("the head is %+v, was %+v", h, head)
	}
	if !m.Covers(proto.Position{Epoch: head.Epoch, Offset: head.Offset}) {
		t.Fatal("the old epoch is forgotten")
	}
	m.send("next")
	wantOffsets(t, "after all", m.read(proto.Range{}), []uint64{head.Offset + 1})
	mustClose(t, s)
}

// keysOf counts the keys with a prefix.
func keysOf(t *testing.T, s *Store, prefix byte) (n int) {
	t.Helper()
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{prefix}, UpperBound: []byte{prefix + 1}})
	if err != nil {
		t.Fatal(err)
	}
	for ok := it.First(); ok; ok = it.Next() {
		n++
	}
	if err := it.Close(); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestEnd deletes a room with all that it has, between others.
func TestEnd(t *testing.T) {
	for _, crashes := range []bool{false, true} {
		for _, name := range []string{"b", "safe:b", "counted:b"} {
			t.Run(fmt.Sprint(name, crashes), func(t *testing.T) { testEnd(t, name, crashes) })
		}
	}
}

func testEnd(t *testing.T, name string, crashes bool) {
	o := testOptions(vfs.NewCrashableMem(), newClock())
	o.SyncInterval, o.SyncStall = time.Second, time.Minute
	s := mustOpen(t, o)
	for _, other := range []string{"a", "c"} {
		join(t, s, other).send("stays")
	}
	m := join(t, s, name)
	m.push(&proto.Publish{Settings: []byte(`{"host":"ada"}`), SettingsOnly: true})
	m.send(numbered(1, 20)...)
	if err := s.SaveReceipts([]proto.Receipt{{Room: name, User: "ada", Offset: 7}, {Room: "a", User: "ada", Offset: 1}}); err != nil {
		t.Fatal(err)
	}
	old := m.Head()
	m.push(publish("before"))
	m.push(endOfRoom())
	m.push(publish("after"))
	m.push(endOfRoom())
	got := m.wait()
	if got[0].Err != nil || got[1].Err != nil || !errors.Is(got[2].Err, proto.ErrRoomClosed) || !errors.Is(got[3].Err, proto.ErrRoomClosed) {
		t.Fatalf("before the end %v, the end %v, after it %v and %v", got[0].Err, got[1].Err, got[2].Err, got[3].Err)
	}
	if msgs := m.read(proto.Range{}); len(msgs) != 0 {
		t.Fatalf("%d messages are read after the end", len(msgs))
	}
	m.Close()
	if crashes {
		s = losePower(t, s, &o)
	}
	m = join(t, s, name) // waits for the old one
	if h := m.Head(); h.Offset != 0 || h.Epoch == old.Epoch || m.Settings() != nil || m.Covers(proto.Position{Epoch: old.Epoch}) {
		t.Fatalf("the new room begins with %+v, %s", h, m.Settings())
	}
	if acked, err := s.Receipt(name, "ada"); err != nil || acked != 0 {
		t.Fatalf("a receipt of %d is left, %v", acked, err)
	}
	m.send("anew")
	if _, err := s.purge(); err != nil {
		t.Fatal(err)
	}
	if m.namespace.HistorySize > 0 {
		wantOffsets(t, "anew", m.read(proto.Range{}), []uint64{1})
	}
	mustClose(t, s)
	s = mustOpen(t, o)
	if n := keysOf(t, s, prefixEnded); n != 0 {
		t.Fatalf("%d deleted rooms are left", n)
	}
	if n := keysOf(t, s, prefixAcked); n != 1 {
		t.Fatalf("%d receipts are left", n)
	}
	want := 3
	if name == "counted:b" {
		want = 2
	}
	if n := countMessages(t, s); n != want {
		t.Fatalf("%d messages are left, want %d", n, want)
	}
	mustClose(t, s)
}

// TestPurgeGoesOn stops before a large deleted room is removed: that happens
// after the next start.
func TestPurgeGoesOn(t *testing.T) {
	o := testOptions(vfs.NewMem(), newClock())
	o.Namespaces[0].HistorySize = 2 * trimSlack
	s := mustOpen(t, o)
	for i, n := range []int{10, 2 * purgeBatch, trimSlack + 10} {
		m := join(t, s, fmt.Sprint(i))
		m.send(numbered(1, n)...)
		if err := m.edit(endOfRoom()); err != nil {
			t.Fatal(err)
		}
	}
	mustClose(t, s)
	s = mustOpen(t, o)
	if _, err := s.purge(); err != nil {
		t.Fatal(err)
	}
	if n, ended := countMessages(t, s), keysOf(t, s, prefixEnded); n != 0 || ended != 0 {
		t.Fatalf("%d messages and %d rooms are left", n, ended)
	}
	mustClose(t, s)
}

func TestRooms(t *testing.T) {
	clock := newClock()
	o := testOptions(vfs.NewCrashableMem(), clock)
	s := mustOpen(t, o)
	var want []string
	for i := range 9 {
		name := fmt.Sprint("r", i)
		m := join(t, s, name)
		switch i % 3 {
		case 0:
			m.send(numbered(1, i+1)...)
		case 1:
			m.push(&proto.Publish{Settings: fmt.Append(nil, i), SettingsOnly: true, Durable: true})
			m.wait()
		case 2:
			continue // nothing is stored of it
		}
		want = append(want, name)
		if i < 5 {
			m.Close()
		}
	}
	join(t, s, "other").send("x")
	awaitSafe(s)
	check := func(s *Store, prefix, after string, limit int, want []string) {
		t.Helper()
		list, err := s.Rooms(prefix, after, limit)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, r := range list {
			names = append(names, r.Name)
			i := int(r.Name[len(r.Name)-1] - '0')
			if i%3 == 0 && (r.Offset != uint64(i+1) || r.Time == 0) || i%3 == 1 && (r.Offset != 0 || string(r.Settings) != fmt.Sprint(i)) {
				t.Errorf("%+v", r)
			}
		}
		if !slices.Equal(names, want) {
			t.Fatalf("%v, want %v", names, want)
		}
	}
	for range 2 {
		check(s, "r", "", 100, want)
		check(s, "r", "r1", 2, want[2:4])
		check(s, "r", "r7", 100, nil)
		check(s, "r", "a", 1, want[:1])
		check(s, "s", "", 100, nil)
		check(s, "r", "z", 100, nil)
		s = losePower(t, s, &o) // records are out of date now
	}
	clock.advance(2 * o.Namespaces[0].HistoryTTL)
	check(s, "r", "", 100, []string{"r1", "r4", "r7"}) // whose settings stay
	mustClose(t, s)
}

// TestCrashWithEdits stops the machine in the middle of edits and keeps a share
// of what was not synced: whatever was answered holds, and nothing has a hole.
func TestCrashWithEdits(t *testing.T) {
	for _, percent := range []int{0, 50, 100} {
		for seed := range uint64(8) {
			t.Run(fmt.Sprintf("%d%%/%d", percent, seed), func(t *testing.T) { testCrashWithEdits(t, percent, seed) })
		}
	}
}

// promised is what a room's sink was told of its edits.
type promised struct {
	deleted []proto.Message
	floor   uint64
	ended   bool
}

// toldSink remembers it.
type toldSink struct {
	mu sync.Mutex
	promised
}

func (p *toldSink) sink(pubs []*proto.Publish) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, pub := range pubs {
		switch {
		case pub.Err != nil:
		case pub.Edit == proto.EditDelete:
			p.deleted = append(p.deleted, pub.Message)
		case pub.Edit == proto.EditTrim:
			p.floor = max(p.floor, pub.Offset)
		case pub.Edit == proto.EditEnd:
			p.ended = true
		}
	}
}

func testCrashWithEdits(t *testing.T, percent int, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, uint64(percent)))
	fs := vfs.NewCrashableMem()
	o := testOptions(fs, newClock())
	s := mustOpen(t, o)
	names := []string{"a", "b", "safe:a", "safe:b"}
	told := make(map[string]*toldSink)
	var rooms []*Room
	messages := make(map[string][]proto.Message)
	for _, name := range names {
		m := join(t, s, name)
		m.send(numbered(1, 40)...)
		messages[name] = m.read(proto.Range{})
		m.Close()
		told[name] = new(toldSink)
		r, err := s.Room(name, told[name].sink)
		if err != nil {
			t.Fatal(err)
		}
		rooms = append(rooms, r)
	}
	stop := rng.IntN(150)
	var crashed vfs.FS
	before := make(map[string]promised)
	for i := range 200 {
		r := rooms[rng.IntN(len(rooms))]
		msgs := messages[r.name]
		p := publish("more")
		switch rng.IntN(20) {
		case 0:
			p = trimTo(uint64(1+rng.IntN(20)), 0)
		case 1:
			if rng.IntN(8) == 0 {
				p = endOfRoom()
			}
		case 2, 3, 4, 5, 6, 7, 8:
			p = tombstone(&msgs[rng.IntN(len(msgs))])
		}
		if err := r.Append(p); err != nil {
			t.Fatal(err)
		}
		if i == stop {
			for name, p := range told {
				p.mu.Lock()
				before[name] = promised{deleted: slices.Clone(p.deleted), floor: p.floor, ended: p.ended}
				p.mu.Unlock()
			}
			crashed = fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rand.New(rand.NewPCG(seed, 1))})
		}
	}
	mustClose(t, s)
	o.FS = crashed
	s = mustOpen(t, o)
	for name, p := range before {
		checkPromised(t, s, name, &p)
	}
	mustClose(t, s)
}

func checkPromised(t *testing.T, s *Store, name string, p *promised) {
	t.Helper()
	m := join(t, s, name)
	head := m.Head().Offset
	if head == 0 && m.Settings() == nil { // it has ended, whether that was told or not
		return
	}
	if p.ended {
		t.Fatalf("%s has ended, and goes on at %d", name, head)
	}
	first := m.First()
	if first < p.floor {
		t.Fatalf("%s was trimmed to %d, and begins with %d", name, p.floor, first)
	}
	all := m.read(proto.Range{})
	wantOffsets(t, name, all, upTo(first, head))
	for _, gone := range p.deleted {
		if gone.Offset < first {
			continue
		}
		if got := all[gone.Offset-first]; got.Kind != proto.KindDeleted || len(got.Content) > 0 || got.ID != gone.ID || got.From != gone.From {
			t.Fatalf("%s: %+v was deleted", name, got)
		}
	}
}
