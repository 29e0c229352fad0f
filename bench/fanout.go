package bench

import (
	"context"
	"errors"
	"fmt"

	"github.com/gobwas/ws"
)

// fanout fills rooms with members, some of which publish. A message is done
// when all members of this process have it, and its author the ack.
type fanout struct {
	share
	dialect dialect
	batcher batcher // the same, nil where a frame holds one message
	loop    *loop
	opener  opener
	rooms   []roomState
	authors []*publisher

	tally *tally
	cpu   usage // at the last begin

	// What is being published. Closed means that a message waits for the one
	// before it, where otherwise it waits for its time.
	closed   bool
	stopAt   int64 // no message begins after this time
	underWay int   // messages that are not done, where closed

	draining []uint64 // the heads that members have to reach, nil where none are awaited
	behind   int      // members that have not

	// heard is told of every message that reaches a member, nil where nobody
	// wants to know.
	heard func(stamp, uint64)

	ev      event
	payload []byte
}

// roomState is one room, as far as this process knows it.
type roomState struct {
	readers int32  // members of this process that read
	head    uint64 // newest offset that an author of this process has seen
}

// publisher is a member that sends.
type publisher struct {
	conn       *conn
	user, room string
	seq        uint32  // of its newest message; the first is 1
	quotaEnd   uint64  // the last one that it may send
	done       uint32  // how many are done, in order
	acked      uint32  // how many were answered, in order
	left       []int32 // by seq modulo outstanding: readings that a message waits for
}

var errRefused = errors.New("the server refused a command")

func newFanout(part share) (*fanout, error) {
	d, err := newDialect(part.options.Codec)
	if err != nil {
		return nil, err
	}
	several, _ := d.(batcher)
	f := &fanout{share: part, dialect: d, batcher: several, tally: newTally(), rooms: make([]roomState, part.options.Rooms)}
	f.loop, err = newLoop(part.conns, f, func() { part.report(f.tally) })
	if err != nil {
		return nil, err
	}
	if part.options.Deflate {
		f.loop.inflater = newInflater()
	}
	if f.opener, err = newOpener(f.loop, part, f.request); err != nil {
		f.close()
		return nil, err
	}
	f.place()
	return f, nil
}

// place gives each connection its room and its part: the first ones of each
// room publish, and the slow ones are spread evenly over the others.
func (f *fanout) place() {
	o := f.options
	slow := o.Conns * o.SlowReaders / 100
	for i := range f.loop.conns {
		c := &f.loop.conns[i]
		g := f.first + i
		c.index, c.room = int32(g), o.roomOf(g)
		if g < o.Rooms*o.Publishers {
			p := &publisher{conn: c, user: userName(c.index), room: roomName(o.Prefix, c.room), left: make([]int32, max(o.Outstanding, 1))}
			c.author = p
			f.authors = append(f.authors, p)
		} else {
			c.slow = g*slow/o.Conns != (g+1)*slow/o.Conns
		}
		if !c.slow {
			f.rooms[c.room].readers++
		}
	}
}

func (f *fanout) request(c *conn) []byte {
	path := f.dialect.path(userName(c.index), roomName(f.options.Prefix, c.room))
	return appendRequest(nil, f.target, path, f.dialect.subprotocol(), f.options.Deflate)
}

func (f *fanout) close() { f.loop.close() }

func (f *fanout) idle(ctx context.Context) error { return f.loop.idle(ctx) }

func (f *fanout) step(ctx context.Context, in input) (output, error) {
	switch in.Step {
	case stepOpen:
		return output{}, f.loop.open(ctx, &f.opener)
	case stepWarm:
		return f.publish(ctx, f.options.Warmup, 0)
	case stepRest:
		return output{}, f.loop.serve(ctx, f.options.Settle)
	case stepRun:
		return f.publish(ctx, f.options.Duration, f.options.Messages)
	case stepDrain:
		return output{}, f.drain(ctx, in.Heads)
	case stepBegin:
		f.tally, f.cpu = newTally(), ownUsage()
		f.loop.inflater.forget()
		return output{}, nil
	case stepFinish:
		for i := range f.loop.conns {
			if c := &f.loop.conns[i]; !c.slow {
				c.stream.end(f.heads(in.Heads)[c.room], &f.tally.Violations)
			}
		}
		f.tally.CPU = ownUsage().since(f.cpu).total().Seconds()
		f.tally.Compressed = f.loop.inflater.count()
		return output{Tally: f.tally}, nil
	default:
		return output{}, fmt.Errorf("fan-out has no step %q", in.Step)
	}
}

