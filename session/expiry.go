package session

import (
	"time"

	"github.com/thronghq/throng/auth"
	"github.com/thronghq/throng/proto"
)

// A session whose token runs out is told warnBefore that, or when a quarter of
// what the token had left at its admission is left, whichever is less.
const (
	warnBefore = time.Minute
	warnShare  = 4
)

// setDeadline has Expired called when the client has to be told that its token
// runs out. There is one deadline: it is set anew for the token's end then.
func (s *Session) setDeadline(id *auth.Identity) {
	s.mu.Lock()
	s.warned = false
	s.mu.Unlock()
	if id.Expires.IsZero() {
		s.conn.SetDeadline(time.Time{})
		return
	}
	left := max(0, id.Expires.Sub(s.manager.Now()))
	s.conn.SetDeadline(id.Expires.Add(-min(warnBefore, left/warnShare)))
}

// Expired tells the client that its token runs out, and ends the session where
// it has, or where the client did not authenticate in time.
func (s *Session) Expired() {
	id := s.identity.Load()
	switch {
	case id == nil:
		s.Close(proto.ErrAuthTimeout.With("no valid auth within %v", s.manager.Limits.AuthTimeout))
	case id.Expires.IsZero(): // a fresh token without an end has just come
	case s.manager.Now().Before(id.Expires) && s.warn():
		s.Send(&proto.Event{Type: proto.EvTokenExpiring, Millis: id.Expires.UnixMilli()})
		s.conn.SetDeadline(id.Expires)
	default:
		s.Close(proto.ErrTokenExpired.New())
	}
}

// warn takes note that the client is told. It reports false where it has been.
func (s *Session) warn() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	first := !s.warned
	s.warned = true
	return first
}
