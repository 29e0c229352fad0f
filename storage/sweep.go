package storage

import (
	"errors"
	"log/slog"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// A room's log ends with its retention: when its last possible message has
// expired, its record goes, too, and a later room of that name begins anew, with
// another birth and thus other epochs. Records that hold settings stay.

// sweepInterval is the time between two sweeps over the rooms' records.
const sweepInterval = time.Hour

// sweepLoop sweeps, and purges deleted rooms, until the store stops.
func (s *Store) sweepLoop() {
	ticker := time.NewTicker(sweepInterval)
	defer ticker.Stop()
	s.purgeAll() // what was left at the last stop
	for {
		select {
		case <-s.stop:
			return
		case <-s.purgeable:
			s.purgeAll()
		case <-ticker.C:
			s.report("records of expired rooms", s.sweep)
			s.report("expired login sessions", s.sweepLogins)
		}
	}
}

// report sweeps once, and says what was removed.
func (s *Store) report(what string, sweep func() (removed int, err error)) {
	removed, err := sweep()
	if err != nil {
		s.log.Error("not everything could be removed; this is tried again", slog.String("what", what), slog.Any("error", err))
	} else if removed > 0 {
		s.log.Info("removed", slog.String("what", what), slog.Int("count", removed))
	}
}

// sweep removes the records of rooms whose logs have ended.
func (s *Store) sweep() (removed int, err error) {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{prefixRoom}, UpperBound: []byte{prefixRoom + 1}})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for ok := it.First(); ok && s.failure() == nil; ok = it.Next() {
		select {
		case <-s.stop:
			return removed, nil
		default:
		}
		m, err := decodeMeta(it.Value())
		if err != nil {
			return removed, err
		}
		if !s.ended(m) {
			continue
		}
		gone, err := s.removeRoom(string(it.Key()[1:]))
		if err != nil {
			return removed, err
		}
		if gone {
			removed++
		}
	}
	return removed, it.Error()
}

// ended reports whether nothing of a room's log is left, nor can be: the bucket
// of its last message has expired, and every older one.
func (s *Store) ended(m *meta) bool {
	if m.settings != nil {
		return false
	}
	now := s.clock.micros()
	for i, seg := range m.segments {
		c, ok := s.classes[seg.class]
		if !ok {
			return false
		}
		end := m.last.time
		if i+1 < len(m.segments) {
			end = m.segments[i+1].from
		}
		if now-c.ttl-expireGrace.Microseconds() < c.start(c.bucket(end)+1) {
			return false
		}
	}
	return true
}

// removeRoom removes a room's record and receipts if the room is not open and its log has
// still ended. Nobody can wake it meanwhile.
func (s *Store) removeRoom(name string) (gone bool, err error) {
	guard := &Room{store: s, name: name, closed: true}
	s.mu.Lock()
	if s.rooms[name] != nil || s.closing {
		s.mu.Unlock()
		return false, nil
	}
	s.rooms[name] = guard
	s.mu.Unlock()
	defer s.forget(guard)
	key := appendRoomKey(nil, name)
	m, err := getRecord(s.db, key, decodeMeta)
	if err != nil || !s.ended(m) {
		return false, err
	}
	batch := s.db.NewBatch()
	err = errors.Join(s.removeReceipts(batch, m.room), batch.Delete(key, nil))
	if err != nil {
		return false, errors.Join(err, batch.Close())
	}
	return true, errors.Join(s.db.Apply(batch, pebble.NoSync), batch.Close())
}

// removeReceipts adds the removal of a room's receipts to the batch.
func (s *Store) removeReceipts(batch *pebble.Batch, room uint64) (err error) {
	it, err := s.db.NewIter(&pebble.IterOptions{
		LowerBound: appendReceiptKey(nil, room, ""),
		UpperBound: appendReceiptKey(nil, room+1, ""),
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for ok := it.First(); ok; ok = it.Next() {
		if err := batch.Delete(it.Key(), nil); err != nil {
			return err
		}
	}
	return it.Error()
}
