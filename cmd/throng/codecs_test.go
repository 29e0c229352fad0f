package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/thronghq/throng/internal/bintest"
	"github.com/thronghq/throng/internal/throngtest"
)

// The examples of docs/protocol.md hold in the binary form, too.
func TestTheProtocolsExamplesInBinary(t *testing.T) { playExamples(t, readTables(t)) }

// readTables returns the codec that the page's tables make.
func readTables(t *testing.T) *bintest.Codec {
	t.Helper()
	tables, err := bintest.Read(string(readReference(t)))
	if err != nil {
		t.Fatal(err)
	}
	return tables
}

// binaryClient is a client that knows of throng.v1.bin what the page says.
type binaryClient struct {
	*throngtest.Client

	t      *testing.T
	tables *bintest.Codec
}

func dialBinary(t *testing.T, url string, tables *bintest.Codec) *binaryClient {
	t.Helper()
	return dialBinaryCompressed(t, url, tables, websocket.CompressionDisabled)
}

func dialBinaryCompressed(t *testing.T, url string, tables *bintest.Codec, mode websocket.CompressionMode) *binaryClient {
	t.Helper()
	c := throngtest.Dial(t, url, throngtest.DialOptions{Subprotocols: []string{"throng.v1.bin", "throng.v1.json"}, Compression: mode})
	if got := c.Conn.Subprotocol(); got != "throng.v1.bin" {
		t.Fatalf("the server speaks %q", got)
	}
	b := &binaryClient{Client: c, t: t, tables: tables}
	b.await("session")
	return b
}

// send sends a frame that is given as JSON.
func (b *binaryClient) send(frame any) {
	b.t.Helper()
	text, err := json.Marshal(frame)
	if err != nil {
		b.t.Fatal(err)
	}
	encoded, err := b.tables.Encode(text)
	if err != nil {
		b.t.Fatal(err)
	}
	b.sendRaw(websocket.MessageBinary, encoded)
}

func (b *binaryClient) sendRaw(kind websocket.MessageType, payload []byte) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), 30*time.Second)
	defer cancel()
	if err := b.Conn.Write(ctx, kind, payload); err != nil {
		b.t.Fatal(err)
	}
}

// await returns the next frame of the type, decoded and as it came.
func (b *binaryClient) await(kind string) (throngtest.Frame, []byte) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), 30*time.Second)
	defer cancel()
	for {
		opcode, raw, err := b.Conn.Read(ctx)
		if err != nil {
			b.t.Fatal(err)
		}
		if opcode != websocket.MessageBinary {
			b.t.Fatalf("a text frame: %q", raw)
		}
		frame, err := b.tables.Decode(raw)
		if err != nil {
			b.t.Fatalf("%v in %x", err, raw)
		}
		if frame["type"] == kind {
			return frame, raw
		}
	}
}

// One room has members of both codecs: each gets the other's messages in its own
// form, content of both kinds whole.
func TestOneRoomHasMembersOfBothCodecs(t *testing.T) {
	s := throngtest.Start(t, throngtest.Options{})
	tables := readTables(t)
	ana := throngtest.Dial(t, s.WSURL("/ws?user=ana"), throngtest.DialOptions{})
	ana.Send(map[string]any{"type": "join", "room": "lobby"})
	ana.Await("joined")
	bob := dialBinary(t, s.WSURL("/ws?user=bob"), tables)
	bob.send(map[string]any{"type": "join", "id": "j", "room": "lobby"})
	joined, _ := bob.await("joined")
	if joined["id"] != "j" || joined["room"] != "lobby" || joined["host"] != "ana" || joined["members"] != json.Number("2") {
		t.Fatalf("joined %v", joined)
	}

	const text = `{"n":1, "text" : "h\u00e9", "n":2.50}`
	ana.SendText(`{"type":"message","id":"1","to":"lobby","content":` + text + `}`)
	ana.Await("ack")
	got, raw := bob.await("message")
	if !bytes.Contains(raw, []byte(text)) || got["from"] != "ana" || got["offset"] != json.Number("1") {
		t.Errorf("%v in %q", got, raw)
	}

	file := make([]byte, 0, 1<<15)
	for i := range cap(file) {
		file = append(file, byte(i*i>>3))
	}
	encoded := base64.StdEncoding.EncodeToString(file)
	ana.Send(map[string]any{"type": "message", "id": "2", "to": "lobby", "content": encoded, "encoding": "base64"})
	ana.Await("ack")
	if _, raw = bob.await("message"); !bytes.Contains(raw, file) || len(raw) > len(file)+100 {
		t.Errorf("%d bytes came as a frame of %d", len(file), len(raw))
	}

	bob.send(map[string]any{"type": "message", "id": "3", "to": "lobby", "content": encoded, "encoding": "base64", "key": "k"})
	ack, _ := bob.await("ack")
	heard := ana.Await("message")
	if heard["content"] != encoded || heard["encoding"] != "base64" || heard["msgId"] != ack["msgId"] || heard["offset"] != ack["offset"] {
		t.Errorf("ack %v, message %v", ack, heard)
	}

	bob.send(map[string]any{"type": "message", "to": "lobby", "content": map[string]any{"text": "hé"}})
	bob.await("ack")
	if heard = ana.Await("message"); !reflect.DeepEqual(heard["content"], map[string]any{"text": "hé"}) || heard["encoding"] != nil {
		t.Errorf("message %v", heard)
	}

	bob.send(map[string]any{"type": "message", "to": "lobby", "content": true, "transient": true})
	if ack, _ = bob.await("ack"); ack["offset"] != nil {
		t.Errorf("ack of a transient message: %v", ack)
	}
	if heard = ana.Await("message"); heard["content"] != true || heard["offset"] != nil {
		t.Errorf("transient message %v", heard)
	}
	expectSameHistory(t, ana, bob)
}

