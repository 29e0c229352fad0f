package netio

import (
	"unicode/utf8"

	"github.com/gobwas/ws"
)

// frameSink is what a frameReader tells of the messages and control frames
// that it has read. Payloads are unmasked and valid until the method returns;
// where it returns false, the reader stops before the next frame.
type frameSink interface {
	message(op ws.OpCode, payload []byte) bool
	control(op ws.OpCode, payload []byte) bool
}

// maxEmptyFragments is how many fragments of a message may be empty, its last one
// apart. A client that streams may send some; none needs that many.
const maxEmptyFragments = 1024

// enoughGained is how many bytes of a message have to come within
// Limits.MessageTimeout, if not its end: 70 a second by default, which the worst
// of lines does.
const enoughGained = 4 << 10

// frameReader turns a client's bytes, however they are cut, into messages and
// control frames (RFC 6455, section 5). A frame that lies whole in what is fed
// is unmasked in place and copied nowhere. Only between two feeds inside a
// message does it hold a buffer, which grows with what has arrived.
//
// A compressed message is inflated when it is whole, so that no stream has a
// state of its own for that.
//
// A fragment may be empty, and no bound on bytes is one on how many are: that
// has its own, past which a message is no message any more.
//
// The zero value with pool and maxMessage set is a new stream. A reader serves
// one goroutine at a time.
type frameReader struct {
	pool       *buffers
	maxMessage int
	inflater   *inflater // nil where permessage-deflate is not agreed on

	// The frame that is being read.
	head    [maxHeader]byte // a header that has not arrived whole
	headLen int
	inFrame bool
	frame   frameHeader // length is what is left of it
	maskPos int

	// The message that is being put together: its opcode, 0 for none; its
	// payload so far, lent by pool; the state of its text.
	op     ws.OpCode
	packed bool // it is compressed
	msg    []byte
	text   utf8Check
	empty  int // its fragments that brought nothing

	// gained is what has come of messages since the connection last set it: their
	// bytes, and enough where the reader stood between two.
	gained int
	// extra is how many frames that brought no message have come since the
	// connection last set it to 0.
	extra int

	ctl    [maxControl]byte // a control frame that has not arrived whole
	ctlLen int

	rest []byte // bytes that wait for a later feed, lent by pool
}

// idle reports whether the reader stands between two messages and holds
// nothing.
func (r *frameReader) idle() bool {
	return r.headLen == 0 && !r.inFrame && r.op == 0 && r.rest == nil
}

// held returns how many bytes the reader's buffers take.
func (r *frameReader) held() int { return cap(r.msg) + cap(r.rest) }

// release gives all buffers back and forgets the stream.
func (r *frameReader) release() {
	r.pool.put(r.msg)
	r.pool.put(r.rest)
	*r = frameReader{}
}

// stash keeps b, which feed did not take, in front of what comes later.
func (r *frameReader) stash(b []byte) { r.rest = r.pool.append(r.rest, b) }

// feed reads b, which it overwrites, and returns how many bytes it took: all of
// them unless the sink said stop or the client broke the protocol.
func (r *frameReader) feed(b []byte, sink frameSink) (n int, err *protocolError) {
	for n < len(b) {
		var took int
		var more bool
		if r.inFrame {
			took, more, err = r.payload(b[n:], sink)
		} else {
			took, more, err = r.header(b[n:], sink)
		}
		n += took
		if r.op == 0 && !r.inFrame && r.headLen == 0 {
			r.gained = enoughGained
		}
		if err != nil || !more {
			return n, err
		}
	}
	return n, nil
}

