package storage

import (
	"encoding/binary"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/thronghq/throng/proto"
)

// This file is the part of the committer that gives publishes their places and
// keeps the rooms' records. All of it runs on the committing goroutine.

// appendRoom encodes one room's publishes.
func (c *committer) appendRoom(b *pebble.Batch, d *delivery, now int64) {
	r := d.room
	before := r.tail
	changed := false // the record must be written
	for _, p := range d.pubs {
		if c.appendOne(b, r, p, now) {
			changed = true
		}
	}
	switch {
	case r.ended:
	case r.tail == before:
		if changed {
			c.appendMeta(b, r, !r.unclean)
		}
	case r.namespace.HistorySize == 0:
		r.raiseFloor(r.tail.offset + 1)
		c.appendMeta(b, r, true)
	default:
		trimmed := c.trimRoom(b, r)
		if trimmed || changed || !r.unclean {
			c.appendMeta(b, r, false)
		}
	}
}

// appendOne encodes one publish, or gives it an error, and reports whether the
// room's record must be written.
func (c *committer) appendOne(b *pebble.Batch, r *Room, p *proto.Publish, now int64) (changed bool) {
	switch {
	case r.ended:
		p.Err = proto.ErrRoomClosed.With("room %q was deleted", r.name)
		return false
	case p.Edit != proto.EditNone:
		return c.edit(b, r, p)
	case r.id == 0:
		c.intern(b, r)
	}
	if p.Settings != nil {
		r.settings = p.Settings
		changed = true
	}
	if !p.SettingsOnly && c.appendMessage(b, r, p, now) {
		changed = true
	}
	return changed
}

// appendMessage gives one message its place and adds it to the batch. It
// reports whether the room has moved to another bucket.
func (c *committer) appendMessage(b *pebble.Batch, r *Room, p *proto.Publish, now int64) (moved bool) {
	r.tail.offset++
	p.Offset = r.tail.offset
	if p.Time == 0 { // not planned
		p.Time = max(now, r.tail.time+1)
		p.ID = proto.NewMsgID(p.Time, c.random.Uint64())
	}
	r.tail.time = p.Time
	moved = r.enter(p.Time)
	if r.namespace.HistorySize > 0 {
		c.putMessage(b, r, messageKey{class: r.namespace.class.number, bucket: r.bucket}, &p.Message)
	}
	return moved
}

// plan gives the messages of a batch with pairs in it their times and ids, in
// the order of the queue: the two of a pair get the same, which must suit both
// rooms.
func (c *committer) plan(ops []op, now int64) {
	for _, o := range ops {
		o.room.planned = o.room.tail.time
	}
	for i := 0; i < len(ops); i++ {
		o := ops[i]
		if o.pub == nil || o.pub.SettingsOnly || o.pub.Edit != proto.EditNone {
			continue
		}
		at := max(now, o.room.planned+1)
		if o.paired {
			at = max(at, ops[i+1].room.planned+1)
		}
		o.room.planned, o.pub.Time = at, at
		o.pub.ID = proto.NewMsgID(at, c.random.Uint64())
		if o.paired {
			i++
			ops[i].room.planned, ops[i].pub.Time, ops[i].pub.ID = at, at, o.pub.ID
		}
	}
}

// intern gives the room an id, in the batch that stores the first of it.
func (c *committer) intern(b *pebble.Batch, r *Room) {
	c.rooms++
	r.id = c.rooms
	c.scratch = binary.BigEndian.AppendUint64(c.scratch[:0], c.rooms)
	c.set(b, keyRooms, c.scratch)
}

// putMessage adds a message's key and record to the batch. The key's class and
// bucket are given.
func (c *committer) putMessage(b *pebble.Batch, r *Room, k messageKey, m *proto.Message) {
	to := m.To
	if to == r.name {
		m.To = "" // the key says so
	}
	op := b.SetDeferred(messageKeyLen, recordSize(m))
	k.room, k.time, k.offset = r.id, m.Time, m.Offset
	appendMessageKey(op.Key[:0], k)
	appendRecord(op.Value[:0], m, m.ID.Tail())
	m.To = to
	if err := op.Finish(); err != nil {
		panic(fmt.Sprintf("storage: a batch refused a message: %v", err))
	}
}