// expectSameHistory reads the room's four messages in both forms.
func expectSameHistory(t *testing.T, ana *throngtest.Client, bob *binaryClient) {
	t.Helper()
	query := map[string]any{"type": "history", "id": "h", "room": "lobby", "limit": 10}
	ana.Send(query)
	bob.send(query)
	want := ana.Await("history")
	got, _ := bob.await("history")
	messages := got["messages"].([]any)
	if len(messages) != 4 {
		t.Fatalf("history %v", got)
	}
	own := messages[2].(map[string]any)
	if own["key"] != "k" {
		t.Errorf("the author's copy: %v", own)
	}
	delete(own, "key") // which ana does not get
	if !reflect.DeepEqual(map[string]any(want), map[string]any(got)) {
		t.Errorf("in binary %v\nin JSON %v", got, want)
	}
}

// A binary client resumes after kill -9 as a JSON one does.
func TestABinaryClientResumes(t *testing.T) {
	s := throngtest.Start(t, throngtest.Options{Args: []string{"--config", syncConfig(t)}})
	tables := readTables(t)
	bob := dialBinary(t, s.WSURL("/ws?user=bob"), tables)
	bob.send(map[string]any{"type": "join", "room": "lobby"})
	joined, _ := bob.await("joined")
	const messages = 5
	for i := range messages {
		bob.send(map[string]any{"type": "message", "to": "lobby", "content": []any{i}, "key": fmt.Sprint("k", i)})
		bob.await("ack")
	}
	s.Kill()
	s.Restart()

	bob = dialBinary(t, s.WSURL("/ws?user=bob"), tables)
	bob.send(since("lobby", joined, 2))
	if again, _ := bob.await("joined"); again["recovered"] != true || again["offset"] != json.Number(fmt.Sprint(messages)) {
		t.Fatalf("joined again: %v", again)
	}
	for i := 2; i < messages; i++ {
		got, _ := bob.await("message")
		want := []any{json.Number(fmt.Sprint(i))}
		if !reflect.DeepEqual(got["content"], want) || got["offset"] != json.Number(fmt.Sprint(i+1)) || got["key"] != fmt.Sprint("k", i) {
			t.Fatalf("replayed %v, want offset %d", got, i+1)
		}
	}
	bob.send(map[string]any{"type": "ack", "room": "lobby", "epoch": joined["epoch"], "offset": messages + 1})
	if e, _ := bob.await("error"); e["code"] != "beyond_head" {
		t.Errorf("%v", e)
	}
}

// Frames of the other kind are refused, and three in a row end the connection.
func TestFramesOfTheWrongKindAreRefused(t *testing.T) {
	s := throngtest.Start(t, throngtest.Options{})
	bob := dialBinary(t, s.WSURL("/ws?user=bob"), readTables(t))
	wrong := []struct {
		kind    websocket.MessageType
		payload string
		code    string
	}{
		{websocket.MessageText, `{"type":"PING","timestamp":7}`, "invalid_frame"},
		{websocket.MessageBinary, "\x0a\x0e", "invalid_frame"},
		{websocket.MessageBinary, "\xff", "unknown_type"},
	}
	for _, rounds := range []int{2, 3} {
		for _, frame := range wrong[:rounds] {
			bob.sendRaw(frame.kind, []byte(frame.payload))
			if e, _ := bob.await("error"); e["code"] != frame.code {
				t.Fatalf("%q: %v", frame.payload, e)
			}
		}
		if rounds == 2 {
			bob.send(map[string]any{"type": "PING", "id": "p", "timestamp": 7})
			if pong, _ := bob.await("PONG"); pong["timestamp"] != json.Number("7") || pong["id"] != "p" {
				t.Fatalf("%v", pong)
			}
		}
	}
	if e, _ := bob.await("error"); e["code"] != "too_many_errors" {
		t.Fatalf("%v", e)
	}
	if _, _, err := bob.Conn.Read(t.Context()); websocket.CloseStatus(err) != websocket.StatusPolicyViolation {
		t.Errorf("closed with %v", err)
	}

	ana := throngtest.Dial(t, s.WSURL("/ws?user=ana"), throngtest.DialOptions{Subprotocols: []string{"throng.v1.json"}})
	ana.Expect("session")
	if err := ana.Conn.Write(t.Context(), websocket.MessageBinary, []byte(`{"type":"PING","timestamp":7}`)); err != nil {
		t.Fatal(err)
	}
	if e := ana.Expect("error"); e["code"] != "invalid_frame" {
		t.Errorf("%v", e)
	}
}
