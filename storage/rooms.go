package storage

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/thronghq/throng/proto"
)

// Rooms lists the stored rooms whose names begin with prefix and come after the
// given name, in the order of their names' bytes, at most limit. It reads from
// disk and wakes no room. A room whose log has ended is not listed.
func (s *Store) Rooms(prefix, after string, limit int) (list []proto.StoredRoom, err error) {
	if !s.beginRead() {
		return nil, proto.ErrShuttingDown
	}
	defer s.readers.Done()
	defer func() {
		if err != nil {
			s.tele.readErrors.Inc()
			err = fmt.Errorf("storage: listing rooms: %w", errors.Join(proto.ErrStorage, err))
		}
	}()
	lower := appendRoomKey(nil, prefix)
	if after >= prefix {
		lower = append(appendRoomKey(nil, after), 0)
	}
	it, err := s.db.NewIter(&pebble.IterOptions{
		LowerBound: lower,
		UpperBound: append(appendRoomKey(nil, prefix), 0xff), // no byte of UTF-8
	})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for ok := it.First(); ok && len(list) < limit; ok = it.Next() {
		value, err := it.ValueAndErr()
		if err != nil {
			return nil, err
		}
		m, err := decodeMeta(value)
		if err != nil {
			return nil, fmt.Errorf("room %q: %w", it.Key()[1:], err)
		}
		if s.ended(m) {
			continue
		}
		name := string(it.Key()[1:])
		tail, err := s.tailOf(name, m)
		if err != nil {
			return nil, fmt.Errorf("room %q: %w", name, err)
		}
		list = append(list, proto.StoredRoom{Name: name, Offset: tail.offset, Time: tail.time, Settings: m.settings})
	}
	return list, it.Error()
}

// tailOf returns the newest message of a room, given its record.
func (s *Store) tailOf(name string, m *meta) (place, error) {
	s.mu.Lock()
	open := s.rooms[name]
	s.mu.Unlock()
	if open != nil && open.awake.Load() {
		head := open.Head()
		return place{offset: head.Offset, time: head.Time}, nil
	}
	if m.clean {
		return m.last, nil
	}
	if _, ok := s.classes[m.segments[len(m.segments)-1].class]; !ok {
		return place{}, errBadMeta
	}
	tail, _, err := s.findTail(m)
	return tail, err
}
