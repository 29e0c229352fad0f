package bench

import (
	"fmt"
	"net/url"

	"github.com/gobwas/ws"
)

// dialect is what a server's clients say and hear. There is one for each codec
// of throng's and one for the floors; scenarios know no other difference.
type dialect interface {
	// subprotocol is offered in the handshake, "" for none.
	subprotocol() string
	opcode() ws.OpCode

	// path is where a connection is opened.
	path(user, room string) string
	// appendJoin appends the command that joins a room, or nothing where the
	// path did.
	appendJoin(dst []byte, room string) []byte
	// appendPublish appends the command that sends size bytes of content with
	// the stamp in it.
	appendPublish(dst []byte, user, room string, s stamp, size int) []byte

	// read understands one message of the server's as far as it has to be
	// counted. The event aliases the payload.
	read(payload []byte, ev *event) error
}

// pager is a dialect that can page through history.
type pager interface {
	dialect
	// appendHistory appends the command that asks for a page, the first one
	// where the cursor is "".
	appendHistory(dst []byte, room, cursor string, limit int) []byte
	// readPage calls each for every message of a page, in its order, and
	// returns the next page's cursor, "" for none.
	readPage(payload []byte, each func(offset uint64)) (next string, err error)
}

// echoer is a dialect in which the server can be asked to send a message back.
// Its appendJoin takes "" for no room, and the server answers with evSession or
// evJoined.
type echoer interface {
	dialect
	appendEcho(dst []byte, s stamp, size int) []byte
}

// batcher is a dialect in which a frame can hold several of the server's
// messages. Cut takes the first one off.
type batcher interface {
	dialect
	cut(payload []byte) (message, rest []byte)
}

// event is what a server said.
type event struct {
	kind   eventKind
	offset uint64 // message, ack; joined and lag: the head; gap: the next one
	stamp  stamp  // message
	text   []byte // page, failed: what the server said; echo: the content, behind its quote
}

// readUnnumbered takes a message of a server that does not number them: the
// author's count stands in for the offset, since a room has one author.
func (ev *event) readUnnumbered(content []byte) (err error) {
	ev.kind = evMessage
	ev.stamp, err = readStamp(content)
	ev.offset = uint64(ev.stamp.seq)
	return err
}

type eventKind uint8

const (
	evOther   eventKind = iota // to be passed over
	evSession                  // authenticated
	evJoined
	evMessage
	evAck
	evLag
	evGap
	evPage   // of history
	evEcho   // a message has come back
	evFailed // a command was refused, or the connection put out of its room
)

// codecs are the values of --codec.
const (
	codecJSON   = "json"
	codecBinary = "binary"
	codecFloor  = "floor"
	codecEcho   = "echo"

	codecCentrifuge = "centrifuge"
	codecSocketIO   = "socket.io"
)

// numbered says whether the server of a codec gives messages their offsets. Of
// the others each room has one author, by whose count the order is checked.
func numbered(codec string) bool {
	return codec == codecJSON || codec == codecBinary
}

func newDialect(codec string) (dialect, error) {
	switch codec {
	case codecJSON:
		return jsonDialect{}, nil
	case codecBinary:
		return binaryDialect{}, nil
	case codecFloor:
		return floorDialect{}, nil
	case codecCentrifuge:
		return centrifugeDialect{}, nil
	case codecSocketIO:
		return socketIODialect{}, nil
	default:
		return nil, fmt.Errorf("no codec %q", codec)
	}
}

// userName and roomName have a fixed length, so that frames have one, too.
func userName(index int32) string { return fmt.Sprintf("b%07d", index) }

func roomName(prefix string, room int32) string { return fmt.Sprintf("%s-%06d", prefix, room) }

// wsPath is throng's endpoint for a server with --dev.
func wsPath(user string) string { return "/ws?user=" + url.QueryEscape(user) }
