package session

import (
	"context"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/thronghq/throng/auth"
	"github.com/thronghq/throng/proto"
)

// Caller is somebody who asks without a connection, such as by REST.
type Caller struct {
	Identity *auth.Identity // nil for nobody: such callers may do nothing
	Address  netip.Addr     // the client's; not valid for unknown

	turns *turns // shared by the commands of a batch, nil for none
}

// InOrder returns a caller whose commands reach their rooms in the order in which
// one goroutine starts them, also where a gate decides on each: each waits for
// the verdict on the one before. Without a gate all callers' commands do.
func (c Caller) InOrder() Caller {
	c.turns = new(turns)
	return c
}

// Do carries out one command for somebody without a connection, through the
// same checks as a connection's, and waits for its answer: message (all forms),
// history, ack (of the user's own inbox, answered with a bare EvAck), members and
// host. The command is borrowed until Do returns, the answer is the caller's.
//
// What a codec has checked of a frame's command is up to the caller here: that
// JSON content is valid JSON, above all. Names and sizes are checked.
//
// When ctx ends first, the error is ErrOverloaded, and the command may still be
// done.
func (m *Manager) Do(ctx context.Context, c Caller, cmd *proto.Command) (*proto.Event, *proto.Error) {
	type answer struct {
		event *proto.Event
		err   *proto.Error
	}
	answers := make(chan answer, 1) // so that nobody waits for who has gone
	m.Start(c, cmd, func(ev *proto.Event, err *proto.Error) { answers <- answer{ev, err} })
	select {
	case a := <-answers:
		return a.event, a.err
	case <-ctx.Done():
		return nil, proto.ErrOverloaded.With("the command was not answered in time; it may still be done")
	}
}

// Start is Do without the wait: done is called exactly once with the answer or
// the error, on any goroutine, perhaps before Start returns, and must not block.
// The command is borrowed until Start returns. Commands that one goroutine
// starts reach a room in that order; with a gate, those of one InOrder caller.
func (m *Manager) Start(c Caller, cmd *proto.Command, done func(*proto.Event, *proto.Error)) {
	k := &call{done: done, address: c.Address}
	k.session.manager, k.session.conn = m, k
	if c.turns != nil {
		k.session.own().turns = c.turns
	}
	k.session.identity.Store(c.Identity)
	err := m.checkCall(c, cmd)
	if err == nil {
		err = k.session.pay(cmd, len(cmd.Content))
	}
	if err == nil {
		err = k.session.execute(cmd)
	}
	if err != nil {
		k.session.fail(cmd, err)
	}
}

// checkCall reports what a codec would have refused, and what needs a
// connection.
func (m *Manager) checkCall(c Caller, cmd *proto.Command) *proto.Error {
	switch {
	case c.Identity == nil:
		return proto.ErrUnauthenticated.With("the caller is nobody")
	case len(cmd.Key) > m.Limits.KeyBytes:
		return proto.ErrInvalidField.With("field \"key\" has %d bytes; it may have %d", len(cmd.Key), m.Limits.KeyBytes)
	case len(cmd.Content) > m.Limits.Message:
		return proto.ErrTooLarge.With("field \"content\" has %d bytes; limits.message is %d", len(cmd.Content), m.Limits.Message)
	}
	switch cmd.Type {
	case proto.CmdMessage, proto.CmdHistory, proto.CmdAck, proto.CmdMembers, proto.CmdHost:
		return nil
	default:
		return proto.ErrUnknownType.With("the command %q needs a connection", cmd.Type)
	}
}

// call is a session that carries out one command. It is the connection, too:
// the first event that it is sent is the answer, and nothing else can come, for
// it joins no room.
type call struct {
	session  Session
	done     func(*proto.Event, *proto.Error)
	address  netip.Addr
	answered atomic.Bool
}

// answer takes the event that Session.Send was given, which is borrowed.
func (k *call) answer(ev *proto.Event) {
	if k.answered.Swap(true) {
		return
	}
	if ev.Type == proto.EvError {
		k.done(nil, ev.Err)
		return
	}
	kept := *ev
	k.done(&kept, nil)
}

// Reply implements Conn. Session.Send hands events to answer instead.
func (k *call) Reply([]byte) { panic("session: a call is answered with an event") }

// Deliver implements Conn: it refuses, and then a room sends the author's ack as
// an event.
func (k *call) Deliver([]byte) bool { return false }

// Prefetch implements Conn.
func (k *call) Prefetch() {}

// Close implements Conn: the error before it is the answer.
func (k *call) Close(proto.CloseCode, string) {}

// Address implements Conn.
func (k *call) Address() netip.Addr { return k.address }

// SetDeadline implements Conn: a call ends by itself.
func (k *call) SetDeadline(time.Time) {}

// isCall reports whether the session is a call's.
func (s *Session) isCall() bool {
	_, ok := s.conn.(*call)
	return ok
}
