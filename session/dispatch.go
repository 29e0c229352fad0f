package session

import (
	"bytes"
	"slices"
	"sync"

	"github.com/thronghq/throng/auth"
	"github.com/thronghq/throng/proto"
	"github.com/thronghq/throng/room"
)

var inboxPrefix = []byte(room.Inbox(""))

// pagesPerConn is how many pages of history or members one connection may have
// asked for at once.
const pagesPerConn = 8

// commands lends what frames are decoded into.
var commands = sync.Pool{New: func() any { return new(proto.Command) }}

// Message takes one frame's payload, which is borrowed.
func (s *Session) Message(op proto.OpCode, payload []byte) {
	if s.over() {
		return
	}
	codec := s.Codec()
	if op != codec.OpCode() {
		s.reject(nil, proto.ErrInvalidFrame.With("subprotocol %s takes %s frames only", codec.Subprotocol(), opName(codec.OpCode())))
		return
	}
	cmd := commands.Get().(*proto.Command)
	defer commands.Put(cmd)
	bad := codec.Decode(payload, cmd)
	err := s.pay(cmd, len(payload))
	switch {
	case err != nil:
		s.limit(cmd, err)
		return
	case bad != nil:
		s.reject(cmd.ID, bad)
		return
	}
	s.invalid = 0
	if err := s.execute(cmd); err != nil {
		s.fail(cmd, err)
	}
}

// execute carries out a command, which is borrowed, or says why not. What comes
// up later is answered with an error event.
func (s *Session) execute(cmd *proto.Command) *proto.Error {
	s.manager.meters.commands[cmd.Type].Inc()
	if s.manager.Gate == nil || cmd.Type == proto.CmdPing {
		return s.dispatch(cmd)
	}
	return s.inTurn(cmd)
}

// check reports what dispatch would find wrong with a join or a message before
// it reaches the room.
func (s *Session) check(cmd *proto.Command) *proto.Error {
	if cmd.Type == proto.CmdJoin {
		_, err := s.mayJoin(cmd)
		return err
	}
	if user, direct := s.addressee(cmd); direct {
		_, err := s.mayWrite(user)
		return err
	}
	_, err := s.room("to", cmd.Room, auth.RightPublish)
	return err
}

func opName(op proto.OpCode) string {
	const text = 1 // RFC 6455, section 5.2
	if op == text {
		return "text"
	}
	return "binary"
}

// reject answers a frame that is no command, and ends the connection after
// too many in a row.
func (s *Session) reject(id []byte, err *proto.Error) {
	s.Send(&proto.Event{Type: proto.EvError, ID: id, Err: err})
	if s.invalid++; int(s.invalid) >= s.manager.Limits.InvalidFrames {
		s.Close(proto.ErrTooManyBad.With("%d invalid frames in a row", s.invalid))
	}
}

// fail answers a command that was understood and cannot be done. Errors with a
// close code end the connection.
func (s *Session) fail(cmd *proto.Command, err *proto.Error) {
	ev := &proto.Event{Type: proto.EvError, ID: cmd.ID, Room: string(cmd.Room), Err: err}
	if err.Code.Close != 0 {
		s.end(ev)
	} else {
		s.Send(ev)
	}
}

func (s *Session) dispatch(cmd *proto.Command) *proto.Error {
	switch cmd.Type {
	case proto.CmdAuth:
		return s.auth(cmd)
	case proto.CmdPing:
		s.Send(&proto.Event{Type: proto.EvPong, ID: cmd.ID, Millis: cmd.Timestamp})
		return nil
	}
	if s.identity.Load() == nil {
		return proto.ErrUnauthenticated.New()
	}
	switch cmd.Type {
	case proto.CmdJoin:
		return s.join(cmd)
	case proto.CmdLeave:
		return s.leave(cmd)
	case proto.CmdMessage:
		return s.publish(cmd)
	case proto.CmdHistory:
		return s.history(cmd)
	case proto.CmdAck:
		return s.ack(cmd)
	case proto.CmdMembers:
		return s.members(cmd)
	case proto.CmdStatus:
		return s.setStatus(cmd)
	case proto.CmdHost:
		return s.host(cmd)
	default:
		return proto.ErrUnknownType.With("the type %q is not a command", cmd.Type)
	}
}

