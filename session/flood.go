package session

import (
	"time"

	"github.com/thronghq/throng/proto"
)

const (
	refusalWindow = time.Second

	// maxRefusals is how many commands, and other frames, of one window may be refused for their
	// rate before the connection is closed: more than that is no mistake of a
	// client that sends ahead of its answers.
	maxRefusals = 50
)

// tolls is what a session keeps for rates. It is owned by the poller.
type tolls struct {
	buckets buckets
	until   time.Time // when the window of refusals ends
	refused int       // in it
}

// pay takes what a command of that size costs of all who pay for it, or says who
// cannot.
func (s *Session) pay(cmd *proto.Command, size int) *proto.Error {
	l := s.manager.limiter
	if l == nil {
		return nil
	}
	t := toll{Frames: 1, Bytes: size}
	switch cmd.Type {
	case proto.CmdJoin:
		t[Joins] = 1
	case proto.CmdMessage:
		t[Publishes] = 1
	}
	p := payer{connection: s.buckets(), user: s.UserID(), address: s.Address(), room: cmd.Room}
	return l.pay(p, &t)
}

// buckets returns the connection's own, nil where nothing bounds them. A call has
// none.
func (s *Session) buckets() *buckets {
	if !s.manager.limiter.alone || s.isCall() {
		return nil
	}
	return &s.own().tolls.buckets
}

// Frames takes what frames that brought no command cost: pings, pongs, and
// fragments. Like the methods that bring commands, it is called by the poller. What
// goes beyond a rate is not answered, but counts as refused.
func (s *Session) Frames(n int) {
	l := s.manager.limiter
	if l == nil || s.over() {
		return
	}
	p := payer{connection: s.buckets(), user: s.UserID(), address: s.Address()}
	if unpaid := l.payFrames(p, n); unpaid > 0 {
		s.refuse(unpaid)
	}
}

// refuse counts what was refused for its rate, and returns how much it is in this
// window, with what has just come. Where it is too much it ends the connection.
func (s *Session) refuse(n int) int {
	t := &s.own().tolls
	if now := s.manager.Now(); !now.Before(t.until) {
		t.until, t.refused = now.Add(refusalWindow), 0
	}
	if t.refused += n; t.refused > maxRefusals {
		s.Close(proto.ErrFlooding.With("%d commands or frames within %v went on beyond the rate limits", t.refused, refusalWindow))
	}
	return t.refused
}

// limit answers a command that was refused for its rate: every one that has an
// id, and of the others the first of a window. After too many in a window it
// ends the connection.
func (s *Session) limit(cmd *proto.Command, err *proto.Error) {
	if n := s.refuse(1); n <= maxRefusals && (n == 1 || len(cmd.ID) > 0) {
		s.fail(cmd, err)
	}
}
