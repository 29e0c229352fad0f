package session

import "github.com/thronghq/throng/proto"

// Observer is told who comes and goes. Its methods must not block: pollers call
// them. For one session Connected comes first, Disconnected last.
type Observer interface {
	Connected(Info)

	// Disconnected has what was known at the end. The reason is the code of
	// the error with which the server closed the connection, or else what the
	// connection says of its end, "" for nothing.
	Disconnected(i Info, reason string)
}

// announce tells the observer of a session that has just become known.
func (s *Session) announce() {
	o := s.manager.Observer
	if o == nil {
		return
	}
	info := s.info()
	o.Connected(info)
	s.mu.Lock()
	s.announced = true
	gone := s.gone
	s.mu.Unlock()
	if gone { // and Closed could not tell it
		o.Disconnected(info, s.reason(""))
	}
}

// reason is why the session ended: its own reason, or else the given one.
func (s *Session) reason(otherwise string) string {
	if n := s.ended.Load(); n > 0 {
		return proto.Codes[n-1].Name
	}
	return otherwise
}
