package bench

import (
	"bytes"
	"fmt"
	"strconv"

	"github.com/gobwas/ws"
)

// centrifugeDialect is the JSON protocol of Centrifugo and the centrifuge
// library: commands and replies on lines, some of them in one frame. A room is a
// channel. Without history a publication has no offset; the author's own count
// stands in for it, as for a floor.
type centrifugeDialect struct{}

func (centrifugeDialect) subprotocol() string     { return "" } // JSON is the default
func (centrifugeDialect) opcode() ws.OpCode       { return ws.OpText }
func (centrifugeDialect) path(_, _ string) string { return "/connection/websocket" }

// appendJoin connects, too, and connects only where there is no room.
func (centrifugeDialect) appendJoin(dst []byte, room string) []byte {
	dst = append(dst, `{"id":1,"connect":{}}`...)
	if room == "" {
		return dst
	}
	dst = append(dst, "\n"+`{"id":2,"subscribe":{"channel":"`...)
	dst = append(dst, room...)
	return append(dst, `"}}`...)
}

func (centrifugeDialect) appendPublish(dst []byte, _, room string, s stamp, size int) []byte {
	dst = appendCentrifugeID(dst, s)
	dst = append(dst, `,"publish":{"channel":"`...)
	dst = append(dst, room...)
	dst = append(dst, `","data":`...)
	dst = appendContent(dst, s, size)
	return append(dst, `}}`...)
}

func (centrifugeDialect) appendEcho(dst []byte, s stamp, size int) []byte {
	dst = appendCentrifugeID(dst, s)
	dst = append(dst, `,"rpc":{"data":`...)
	dst = appendContent(dst, s, size)
	return append(dst, `}}`...)
}

// appendCentrifugeID begins a command behind those of appendJoin.
func appendCentrifugeID(dst []byte, s stamp) []byte {
	return strconv.AppendUint(append(dst, `{"id":`...), uint64(s.seq)+2, 10)
}

func (centrifugeDialect) cut(payload []byte) (message, rest []byte) {
	message, rest, _ = bytes.Cut(payload, []byte{'\n'})
	return message, rest
}

var (
	centrifugePush  = []byte(`{"push":{"channel":"`)
	centrifugeData  = []byte(`"data":"`)
	centrifugeReply = []byte(`{"id":`)
)

func (centrifugeDialect) read(payload []byte, ev *event) error {
	*ev = event{}
	if bytes.HasPrefix(payload, centrifugePush) {
		_, text, ok := bytes.Cut(payload, centrifugeData)
		if !ok {
			return errNoStamp
		}
		return ev.readUnnumbered(text)
	}
	reply, ok := bytes.CutPrefix(payload, centrifugeReply)
	_, reply, named := bytes.Cut(reply, []byte(`,"`))
	if !ok || !named {
		if string(payload) == "{}" {
			return nil // a ping
		}
		return fmt.Errorf("the server sent %.100q, which is no reply", payload)
	}
	name, value, _ := bytes.Cut(reply, []byte{'"'})
	switch string(name) {
	case "connect":
		ev.kind = evSession
	case "subscribe":
		ev.kind = evJoined
	case "rpc":
		if _, text, ok := bytes.Cut(value, centrifugeData); ok {
			ev.kind, ev.text = evEcho, text
		}
	case "error":
		ev.kind, ev.text = evFailed, payload
	}
	return nil
}
