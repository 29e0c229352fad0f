package storage

import (
	"errors"
	"math"
	"math/bits"

	"github.com/cockroachdb/pebble/v2"
)

// span is a stretch of time of a room whose messages stand in one class.
type span struct {
	class class
	from  int64
	to    int64 // exclusive
}

// spans returns where a room's messages from a time up to another one stand,
// oldest first.
func (s *Store) spans(segments []segment, from, to int64) []span {
	out := make([]span, 0, len(segments))
	for i, seg := range segments {
		sp := span{class: s.classes[seg.class], from: max(seg.from, from), to: to}
		if i+1 < len(segments) {
			sp.to = min(to, segments[i+1].from)
		}
		if sp.from < sp.to {
			out = append(out, sp)
		}
	}
	return out
}

// cutoff returns the time below which a room's messages have expired. A class
// whose buckets have begun to go hides what came before it, too: what can be
// read of a room never has a hole.
func (s *Store) cutoff(segments []segment, ns *namespace) int64 {
	now := s.clock.micros()
	cut := max(now-ns.class.ttl, 0)
	for i, seg := range segments {
		end := int64(math.MaxInt64)
		if i+1 < len(segments) {
			end = segments[i+1].from
		}
		if edge := now - s.classes[seg.class].ttl; edge > seg.from {
			cut = max(cut, min(edge, end))
		}
	}
	return cut
}

// nearby is how many messages a cursor rather steps over than seeks.
const nearby = 16

// cursor walks the stored messages of one room in order, over its buckets and
// classes, in one consistent view. It is positioned where the last method that
// moves it returned true.
type cursor struct {
	it    *pebble.Iterator
	room  uint64
	spans []span
	seeks int // what the walk has cost

	span   int // where it is
	bucket uint32
	key    messageKey
	err    error

	lower, upper, target []byte // scratch
}

// newCursor returns a cursor over the given spans of a room. The caller closes
// it.
func (s *Store) newCursor(room uint64, spans []span) (*cursor, error) {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{firstClass}})
	if err != nil {
		return nil, err
	}
	return &cursor{it: it, room: room, spans: spans}, nil
}

func (c *cursor) close() error { return errors.Join(c.err, c.it.Close()) }

// take reads the key that the iterator stands on.
func (c *cursor) take(valid bool) bool {
	if c.err != nil {
		return false
	}
	if !valid {
		c.err = c.it.Error()
		return false
	}
	c.key, c.err = decodeMessageKey(c.it.Key())
	return c.err == nil
}

// value returns the record of the current message, valid until the cursor
// moves.
func (c *cursor) value() ([]byte, error) { return c.it.ValueAndErr() }

// place returns the current message's place.
func (c *cursor) place() place { return place{offset: c.key.offset, time: c.key.time} }

// enter narrows the iterator to one bucket of a span.
func (c *cursor) enter(i int, bucket uint32) {
	sp := c.spans[i]
	c.span, c.bucket = i, bucket
	c.lower = c.appendBound(c.lower[:0], max(sp.from, sp.class.start(bucket)))
	c.upper = c.appendBound(c.upper[:0], min(sp.to, sp.class.start(bucket+1)))
	c.it.SetBounds(c.lower, c.upper)
}

func (c *cursor) appendBound(dst []byte, micros int64) []byte {
	return appendMessageKey(dst, messageKey{
		class: c.spans[c.span].class.number, bucket: c.bucket, room: c.room, time: micros,
	})
}

func (c *cursor) oldest() bool {
	c.seeks++
	return c.take(c.it.First())
}

func (c *cursor) newest() bool {
	c.seeks++
	return c.take(c.it.Last())
}

// seekInBucket moves to the first message of the entered bucket at or after a
// time.
func (c *cursor) seekInBucket(micros int64) bool {
	c.seeks++
	c.target = c.appendBound(c.target[:0], micros)
	return c.take(c.it.SeekGE(c.target))
}

// seekTime moves to the first message at or after a time.
func (c *cursor) seekTime(micros int64) bool {
	for i, sp := range c.spans {
		if micros < sp.to {
			c.enter(i, sp.class.bucket(max(micros, sp.from)))
			return c.seekInBucket(max(micros, sp.from)) || c.ascend()
		}
	}
	return false
}

