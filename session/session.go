package session

import (
	mathrand "math/rand/v2"
	"net/netip"
	"slices"
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

	// Prefetch announces a Deliver; it has no effect but on the processor's
	// caches.
	Prefetch()

	// Close sends what waits and a close frame.
	Close(code proto.CloseCode, reason string)

	// Address is the client's; not valid for unknown. It does not change.
	Address() netip.Addr

	// SetDeadline asks for Session.Expired at that time; zero asks for none.
	SetDeadline(t time.Time)
}

// Session is one client's connection above the frames. Message, Drained,
// Expired and Closed are called by the connection's poller, never two at once.
//
// There are as many as connections, so its size counts: a test bounds it.
type Session struct {
	// Static after Open, the id from when the user is known.
	manager     *Manager
	conn        Conn
	connectedAt int64    // Unix ms
	id          [16]byte // told to the client, authorises nothing; begins with the user's place in the directory

	identity atomic.Pointer[auth.Identity] // nil until authenticated; always of one user
	rare     atomic.Pointer[rare]          // nil until it is needed

	// Guarded by the directory, which has the sessions whose users are known.
	next *Session
	prev *Session

	place *room.Membership // guarded by mu: a room that it has joined or is joining; further ones are in rare
	ended atomic.Uint32    // why this side closed, as Manager.ending has it; 0 while it has not

	mu        sync.Mutex
	pages     uint8 // of history or members, being read
	live      bool  // the directory has it
	gone      bool  // the connection has ended
	announced bool  // the observer has been told that it is there
	warned    bool  // the client has been told that its token runs out

	// Small ones, here where they fill a hole: guarded by the directory, …
	reached bool // it is sent what is for its user
	status  room.Status
	// … static after Open …
	form uint8 // index in Manager.forms
	via  Via
	// … and owned by the poller.
	invalid uint8 // invalid frames in a row
}

// rare is what few sessions have.
type rare struct {
	device atomic.Pointer[device] // nil until the client says

	// Owned by the poller.
	tolls tolls
	turns *turns // nil until the gate decides on something

	// Guarded by the session's mu.
	places []*room.Membership // the rooms beside Session.place, by name
}

// own returns the session's rare, which is made where it has none.
func (s *Session) own() *rare {
	if r := s.rare.Load(); r != nil {
		return r
	}
	s.rare.CompareAndSwap(nil, new(rare))
	return s.rare.Load()
}

// Via says how a session is connected.
type Via uint8

// The ways.
const (
	WebSocket Via = iota
	EventStream
)

// String returns the name that Info has.
func (v Via) String() string { return [...]string{WebSocket: "websocket", EventStream: "sse"}[v] }

// device is what the client says of itself.
type device struct{ kind, os string }

// device returns what the client says of itself, "" for nothing.
func (s *Session) device() (kind, os string) {
	if r := s.rare.Load(); r != nil {
		if d := r.device.Load(); d != nil {
			return d.kind, d.os
		}
	}
	return "", ""
}

// Agreed tells the window of compressed frames that the handshake has agreed on,
// before Open; without it they are plain.
func (s *Session) Agreed(w proto.Window) {
	s.form += uint8(max(0, slices.Index(windows[:], w))) // it was windows[0]
}

// Open gives the session its connection, once.
func (s *Session) Open(c Conn) {
	now := s.manager.Now()
	s.conn = c
	s.connectedAt = now.UnixMilli()
	s.manager.meters.sessions.Inc()
	if s.identity.Load() != nil {
		s.begin(nil)
		return
	}
	c.SetDeadline(now.Add(s.manager.Limits.AuthTimeout))
}

// identify makes the session the user's, once.
func (s *Session) identify(id *auth.Identity) {
	s.id = s.manager.Directory.newID(id.UserID)
	s.identity.Store(id)
}

// welcome makes the session known as the user's and answers with it. The session
// event comes before anything else that the user gets.
func (s *Session) welcome(reply []byte) {
	id := s.identity.Load()
	if !s.appear() {
		return
	}
	s.announce()
	if s.closeRevoked(id) {
		return
	}
	s.setDeadline(id)
	if s.via == WebSocket {
		s.sendSession(id, reply)
		s.reach()
	}
}

// appear makes the session one that is found by its user, from then until
// Closed. It reports false where the connection has ended already.
//
// A token that was revoked after it was verified, and before the session could
// be found, is looked at again after this: whoever revokes says so first and
// looks for sessions then.
func (s *Session) appear() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone {
		return false
	}
	s.live = true
	s.manager.Directory.add(s)
	return true
}