// auth admits the user, or takes a fresh token for the same one.
func (s *Session) auth(cmd *proto.Command) *proto.Error {
	id, err := s.manager.Verifier.Verify(cmd.Token)
	if err != nil {
		return err
	}
	now := s.identity.Load()
	if now != nil && id.UserID != now.UserID {
		return proto.ErrWrongUser.With("the token names user %q; the connection is user %q's", id.UserID, now.UserID)
	}
	if len(cmd.DeviceType) > 0 || len(cmd.DeviceOS) > 0 {
		s.own().device.Store(&device{kind: string(cmd.DeviceType), os: string(cmd.DeviceOS)})
	}
	if now == nil {
		if err := s.manager.Limit(Caller{Identity: id}, Handshakes, 1); err != nil {
			return err
		}
		s.identify(id)
		s.begin(cmd.ID)
		return nil
	}
	s.identity.Store(id)
	if s.closeRevoked(id) {
		return nil
	}
	s.setDeadline(id)
	s.sendSession(id, cmd.ID)
	s.leaveForbidden()
	return nil
}

// leaveForbidden leaves the rooms that a fresh token does not allow any more.
func (s *Session) leaveForbidden() {
	s.mu.Lock()
	places := s.placesLocked()
	s.mu.Unlock()
	for _, ms := range places {
		if s.allow(auth.RightJoin, ms.Room()) != nil {
			s.manager.Hub.Expel(ms, proto.ErrForbidden)
		}
	}
}

// membership finds a room that the connection has joined or is joining, nil for none.
func (s *Session) membership(name []byte) *room.Membership {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.findPlaceLocked(string(name))
}

// allow reports an error where the user lacks the right.
func (s *Session) allow(right auth.Right, name string) *proto.Error {
	return s.manager.Authorizer.Allow(s.identity.Load(), right, name)
}

// mayCreate reports whether the user may bring the room to life, as everyone
// may with an inbox.
func (s *Session) mayCreate(name string) bool {
	_, inbox := room.InboxOwner(name)
	return inbox || s.allow(auth.RightCreate, name) == nil
}

// mayJoin returns the room's namespace, or why the user may not join the room.
func (s *Session) mayJoin(cmd *proto.Command) (*proto.Namespace, *proto.Error) {
	name := string(cmd.Room)
	ns, err := s.manager.Hub.Namespace("room", name)
	if err == nil {
		err = s.allow(auth.RightJoin, name)
	}
	if err == nil && cmd.Since.Kind != proto.SinceNone {
		err = s.allow(auth.RightRead, name)
	}
	return ns, err
}

func (s *Session) join(cmd *proto.Command) *proto.Error {
	ns, err := s.mayJoin(cmd)
	if err != nil {
		return err
	}
	name := string(cmd.Room)
	req := room.JoinRequest{
		ID: string(cmd.ID), Since: cmd.Since, Echo: cmd.Echo, MayCreate: s.mayCreate(name),
	}
	req.Since.Epoch = slices.Clone(cmd.Since.Epoch)

	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone {
		return nil
	}
	ms := s.findPlaceLocked(name)
	if ms == nil {
		if n := s.countPlacesLocked(); n >= s.manager.Limits.RoomsPerConn {
			return proto.ErrTooManyRooms.With("the connection has joined %d rooms, as many as limits.rooms allows", n)
		}
		ms = s.manager.Hub.NewMembership(s, name, ns)
		s.addPlaceLocked(ms)
	}
	s.manager.Hub.Join(ms, req)
	return nil
}

func (s *Session) leave(cmd *proto.Command) *proto.Error {
	ms := s.membership(cmd.Room)
	if ms == nil {
		return proto.ErrNotJoined.With("the connection has not joined room %q", cmd.Room)
	}
	s.manager.Hub.Leave(ms, string(cmd.ID))
	return nil
}

// place is a room that a command names.
type place struct {
	ms   *room.Membership // nil where the connection has not joined it
	name string
	ns   *proto.Namespace
}

// room resolves a room that the connection need not have joined.
func (s *Session) room(field string, name []byte, right auth.Right) (p place, err *proto.Error) {
	if p.ms = s.membership(name); p.ms != nil {
		p.name, p.ns = p.ms.Room(), p.ms.Namespace()
	} else {
		p.name = string(name)
		if p.ns, err = s.manager.Hub.Namespace(field, p.name); err != nil {
			return place{}, err
		}
	}
	return p, s.allow(right, p.name)
}

// addressee returns the other user whose inbox a message is for.
func (s *Session) addressee(cmd *proto.Command) (user string, direct bool) {
	if !bytes.HasPrefix(cmd.Room, inboxPrefix) {
		return "", false
	}
	user = string(cmd.Room[len(inboxPrefix):])
	return user, user != s.UserID()
}

func (s *Session) publish(cmd *proto.Command) *proto.Error {
	if user, direct := s.addressee(cmd); direct {
		return s.publishDirect(cmd, user)
	}
	p, err := s.room("to", cmd.Room, auth.RightPublish)
	if err != nil {
		return err
	}
	s.manager.Hub.Publish(s, p.ms, p.name, p.ns, s.publication(cmd, p.name))
	return nil
}

