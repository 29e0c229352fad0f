package storage

import (
	"github.com/cockroachdb/pebble/v2"

	"github.com/thronghq/throng/proto"
)

// This file is the part of the committer that changes what a room's log holds
// already. All of it runs on the committing goroutine.

// edit carries out one edit, or gives it an error. It reports whether the room's
// record must be written.
func (c *committer) edit(b *pebble.Batch, r *Room, p *proto.Publish) (changed bool) {
	switch p.Edit {
	case proto.EditDelete:
		c.deleteMessage(b, r, p)
	case proto.EditTrim:
		return c.trim(b, r, p)
	case proto.EditEnd:
		c.end(b, r)
	}
	return false
}

// deleteMessage writes a tombstone over a message: key, id, author and
// idempotency key stay.
func (c *committer) deleteMessage(b *pebble.Batch, r *Room, p *proto.Publish) {
	if p.Offset > r.tail.offset || p.Offset < r.floor || p.Time < c.s.cutoff(r.segments, r.namespace) {
		p.Err = proto.ErrNotFound.With("room %q has no message at offset %d any more", r.name, p.Offset)
		return
	}
	class := c.s.classes[r.segmentAt(p.Time).class]
	c.putMessage(b, r, messageKey{class: class.number, bucket: class.bucket(p.Time)}, &p.Message)
	c.s.tele.tombstones.Inc()
}

// segmentAt returns the segment in which messages of a time stand.
func (r *Room) segmentAt(micros int64) segment {
	i := len(r.segments) - 1
	for i > 0 && r.segments[i].from > micros {
		i--
	}
	return r.segments[i]
}

// trim hides the messages below the offset, and removes them where they are
// many; otherwise they go with their buckets.
func (c *committer) trim(b *pebble.Batch, r *Room, p *proto.Publish) (changed bool) {
	floor := min(p.Offset, r.tail.offset+1)
	if floor <= r.floor {
		return false
	}
	if floor-r.floor >= trimSlack {
		// The newest message's key stays: by it a record that is out of date
		// finds the log's end.
		before := r.tail.time
		if p.Time > 0 {
			before = min(before, p.Time)
		}
		c.removeBefore(b, r, before)
	}
	r.raiseFloor(floor)
	return true
}

// end removes the room from the names. Its record moves to where purge finds it
// and removes the messages and receipts; nothing reads them any more.
func (c *committer) end(b *pebble.Batch, r *Room) {
	r.ended = true
	r.raiseFloor(r.tail.offset + 1)
	r.settings = nil
	if r.id != 0 {
		c.scratch = appendMeta(c.scratch[:0], c.metaOf(r, true))
		c.set(b, appendEndedKey(make([]byte, 0, 9), r.id), c.scratch)
		c.remove(b, appendRoomKey(make([]byte, 0, 1+proto.MaxRoomName), r.name))
	}
	r.unclean, r.stale = false, false // it has no record any more that could be out of date
}
