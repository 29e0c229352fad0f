package bench

import (
	"bytes"
	"fmt"
	"net/url"

	"github.com/gobwas/ws"
)

// socketIODialect is Socket.IO's, version 5 of its protocol on version 4 of
// Engine.IO's, as its clients speak it once they are on a WebSocket. A client
// names its room as it connects. A message has the fields of a floor's, sent by
// the application as it would need them, and like a floor's it is numbered by its
// author.
type socketIODialect struct{}

func (socketIODialect) subprotocol() string { return "" }
func (socketIODialect) opcode() ws.OpCode   { return ws.OpText }

func (socketIODialect) path(user, _ string) string {
	return "/socket.io/?EIO=4&transport=websocket&user=" + url.QueryEscape(user)
}

// appendJoin connects, to no room where that is "".
func (socketIODialect) appendJoin(dst []byte, room string) []byte {
	dst = append(dst, `40{"room":"`...)
	dst = append(dst, room...)
	return append(dst, `"}`...)
}

func (socketIODialect) appendPublish(dst []byte, user, room string, s stamp, size int) []byte {
	dst = append(dst, socketIOMessage...)
	dst = floorDialect{}.appendPublish(dst, user, room, s, size)
	return append(dst, ']')
}

func (socketIODialect) appendEcho(dst []byte, s stamp, size int) []byte {
	dst = append(dst, socketIOEcho...)
	dst = appendContent(dst, s, size)
	return append(dst, ']')
}

var (
	socketIOMessage = []byte(`42["message",`)
	socketIOEcho    = []byte(`42["echo",`)
)

func (socketIODialect) read(payload []byte, ev *event) error {
	*ev = event{}
	if text, ok := bytes.CutPrefix(payload, socketIOMessage); ok {
		_, text, ok = bytes.Cut(text, contentField)
		if !ok {
			return errNoStamp
		}
		return ev.readUnnumbered(text)
	}
	if text, ok := bytes.CutPrefix(payload, socketIOEcho); ok && len(text) > 0 {
		ev.kind, ev.text = evEcho, text[1:] // behind the quote
		return nil
	}
	switch {
	case bytes.HasPrefix(payload, []byte("0{")): // the Engine.IO session
	case bytes.HasPrefix(payload, []byte("40{")):
		ev.kind = evJoined
	case bytes.HasPrefix(payload, []byte("44")):
		ev.kind, ev.text = evFailed, payload
	default:
		return fmt.Errorf("the server sent %.100q, which is no event", payload)
	}
	return nil
}
