package session

import (
	"encoding/binary"
	"iter"
	"slices"

	"github.com/thronghq/throng/proto"
)

// OpenStream makes a session of a connection that only listens, such as an HTTP
// response with server-sent events. It speaks the JSON codec, and gets what
// Subscribe asks for: no session event, and no direct messages to its user but
// by a subscription to the inbox. Whoever made the connection calls Drained,
// Expired and Closed, as for any session; Closed is called even where the
// session has closed the connection itself.
//
// The caller has an identity.
func (m *Manager) OpenStream(c Caller, conn Conn) *Session {
	s := &Session{manager: m, via: EventStream, form: m.jsonForm}
	s.identify(c.Identity)
	s.Open(conn)
	return s
}

// Subscribe joins a room. What is known to be wrong at once is returned, what
// comes up later is an error event; joined and the messages follow as for a
// join command. Since is borrowed.
func (s *Session) Subscribe(room string, since proto.Since) *proto.Error {
	if err := proto.CheckRoomName("room", room); err != nil {
		return err
	}
	cmd := &proto.Command{Type: proto.CmdJoin, Room: []byte(room), Since: since}
	if err := s.pay(cmd, 0); err != nil {
		return err
	}
	return s.execute(cmd)
}

// jsonCodec finds the codec of event streams, or returns the first.
func jsonCodec(codecs []proto.Codec) int {
	const text = 1
	return max(0, slices.IndexFunc(codecs, func(c proto.Codec) bool { return c.OpCode() == text }))
}

// Payloads visits the payloads of whole WebSocket frames that stand one after
// the other, as Conn is given them. They are parts of frames, not copies.
func Payloads(frames []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for len(frames) > 0 {
			head, size := 2, int(frames[1]) // the server's frames are unmasked: RFC 6455, section 5.2
			switch size {
			case 126:
				head, size = 4, int(binary.BigEndian.Uint16(frames[2:]))
			case 127:
				head, size = 10, int(binary.BigEndian.Uint64(frames[2:]))
			}
			if !yield(frames[head : head+size]) {
				return
			}
			frames = frames[head+size:]
		}
	}
}
