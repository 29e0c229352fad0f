package storage

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/thronghq/throng/proto"
)

// Logs reads rooms' logs by name, whether a room is open or not, and wakes none.
// Its methods may be called from any goroutine; they block on the disk.
type Logs struct{ s *Store }

// Logs returns the store's logs.
func (s *Store) Logs() Logs { return Logs{s} }

// Read visits those of the messages first to last, both inclusive, that are still
// in the log which an epoch belongs to, in order, until visit returns false. Where
// the room's log is another one by now, or none, it visits nothing. A message is
// valid during its visit. An error means that the log could not be read, never
// that there is less of it.
func (l Logs) Read(room, epoch string, first, last uint64, visit func(*proto.Message) bool) error {
	r, err := l.open(room)
	if err != nil || r == nil {
		return err
	}
	generation, ok := parseEpoch(epoch, r.birth)
	if !ok {
		return nil
	}
	last = min(last, r.epochLast(generation))
	if first == 0 || first > last {
		return nil
	}
	return r.Read(proto.Range{After: first - 1, Before: last + 1}, visit)
}

// Resume returns the offset of the first message that can be read, follows the
// position (epoch, after), or no position where that is of another log, and is not
// older than since (Unix microseconds); 0 where there is none.
func (l Logs) Resume(room, epoch string, after uint64, since int64) (first uint64, err error) {
	r, err := l.open(room)
	if err != nil || r == nil {
		return 0, err
	}
	rg := proto.Range{From: max(since, 0), Limit: 1}
	if _, ok := parseEpoch(epoch, r.birth); ok {
		rg.After = after
	}
	err = r.Read(rg, func(m *proto.Message) bool {
		first = m.Offset
		return false
	})
	return first, err
}

// Rooms visits the rooms whose names come after a given one and that have had
// messages, in order of their names, with the end of each one's log, until visit
// returns false. A room whose log has lost its end has none. Visits should be
// short.
func (l Logs) Rooms(after string, visit func(room, epoch string, offset uint64) bool) (err error) {
	if !l.s.beginRead() {
		return proto.ErrShuttingDown
	}
	defer l.s.readers.Done()
	it, err := l.s.db.NewIter(&pebble.IterOptions{
		LowerBound: append(appendRoomKey(nil, after), 0),
		UpperBound: []byte{prefixRoom + 1},
	})
	if err != nil {
		return fmt.Errorf("storage: reading the rooms: %w", err)
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for ok := it.First(); ok; ok = it.Next() {
		name := string(it.Key()[1:])
		head, err := l.head(name, it.Value())
		if err != nil {
			return fmt.Errorf("storage: reading room %q: %w", name, err)
		}
		if head.Offset > 0 && !visit(name, head.Epoch, head.Offset) {
			return nil
		}
	}
	return it.Error()
}

// head returns the end of a room's log, by its record where it is not open.
func (l Logs) head(name string, record []byte) (proto.Head, error) {
	if r := l.s.openRoom(name); r != nil {
		return r.Head(), nil
	}
	m, err := decodeMeta(record)
	if err != nil {
		return proto.Head{}, err
	}
	tail := m.last
	if _, ok := l.s.classes[m.segments[len(m.segments)-1].class]; !ok {
		return proto.Head{}, errBadMeta
	}
	if !m.clean {
		lost := false
		if tail, lost, err = l.s.findTail(m); err != nil || lost {
			return proto.Head{}, err
		}
	}
	newest := m.epochs[len(m.epochs)-1]
	return proto.Head{Epoch: epochName(m.birth, newest.generation), Offset: tail.offset, Time: tail.time}, nil
}

// open returns the room's log: the open one, or one that can only be read; nil
// where nothing is stored of it.
func (l Logs) open(name string) (*Room, error) {
	s := l.s
	if r := s.openRoom(name); r != nil {
		return r, nil
	}
	ns, ok := s.namespaces[proto.NamespaceOf(name)]
	if !ok {
		return nil, nil // the namespace is no longer kept on disk
	}
	r := &Room{store: s, name: name, namespace: ns, sync: ns.Durability == proto.Sync}
	if err := r.wake(); err != nil {
		return nil, fmt.Errorf("storage: reading room %q: %w", name, errors.Join(proto.ErrStorage, err))
	}
	if r.id == 0 {
		return nil, nil
	}
	return r, nil
}

// openRoom returns the open room of that name that has been woken, or nil. Where
// a closed one is still being written it is that one: it knows more than the disk.
func (s *Store) openRoom(name string) *Room {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.rooms[name]; r != nil && r.awake.Load() {
		return r
	}
	return nil
}

// epochLast returns the last offset up to which the log's messages are those
// that a generation showed.
func (r *Room) epochLast(generation uint64) uint64 {
	if generation < r.epochs[0].generation {
		return r.epochs[0].start - 1 // its epoch is no longer in the list
	}
	last, ok := epochEnd(r.epochs, generation, r.Head().Offset)
	if !ok {
		return 0
	}
	return last
}