// header reads the next header, and the payload too if all of it is there.
func (r *frameReader) header(b []byte, sink frameSink) (n int, more bool, err *protocolError) {
	h, size, err := frameHeader{}, 0, (*protocolError)(nil)
	allowed := byte(0)
	if r.inflater != nil {
		allowed = rsv1Bit
	}
	if r.headLen == 0 && len(b) >= 2 {
		h, size, err = parseHeader(b, allowed)
		n = size
	}
	if size == 0 && err == nil {
		// Pieces of a header meet in r.head.
		before := r.headLen
		r.headLen += copy(r.head[before:], b)
		if r.headLen < 2 {
			return len(b), true, nil
		}
		if h, size, err = parseHeader(r.head[:r.headLen], allowed); size == 0 && err == nil {
			return len(b), true, nil
		}
		n = size - before
	}
	if err != nil {
		return 0, false, err
	}
	r.headLen = 0
	if err := r.admit(&h); err != nil {
		return n, false, err
	}
	if uint64(len(b)-n) < h.length || (r.op != 0 || !h.fin) && h.op.IsData() {
		r.begin(&h)
		if h.length > 0 {
			return n, true, nil
		}
		_, more, err = r.payload(nil, sink)
		return n, more, err
	}
	payload := b[n : n+int(h.length)]
	ws.Cipher(payload, h.mask, 0)
	n += int(h.length)
	if h.op.IsControl() {
		r.extra++
		return n, sink.control(h.op, payload), nil
	}
	if h.packed {
		more, err = r.inflate(h.op, payload, sink)
		return n, more, err
	}
	if h.op == ws.OpText && !utf8.Valid(payload) {
		return n, false, errText
	}
	return n, sink.message(h.op, payload), nil
}

// admit checks a header against the message that is being read.
func (r *frameReader) admit(h *frameHeader) *protocolError {
	switch {
	case h.op.IsControl():
		return nil
	case h.op == ws.OpContinuation && r.op == 0:
		return errContinuation
	case h.op != ws.OpContinuation && r.op != 0:
		return errInterleaved
	}
	most := r.maxMessage
	if r.packed || h.packed {
		most = maxCompressed(most)
	}
	switch {
	case h.length > uint64(most-len(r.msg)):
		return errTooBig
	case h.length == 0 && !h.fin && r.empty == maxEmptyFragments:
		return errFragments
	}
	return nil
}

// inflate tells the sink of a compressed message.
func (r *frameReader) inflate(op ws.OpCode, packed []byte, sink frameSink) (more bool, err *protocolError) {
	msg, err := r.inflater.inflate(op, packed, r.maxMessage)
	if err != nil {
		return false, err
	}
	more = sink.message(op, msg)
	r.inflater.release()
	return more, nil
}

// begin takes up a frame whose payload will be read in pieces.
func (r *frameReader) begin(h *frameHeader) {
	r.frame, r.inFrame, r.maskPos = *h, true, 0
	if h.op.IsControl() {
		r.ctlLen = 0
		return
	}
	if h.op != ws.OpContinuation {
		r.op, r.packed, r.text = h.op, h.packed, utf8Check{}
	}
	if h.length == 0 {
		r.empty++
	}
}

// payload reads what b holds of the current frame's payload.
func (r *frameReader) payload(b []byte, sink frameSink) (n int, more bool, err *protocolError) {
	n = int(min(uint64(len(b)), r.frame.length))
	b = b[:n]
	ws.Cipher(b, r.frame.mask, r.maskPos)
	r.maskPos = (r.maskPos + n) % 4
	r.frame.length -= uint64(n)
	if r.frame.op.IsControl() {
		r.ctlLen += copy(r.ctl[r.ctlLen:], b)
		if r.frame.length > 0 {
			return n, true, nil
		}
		r.inFrame = false
		r.extra++
		return n, sink.control(r.frame.op, r.ctl[:r.ctlLen]), nil
	}
	plainText := r.op == ws.OpText && !r.packed
	if plainText && !r.text.write(b) {
		return n, false, errText
	}
	r.msg = r.pool.append(r.msg, b)
	r.gained += n
	if r.frame.length > 0 {
		return n, true, nil
	}
	r.inFrame = false
	if !r.frame.fin {
		r.extra++
		return n, true, nil
	}
	if plainText && !r.text.complete() {
		return n, false, errText
	}
	op, packed, msg := r.op, r.packed, r.msg
	r.op, r.packed, r.msg, r.empty = 0, false, nil, 0
	if packed {
		more, err = r.inflate(op, msg, sink)
	} else {
		more = sink.message(op, msg)
	}
	r.pool.put(msg)
	return n, more, err
}