func (s *Session) publication(cmd *proto.Command, name string) room.Publication {
	return room.Publication{
		ID: cmd.ID, Key: cmd.Key, Content: cmd.Content, Kind: cmd.Kind, Transient: cmd.Transient,
		MayCreate: s.mayCreate(name),
	}
}

// mayWrite returns the settings of inboxes, or why the user may not write to
// that of another.
func (s *Session) mayWrite(user string) (*proto.Namespace, *proto.Error) {
	if err := auth.CheckUserID("to", user); err != nil {
		return nil, err
	}
	name := room.Inbox(user)
	ns, err := s.manager.Hub.Namespace("to", name)
	if err == nil {
		err = s.allow(auth.RightDM, name)
	}
	return ns, err
}

// publishDirect sends a message to another user's inbox, and the session's own
// user's.
func (s *Session) publishDirect(cmd *proto.Command, user string) *proto.Error {
	ns, err := s.mayWrite(user)
	if err != nil {
		return err
	}
	name := room.Inbox(user)
	own := s.membership([]byte(room.Inbox(s.UserID())))
	s.manager.Hub.PublishDirect(s, own, name, ns, s.publication(cmd, name))
	return nil
}

func (s *Session) history(cmd *proto.Command) *proto.Error {
	p, err := s.room("room", cmd.Room, auth.RightRead)
	if err != nil {
		return err
	}
	if err := s.beginPage(); err != nil {
		return err
	}
	s.manager.Hub.History(s, p.name, p.ns, room.HistoryRequest{
		ID: string(cmd.ID), Query: cmd.History, Cursor: string(cmd.Cursor),
	}, s.endPage)
	return nil
}

// beginPage counts one more page that is being read, or says that there are
// enough.
func (s *Session) beginPage() *proto.Error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pages >= pagesPerConn {
		return proto.ErrOverloaded.With("%d pages of history or members are being read for this connection, as many as may be at once", pagesPerConn)
	}
	s.pages++
	return nil
}

func (s *Session) endPage() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pages--
}

func (s *Session) ack(cmd *proto.Command) *proto.Error {
	name := string(cmd.Room)
	ms := s.membership(cmd.Room)
	if ms == nil && name != room.Inbox(s.UserID()) {
		return proto.ErrNotJoined.With("the connection has not joined room %q", name)
	}
	ns, err := s.manager.Hub.Namespace("room", name)
	if err != nil {
		return err
	}
	req := room.AckRequest{ID: string(cmd.ID), Epoch: string(cmd.Epoch), Offset: cmd.Offset}
	if s.isCall() { // which waits for an answer; a connection gets none
		req.Done = func() { s.Send(&proto.Event{Type: proto.EvAck, Room: name}) }
	}
	s.manager.Hub.Ack(s, ms, name, ns, req)
	return nil
}

func (s *Session) members(cmd *proto.Command) *proto.Error {
	if s.membership(cmd.Room) == nil && !s.isCall() {
		return proto.ErrNotJoined.With("the connection has not joined room %q", cmd.Room)
	}
	p, err := s.room("room", cmd.Room, auth.RightMembers)
	if err != nil {
		return err
	}
	if err := s.beginPage(); err != nil {
		return err
	}
	if p.ms != nil {
		s.manager.Hub.Members(p.ms, string(cmd.ID), string(cmd.Cursor), s.endPage)
		return nil
	}
	s.manager.Hub.ListMembers(p.name, p.ns, string(cmd.Cursor), 0, func(list []proto.MemberInfo, next string, _ int, err *proto.Error) {
		if err != nil {
			s.Send(&proto.Event{Type: proto.EvError, Room: p.name, Err: err})
		} else {
			s.Send(&proto.Event{Type: proto.EvMembers, Room: p.name, List: list, Next: next})
		}
	})
	return nil
}

func (s *Session) setStatus(cmd *proto.Command) *proto.Error {
	status, ok := room.ParseStatus(string(cmd.Status))
	if !ok {
		return proto.ErrInvalidField.With("field \"status\" is %.40q; it must be online, away or busy", cmd.Status)
	}
	s.manager.Directory.setStatus(s.UserID(), status)
	return nil
}

func (s *Session) host(cmd *proto.Command) *proto.Error {
	name := string(cmd.Room)
	ns, err := s.manager.Hub.Namespace("room", name)
	if err != nil {
		return err
	}
	s.manager.Hub.Host(s, name, ns, room.HostRequest{
		ID: string(cmd.ID), Action: cmd.Action, User: string(cmd.User), Max: cmd.Max,
		Manage: s.allow(auth.RightManage, name) == nil,
	})
	return nil
}
