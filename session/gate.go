package session

import (
	"encoding/json"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/thronghq/throng/proto"
)

// Gate decides for the application on who connects, joins and publishes, after
// throng's own checks. Its methods never block; each answers exactly once, on any
// goroutine, perhaps before it returns. What it is given is immutable.
//
// The commands of one connection wait for the verdict on the one before, so that
// they are carried out, and come to the gate, in the order in which they were
// sent.
type Gate interface {
	Connect(ConnectRequest, func(Verdict))
	Join(JoinRequest, func(Verdict))
	Publish(PublishRequest, func(Verdict))
}

// Verdict is a gate's answer. The zero value lets everything be as it is.
type Verdict struct {
	Err     *proto.Error // refuses; a refused Connect closes the connection
	Content []byte       // Publish: replaces the message's content; nil leaves it
}

// Asker is who wants something of a gate.
type Asker struct {
	UserID    string
	Login     string     // the login session of the token, "" for none
	SessionID string     // "" for REST
	Address   netip.Addr // the client's; not valid for unknown
}

// ConnectRequest is a user on a new connection.
type ConnectRequest struct {
	Asker
	Via                  Via
	Codec                string // the subprotocol
	DeviceType, DeviceOS string // as the client says
}

// JoinRequest is a user who wants to join a room.
type JoinRequest struct {
	Asker
	Room string
}

// PublishRequest is a message on its way.
type PublishRequest struct {
	Asker
	Room      string // or the addressee's inbox, user:ID
	Content   []byte
	Kind      proto.Kind
	Key       string
	Transient bool
}

func (s *Session) asker() Asker {
	id := s.identity.Load()
	return Asker{UserID: id.UserID, Login: id.Session, SessionID: s.ID(), Address: s.Address()}
}

// begin welcomes a user who has just become known, once the gate allows it.
func (s *Session) begin(reply []byte) {
	if s.manager.Gate == nil {
		s.welcome(reply)
		return
	}
	s.conn.SetDeadline(time.Time{}) // the gate's time does not count as the client's
	s.inLine().begin(turn{session: s, reply: slices.Clone(reply)})
}

// decided reports whether the gate decides on the command.
func (s *Session) decided(cmd *proto.Command) bool {
	return (cmd.Type == proto.CmdJoin || cmd.Type == proto.CmdMessage) && s.identity.Load() != nil
}

// ask brings a turn to the gate. It reports false where the answer is still to
// come; what is to be done then is done when it does.
func (t *turns) ask(n turn) bool {
	var verdict Verdict
	var arrived, there atomic.Int32 // the answer, and how many of answer and asker are here
	n.ask(func(v Verdict) {
		if arrived.Add(1) > 1 {
			return // a second answer
		}
		verdict = v
		if there.Add(1) == 2 {
			n.conclude(verdict)
			t.done(n)
		}
	})
	if there.Add(1) < 2 {
		return false
	}
	n.conclude(verdict)
	return true
}

func (n turn) ask(answer func(Verdict)) {
	s, gate := n.session, n.session.manager.Gate
	switch {
	case n.cmd == nil:
		r := ConnectRequest{Asker: s.asker(), Via: s.via, Codec: s.Codec().Subprotocol()}
		r.DeviceType, r.DeviceOS = s.device()
		gate.Connect(r, answer)
	case n.cmd.Type == proto.CmdJoin:
		gate.Join(JoinRequest{Asker: s.asker(), Room: string(n.cmd.Room)}, answer)
	default:
		gate.Publish(PublishRequest{
			Asker: s.asker(), Room: string(n.cmd.Room), Content: n.cmd.Content, Kind: n.cmd.Kind,
			Key: string(n.cmd.Key), Transient: n.cmd.Transient,
		}, answer)
	}
}

// conclude does what the verdict says.
func (n turn) conclude(v Verdict) {
	s := n.session
	switch {
	case s.over():
	case n.cmd == nil && v.Err != nil:
		s.end(&proto.Event{Type: proto.EvError, ID: n.reply, Err: v.Err})
	case n.cmd == nil:
		s.welcome(n.reply)
	default:
		err := v.Err
		if err == nil && v.Content != nil && n.cmd.Type == proto.CmdMessage {
			err = s.replace(n.cmd, v.Content)
		}
		if err == nil {
			err = s.dispatch(n.cmd)
		}
		if err != nil {
			s.fail(n.cmd, err)
		}
	}
}

// replace puts the gate's content in the place of the message's own.
func (s *Session) replace(cmd *proto.Command, content []byte) *proto.Error {
	if most := s.manager.Limits.Message; len(content) > most {
		return proto.ErrTooLarge.With("the application has made the content %d bytes long; limits.message is %d", len(content), most)
	}
	if cmd.Kind == proto.KindJSON && !json.Valid(content) {
		return proto.ErrHookDown.With("the application has replaced the content by what is not JSON")
	}
	cmd.Content = content
	return nil
}
