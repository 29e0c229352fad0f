package room

import (
	"bytes"
	"cmp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/thronghq/throng/proto"
)

// startAt is where a cursor begins.
type startAt struct {
	next   uint64 // the first offset to deliver
	hint   int64  // time (µs) of the message before it, 0 for unknown
	from   int64  // only messages from this time (µs) on, 0 for all
	loose  bool   // what the log lacks before the first message found is no gap
	latest bool   // only the latest message counts, the others are skipped
}

// cursor reads on for one member that is behind, as fast as its socket takes
// it: until the outbox refuses, and on from there when it has drained.
//
// A cursor runs on one reader goroutine at a time, or is parked, or stands in
// the room's queue to be turned live; progress says which.
type cursor struct {
	// Static after construction.
	room *Room
	ms   *Membership
	echo bool // of the join that it serves

	progress atomic.Int32

	startAt // owned by whoever runs it

	// mu lets the room's worker stop the cursor between two deliveries, and
	// hold its own until then.
	mu      sync.Mutex
	stopped bool
	acks    []waitingAck // of the member's own messages from next on

	passed    uint64         // offsets below it are with the member, or it does without them
	retracted []*proto.Event // deletions, of messages that it may have read already
}

// waitingAck is an ack that waits for its place in the author's stream. It
// refers to nothing of the message, which may be far larger.
type waitingAck struct {
	offset uint64
	millis int64
	msgID  proto.MsgID
	to     string
	id     []byte // its own
}

// waitingAck copies what the author's answer needs.
func (o *outgoing) waitingAck() waitingAck {
	return waitingAck{offset: o.Offset, millis: o.Millis(), msgID: o.Message.ID, to: o.To, id: bytes.Clone(o.id)}
}

func (w *waitingAck) event() *proto.Event {
	return &proto.Event{Type: proto.EvAck, ID: w.id, Room: w.to, MsgID: w.msgID, Offset: w.offset, Millis: w.millis}
}

// The values of a cursor's progress.
const (
	cursorRunning int32 = iota // reading, or with the room's queue
	cursorParked               // the outbox is full
	cursorAgain                // running, and the outbox has drained meanwhile
)

func newCursor(r *Room, ms *Membership, at startAt, acks []waitingAck) *cursor {
	return &cursor{room: r, ms: ms, echo: ms.echo, startAt: at, passed: at.next, acks: acks}
}

// follow gives a member that is behind a cursor and sets it to work.
func (r *Room) follow(ms *Membership, at startAt, acks []waitingAck) {
	c := newCursor(r, ms, at, acks)
	ms.cursor.Store(c)
	r.hub.readers.submit(c)
}

// stopCursor ends the member's cursor, if it has one: when it returns, nothing
// more is delivered through it. Acks that waited in it go out at once, and
// deletions of messages that the member has.
func (ms *Membership) stopCursor() {
	c := ms.cursor.Load()
	if c == nil {
		return
	}
	ms.cursor.Store(nil)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopped = true
	c.flushLocked()
}

func (c *cursor) flushLocked() {
	for i := range c.acks {
		c.ms.member.Send(c.acks[i].event())
	}
	c.acks = nil
	for _, ev := range c.retracted {
		if ev.Offset < c.passed {
			c.ms.member.Send(ev)
		}
	}
	c.retracted = nil
}

// expect takes an ack for its author, which is behind: it goes out when the
// cursor reaches the message.
func (c *cursor) expect(o *outgoing) {
	c.mu.Lock()
	c.acks = append(c.acks, o.waitingAck())
	n := len(c.acks)
	c.mu.Unlock()
	if n > acksWaiting {
		o.member.Close(proto.ErrSlowConsumer.With("more than %d acks wait for a client that does not read", acksWaiting))
	}
}

// resume sets a parked cursor to work again.
func (c *cursor) resume() {
	for {
		switch c.progress.Load() {
		case cursorParked:
			if c.progress.CompareAndSwap(cursorParked, cursorRunning) {
				c.room.hub.readers.submit(c)
				return
			}
		case cursorRunning:
			if c.progress.CompareAndSwap(cursorRunning, cursorAgain) {
				return
			}
		default:
			return
		}
	}
}

// park reports whether the cursor may rest; false means that the outbox has
// drained in the meantime.
func (c *cursor) park() bool {
	if c.progress.CompareAndSwap(cursorRunning, cursorParked) {
		return true
	}
	c.progress.Store(cursorRunning)
	return false
}

// run delivers what the member has missed, some rounds at a time.
func (c *cursor) run() {
	for range cursorRounds {
		head := c.room.head.Load()
		if c.next > head {
			c.room.post(op{do: c.meet})
			return
		}
		if c.latest {
			c.next = head
		}
		more, delivered := c.step(head)
		if !more {
			return
		}
		if !delivered && c.park() {
			return
		}
		runtime.Gosched() // as after fanYield of a fan-out's sends: this one was large
	}
	c.room.hub.readers.submit(c)
}

