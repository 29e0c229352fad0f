package proto_test

import (
	"testing"

	"github.com/thronghq/throng/proto"
)

func TestCodecAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("not counted under the race detector")
	}
	codec := newCodec()
	for name, frame := range ordinary {
		payload := []byte(frame)
		var cmd proto.Command
		expectNoAllocs(t, "Decode of "+name, func() {
			if err := codec.Decode(payload, &cmd); err != nil {
				t.Fatal(err)
			}
		})
	}
	dst := make([]byte, 0, 4096)
	m := sampleMessage()
	expectNoAllocs(t, "AppendMessageFrame", func() { dst = proto.AppendMessageFrame(dst[:0], codec, &m, true) })
	m.Kind = proto.KindBytes
	expectNoAllocs(t, "AppendMessageFrame of bytes", func() { dst = proto.AppendMessageFrame(dst[:0], codec, &m, true) })
	for _, test := range eventTests() {
		expectNoAllocs(t, "AppendEventFrame of "+test.name, func() {
			dst = proto.AppendEventFrame(dst[:0], codec, &test.event)
		})
	}
}

func expectNoAllocs(t *testing.T, what string, run func()) {
	t.Helper()
	run() // grows what is kept from call to call
	if n := testing.AllocsPerRun(1000, run); n != 0 {
		t.Errorf("%s: %v allocations", what, n)
	}
}
