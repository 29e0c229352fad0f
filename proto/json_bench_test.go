package proto_test

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/thronghq/throng/internal/callgrind"
	"github.com/thronghq/throng/proto"
)

// ordinary holds the frames that a chat is made of.
var ordinary = map[string]string{
	"message": `{"type":"message","id":"42","to":"chat:lobby","content":{"text":"Hello, everybody in this room!","lang":"en"}}`,
	"keyed":   `{"type":"message","id":"42","to":"chat:lobby","key":"0192f0c4-1a2b-7c3d-8e4f-5a6b7c8d9e0f","content":"Hello \"you\" \u00e9"}`,
	"bytes":   `{"type":"message","id":"42","to":"chat:lobby","encoding":"base64","content":"AAECAwQFBgcICQ=="}`,
	"join":    `{"type":"join","id":"1","room":"chat:lobby","since":{"offset":1234,"epoch":"1-9f8e7d","timestamp":1760000000000}}`,
	"leave":   `{"type":"leave","id":"1","room":"a room with a name of more than thirty-two bytes"}`,
	"ack":     `{"type":"ack","room":"chat:lobby","epoch":"1-9f8e7d","offset":1234}`,
	"history": `{"type":"history","id":"h","room":"chat:lobby","before":1000,"limit":50,"reverse":true}`,
	"host":    `{"type":"host","id":"x","room":"chat:lobby","kick":"mallory"}`,
	"escapes": `{"type":"join","id":"\u0041\n","room":"caf\u00e9"}`,
	"PING":    `{"type":"PING","timestamp":1760000000000}`,
}

func newCodec() *proto.JSON {
	limits := proto.DefaultLimits()
	return proto.NewJSON(&limits)
}

func sampleMessage() proto.Message {
	const micros = 1_760_000_000_123_456
	return proto.Message{
		ID:      proto.NewMsgID(micros, 42),
		Offset:  1234,
		Time:    micros,
		From:    "ann",
		To:      "chat:lobby",
		Key:     "k-1",
		Content: []byte(`{"text":"Hello, everybody in this room!"}`),
	}
}

func BenchmarkDecode(b *testing.B) {
	codec := newCodec()
	for _, name := range slices.Sorted(maps.Keys(ordinary)) {
		b.Run(name, func(b *testing.B) {
			payload := []byte(ordinary[name])
			var cmd proto.Command
			b.SetBytes(int64(len(payload)))
			callgrind.Loop(b, func() {
				if err := codec.Decode(payload, &cmd); err != nil {
					b.Fatal(err)
				}
			})
		})
	}
}

func BenchmarkAppendMessage(b *testing.B) {
	codec := newCodec()
	m := sampleMessage()
	dst := make([]byte, 0, 1024)
	callgrind.Loop(b, func() { dst = proto.AppendMessageFrame(dst[:0], codec, &m, true) })
}

func BenchmarkAppendAck(b *testing.B) {
	codec := newCodec()
	ev := proto.Event{Type: proto.EvAck, ID: []byte("42"), MsgID: proto.NewMsgID(1, 2), Offset: 7, Millis: time.Now().UnixMilli()}
	dst := make([]byte, 0, 1024)
	callgrind.Loop(b, func() { dst = proto.AppendEventFrame(dst[:0], codec, &ev) })
}
