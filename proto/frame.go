package proto

import (
	"encoding/binary"

	"github.com/gobwas/ws"
)

// AppendEventFrame appends one event as a whole unmasked WebSocket frame.
func AppendEventFrame(dst []byte, c Codec, ev *Event) []byte {
	start := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	dst = c.AppendEvent(dst, ev)
	return sealFrame(dst, start, c.OpCode())
}

// AppendMessageFrame appends one pushed message as a whole unmasked WebSocket
// frame.
func AppendMessageFrame(dst []byte, c Codec, m *Message, own bool) []byte {
	start := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	dst = c.AppendMessage(dst, m, own)
	return sealFrame(dst, start, c.OpCode())
}

// sealFrame writes the header of the frame whose payload stands at start + 4.
// Four bytes fit payloads of 126 to 65,535 bytes; other payloads are moved.
func sealFrame(dst []byte, start int, op ws.OpCode) []byte {
	const room = 4
	payload := dst[start+room:]
	n := len(payload)
	first := byte(op) | 0x80
	switch {
	case n <= 125:
		dst[start], dst[start+1] = first, byte(n)
		copy(dst[start+2:], payload)
		return dst[:start+2+n]
	case n <= 0xffff:
		dst[start], dst[start+1] = first, 126
		binary.BigEndian.PutUint16(dst[start+2:], uint16(n))
		return dst
	default:
		dst = append(dst, 0, 0, 0, 0, 0, 0)
		copy(dst[start+10:], dst[start+room:start+room+n])
		dst[start], dst[start+1] = first, 127
		binary.BigEndian.PutUint64(dst[start+2:], uint64(n))
		return dst
	}
}

// OpCode and CloseCode are RFC 6455's, under names that packages use which know
// frames only through proto.
type (
	OpCode    = ws.OpCode
	CloseCode = ws.StatusCode
)
