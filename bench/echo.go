package bench

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"strconv"

	"github.com/gobwas/ws"
)

// echo sends each connection's messages to and fro: raw ones to /echo, those that
// another server's protocol sends back, or the application's own heartbeat, PING
// and PONG, through a session.
type echo struct {
	share
	ping    bool   // PING and PONG in place of raw messages
	foreign echoer // the same for another server's protocol, nil for none
	loop    *loop
	opener  opener
	state   []echoState // by the connection's place

	tally    *tally
	cpu      usage
	closed   bool // a message waits for the one before it
	stopAt   int64
	quota    uint64 // messages of each connection
	underWay int
	out      []byte // frames to be sent together
}

// echoState is where a connection's messages stand. They come back in order.
type echoState struct {
	sent, back uint32
	quotaEnd   uint64
}

func newEcho(part share) (*echo, error) {
	e := &echo{share: part, ping: part.options.Codec == codecJSON, tally: newTally(), state: make([]echoState, part.conns)}
	if codec := part.options.Codec; codec != codecEcho && codec != codecJSON {
		d, err := newDialect(codec)
		if err != nil {
			return nil, err
		}
		e.foreign = d.(echoer)
	}
	var err error
	e.loop, err = newLoop(part.conns, e, func() { part.report(e.tally) })
	if err != nil {
		return nil, err
	}
	e.loop.handled = e.flush
	for i := range e.loop.conns {
		e.loop.conns[i].index = int32(part.first + i)
	}
	if e.opener, err = newOpener(e.loop, part, e.request); err != nil {
		e.close()
		return nil, err
	}
	return e, nil
}

func (e *echo) request(c *conn) []byte {
	if e.ping {
		return appendRequest(nil, e.target, wsPath(userName(c.index)), jsonDialect{}.subprotocol(), false)
	}
	if e.foreign != nil {
		return appendRequest(nil, e.target, e.foreign.path(userName(c.index), ""), e.foreign.subprotocol(), false)
	}
	return appendRequest(nil, e.target, "/echo", "", false)
}

func (e *echo) close() { e.loop.close() }

func (e *echo) idle(ctx context.Context) error { return e.loop.idle(ctx) }

func (e *echo) step(ctx context.Context, in input) (output, error) {
	switch in.Step {
	case stepOpen:
		return output{}, e.loop.open(ctx, &e.opener)
	case stepWarm:
		e.quota, e.stopAt = math.MaxUint32, e.loop.clock.now()+int64(e.options.Warmup)
		return output{}, e.run(ctx)
	case stepRun:
		e.quota, e.stopAt = math.MaxUint32, e.loop.clock.now()+int64(e.options.Duration)
		if e.options.Messages > 0 {
			e.quota, e.stopAt = e.options.Messages, math.MaxInt64
		}
		return output{}, e.run(ctx)
	case stepDrain:
		return output{}, e.drain(ctx)
	case stepBegin:
		e.tally, e.cpu = newTally(), ownUsage()
		return output{}, nil
	case stepFinish:
		for _, s := range e.state {
			e.tally.Violations.Lost += uint64(s.sent - s.back)
		}
		e.tally.CPU = ownUsage().since(e.cpu).total().Seconds()
		return output{Tally: e.tally}, nil
	default:
		return output{}, fmt.Errorf("echo has no step %q", in.Step)
	}
}

// run sends at the rate, or keeps a number of messages of each connection under
// way.
func (e *echo) run(ctx context.Context) error {
	start := e.loop.clock.now()
	for i := range e.state {
		e.state[i].quotaEnd = uint64(e.state[i].sent) + e.quota
	}
	if e.options.Rate > 0 {
		share := float64(e.conns) / float64(e.options.Conns)
		return e.loop.pace(ctx, start, e.stopAt, e.options.Rate*share, func(n int, due int64) (bool, error) {
			i := n % e.conns
			if uint64(e.state[i].sent) >= e.state[i].quotaEnd {
				return false, nil
			}
			e.tally.lateness(due, e.loop.clock.now())
			e.add(i, due)
			return true, e.flush(&e.loop.conns[i])
		})
	}
	e.closed = true
	for i := range e.state {
		for range e.options.Outstanding {
			e.next(i, start)
		}
		if err := e.flush(&e.loop.conns[i]); err != nil {
			return err
		}
	}
	for e.loop.clock.now() < e.stopAt && e.underWay > 0 {
		if err := e.loop.poll(ctx, e.stopAt); err != nil {
			return err
		}
	}
	return nil
}

func (e *echo) next(i int, due int64) {
	if due < e.stopAt && uint64(e.state[i].sent) < e.state[i].quotaEnd {
		e.add(i, due)
	}
}

