package bench

import (
	"context"
	"fmt"

	"github.com/gobwas/ws"
)

// history fills rooms as fan-out does, and then pages through them from the
// oldest message to the newest, over and over, each connection through its own
// room.
type history struct {
	*fanout
	pager  pager
	places []place // by the connection's place

	paging bool
	open   int // pages that have been asked for
}

// place is where a connection is in its room.
type place struct {
	due    int64
	cursor string
	last   uint64 // the offset before the next page
}

func newHistory(part share) (*history, error) {
	f, err := newFanout(part)
	if err != nil {
		return nil, err
	}
	p, ok := f.dialect.(pager)
	if !ok || part.options.Codec == codecFloor {
		f.close()
		return nil, fmt.Errorf("--codec %s has no history", part.options.Codec)
	}
	h := &history{fanout: f, pager: p, places: make([]place, part.conns)}
	f.loop.handler = h
	return h, nil
}

func (h *history) step(ctx context.Context, in input) (output, error) {
	switch in.Step {
	case stepWarm: // fill the rooms
		return h.publish(ctx, 0, h.options.Messages)
	case stepRun:
		return output{Heads: h.heads(nil)}, h.run(ctx)
	case stepFinish:
		for i, room := range h.rooms {
			if room.head == 0 {
				return output{}, fmt.Errorf("room %d is empty", i)
			}
		}
		return h.fanout.step(ctx, in)
	default:
		return h.fanout.step(ctx, in)
	}
}

func (h *history) run(ctx context.Context) error {
	start := h.loop.clock.now()
	h.stopAt, h.paging = start+int64(h.options.Duration), true
	defer func() { h.paging = false }()
	for i := range h.loop.conns {
		if err := h.ask(&h.loop.conns[i], start); err != nil {
			return err
		}
	}
	end := h.stopAt + int64(h.options.Timeout)
	for h.open > 0 {
		if err := h.loop.poll(ctx, end); err != nil {
			return err
		}
		if h.loop.clock.now() > end {
			return fmt.Errorf("%d pages have not come in %v", h.open, h.options.Timeout)
		}
	}
	return nil
}

// ask asks for the connection's next page.
func (h *history) ask(c *conn, now int64) error {
	if now >= h.stopAt {
		return nil
	}
	p := &h.places[h.loop.slot(c)]
	p.due = now
	h.open++
	h.tally.Sent++
	h.payload = h.pager.appendHistory(beginFrame(h.payload[:0]), roomName(h.options.Prefix, c.room), p.cursor, h.options.Page)
	h.payload = endFrame(h.payload, 0, h.dialect.opcode())
	return h.loop.send(c, h.payload)
}

func (h *history) frame(c *conn, op ws.OpCode, payload []byte, at int64) error {
	if err := h.dialect.read(payload, &h.ev); err != nil {
		return err
	}
	switch {
	case h.ev.kind == evPage && h.paging:
		return h.page(c, payload, at)
	case h.ev.kind == evFailed:
		return fmt.Errorf("%w: %s", errRefused, h.ev.text)
	default:
		return h.count(c, &h.ev, len(payload), at)
	}
}

// page checks that a page goes on where the one before ended.
func (h *history) page(c *conn, payload []byte, at int64) error {
	p := &h.places[h.loop.slot(c)]
	h.open--
	checked, messages := stream{last: p.last}, uint64(0)
	next, err := h.pager.readPage(payload, func(offset uint64) {
		messages++
		checked.see(offset, &h.tally.Violations)
	})
	if err != nil {
		return err
	}
	p.cursor, p.last = next, checked.last
	if next == "" { // from the beginning
		checked.end(h.rooms[c.room].head, &h.tally.Violations)
		p.last = 0
	}
	h.tally.Delivered += messages
	h.tally.Bytes += uint64(len(payload))
	h.tally.Latency.record(p.due, at)
	return h.ask(c, h.loop.clock.now())
}
