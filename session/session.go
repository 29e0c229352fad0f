package session

import (
	"crypto/rand"
	"encoding/base64"
	mathrand "math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/thronghq/throng/auth"
	"github.com/thronghq/throng/proto"
	"github.com/thronghq/throng/room"
)

// Conn is a session's connection. Its methods are safe for concurrent use and
// never block.
type Conn interface {
	// Reply queues a whole frame, which it copies; it is never dropped.
	Reply(frame []byte)

	// Deliver queues whole frames, which it shares, and returns false when
	// the outbox is full and nothing was taken; Session.Drained follows.
	// Without frames it tells whether Drained is still to come.
	Deliver(frames []byte) bool

	// Close sends what waits and a close frame.
	Close(code proto.CloseCode, reason string)

	// SetDeadline asks for Session.Expired at that time; zero asks for none.
	SetDeadline(t time.Time)
}

// Session is one client's connection above the frames. Message, Drained,
// Expired and Closed are called by the connection's poller, never two at once.
type Session struct {
	// Static after Open.
	manager     *Manager
	conn        Conn
	codec       proto.Codec
	connectedAt int64 // Unix ms

	// Owned by the poller. userID is set once, before the first join, and
	// may be read by all from then on.
	identity *auth.Identity // nil until authenticated
	userID   string
	id       [16]byte // told to the client, authorises nothing
	device   *device  // nil until the client says
	invalid  int      // invalid frames in a row
	over     bool     // closed by this side: what still arrives is not looked at

	pages atomic.Int32 // of history or members, being read

	mu     sync.Mutex
	places []place // by the room's name
}

// device is what the client says of itself.
type device struct{ kind, os string }

// place is a room that the connection has joined or is joining.
type place struct {
	ms *room.Membership
	ns *proto.Namespace
}

// Open gives the session its connection, once.
func (s *Session) Open(c Conn) {
	now := s.manager.Now()
	s.conn = c
	s.connectedAt = now.UnixMilli()
	_, _ = rand.Read(s.id[:]) // never fails: crypto/rand ends the process instead
	s.manager.meters.sessions.Inc()
	if s.identity == nil {
		c.SetDeadline(now.Add(s.manager.Limits.AuthTimeout))
		return
	}
	c.SetDeadline(s.identity.Expires)
	s.sendSession(nil)
	s.manager.Hub.Connect(s)
}

// Closed ends the session: the connection is gone.
func (s *Session) Closed() {
	s.manager.meters.sessions.Dec()
	if s.identity != nil {
		s.manager.Hub.Disconnect(s)
	}
	s.mu.Lock()
	places := s.places
	s.places = nil
	s.mu.Unlock()
	for _, p := range places {
		s.manager.Hub.Drop(p.ms, p.ns)
	}
}

// Expired ends a session that did not authenticate in time, or whose token has
// ended.
func (s *Session) Expired() {
	if s.identity == nil {
		s.Close(proto.ErrAuthTimeout.With("no valid auth within %v", s.manager.Limits.AuthTimeout))
	} else {
		s.Close(proto.ErrTokenExpired.New())
	}
	s.over = true
}

// Drained lets the rooms go on that the full outbox had kept waiting.
func (s *Session) Drained() {
	s.mu.Lock()
	defer s.mu.Unlock()
	// The first ones may fill the outbox again: each has its turn to be first.
	first := 0
	if n := len(s.places); n > 1 {
		first = mathrand.IntN(n)
	}
	for i := range s.places {
		s.places[(first+i)%len(s.places)].ms.Drained()
	}
}

// UserID names the user; "" until authenticated.
func (s *Session) UserID() string { return s.userID }

// Codec is the connection's codec.
func (s *Session) Codec() proto.Codec { return s.codec }

// Deliver queues room frames; see Conn.
func (s *Session) Deliver(frames []byte) bool { return s.conn.Deliver(frames) }

// Close tells the client why and ends the connection with the error's code.
func (s *Session) Close(err *proto.Error) {
	s.Send(&proto.Event{Type: proto.EvError, Err: err})
	s.conn.Close(err.Code.Close, err.Name)
}

// frames lends buffers for encoding.
var frames = sync.Pool{New: func() any { return new([]byte) }}

// Send encodes an event and queues it.
func (s *Session) Send(ev *proto.Event) {
	if ev.Type == proto.EvError {
		s.manager.meters.errors[ev.Err.Code].Inc()
	}
	buf := frames.Get().(*[]byte)
	*buf = proto.AppendEventFrame((*buf)[:0], s.codec, ev)
	s.conn.Reply(*buf)
	const kept = 64 << 10 // bytes; larger buffers are not kept
	if cap(*buf) <= kept {
		frames.Put(buf)
	}
}

// Ended forgets a room that the connection is not in any more, unless another
// join is on its way to it.
func (s *Session) Ended(ms *room.Membership) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i, found := s.findLocked(ms.Room()); found && s.places[i].ms == ms && !ms.Joining() {
		s.places = slices.Delete(s.places, i, i+1)
		if len(s.places) == 0 {
			s.places = nil
		}
	}
}

func (s *Session) findLocked(name string) (int, bool) {
	return slices.BinarySearchFunc(s.places, name, func(p place, name string) int {
		return strings.Compare(p.ms.Room(), name)
	})
}

// admit makes the session the user's.
func (s *Session) admit(id *auth.Identity) {
	s.identity = id
	s.userID = id.UserID
}

func (s *Session) sendSession(id []byte) {
	info := &proto.SessionInfo{
		SessionID: base64.RawURLEncoding.EncodeToString(s.id[:]), UserID: s.userID, ConnectedAt: s.connectedAt,
		Status: "online", Heartbeat: s.manager.Heartbeat, Limits: &s.manager.Limits,
	}
	if s.device != nil {
		info.DeviceType, info.DeviceOS = s.device.kind, s.device.os
	}
	s.Send(&proto.Event{Type: proto.EvSession, ID: id, Session: info})
}
