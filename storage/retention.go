package storage

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// expireGrace is how long a bucket stays after its last message has expired, so
// that a read that has just begun, and a clock that lost its last second in a
// crash, still find it.
const expireGrace = time.Minute

// expireLoop removes expired buckets until the store stops.
func (s *Store) expireLoop() {
	interval := time.Minute
	for _, c := range s.classes {
		interval = min(interval, max(time.Duration(c.width)*time.Microsecond/4, time.Second))
	}
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		s.expire()
		select {
		case <-s.stop:
			return
		case <-ticker.C:
		}
	}
}

// expire removes all buckets whose last message has expired.
func (s *Store) expire() {
	now := s.clock.micros()
	for _, c := range s.classes {
		if s.failure() != nil {
			return
		}
		grace := min(expireGrace.Microseconds(), c.width)
		edge := now - c.ttl - grace
		if edge < c.width {
			continue
		}
		removed, err := s.excise(c, c.bucket(edge))
		if err != nil {
			s.log.Error("expired messages could not be removed; this is tried again",
				slog.Int("class", int(c.number)), slog.Any("error", err))
			continue
		}
		s.tele.excised.Add(removed)
	}
}

// excise removes the buckets of a class below the given one, and returns how
// many there were from the oldest that held something.
func (s *Store) excise(c class, below uint32) (removed int, err error) {
	end := appendBucketKey(nil, c.number, below)
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: appendBucketKey(nil, c.number, 0), UpperBound: end})
	if err != nil {
		return 0, err
	}
	found := it.First()
	var oldest messageKey
	if found {
		oldest, err = decodeMessageKey(it.Key())
	}
	if err := errors.Join(err, it.Error(), it.Close()); err != nil || !found {
		return 0, err
	}
	start := appendBucketKey(nil, c.number, oldest.bucket)
	if err := s.db.Excise(context.Background(), pebble.KeyRange{Start: start, End: end}); err != nil {
		return 0, err
	}
	return int(below - oldest.bucket), nil
}
