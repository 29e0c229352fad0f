package bench

import (
	"context"
	"fmt"

	"github.com/gobwas/ws"
)

// resume fills rooms as fan-out does, and then has all members join again at once,
// from where they began: each is sent everything, as a client is that comes back.
// The latency is from a member's join to the last message that it has missed.
type resume struct {
	*fanout
	epochs []string // by room
	places []resumption

	resuming bool
}

// resumption is where a member began.
type resumption struct {
	since uint64
	due   int64 // when it joined again
}

func newResume(part share) (*resume, error) {
	f, err := newFanout(part)
	if err != nil {
		return nil, err
	}
	r := &resume{fanout: f, epochs: make([]string, part.options.Rooms), places: make([]resumption, part.conns)}
	f.loop.handler = r
	return r, nil
}

func (r *resume) step(ctx context.Context, in input) (output, error) {
	switch in.Step {
	case stepWarm: // fill the rooms
		return r.publish(ctx, 0, r.options.Messages)
	case stepRun:
		return output{Heads: r.heads(nil)}, r.run(ctx)
	default:
		return r.fanout.step(ctx, in)
	}
}

// run has everybody join again. What comes is read meanwhile.
func (r *resume) run(ctx context.Context) error {
	const together = 32 // commands between two looks at what has come
	r.resuming = true
	for i := range r.loop.conns {
		c, p := &r.loop.conns[i], &r.places[i]
		p.due = r.loop.clock.now()
		r.tally.Sent++
		c.stream.last = p.since
		r.payload = appendResume(beginFrame(r.payload[:0]), roomName(r.options.Prefix, c.room), r.epochs[c.room], p.since)
		r.payload = endFrame(r.payload, 0, r.dialect.opcode())
		if err := r.loop.send(c, r.payload); err != nil {
			return err
		}
		if i%together == 0 {
			if err := r.loop.poll(ctx, p.due); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *resume) frame(c *conn, op ws.OpCode, payload []byte, at int64) error {
	if err := r.dialect.read(payload, &r.ev); err != nil {
		return err
	}
	switch {
	case r.ev.kind == evJoined && !r.resuming:
		epoch, err := joinedEpoch(payload)
		if err != nil {
			return err
		}
		r.epochs[c.room] = epoch
		r.places[r.loop.slot(c)].since = r.ev.offset
		return r.count(c, &r.ev, len(payload), at)
	case r.ev.kind == evJoined:
		if !recovered(payload) {
			return fmt.Errorf("a member could not resume: %.300s", payload)
		}
		room := &r.rooms[c.room]
		room.head = max(room.head, r.ev.offset)
		return nil
	case r.ev.kind == evMessage && r.resuming:
		r.tally.Delivered++
		r.tally.Bytes += uint64(len(payload))
		if r.arrived(c, r.ev.offset) && r.ev.offset == r.rooms[c.room].head {
			r.tally.Latency.record(r.places[r.loop.slot(c)].due, at)
		}
		return nil
	default:
		return r.count(c, &r.ev, len(payload), at)
	}
}