// opened joins the room.
func (f *fanout) opened(c *conn) error {
	frame := f.dialect.appendJoin(beginFrame(nil), roomName(f.options.Prefix, c.room))
	if len(frame) == frameHeader { // the path has joined
		return f.ready(c, 0)
	}
	return f.loop.send(c, endFrame(frame, 0, f.dialect.opcode()))
}

// ready makes the connection a member, whose room stands at the offset.
func (f *fanout) ready(c *conn, offset uint64) error {
	c.state, c.stream.last = stateReady, offset
	room := &f.rooms[c.room]
	room.head = max(room.head, offset)
	f.opener.ready++
	if c.slow {
		return f.loop.ignore(c)
	}
	return nil
}

// frame counts what arrives.
func (f *fanout) frame(c *conn, _ ws.OpCode, payload []byte, at int64) error {
	if f.batcher == nil {
		return f.message(c, payload, at)
	}
	for len(payload) > 0 {
		var message []byte
		message, payload = f.batcher.cut(payload)
		if err := f.message(c, message, at); err != nil {
			return err
		}
	}
	return nil
}

func (f *fanout) message(c *conn, payload []byte, at int64) error {
	if err := f.dialect.read(payload, &f.ev); err != nil {
		return err
	}
	return f.count(c, &f.ev, len(payload), at)
}

func (f *fanout) count(c *conn, ev *event, size int, at int64) error {
	if ev.kind == evMessage && ev.stamp.author == c.index {
		ev.kind = evAck // a floor's author hears itself
	}
	switch ev.kind {
	case evJoined:
		return f.ready(c, ev.offset)
	case evMessage:
		f.tally.Delivered++
		f.tally.Bytes += uint64(size)
		f.tally.Latency.record(ev.stamp.due, at)
		if f.arrived(c, ev.offset) {
			if f.heard != nil {
				f.heard(ev.stamp, ev.offset)
			}
			return f.delivered(ev.stamp)
		}
	case evAck:
		f.rooms[c.room].head = max(f.rooms[c.room].head, ev.offset)
		if f.arrived(c, ev.offset) {
			c.author.acked++
			if f.closed {
				return f.settle(c.author, c.author.acked)
			}
		}
	case evLag:
		f.tally.Lags++
	case evGap:
		c.stream.skip(ev.offset, &f.tally.Violations)
	case evFailed:
		if f.closed || c.state != stateReady {
			return fmt.Errorf("%w: %s", errRefused, ev.text)
		}
		f.tally.Refused++
		if c.author != nil {
			c.author.acked++ // nothing more comes of it
		}
	}
	return nil
}

// arrived checks the order, and whether the member has what is awaited.
func (f *fanout) arrived(c *conn, offset uint64) bool {
	isNew := c.stream.see(offset, &f.tally.Violations)
	if isNew && f.draining != nil && offset == f.draining[c.room] {
		f.behind--
	}
	return isNew
}

// delivered takes the news that one more member has a message. Authors of other
// processes do not wait for this one's members.
func (f *fanout) delivered(s stamp) error {
	at := int(s.author) - f.first
	if !f.closed || at < 0 || at >= len(f.loop.conns) {
		return nil
	}
	return f.settle(f.loop.conns[at].author, s.seq)
}

// drain waits until every member that reads has everything that was sent.
func (f *fanout) drain(ctx context.Context, heads []uint64) error {
	heads = f.heads(heads)
	f.draining, f.behind = heads, 0
	defer func() { f.draining = nil }()
	for i := range f.loop.conns {
		if c := &f.loop.conns[i]; !c.slow && c.stream.last < heads[c.room] {
			f.behind++
		}
	}
	end := f.loop.clock.now() + int64(f.options.Timeout)
	for f.behind > 0 && f.loop.clock.now() < end {
		if err := f.loop.poll(ctx, end); err != nil {
			return err
		}
	}
	return nil // what has not arrived by now is counted as lost
}

// heads is each room's newest offset: as all processes know it together, or as
// this one does.
func (f *fanout) heads(merged []uint64) []uint64 {
	heads := make([]uint64, len(f.rooms))
	copy(heads, merged)
	for i, room := range f.rooms {
		heads[i] = max(heads[i], room.head)
	}
	return heads
}
