package netio

import (
	"encoding/binary"
	"unicode/utf8"

	"github.com/gobwas/ws"
)

// Sizes of RFC 6455, section 5.2 and 5.5.
const (
	maxHeader      = 14  // of a masked frame with a 64-bit length
	maxControl     = 125 // payload of a control frame
	maxCloseReason = maxControl - 2
	finBit         = 0x80
	rsvBits        = 0x70
	rsv1Bit        = 0x40 // of RFC 7692, section 6: the message is compressed
	opBits         = 0x0f
	maskBit        = 0x80
	lengthBits     = 0x7f
)

// Close codes that ws does not name (IANA's WebSocket Close Code Number
// Registry).
const (
	statusServiceRestart ws.StatusCode = 1012
	statusBadGateway     ws.StatusCode = 1014
)

// AppendFrame appends one final, unmasked frame with that payload, as servers
// send them (RFC 6455, section 5.2). The payload is copied.
func AppendFrame(dst []byte, op ws.OpCode, payload []byte) []byte {
	dst = append(dst, finBit|byte(op))
	switch n := len(payload); {
	case n <= maxControl:
		dst = append(dst, byte(n))
	case n <= 0xffff:
		dst = binary.BigEndian.AppendUint16(append(dst, 126), uint16(n))
	default:
		dst = binary.BigEndian.AppendUint64(append(dst, 127), uint64(n))
	}
	return append(dst, payload...)
}

// appendCloseFrame appends a close frame. A reason that is too long is cut at
// the end of a rune; StatusNoStatusRcvd makes a frame without a body.
func appendCloseFrame(dst []byte, code ws.StatusCode, reason string) []byte {
	if code == ws.StatusNoStatusRcvd {
		return append(dst, finBit|byte(ws.OpClose), 0)
	}
	if len(reason) > maxCloseReason {
		end := maxCloseReason
		for end > 0 && !utf8.RuneStart(reason[end]) {
			end--
		}
		reason = reason[:end]
	}
	dst = append(dst, finBit|byte(ws.OpClose), byte(2+len(reason)))
	dst = binary.BigEndian.AppendUint16(dst, uint16(code))
	return append(dst, reason...)
}

// protocolError is what a client broke: the close code that says so, and a
// reason for people.
type protocolError struct {
	code   ws.StatusCode
	reason string
}

// Error implements error.
func (e *protocolError) Error() string { return e.reason }

// What a client can break, RFC 6455.
var (
	errRSV          = &protocolError{ws.StatusProtocolError, "a reserved bit is set that no agreed extension gives a meaning here"}
	errOpcode       = &protocolError{ws.StatusProtocolError, "reserved opcode"}
	errControlLong  = &protocolError{ws.StatusProtocolError, "control frame above 125 bytes"}
	errControlSplit = &protocolError{ws.StatusProtocolError, "fragmented control frame"}
	errUnmasked     = &protocolError{ws.StatusProtocolError, "frame from a client without a mask"}
	errLength       = &protocolError{ws.StatusProtocolError, "frame length with the top bit set"}
	errContinuation = &protocolError{ws.StatusProtocolError, "continuation without a message to continue"}
	errInterleaved  = &protocolError{ws.StatusProtocolError, "new message inside a fragmented one"}
	errCloseBody    = &protocolError{ws.StatusProtocolError, "close frame with a body of one byte"}
	errCloseCode    = &protocolError{ws.StatusProtocolError, "close code that must not be sent"}
	errText         = &protocolError{ws.StatusInvalidFramePayloadData, "text is not valid UTF-8"}
	errReason       = &protocolError{ws.StatusInvalidFramePayloadData, "close reason is not valid UTF-8"}
	errFragments    = &protocolError{ws.StatusPolicyViolation, "too many fragments with nothing in them"}
	errTooBig       = &protocolError{ws.StatusMessageTooBig, "message is too long"}
)

// parseClose reads the body of a close frame (RFC 6455, section 5.5.1). A
// frame without a body has StatusNoStatusRcvd.
func parseClose(body []byte) (ws.StatusCode, *protocolError) {
	switch len(body) {
	case 0:
		return ws.StatusNoStatusRcvd, nil
	case 1:
		return 0, errCloseBody
	}
	code := ws.StatusCode(binary.BigEndian.Uint16(body))
	switch {
	case !validCloseCode(code):
		return 0, errCloseCode
	case !utf8.Valid(body[2:]):
		return 0, errReason
	}
	return code, nil
}

// validCloseCode reports whether a peer may send the code: RFC 6455, section
// 7.4, and the codes that IANA has registered since.
func validCloseCode(code ws.StatusCode) bool {
	switch {
	case code < ws.StatusNormalClosure, code >= 5000:
		return false
	case code >= 3000:
		return true
	case code > statusBadGateway:
		return false
	}
	return code != 1004 && code != ws.StatusNoStatusRcvd && code != ws.StatusAbnormalClosure
}

// frameHeader is the head of one frame.
type frameHeader struct {
	op     ws.OpCode
	fin    bool
	packed bool // RSV1: it begins a compressed message
	mask   [4]byte
	length uint64
}

// parseHeader reads the frame header at the start of b, which has at least two
// bytes. It returns the header's size, or 0 if b does not hold all of it; what
// the first two bytes break is reported even then. Of the reserved bits those in
// allowed may be set, on a message's first frame.
func parseHeader(b []byte, allowed byte) (h frameHeader, size int, err *protocolError) {
	h.op, h.fin = ws.OpCode(b[0]&opBits), b[0]&finBit != 0
	if rsv := b[0] & rsvBits; rsv != 0 {
		if rsv&^allowed != 0 || h.op != ws.OpText && h.op != ws.OpBinary {
			return h, 0, errRSV
		}
		h.packed = true
	}
	length := b[1] & lengthBits
	switch {
	case h.op.IsReserved():
		return h, 0, errOpcode
	case h.op.IsControl() && !h.fin:
		return h, 0, errControlSplit
	case h.op.IsControl() && length > maxControl:
		return h, 0, errControlLong
	case b[1]&maskBit == 0:
		return h, 0, errUnmasked
	}
	size = 6
	switch length {
	case 126:
		size = 8
	case 127:
		size = maxHeader
	}
	if len(b) < size {
		return h, 0, nil
	}
	switch length {
	case 126:
		h.length = uint64(binary.BigEndian.Uint16(b[2:]))
	case 127:
		h.length = binary.BigEndian.Uint64(b[2:])
		if h.length>>63 != 0 {
			return h, 0, errLength
		}
	default:
		h.length = uint64(length)
	}
	h.mask = [4]byte(b[size-4 : size])
	return h, size, nil
}
