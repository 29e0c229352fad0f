package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"

	"github.com/gobwas/ws"
)

// pages asks for pages of history at random places of rooms that are filled
// already (throng bench append --keep), each connection for one at a time. The
// connections join no room.
type pages struct {
	share
	loop   *loop
	opener opener
	asked  []asked // by the connection's place

	random   *rand.Rand
	tally    *tally
	cpu      usage
	stopAt   int64 // no page is asked for after this time
	underWay int
	payload  []byte
}

// asked is the page that a connection waits for.
type asked struct {
	after uint64 // the offset before its first message
	due   int64
}

func newPages(part share) (*pages, error) {
	if part.options.Messages < uint64(part.options.Page) {
		return nil, fmt.Errorf("--messages %d: rooms that hold less than a page of %d", part.options.Messages, part.options.Page)
	}
	p := &pages{share: part, asked: make([]asked, part.conns), tally: newTally(), random: rand.New(rand.NewPCG(uint64(part.process), 0))}
	var err error
	if p.loop, err = newLoop(part.conns, p, func() { part.report(p.tally) }); err != nil {
		return nil, err
	}
	for i := range p.loop.conns {
		p.loop.conns[i].index = int32(part.first + i)
	}
	if p.opener, err = newOpener(p.loop, part, p.request); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

func (p *pages) request(c *conn) []byte {
	return appendRequest(nil, p.target, wsPath(userName(c.index)), jsonDialect{}.subprotocol(), false)
}

func (p *pages) close() { p.loop.close() }

func (p *pages) idle(ctx context.Context) error { return p.loop.idle(ctx) }

// step warms up with every place once, where there are so few that they come
// again.
func (p *pages) step(ctx context.Context, in input) (output, error) {
	switch in.Step {
	case stepOpen:
		return output{}, p.loop.open(ctx, &p.opener)
	case stepWarm:
		for place := range p.options.Places {
			c := &p.loop.conns[place%len(p.loop.conns)]
			if err := p.ask(c, place); err != nil {
				return output{}, err
			}
			if err := p.await(ctx); err != nil {
				return output{}, err
			}
		}
		return output{}, nil
	case stepBegin:
		p.tally, p.cpu = newTally(), ownUsage()
		return output{}, nil
	case stepRun:
		p.stopAt = p.loop.clock.now() + int64(p.options.Duration)
		defer func() { p.stopAt = 0 }()
		for i := range p.loop.conns {
			if err := p.next(&p.loop.conns[i]); err != nil {
				return output{}, err
			}
		}
		return output{}, p.await(ctx)
	case stepDrain: // nothing is under way
		return output{}, nil
	case stepFinish:
		p.tally.CPU = ownUsage().since(p.cpu).total().Seconds()
		return output{Tally: p.tally}, nil
	default:
		return output{}, fmt.Errorf("pages has no step %q", in.Step)
	}
}

// await waits until no page is under way.
func (p *pages) await(ctx context.Context) error {
	stalled := p.loop.clock.now() + int64(p.options.Timeout)
	for before := p.tally.Sent; p.underWay > 0; {
		if err := p.loop.poll(ctx, stalled); err != nil {
			return err
		}
		switch now := p.loop.clock.now(); {
		case p.tally.Sent != before:
			before, stalled = p.tally.Sent, now+int64(p.options.Timeout)
		case now > stalled:
			return fmt.Errorf("%d pages have not come in %v", p.underWay, p.options.Timeout)
		}
	}
	return nil
}

// next asks for a page of a random place, of all that there are or of the first
// ones.
func (p *pages) next(c *conn) error {
	if p.loop.clock.now() >= p.stopAt {
		return nil
	}
	places := p.options.Places
	if places == 0 {
		places = p.options.Rooms * int(p.options.Messages/uint64(p.options.Page))
	}
	return p.ask(c, p.random.IntN(places))
}

// ask asks for the page of a place. Places that follow each other are in
// different rooms.
func (p *pages) ask(c *conn, place int) error {
	room, page := place%p.options.Rooms, place/p.options.Rooms
	one := &p.asked[p.loop.slot(c)]
	one.after, one.due = uint64(page*p.options.Page), p.loop.clock.now()
	p.tally.Sent++
	p.underWay++
	p.payload = appendPageAfter(beginFrame(p.payload[:0]), roomName(p.options.Prefix, int32(room)), one.after, p.options.Page)
	p.payload = endFrame(p.payload, 0, ws.OpText)
	return p.loop.send(c, p.payload)
}

func appendPageAfter(dst []byte, room string, after uint64, limit int) []byte {
	dst = append(dst, `{"type":"history","id":"h","room":"`...)
	dst = append(dst, room...)
	dst = append(dst, `","after":`...)
	dst = strconv.AppendUint(dst, after, 10)
	dst = append(dst, `,"limit":`...)
	dst = strconv.AppendInt(dst, int64(limit), 10)
	return append(dst, '}')
}

func (p *pages) opened(*conn) error { return nil } // the session is to come

func (p *pages) frame(c *conn, _ ws.OpCode, payload []byte, at int64) error {
	var ev event
	if err := (jsonDialect{}).read(payload, &ev); err != nil {
		return err
	}
	switch ev.kind {
	case evSession:
		c.state = stateReady
		p.opener.ready++
		return nil
	case evPage:
		return p.page(c, payload, at)
	case evFailed:
		return fmt.Errorf("%w: %s", errRefused, ev.text)
	default:
		return nil
	}
}

var errShortPage = errors.New("a page is shorter than asked for: --rooms, --messages and --room-prefix are to be those that the log was filled with")

// page checks that the page is whole and in order.
func (p *pages) page(c *conn, payload []byte, at int64) error {
	one := p.asked[p.loop.slot(c)]
	p.underWay--
	p.tally.Latency.record(one.due, at)
	checked, messages := stream{last: one.after}, 0
	if _, err := (jsonDialect{}).readPage(payload, func(offset uint64) {
		messages++
		checked.see(offset, &p.tally.Violations)
	}); err != nil {
		return err
	}
	if messages != p.options.Page {
		return fmt.Errorf("%w: %d messages of %d", errShortPage, messages, p.options.Page)
	}
	p.tally.Delivered += uint64(messages)
	p.tally.Bytes += uint64(len(payload))
	return p.next(c)
}