// add makes a connection's next message, which flush sends: what follows the
// messages of one read goes out in one write, as a client's would that pipelines.
func (e *echo) add(i int, due int64) {
	s, c := &e.state[i], &e.loop.conns[i]
	s.sent++
	e.underWay++
	e.tally.Sent++
	start, op := len(e.out), ws.OpText
	stamp := stamp{author: c.index, seq: s.sent, due: due}
	e.out = beginFrame(e.out)
	switch {
	case e.ping:
		e.out = append(e.out, pingPrefix...)
		e.out = strconv.AppendInt(e.out, due, 10)
		e.out = append(e.out, '}')
	case e.foreign != nil:
		op = e.foreign.opcode()
		e.out = e.foreign.appendEcho(e.out, stamp, e.options.Size)
	default:
		op = ws.OpBinary
		e.out = appendContent(e.out, stamp, e.options.Size)
	}
	e.out = endFrame(e.out, start, op)
}

func (e *echo) flush(c *conn) error {
	if len(e.out) == 0 {
		return nil
	}
	err := e.loop.send(c, e.out)
	e.out = e.out[:0]
	return err
}

var (
	pingPrefix = []byte(`{"type":"PING","timestamp":`)
	pongPrefix = []byte(`{"type":"PONG","timestamp":`)
)

// opened connects to a foreign server's application, which then says when the
// connection is ready.
func (e *echo) opened(c *conn) error {
	if e.foreign != nil {
		return e.loop.send(c, endFrame(e.foreign.appendJoin(beginFrame(nil), ""), 0, e.foreign.opcode()))
	}
	return e.ready(c)
}

func (e *echo) ready(c *conn) error {
	c.state = stateReady
	e.opener.ready++
	return nil
}

func (e *echo) frame(c *conn, _ ws.OpCode, payload []byte, at int64) error {
	several, ok := e.foreign.(batcher)
	if !ok {
		return e.message(c, payload, at)
	}
	for len(payload) > 0 {
		var message []byte
		message, payload = several.cut(payload)
		if err := e.message(c, message, at); err != nil {
			return err
		}
	}
	return nil
}

func (e *echo) message(c *conn, payload []byte, at int64) error {
	i := int(e.loop.slot(c))
	due, err := e.check(&e.state[i], c, payload)
	if err != nil || due == 0 {
		return err
	}
	e.underWay--
	e.tally.Delivered++
	e.tally.Bytes += uint64(len(payload))
	e.tally.Latency.record(due, at)
	if e.closed {
		e.next(i, e.loop.clock.now())
	}
	return nil
}

// check returns when the message that has come back was due, 0 for a frame that
// is none. What a PONG carries tells no order; that is left to raw messages.
func (e *echo) check(s *echoState, c *conn, payload []byte) (due int64, err error) {
	if e.ping {
		text, ok := bytes.CutPrefix(payload, pongPrefix)
		if !ok {
			return 0, e.notPong(payload)
		}
		s.back++
		return strconv.ParseInt(string(bytes.TrimSuffix(text, []byte{'}'})), 10, 64)
	}
	content, err := e.content(c, payload)
	if err != nil || content == nil {
		return 0, err
	}
	got, err := readStamp(content)
	if err != nil {
		return 0, err
	}
	switch {
	case got.author != c.index:
		return 0, fmt.Errorf("a message of connection %d came back", got.author)
	case got.seq <= s.back:
		e.tally.Violations.Duplicates++
		return 0, nil
	case got.seq > s.back+1:
		e.tally.Violations.Order++
	}
	s.back = got.seq
	return got.due, nil
}

// content is what has come back, behind its quote, nil where the frame is no
// message that has.
func (e *echo) content(c *conn, payload []byte) ([]byte, error) {
	if e.foreign == nil {
		if len(payload) != e.options.Size {
			return nil, fmt.Errorf("%d bytes came back of %d", len(payload), e.options.Size)
		}
		return payload[1:], nil
	}
	var ev event
	if err := e.foreign.read(payload, &ev); err != nil {
		return nil, err
	}
	switch ev.kind {
	case evEcho:
		return ev.text, nil
	case evSession, evJoined:
		return nil, e.ready(c)
	case evFailed:
		return nil, fmt.Errorf("%w: %s", errRefused, ev.text)
	default:
		return nil, nil
	}
}

// notPong passes over the session, and fails for an error.
func (e *echo) notPong(payload []byte) error {
	var ev event
	err := jsonDialect{}.read(payload, &ev)
	if err == nil && ev.kind == evFailed {
		err = fmt.Errorf("%w: %s", errRefused, ev.text)
	}
	return err
}

// drain waits for what is still under way.
func (e *echo) drain(ctx context.Context) error {
	e.closed = false
	end := e.loop.clock.now() + int64(e.options.Timeout)
	for e.underWay > 0 && e.loop.clock.now() < end {
		if err := e.loop.poll(ctx, end); err != nil {
			return err
		}
	}
	return nil // what has not come back by now is counted as lost
}
