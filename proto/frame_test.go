package proto_test

import (
	"bytes"
	"testing"

	"github.com/gobwas/ws"

	"github.com/thronghq/throng/proto"
)

// verbatim is a codec whose payloads are whatever the test gives it.
type verbatim struct{ op ws.OpCode }

func (verbatim) Subprotocol() string                            { return "verbatim" }
func (v verbatim) OpCode() ws.OpCode                            { return v.op }
func (verbatim) Decode([]byte, *proto.Command) *proto.Error     { return nil }
func (verbatim) AppendEvent(dst []byte, ev *proto.Event) []byte { return append(dst, ev.ID...) }
func (verbatim) AppendMessage(dst []byte, m *proto.Message, _ bool) []byte {
	return append(dst, m.Content...)
}

// Lengths take 7, 16 or 64 bits, as few as do (RFC 6455, section 5.2).
func TestFrameHeaders(t *testing.T) {
	headers := map[int][]byte{
		0:      {0},
		1:      {1},
		125:    {125},
		126:    {126, 0, 126},
		65_535: {126, 0xff, 0xff},
		65_536: {127, 0, 0, 0, 0, 0, 1, 0, 0},
		70_000: {127, 0, 0, 0, 0, 0, 1, 0x11, 0x70},
	}
	for size, length := range headers {
		payload := make([]byte, size)
		for i := range payload {
			payload[i] = byte(i * 7)
		}
		for _, op := range []ws.OpCode{ws.OpText, ws.OpBinary} {
			want := []byte("before")
			want = append(want, 0x80|byte(op))
			want = append(want, length...)
			want = append(want, payload...)
			got := proto.AppendEventFrame([]byte("before"), verbatim{op}, &proto.Event{ID: payload})
			if !bytes.Equal(got, want) {
				t.Errorf("event of %d bytes, opcode %d: the frame begins with % x", size, op, got[6:min(len(got), 20)])
			}
			got = proto.AppendMessageFrame([]byte("before"), verbatim{op}, &proto.Message{Content: payload}, false)
			if !bytes.Equal(got, want) {
				t.Errorf("message of %d bytes, opcode %d: the frame begins with % x", size, op, got[6:min(len(got), 20)])
			}
		}
	}
}