// enter moves the room to the bucket of the given time, and reports whether
// that is another one than before.
func (r *Room) enter(micros int64) (moved bool) {
	c := r.namespace.class
	bucket := c.bucket(micros)
	if n := len(r.segments); n == 0 || r.segments[n-1].class != c.number {
		r.addSegment(segment{class: c.number, from: micros})
		r.bucket = bucket
		return true
	}
	moved = bucket != r.bucket
	r.bucket = bucket
	return moved
}

// addSegment lets the room's messages stand in another class from now on.
// Segments whose messages have all expired are dropped.
func (r *Room) addSegment(next segment) {
	cutoff := r.store.cutoff(r.segments, r.namespace)
	kept := make([]segment, 0, len(r.segments)+1)
	for i, seg := range r.segments {
		if i+1 == len(r.segments) || r.segments[i+1].from > cutoff {
			kept = append(kept, seg)
		}
	}
	kept = append(kept, next)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.segments = kept
}

func (r *Room) raiseFloor(offset uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.floor = max(r.floor, offset)
}

// appendMeta adds the room's record to the batch.
func (c *committer) appendMeta(b *pebble.Batch, r *Room, clean bool) {
	c.scratch = appendMeta(c.scratch[:0], c.metaOf(r, clean))
	key := appendRoomKey(make([]byte, 0, 1+proto.MaxRoomName), r.name)
	c.set(b, key, c.scratch)
	r.unclean, r.stale = !clean, false
}

// metaOf returns the room's record, valid until the next call.
func (c *committer) metaOf(r *Room, clean bool) *meta {
	if len(r.segments) == 0 { // settings without a message yet
		r.addSegment(segment{class: r.namespace.class.number})
	}
	c.metaScratch = meta{
		room: r.id, birth: r.birth, last: r.tail, floor: r.floor, clean: clean,
		segments: r.segments, epochs: r.epochs, settings: r.settings,
	}
	return &c.metaScratch
}

// outdated reports that the room's record must be written before it goes idle.
func (r *Room) outdated() bool { return r.unclean || r.stale }

// trimSlack is how many messages at least a room keeps beyond what can be read
// before some are removed one room at a time: whole buckets expire far cheaper.
const trimSlack = 1 << 16

// trimState remembers where the next physical trim may cut.
type trimState struct {
	mark place // a message that will be the oldest kept, offset 0 for none
	done int64 // all messages before this time have been cut already, µs
}

// trimRoom removes messages of a room that has far more than it may keep, with
// one range for each bucket, and reports whether it did.
func (c *committer) trimRoom(b *pebble.Batch, r *Room) bool {
	mark := r.trim.mark
	keep := max(uint64(r.namespace.HistorySize), trimSlack)
	switch {
	case mark.offset == 0:
		r.trim.mark = r.tail
		return false
	case r.tail.offset-mark.offset < keep:
		return false
	}
	c.removeBefore(b, r, mark.time)
	r.raiseFloor(mark.offset)
	r.trim.mark = r.tail
	return true
}

// removeBefore removes a room's messages before a time, with one range for each
// bucket.
func (c *committer) removeBefore(b *pebble.Batch, r *Room, micros int64) {
	from := max(r.trim.done, c.s.cutoff(r.segments, r.namespace))
	for _, sp := range c.s.spans(r.segments, from, micros) {
		for bucket := sp.class.bucket(sp.from); bucket <= sp.class.bucket(sp.to-1); bucket++ {
			low, high := bucketRange(sp.class.number, bucket, r.id, sp.to)
			if err := b.DeleteRange(low, high, nil); err != nil {
				panic(fmt.Sprintf("storage: a batch refused a range: %v", err))
			}
		}
	}
	r.trim.done = max(r.trim.done, micros)
	c.s.tele.trims.Inc()
}
