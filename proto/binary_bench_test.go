package proto_test

import (
	"maps"
	"slices"
	"testing"

	"github.com/thronghq/throng/internal/callgrind"
	"github.com/thronghq/throng/proto"
)

// The frames are those of BenchmarkDecode, BenchmarkAppendMessage and
// BenchmarkAppendAck, said in binary.

func BenchmarkBinaryDecode(b *testing.B) {
	codec, tables := newBinary(), readTables(b)
	for _, name := range slices.Sorted(maps.Keys(ordinary)) {
		b.Run(name, func(b *testing.B) {
			payload := encode(b, tables, ordinary[name])
			var cmd proto.Command
			callgrind.Loop(b, func() {
				if err := codec.Decode(payload, &cmd); err != nil {
					b.Fatal(err)
				}
			})
			b.ReportMetric(float64(len(payload)), "B/frame")
		})
	}
}

func BenchmarkBinaryAppendMessage(b *testing.B) {
	codec := newBinary()
	m := sampleMessage()
	dst := make([]byte, 0, 1024)
	callgrind.Loop(b, func() { dst = proto.AppendMessageFrame(dst[:0], codec, &m, true) })
}

func BenchmarkBinaryAppendAck(b *testing.B) {
	codec := newBinary()
	ev := proto.Event{Type: proto.EvAck, ID: []byte("42"), MsgID: proto.NewMsgID(1, 2), Offset: 7, Millis: 1_760_000_000_000}
	dst := make([]byte, 0, 1024)
	callgrind.Loop(b, func() { dst = proto.AppendEventFrame(dst[:0], codec, &ev) })
}