// seekBefore moves to the last message before a time.
func (c *cursor) seekBefore(micros int64) bool {
	for i := len(c.spans) - 1; i >= 0; i-- {
		if sp := c.spans[i]; micros > sp.from {
			c.enter(i, sp.class.bucket(min(micros, sp.to)-1))
			c.seeks++
			c.target = c.appendBound(c.target[:0], micros)
			return c.take(c.it.SeekLT(c.target)) || c.descend()
		}
	}
	return false
}

// next moves to the following message.
func (c *cursor) next() bool { return c.take(c.it.Next()) || c.ascend() }

// prev moves to the message before.
func (c *cursor) prev() bool { return c.take(c.it.Prev()) || c.descend() }

// ascend moves to the first message of a later bucket.
func (c *cursor) ascend() bool {
	for c.err == nil {
		if sp := c.spans[c.span]; c.bucket < sp.class.bucket(sp.to-1) {
			c.enter(c.span, c.bucket+1)
		} else if c.span+1 < len(c.spans) {
			sp = c.spans[c.span+1]
			c.enter(c.span+1, sp.class.bucket(sp.from))
		} else {
			return false
		}
		if c.oldest() {
			return true
		}
	}
	return false
}

// descend moves to the last message of an earlier bucket.
func (c *cursor) descend() bool {
	for c.err == nil {
		if sp := c.spans[c.span]; c.bucket > sp.class.bucket(sp.from) {
			c.enter(c.span, c.bucket-1)
		} else if c.span > 0 {
			sp = c.spans[c.span-1]
			c.enter(c.span-1, sp.class.bucket(sp.to-1))
		} else {
			return false
		}
		if c.newest() {
			return true
		}
	}
	return false
}

// seekOffset moves to the message with the lowest offset that is not below the
// given one. Head is the room's newest message. Readers mostly want what is
// new, so that buckets are tried newest first.
func (c *cursor) seekOffset(offset uint64, head place) bool {
	high, found := head, false
	for i := len(c.spans) - 1; i >= 0; i-- {
		sp := c.spans[i]
		oldest := sp.class.bucket(sp.from)
		for bucket := sp.class.bucket(sp.to - 1); ; bucket-- {
			c.enter(i, bucket)
			switch {
			case !c.oldest():
				if c.err != nil {
					return false
				}
			case c.key.offset == offset:
				return true
			case c.key.offset < offset:
				return c.search(offset, high)
			default:
				high, found = c.place(), true
			}
			if bucket == oldest {
				break
			}
		}
	}
	return found && c.seekTime(high.time)
}

// search finds an offset in the entered bucket, where the cursor stands on a
// message below it, and high is one that is not below it, perhaps in a later
// bucket. It interpolates, which is right for even traffic, and bisects every
// other time, which bounds the number of seeks for any other. Both ends are
// always messages, so that a silence is passed in one step.
func (c *cursor) search(offset uint64, high place) bool {
	low, atLow := c.place(), true
	for step := 0; offset-low.offset > nearby && high.time-low.time > 1; step++ {
		t := low.time + (high.time-low.time)/2
		if step%2 == 0 {
			t = interpolate(low, high, offset-nearby/2)
		}
		ok := c.seekInBucket(t)
		if ok && c.key.offset < offset {
			low, atLow = c.place(), true
			continue
		}
		if ok && c.key.offset-offset <= nearby {
			return c.backTo(offset)
		}
		c.seeks++ // what follows turns the iterator around
		if c.err != nil || !c.take(c.it.Prev()) {
			return false
		}
		if c.key.offset < offset {
			return c.next()
		}
		high, atLow = c.place(), false
	}
	if !atLow && !c.seekInBucket(low.time) {
		return false
	}
	for c.key.offset < offset {
		if !c.next() {
			return false
		}
	}
	return true
}

// backTo steps back to an offset within the entered bucket.
func (c *cursor) backTo(offset uint64) bool {
	for c.key.offset > offset {
		if !c.take(c.it.Prev()) {
			return false
		}
	}
	return true
}

// interpolate guesses the time of an offset between two messages. The guess is
// after low and not after high.
func interpolate(low, high place, offset uint64) int64 {
	hi, lo := bits.Mul64(uint64(high.time-low.time), offset-low.offset)
	step, _ := bits.Div64(hi, lo, high.offset-low.offset)
	return min(max(low.time+int64(step), low.time+1), high.time)
}