// step reads and delivers one chunk. It reports whether the cursor goes on,
// and whether the outbox took the chunk.
func (c *cursor) step(head uint64) (more, delivered bool) {
	if !c.ms.member.Deliver(nil) {
		return true, false // another room's cursor has filled the outbox: read nothing in vain
	}
	k := chunk{cursor: c, form: c.room.form(c.ms.member), user: c.ms.member.UserID(), at: c.startAt}
	c.mu.Lock()
	k.acks = c.acks
	c.mu.Unlock()
	c.fill(&k, head)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopped {
		return false, false
	}
	k.frames = fitted(c.retractionsLocked(k.frames, &k))
	if len(k.frames) > 0 && !c.ms.member.Deliver(k.frames) {
		return true, false
	}
	c.retracted = nil
	c.startAt, c.passed = k.at, k.at.next
	c.acks = c.acks[k.acked:]
	c.room.hub.meters.replayed.Add(k.messages)
	return true, true
}

// chunk collects the frames of one delivery.
type chunk struct {
	cursor   *cursor
	form     proto.Form
	user     string
	acks     []waitingAck
	acked    int // of acks, how many are in frames
	frames   []byte
	saved    int      // bytes that the frames would have more if none were compressed
	ends     []uint32 // of each message in frames, where common
	messages int
	at       startAt // where the stream stands after the frames
	full     bool
	common   bool   // others may get the same
	meets    uint64 // where a chunk begins that others have read, 0 for none

	first, last uint64   // offsets of the messages in it, which follow each other; 0 for none
	oldest      int64    // the time of the first, µs
	deleted     []uint64 // of these, tombstones
	authors     []string // of these, each once
}

// add takes the next stored message, and reports whether there is room for
// another one.
func (k *chunk) add(m *proto.Message) bool {
	k.skipTo(m.Offset)
	own := m.From == k.user
	acked := false
	if k.acked < len(k.acks) && k.acks[k.acked].offset == m.Offset {
		k.frames = proto.AppendEventFrame(k.frames, k.form.Codec, k.acks[k.acked].event())
		k.acked++
		acked = true
	}
	if !acked || k.cursor.echo {
		k.message(m, own)
	}
	if k.common {
		k.ends = append(k.ends, uint32(len(k.frames)))
	}
	k.messages++
	k.first, k.last, k.oldest = cmp.Or(k.first, m.Offset), m.Offset, cmp.Or(k.oldest, m.Time)
	if !slices.Contains(k.authors, m.From) {
		k.authors = append(k.authors, strings.Clone(m.From))
	}
	if m.Kind == proto.KindDeleted {
		k.deleted = append(k.deleted, m.Offset)
	}
	k.at.next, k.at.hint, k.at.loose = m.Offset+1, m.Time, false
	size := len(k.frames) + k.saved
	k.full = size >= cursorBytes || k.at.next == k.meets && size >= cursorLeast
	return !k.full
}

// message appends a message's frame.
func (k *chunk) message(m *proto.Message, own bool) {
	start := len(k.frames)
	k.frames = proto.AppendMessageFrame(k.frames, k.form.Codec, m, own)
	plain := len(k.frames)
	k.frames = k.cursor.room.hub.deflate.Frame(k.frames, start, k.form.Window)
	k.saved += plain - len(k.frames)
}

// skipTo moves on to an offset: what lies before it is gone, but for the acks of
// the member's own messages, which stand in their places.
func (k *chunk) skipTo(offset uint64) {
	for k.acked < len(k.acks) && k.acks[k.acked].offset < offset {
		ack := &k.acks[k.acked]
		if k.cursor.echo {
			k.gapTo(offset) // the member should have got its own messages, too
		} else {
			k.gapTo(ack.offset)
		}
		k.frames = proto.AppendEventFrame(k.frames, k.form.Codec, ack.event())
		k.acked++
		k.at.next, k.at.hint = max(k.at.next, ack.offset+1), 0
	}
	k.gapTo(offset)
}

// gapTo tells of a gap up to an offset, unless the stream only begins there or
// the namespace wants the latest alone.
func (k *chunk) gapTo(offset uint64) {
	if offset <= k.at.next {
		return
	}
	r := k.cursor.room
	if !k.at.loose && !k.at.latest {
		r.hub.meters.gaps.Inc()
		k.frames = proto.AppendEventFrame(k.frames, k.form.Codec, &proto.Event{
			Type: proto.EvGap, Room: r.name, Epoch: r.epoch, After: k.at.next - 1, NextSeen: offset,
		})
	}
	k.at.next, k.at.hint, k.at.loose = offset, 0, false
}

// meet runs in the room's queue when the cursor has seen the head: the member
// turns live, or, where the room has moved on, gets the rest.
func (c *cursor) meet(r *Room, _ *proto.Error) {
	if c.ms.cursor.Load() != c {
		return
	}
	if c.next <= r.head.Load() {
		if !r.ringHas(c.next) {
			r.hub.readers.submit(c)
			return
		}
		if more, delivered := c.step(r.head.Load()); !more {
			return
		} else if !delivered {
			if !c.park() {
				r.hub.readers.submit(c)
			}
			return
		}
		if c.next <= r.head.Load() { // more than one chunk
			r.hub.readers.submit(c)
			return
		}
	}
	if c.ms.missed != 0 && !c.ms.member.Deliver(c.takeRetractions(r.news(nil, c.ms))) {
		if !c.park() {
			r.hub.readers.submit(c)
		}
		return
	}
	c.ms.missed, c.retracted = 0, nil // no step runs, and only this worker retracts
	c.ms.stopCursor()
	c.ms.state = stateLive
}

// ringHas reports that the ring serves everything from the offset on.
func (r *Room) ringHas(offset uint64) bool {
	oldest, _ := r.ring.oldest(r.cutoff())
	return oldest > 0 && oldest <= offset
}