// reach lets the hub send the session what is for its user, wherever it is.
func (s *Session) reach() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.gone {
		s.manager.Directory.reach(s)
	}
}

// closeRevoked ends the session where its token has been revoked.
func (s *Session) closeRevoked(id *auth.Identity) bool {
	if s.manager.Revoked == nil || !s.manager.Revoked(id) {
		return false
	}
	s.Close(proto.ErrRevoked.New())
	return true
}

// Closed ends the session: the connection is gone. The reason is what the
// connection knows of it, "" for nothing; where the session itself closed it,
// its own reason counts.
func (s *Session) Closed(reason string) {
	s.manager.meters.sessions.Dec()
	var info Info
	if s.manager.Observer != nil && s.identity.Load() != nil {
		info = s.info()
	}
	s.mu.Lock()
	s.gone = true
	places := s.takePlacesLocked()
	announced := s.announced
	if s.live {
		s.manager.Directory.remove(s)
	}
	s.mu.Unlock()
	for _, ms := range places {
		s.manager.Hub.Drop(ms)
	}
	if announced {
		s.manager.Observer.Disconnected(info, s.reason(reason))
	}
}

// Drained lets the rooms go on that the full outbox had kept waiting.
func (s *Session) Drained() {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.countPlacesLocked()
	if n == 0 {
		return
	}
	// The first ones may fill the outbox again: each has its turn to be first.
	first := mathrand.IntN(n)
	for i := range n {
		s.placeLocked((first + i) % n).Drained()
	}
}

// UserID names the user; "" until authenticated.
func (s *Session) UserID() string {
	if id := s.identity.Load(); id != nil {
		return id.UserID
	}
	return ""
}

// Codec is the connection's codec.
func (s *Session) Codec() proto.Codec { return s.manager.forms[s.form].Codec }

// Form is what the connection's frames look like.
func (s *Session) Form() proto.Form { return s.manager.forms[s.form] }

// Deliver queues room frames; see Conn.
func (s *Session) Deliver(frames []byte) bool { return s.conn.Deliver(frames) }

// Prefetch announces a Deliver; see Conn.
func (s *Session) Prefetch() { s.conn.Prefetch() }

// Close tells the client why and ends the connection with the error's code.
// The first reason counts.
func (s *Session) Close(err *proto.Error) { s.end(&proto.Event{Type: proto.EvError, Err: err}) }

// end sends an error and ends the connection with its code, unless that was done
// before.
func (s *Session) end(ev *proto.Event) {
	if !s.ended.CompareAndSwap(0, s.manager.ending[ev.Err.Code]) {
		return
	}
	s.Send(ev)
	s.conn.Close(closeCode(ev.Err.Code), ev.Err.Name)
}

// over reports that this side has closed: what still arrives is not looked at.
func (s *Session) over() bool { return s.ended.Load() != 0 }

// closeCode is the code with which a connection ends for an error, which need
// not be one that always ends it.
func closeCode(c *proto.Code) proto.CloseCode {
	const policyViolation, tryAgainLater = 1008, 1013
	switch {
	case c.Close != 0:
		return c.Close
	case c.Retry:
		return tryAgainLater
	default:
		return policyViolation
	}
}

// frames lends buffers for encoding.
var frames = sync.Pool{New: func() any { return new([]byte) }}

// Send encodes an event and queues it.
func (s *Session) Send(ev *proto.Event) {
	if ev.Type == proto.EvError {
		s.manager.meters.errors[ev.Err.Code].Inc()
	}
	if c, ok := s.conn.(*call); ok {
		c.answer(ev)
		return
	}
	buf := frames.Get().(*[]byte)
	form := s.Form()
	*buf = proto.AppendEventFrame((*buf)[:0], form.Codec, ev)
	*buf = s.manager.Hub.Compress(*buf, ev.Room, form.Window)
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
	if !ms.Joining() {
		s.forgetPlaceLocked(ms)
	}
}

func (s *Session) sendSession(id *auth.Identity, reply []byte) {
	info := &proto.SessionInfo{
		SessionID: s.ID(), UserID: id.UserID, ConnectedAt: s.connectedAt,
		Status: "online", Heartbeat: s.manager.Heartbeat, Limits: &s.manager.Limits,
	}
	info.DeviceType, info.DeviceOS = s.device()
	s.Send(&proto.Event{Type: proto.EvSession, ID: reply, Session: info})
}
