package session

import (
	"time"

	"github.com/thronghq/throng/proto"
)

const (
	refusalWindow = time.Second

	// maxRefusals is how many commands of one window may be refused for their
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

// limit answers a command that was refused for its rate: every one that has an
// id, and of the others the first of a window. After too many in a window it
// ends the connection.
func (s *Session) limit(cmd *proto.Command, err *proto.Error) {
	t := &s.own().tolls
	if now := s.manager.Now(); !now.Before(t.until) {
		t.until, t.refused = now.Add(refusalWindow), 0
	}
	switch t.refused++; {
	case t.refused > maxRefusals:
		s.Close(proto.ErrFlooding.With("%d commands within %v went on beyond the rate limits", t.refused, refusalWindow))
	case t.refused == 1 || len(cmd.ID) > 0:
		s.fail(cmd, err)
	}
}
