package storage

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"

	"github.com/thronghq/throng/proto"
)

// Room is the log of one room that is awake. Its methods may be called from any
// goroutine.
type Room struct {
	// Static after the wake.
	store     *Store
	name      string
	namespace *namespace
	sync      bool // publishes are delivered after an fsync
	sink      func([]*proto.Publish)
	birth     uint64
	epoch     string
	epochs    []epoch     // the last one is the current one
	woken     []byte      // the settings at the wake
	awake     atomic.Bool // the fields above are set

	// Owned by the committer.
	id       uint64    // 0 until something is stored
	tail     place     // the newest message that has a place
	unclean  bool      // the record has been written since the wake, and may be out of date
	stale    bool      // the room woke from a record that is out of date, and it was not written since
	bucket   uint32    // of the newest message, in the newest segment's class
	settings []byte    // newest
	trim     trimState // physical trimming
	planned  int64     // time of the newest message in the batch that is being planned, µs
	ended    bool      // deleted: nothing is appended any more
	gathered bool      // takes part in the batch that is being grouped
	idling   bool      // goes idle with it
	count    int
	slot     int

	// Raised by the committer, lowered by the deliverer.
	holding atomic.Int64 // deliveries that wait for an fsync

	mu       sync.Mutex
	head     place     // the newest message that its sink has
	segments []segment // replaced, never changed; written by the committer alone
	floor    uint64    // no lower offset can be read; written by the committer alone
	first    place     // a message that was the oldest by age, offset 0 for none

	closed    bool          // guarded by store.mu
	forgotten chan struct{} // guarded by store.mu: made by who waits for the room to be forgotten, closed then
	idle      bool          // guarded by store.queue.mu; nothing is queued after it
}

// errOpen is a broken promise of the caller: one Room a name.
var errOpen = errors.New("storage: the room is open already")

// Room wakes a room: it reads its record, and perhaps its newest message, from
// disk, and blocks meanwhile. The sink gets what is appended, see Append. There
// is at most one open Room of a name; where a closed one is still being written,
// Room waits for it. A name is not stored before its first message or setting.
//
// The error is the registry's where a client may see it: proto.ErrShuttingDown
// or proto.ErrStorage, wrapped.
func (s *Store) Room(name string, sink func([]*proto.Publish)) (*Room, error) {
	ns, ok := s.namespaces[proto.NamespaceOf(name)]
	if !ok {
		return nil, fmt.Errorf("storage: room %q: no namespace %q is kept on disk", name, proto.NamespaceOf(name))
	}
	r := &Room{store: s, name: name, namespace: ns, sink: sink, sync: ns.Durability == proto.Sync}
	if err := s.admit(r); err != nil {
		return nil, err
	}
	if err := r.wake(); err != nil {
		s.forget(r)
		return nil, fmt.Errorf("storage: waking room %q: %w", name, errors.Join(proto.ErrStorage, err))
	}
	r.awake.Store(true)
	return r, nil
}

// admit enters the room among the open ones, once its predecessor has gone.
func (s *Store) admit(r *Room) error {
	for {
		s.mu.Lock()
		old := s.rooms[r.name]
		switch {
		case s.closing:
			s.mu.Unlock()
			return proto.ErrShuttingDown
		case s.failure() != nil:
			s.mu.Unlock()
			return fmt.Errorf("storage: %w", errors.Join(proto.ErrStorage, s.failure()))
		case old == nil:
			s.rooms[r.name] = r
			s.mu.Unlock()
			return nil
		case !old.closed:
			s.mu.Unlock()
			return fmt.Errorf("%w: %q", errOpen, r.name)
		}
		forgotten := old.whenForgottenLocked()
		s.mu.Unlock()
		select {
		case <-forgotten:
		case <-s.stop:
		case <-s.dead:
		}
	}
}

// forget takes a room out of the open ones.
func (s *Store) forget(r *Room) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.rooms[r.name] == r {
		delete(s.rooms, r.name)
		if r.forgotten != nil {
			close(r.forgotten)
		}
	}
}

// whenForgottenLocked returns what is closed when the room, one of store.rooms,
// leaves them. Its store's lock is held.
func (r *Room) whenForgottenLocked() <-chan struct{} {
	if r.forgotten == nil {
		r.forgotten = make(chan struct{})
	}
	return r.forgotten
}

// wake reads the room's record and finds the end of its log.
func (r *Room) wake() error {
	s := r.store
	if !s.beginRead() {
		return proto.ErrShuttingDown
	}
	defer s.readers.Done()
	value, closer, err := s.db.Get(appendRoomKey(nil, r.name))
	if errors.Is(err, pebble.ErrNotFound) {
		r.birth = s.newBirth()
		r.floor = 1
		r.beginLife([]epoch{{generation: s.generation, start: 1}})
		return nil
	}
	if err != nil {
		return err
	}
	m, err := decodeMeta(value)
	if err := errors.Join(err, closer.Close()); err != nil {
		return err
	}
	for _, seg := range m.segments {
		if _, ok := s.classes[seg.class]; !ok {
			return fmt.Errorf("storage: retention class %d is not known", seg.class)
		}
	}
	r.id, r.birth, r.floor = m.room, m.birth, m.floor
	r.segments, r.settings, r.woken = m.segments, m.settings, m.settings
	r.tail = m.last
	lost := false
	if r.stale = !m.clean; r.stale {
		if r.tail, lost, err = s.findTail(m); err != nil {
			return err
		}
		if lost {
			r.floor = r.tail.offset + 1
		}
	}
	r.head = r.tail
	r.bucket = s.classes[r.segments[len(r.segments)-1].class].bucket(r.tail.time)
	epochs := m.epochs
	switch {
	case lost:
		// Nothing of the old epochs can be read any more, and offsets after
		// the record's may have been shown: a new log begins, whose epochs
		// have names of their own.
		r.birth = s.newBirth()
		epochs = []epoch{{generation: s.generation, start: r.tail.offset + 1}}
	case r.newLife(epochs[len(epochs)-1].generation):
		first, err := r.lowest()
		if err != nil {
			return err
		}
		epochs = beginEpoch(epochs, epoch{generation: s.generation, start: r.tail.offset + 1}, first)
	}
	r.beginLife(epochs)
	return nil
}

