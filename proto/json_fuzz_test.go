package proto_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"slices"
	"testing"
	"unicode/utf8"

	"github.com/thronghq/throng/proto"
)

// FuzzDecode holds the codec against encoding/json: what it accepts is valid
// JSON, and content stands in the command as it stood in the frame.
func FuzzDecode(f *testing.F) {
	for _, frame := range ordinary {
		f.Add([]byte(frame))
	}
	for _, frame := range []string{
		``, `{}`, `[]`, `{"type":"dance"}`, `{"type":"leave","room":"a"} {}`,
		`{"type":"auth","token":"t","deviceInfo":{"type":"web","os":"x"}}`,
		`{"type":"join","room":"a","since":{"last":5},"echo":true}`,
		`{"type":"message","to":"a","content":[{"a":1,"a":-0.5e-7},"\ud83d\ude00"],"transient":true}`,
		`{"type":"status","status":"busy"}`, `{"type":"members","room":"a","cursor":"c"}`,
		`{"type":"host","room":"a","close":false}`, `{"x":"\ud800","type":"leave"}`,
		"{\"x\":\"\xff\"}", `{"type":"message","to":"a","content":[[[[[[[[]]]]]]]]}`,
	} {
		f.Add([]byte(frame))
	}
	limits := proto.DefaultLimits()
	limits.Depth = 6 // within reach of the fuzzer
	codec := proto.NewJSON(&limits)
	var cmd proto.Command
	f.Fuzz(func(t *testing.T, frame []byte) {
		before := slices.Clone(frame)
		err := codec.Decode(frame, &cmd)
		if !bytes.Equal(frame, before) {
			t.Fatal("Decode changed the frame")
		}
		expectSameID(t, codec, &cmd)
		if err != nil {
			if err.Text() == "" || !utf8.ValidString(err.Text()) {
				t.Fatalf("reason %q", err.Text())
			}
			return
		}
		var fields map[string]json.RawMessage
		if err := json.Unmarshal(frame, &fields); err != nil {
			t.Fatalf("accepted, but encoding/json says: %v", err)
		}
		if cmd.Type == proto.CmdMessage {
			expectContent(t, &cmd, fields["content"])
		}
	})
}

// expectSameID checks that a reply brings the client its own id.
func expectSameID(t *testing.T, codec *proto.JSON, cmd *proto.Command) {
	reply := codec.AppendEvent(nil, &proto.Event{Type: proto.EvLeft, ID: cmd.ID, Room: "a"})
	var got struct{ ID string }
	if err := json.Unmarshal(reply, &got); err != nil || got.ID != string(cmd.ID) {
		t.Fatalf("id %q comes back in %s (%v)", cmd.ID, reply, err)
	}
}

func expectContent(t *testing.T, cmd *proto.Command, raw json.RawMessage) {
	if cmd.Kind == proto.KindJSON {
		if !bytes.Equal(cmd.Content, raw) {
			t.Fatalf("content %q, in the frame %q", cmd.Content, raw)
		}
		return
	}
	var text string
	if err := json.Unmarshal(raw, &text); err != nil {
		t.Fatal(err)
	}
	if base64.StdEncoding.EncodeToString(cmd.Content) != text {
		t.Fatalf("content %q, in the frame %q", cmd.Content, text)
	}
}

// FuzzAppendMessage checks that a message's frame is valid JSON that says what
// the message says.
func FuzzAppendMessage(f *testing.F) {
	f.Add(uint64(1), int64(1_760_000_000_123_456), "ann", "chat:lobby", "k", []byte(`{"text":"hello"}`), true)
	f.Add(uint64(0), int64(0), "", "", "", []byte(`null`), false)
	f.Add(uint64(1<<53-1), int64(1), "\x00\"\\", "\u2028é😀", "</script>", []byte("\x00\xff"), true)
	codec := newCodec()
	f.Fuzz(func(t *testing.T, offset uint64, micros int64, from, to, key string, content []byte, own bool) {
		if !utf8.ValidString(from) || !utf8.ValidString(to) || !utf8.ValidString(key) || micros < 0 {
			t.Skip("no codec lets these in")
		}
		m := proto.Message{
			ID: proto.NewMsgID(micros, offset), Offset: offset, Time: micros,
			From: from, To: to, Key: key, Content: content,
		}
		if json.Valid(content) {
			content = bytes.TrimSpace(content) // around the value, not part of it
		} else {
			m.Kind = proto.KindBytes
		}
		frame := codec.AppendMessage(nil, &m, own)
		var got struct {
			Type, MsgID, From, To, Key, Encoding string
			Timestamp                            int64
			Offset                               uint64
			Content                              json.RawMessage
		}
		if err := json.Unmarshal(frame, &got); err != nil {
			t.Fatalf("%v in %s", err, frame)
		}
		if got.Type != "message" || got.MsgID != m.ID.String() || got.From != from || got.To != to ||
			got.Timestamp != micros/1000 || got.Offset != offset || own && got.Key != key || !own && got.Key != "" {
			t.Fatalf("%+v from %s", got, frame)
		}
		expectContent(t, &proto.Command{Kind: m.Kind, Content: content}, got.Content)
	})
}
