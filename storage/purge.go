package storage

import (
	"encoding/binary"
	"errors"
	"log/slog"

	"github.com/cockroachdb/pebble/v2"
)

// A room that was deleted leaves its record under its id until its messages and
// receipts are removed, which happens off the committer: it would have to read
// them. Range deletions are rare here on purpose: many of them in a memtable
// slow all reads down.

// purgeBatch is how many records one batch removes.
const purgeBatch = 4096

// purgeSoon wakes the sweeper.
func (s *Store) purgeSoon() {
	select {
	case s.purgeable <- struct{}{}:
	default: // woken already
	}
}

// purgeAll purges all rooms that wait for it, and logs what goes wrong.
func (s *Store) purgeAll() {
	removed, err := s.purge()
	if err != nil {
		s.log.Error("the messages of deleted rooms could not be removed; this is tried again", slog.Any("error", err))
	} else if removed > 0 {
		s.log.Info("messages of deleted rooms were removed", slog.Int("rooms", removed))
	}
}

// purge removes what is left of rooms that were deleted.
func (s *Store) purge() (removed int, err error) {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{prefixEnded}, UpperBound: []byte{prefixEnded + 1}})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for ok := it.First(); ok && s.failure() == nil; ok = it.Next() {
		m, err := decodeMeta(it.Value())
		if err != nil {
			return removed, err
		}
		p := &purger{s: s, room: m.room}
		if err := p.run(m); err != nil {
			return removed, err
		}
		if p.stopped {
			return removed, nil
		}
		removed++
	}
	return removed, it.Error()
}

// purger removes one room.
type purger struct {
	s       *Store
	room    uint64
	batch   *pebble.Batch
	stopped bool // the store stops
}

func (p *purger) run(m *meta) (err error) {
	for _, seg := range m.segments {
		if _, ok := p.s.classes[seg.class]; !ok {
			return errBadMeta
		}
	}
	p.batch = p.s.db.NewBatch()
	defer func() { err = errors.Join(err, p.batch.Close()) }()
	many := m.last.offset >= trimSlack
	now := p.s.clock.micros()
	for _, sp := range p.s.spans(m.segments, 0, m.last.time+1) {
		from := max(sp.from, now-sp.class.ttl-2*sp.class.width-expireGrace.Microseconds()) // older buckets expire
		for bucket := sp.class.bucket(from); from < sp.to && bucket <= sp.class.bucket(sp.to-1); bucket++ {
			low, high := bucketRange(sp.class.number, bucket, p.room, sp.to)
			if err := p.removeRange(low, high, many); err != nil || p.stopped {
				return err
			}
		}
	}
	low := appendReceiptKey(nil, p.room, "")
	if err := p.removeRange(low, appendReceiptKey(nil, p.room+1, ""), false); err != nil || p.stopped {
		return err
	}
	if err := p.batch.Delete(appendEndedKey(nil, p.room), nil); err != nil {
		return err
	}
	return p.flush()
}

// removeRange removes the keys from low to high one by one, or as a range where
// they may be many.
func (p *purger) removeRange(low, high []byte, many bool) (err error) {
	if many {
		return p.batch.DeleteRange(low, high, nil)
	}
	it, err := p.s.db.NewIter(&pebble.IterOptions{LowerBound: low, UpperBound: high})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for ok := it.First(); ok; ok = it.Next() {
		if err := p.batch.Delete(it.Key(), nil); err != nil {
			return err
		}
		if p.batch.Count() < purgeBatch {
			continue
		}
		if err := p.flush(); err != nil || p.stopped {
			return err
		}
	}
	return it.Error()
}

// flush writes the batch. Whether it survives a crash does not matter: what is
// left is removed after the next start.
func (p *purger) flush() error {
	select {
	case <-p.s.stop:
		p.stopped = true
		return nil
	default:
	}
	err := p.s.db.Apply(p.batch, pebble.NoSync)
	if err == nil {
		err = p.batch.Close()
	}
	p.batch = p.s.db.NewBatch()
	return err
}

// bucketRange returns the keys of a room's messages in one bucket before a time.
func bucketRange(class byte, bucket uint32, room uint64, before int64) (low, high []byte) {
	k := messageKey{class: class, bucket: bucket, room: room}
	low = appendMessageKey(nil, k)
	k.time = before
	return low, appendMessageKey(nil, k)
}

// appendEndedKey appends the key under which a deleted room's record waits.
func appendEndedKey(dst []byte, room uint64) []byte {
	return binary.BigEndian.AppendUint64(append(dst, prefixEnded), room)
}
