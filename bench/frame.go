package bench

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/gobwas/ws"
)

// maxFrame bounds the payload of a frame that the generator reads: more than a
// page of history, or an echo, can have.
const maxFrame = 64 << 20

// clientMask is the masking key of every frame that the generator sends. The
// RFC wants it unpredictable against hostile proxies; there is none here.
var clientMask = [4]byte{0x37, 0xfa, 0x21, 0x3d}

var (
	errMasked     = errors.New("the server sent a masked frame")
	errReserved   = errors.New("the server sent a frame with reserved bits")
	errFragmented = errors.New("the server sent a fragment; the generator reads whole messages")
)

// rsv1 marks a compressed message (RFC 7692, section 6).
const rsv1 = 0x40

// nextFrame reads the frame at the beginning of b (RFC 6455, section 5.2). The
// payload aliases b. Size is the frame's length, or 0 where b does not hold all
// of it; then need is the length that b must have at least. Compressed frames are
// taken where the handshake has agreed on it; RSV1 says which are.
func nextFrame(b []byte, deflate bool) (op ws.OpCode, payload []byte, size, need int, err error) {
	if len(b) < 2 {
		return 0, nil, 0, 2, nil
	}
	switch {
	case b[0]&rsv1 != 0 && (!deflate || b[0]&0x08 != 0), b[0]&0x30 != 0: // control frames are never compressed
		return 0, nil, 0, 0, errReserved
	case b[0]&0x80 == 0 || b[0]&0x0f == byte(ws.OpContinuation):
		return 0, nil, 0, 0, errFragmented
	case b[1]&0x80 != 0:
		return 0, nil, 0, 0, errMasked
	}
	header, length := 2, uint64(b[1])
	switch length {
	case 126:
		header = 4
	case 127:
		header = 10
	}
	if len(b) < header {
		return 0, nil, 0, header, nil
	}
	switch header {
	case 4:
		length = uint64(binary.BigEndian.Uint16(b[2:]))
	case 10:
		length = binary.BigEndian.Uint64(b[2:])
	}
	if length > maxFrame {
		return 0, nil, 0, 0, fmt.Errorf("the server sent a frame of %d bytes; the generator reads %d", length, maxFrame)
	}
	size = header + int(length)
	if len(b) < size {
		return 0, nil, 0, size, nil
	}
	return ws.OpCode(b[0] & 0x0f), b[header:size], size, size, nil
}

// beginFrame appends room for the header of a masked frame; endFrame completes
// it once the payload stands behind it. Start is the length of dst before.
func beginFrame(dst []byte) []byte { return append(dst, make([]byte, frameHeader)...) }

// frameHeader is the header of a masked frame of 126 to 65,535 bytes, which
// most are.
const frameHeader = 8

func endFrame(dst []byte, start int, op ws.OpCode) []byte {
	n := len(dst) - start - frameHeader
	header := 6
	switch {
	case n > 0xffff:
		header = 14
	case n > 125:
		header = 8
	}
	if header > frameHeader {
		dst = append(dst, make([]byte, header-frameHeader)...)
	}
	payload := dst[start+header : start+header+n]
	copy(payload, dst[start+frameHeader:start+frameHeader+n])
	dst = dst[:start+header+n]
	dst[start] = 0x80 | byte(op)
	switch header {
	case 6:
		dst[start+1] = 0x80 | byte(n)
	case 8:
		dst[start+1] = 0x80 | 126
		binary.BigEndian.PutUint16(dst[start+2:], uint16(n))
	case 14:
		dst[start+1] = 0x80 | 127
		binary.BigEndian.PutUint64(dst[start+2:], uint64(n))
	}
	copy(dst[start+header-4:], clientMask[:])
	ws.Cipher(payload, clientMask, 0)
	return dst
}
