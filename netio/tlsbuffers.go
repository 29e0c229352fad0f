package netio

import (
	"bytes"
	"crypto/tls"
	"reflect"
	"unsafe"
)

// keptRaw is how much an idle tls.Conn may keep for ciphertext: one small record.
const keptRaw = 1 << 10

// tlsFields is where a tls.Conn has its buffers. It never gives them back: one
// large record leaves some 33 KB with the connection for its life, out of reach
// of every account. docs/design/0005-tls.md says more. The zero value, where the
// fields are not what they were, leaves them alone; TestTLSBuffers fails then.
type tlsFields struct {
	known             bool
	raw, hand, opened uintptr // rawInput and hand, of bytes.Buffer, and input, of bytes.Reader, which reads rawInput's memory
}

var tlsLayout = findTLSFields()

func findTLSFields() tlsFields {
	t := reflect.TypeFor[tls.Conn]()
	raw, ok1 := t.FieldByName("rawInput")
	hand, ok2 := t.FieldByName("hand")
	opened, ok3 := t.FieldByName("input")
	buffer := reflect.TypeFor[bytes.Buffer]()
	if !ok1 || !ok2 || !ok3 || raw.Type != buffer || hand.Type != buffer || opened.Type != reflect.TypeFor[bytes.Reader]() {
		return tlsFields{}
	}
	return tlsFields{known: true, raw: raw.Offset, hand: hand.Offset, opened: opened.Offset}
}

// of returns a connection's buffers. Nothing else may use the connection.
func (f *tlsFields) of(c *tls.Conn) (raw, hand *bytes.Buffer, opened *bytes.Reader) {
	p := unsafe.Pointer(c)
	return (*bytes.Buffer)(unsafe.Add(p, f.raw)), (*bytes.Buffer)(unsafe.Add(p, f.hand)), (*bytes.Reader)(unsafe.Add(p, f.opened))
}

// trimLocked drops the buffers of a connection between two records, where they
// are large.
func (s *tlsStream) trimLocked() {
	if !tlsLayout.known {
		return
	}
	raw, hand, opened := tlsLayout.of(s.conn)
	if raw.Len() == 0 && opened.Len() == 0 && raw.Cap() > keptRaw {
		*raw, *opened = bytes.Buffer{}, bytes.Reader{}
	}
	if hand.Len() == 0 && hand.Cap() > 0 {
		*hand = bytes.Buffer{}
	}
}

// sealed returns how many bytes have come of a record, or of a message of TLS itself,
// that is not whole yet. Only the loop's goroutine may call it.
func (s *tlsStream) sealed() int {
	if s == nil || s.hs != nil || !tlsLayout.known {
		return 0
	}
	raw, hand, _ := tlsLayout.of(s.conn)
	return raw.Len() + hand.Len()
}

// buffered returns how many bytes the connection's buffers take. Only the loop's
// goroutine may call it, and not during the handshake.
func (s *tlsStream) buffered() int {
	if !tlsLayout.known {
		return 0
	}
	raw, hand, _ := tlsLayout.of(s.conn)
	held := raw.Cap() + hand.Cap()
	if held <= keptRaw {
		return 0 // counted with the connection
	}
	return held
}