func (r *Room) beginLife(epochs []epoch) {
	r.epochs = epochs
	r.epoch = epochName(r.birth, epochs[len(epochs)-1].generation)
}

// newLife reports whether messages that readers saw may have been lost since
// the room's newest epoch began. What a sync room showed stood on the disk: only
// a restore takes some of it back, or a stop while its namespace was async.
func (r *Room) newLife(newest uint64) bool {
	switch s := r.store; {
	case newest >= s.generation:
		return false
	case r.sync:
		return newest < s.restored || newest <= r.namespace.asyncUntil
	default:
		return true
	}
}

// findTail returns the newest message of a room whose record may be out of
// date. It stands in the bucket that the record names, where the record is
// written with a bucket's first message. Where that bucket holds nothing any
// more, the end of the log is lost; offsets go on after the record's own.
func (s *Store) findTail(m *meta) (tail place, lost bool, err error) {
	c := s.classes[m.segments[len(m.segments)-1].class]
	bucket := c.bucket(m.last.time)
	it, err := s.db.NewIter(&pebble.IterOptions{
		LowerBound: appendMessageKey(nil, messageKey{class: c.number, bucket: bucket, room: m.room}),
		UpperBound: appendMessageKey(nil, messageKey{class: c.number, bucket: bucket, room: m.room + 1}),
	})
	if err != nil {
		return place{}, false, err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	if !it.Last() {
		return m.last, true, it.Error()
	}
	k, err := decodeMessageKey(it.Key())
	if err != nil {
		return place{}, false, err
	}
	if k.offset < m.last.offset {
		return m.last, false, nil
	}
	return place{offset: k.offset, time: k.time}, false, nil
}

// Head returns the end of the log that the sink has been given.
func (r *Room) Head() proto.Head {
	r.mu.Lock()
	defer r.mu.Unlock()
	return proto.Head{Epoch: r.epoch, Offset: r.head.offset, Time: r.head.time}
}

func (r *Room) setHead(p place) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.head = p
}

// Settings returns the settings that were stored when the room woke, nil for
// none. The bytes must not be changed.
func (r *Room) Settings() []byte { return r.woken }

// Append queues a publish. It never blocks and never touches the disk.
//
// Where it returns nil, p belongs to the log until the room's sink receives it,
// exactly once, either with ID, Offset and Time set or with Err. The sink gets a
// room's publishes in the order of their offsets, in slices of what one batch
// held, and is never called concurrently for one room; Head includes the
// publishes already. The slice is borrowed for the call, the publishes in it are
// the receiver's. The sink runs on the goroutine that commits for all rooms, so
// it must not block; it may call Append and Close.
//
// An edit (see proto.Edit) changes what the log holds, in its turn. It should be
// Durable, as a deletion that comes back after a crash is none; what the room
// appends after a Durable publish is delivered after it. The caller of EditDelete
// answers for the offset and time: they must be those of a message that was read.
//
// Otherwise p was not taken, and the error is proto.ErrOverloaded,
// ErrStorageFull, ErrStorage, ErrShuttingDown, or, after Close, ErrInternal.
func (r *Room) Append(p *proto.Publish) *proto.Error {
	refused := r.append(p)
	if refused != nil {
		r.store.refused(refused, 1)
	}
	return refused
}

func (r *Room) append(p *proto.Publish) *proto.Error {
	s := r.store
	if err := s.refusal(); err != nil {
		return err
	}
	return s.queued(s.queue.push(r, p))
}

// AppendPair is Append to two different rooms in one commit: two messages get the
// same id and time, two edits take place together. Each room's sink gets its own, once both have their
// offsets. Neither is taken where an error is returned.
func (s *Store) AppendPair(r *Room, p *proto.Publish, other *Room, twin *proto.Publish) *proto.Error {
	err := s.refusal()
	if err == nil {
		err = s.queued(s.queue.pushPair(r, p, other, twin))
	}
	if err != nil {
		s.refused(err, 2)
	}
	return err
}

// refusal says why nothing is taken right now, or nil.
func (s *Store) refusal() *proto.Error {
	switch {
	case s.failure() != nil:
		return proto.ErrStorage.New()
	case s.space.refusing():
		return proto.ErrStorageFull.After(freeRetry)
	}
	return nil
}

// queued makes an error of what the queue answered.
func (s *Store) queued(code *proto.Code) *proto.Error {
	switch code {
	case nil:
		return nil
	case proto.ErrOverloaded:
		return code.After(s.opts.SyncStall)
	default:
		return code.New()
	}
}

// Close lets the room go idle. What was appended before still reaches the sink.
// The room's record is written by the committer, later; Close itself does not
// touch the disk. Nothing may be appended after it.
func (r *Room) Close() {
	r.store.mu.Lock()
	r.closed = true
	r.store.mu.Unlock()
	r.store.queue.pushIdle(r)
}
