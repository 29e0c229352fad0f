package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	coder "github.com/coder/websocket"
	"github.com/gorilla/websocket"

	"github.com/thronghq/throng/internal/throngtest"
)

// compressConfig writes a configuration with a namespace that compresses, and
// others that do not.
func compressConfig(t *testing.T) string {
	path := filepath.Join(t.TempDir(), "throng.toml")
	if err := os.WriteFile(path, []byte("[namespace.packed]\ncompress = true\ndurability = \"sync\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// longText is content that gets much smaller, different for each i.
func longText(i int) string { return fmt.Sprintf("%d %s", i, strings.Repeat("much alike ", 100)) }

// deflated is how many frames the server has compressed.
func deflated(t *testing.T, s *throngtest.Server) int {
	t.Helper()
	return int(sumOf(t, get(t, s.URL("/metrics")), "throng_deflate_frames_total"))
}

// dialPacked connects a client that offers permessage-deflate and compresses
// what it sends.
func dialPacked(t *testing.T, s *throngtest.Server, user string, mode coder.CompressionMode) *throngtest.Client {
	t.Helper()
	c := throngtest.Dial(t, s.WSURL("/ws?user="+user), throngtest.DialOptions{Compression: mode})
	c.Expect("session")
	return c
}

// TestCompressedRooms: clients of three makers and of both codecs, with
// compression and without, get the same messages in a namespace that compresses
// and in one that does not. In the first a message is compressed once for each
// codec, however many get it.
func TestCompressedRooms(t *testing.T) {
	s := throngtest.Start(t, throngtest.Options{Args: []string{"--config", compressConfig(t)}})
	tables := readTables(t)
	plain := throngtest.Dial(t, s.WSURL("/ws?user=plain"), throngtest.DialOptions{})
	packed := dialPacked(t, s, "packed", coder.CompressionNoContextTakeover)
	takeover := dialPacked(t, s, "takeover", coder.CompressionContextTakeover) // which the server does not agree to
	binary := dialBinaryCompressed(t, s.WSURL("/ws?user=binary"), tables, coder.CompressionNoContextTakeover)
	gorilla := dialGorilla(t, s.WSURL("/ws?user=gorilla"))

	for _, test := range []struct {
		room  string
		forms int // in which messages are compressed
	}{{"packed:r", 2}, {"r", 0}} {
		join := map[string]any{"type": "join", "room": test.room}
		for _, c := range []*throngtest.Client{plain, packed, takeover} {
			c.Send(join)
			c.Await("joined")
		}
		binary.send(join)
		binary.await("joined")
		gorilla.send(join)
		gorilla.await("joined")

		const messages = 5
		before := deflated(t, s)
		for i := range messages {
			packed.Send(map[string]any{"type": "message", "id": "1", "to": test.room, "content": longText(i)})
			packed.Await("ack")
		}
		packed.Send(map[string]any{"type": "message", "to": test.room, "content": "short"})
		for i := range messages + 1 {
			want := longText(i)
			if i == messages {
				want = "short"
			}
			fromBinary, _ := binary.await("message")
			for who, got := range map[string]throngtest.Frame{
				"plain": plain.Await("message"), "takeover": takeover.Await("message"),
				"binary": fromBinary, "gorilla": gorilla.await("message"),
			} {
				if got["content"] != want || got["offset"] != json.Number(fmt.Sprint(i+1)) || got["to"] != test.room {
					t.Fatalf("room %s: %s got %.200v, want message %d", test.room, who, got, i+1)
				}
			}
		}
		if got, want := deflated(t, s)-before, test.forms*messages; got != want {
			t.Errorf("room %s: %d frames were compressed, want %d", test.room, got, want)
		}

		before = deflated(t, s)
		takeover.Send(map[string]any{"type": "history", "room": test.room})
		list := takeover.Await("history")["messages"].([]any)
		if len(list) != messages+1 || list[0].(map[string]any)["content"] != longText(0) {
			t.Errorf("room %s: history %.300v", test.room, list)
		}
		if got, want := deflated(t, s)-before, min(test.forms, 1); got != want {
			t.Errorf("room %s: %d pages of history were compressed, want %d", test.room, got, want)
		}
	}
}

// TestCompressionIsOffUnlessConfigured: without a namespace that compresses, the
// server does not agree to permessage-deflate.
func TestCompressionIsOffUnlessConfigured(t *testing.T) {
	for _, test := range []struct {
		args []string
		want bool
	}{{nil, false}, {[]string{"--compress-enabled"}, true}, {[]string{"--config", compressConfig(t)}, true}} {
		s := throngtest.Start(t, throngtest.Options{Args: test.args})
		dialer := websocket.Dialer{EnableCompression: true}
		c, response, err := dialer.Dial(s.WSURL("/ws?user=ada"), nil)
		if err != nil {
			t.Fatal(err)
		}
		_ = c.Close()
		answer := response.Header.Get("Sec-WebSocket-Extensions")
		if got := strings.Contains(answer, "permessage-deflate"); got != test.want {
			t.Errorf("%v: the server answers %q", test.args, answer)
		}
		s.Stop()
	}
}

// TestACompressedClientResumes: one that is cut off, and whose server is killed,
// gets what it has missed, compressed, and goes on with what is live.
func TestACompressedClientResumes(t *testing.T) {
	s := throngtest.Start(t, throngtest.Options{Args: []string{"--config", compressConfig(t)}})
	const room, messages = "packed:r", 40
	ana := dialPacked(t, s, "ana", coder.CompressionNoContextTakeover)
	bob := dialPacked(t, s, "bob", coder.CompressionNoContextTakeover)
	ana.Send(map[string]any{"type": "join", "room": room})
	joined := ana.Await("joined")
	for i := range messages {
		if i == 3 {
			if err := ana.Conn.CloseNow(); err != nil {
				t.Fatal(err)
			}
		}
		bob.Send(map[string]any{"type": "message", "id": "1", "to": room, "content": longText(i)})
		bob.Await("ack")
		if i < 3 {
			ana.Await("message")
		}
	}
	for _, kill := range []bool{false, true} {
		if kill {
			s.Kill()
			s.Restart()
		}
		before := deflated(t, s)
		ana = dialPacked(t, s, "ana", coder.CompressionNoContextTakeover)
		ana.Send(since(room, joined, 3))
		if again := ana.Await("joined"); again["recovered"] != true {
			t.Fatalf("joined again: %v", again)
		}
		for i := 3; i < messages; i++ {
			if got := ana.Await("message"); got["content"] != longText(i) || got["offset"] != json.Number(fmt.Sprint(i+1)) {
				t.Fatalf("after a kill: %v; replayed %.200v, want offset %d", kill, got, i+1)
			}
		}
		if got := deflated(t, s) - before; got != messages-3 {
			t.Errorf("after a kill: %v; %d frames were compressed for %d messages", kill, got, messages-3)
		}
	}
	bob = dialPacked(t, s, "bob", coder.CompressionDisabled)
	bob.Send(map[string]any{"type": "message", "to": room, "content": longText(messages)})
	if got := ana.Await("message"); got["content"] != longText(messages) {
		t.Errorf("live again: %.200v", got)
	}
}

// TestCompressionOverTLS: compressed frames, and large files beside them.
func TestCompressionOverTLS(t *testing.T) {
	pair := throngtest.NewPair(t, "localhost")
	s := throngtest.Start(t, throngtest.Options{Args: []string{"--config", compressConfig(t), "--tls-cert=" + pair.Cert, "--tls-key=" + pair.Key}})
	dial := func(user string) *throngtest.Client {
		c := throngtest.Dial(t, s.WSURL("/ws?user="+user), throngtest.DialOptions{TLS: pair.Client(), Compression: coder.CompressionNoContextTakeover})
		c.Expect("session")
		c.Send(map[string]any{"type": "join", "room": "packed:r"})
		c.Await("joined")
		return c
	}
	ana, bob := dial("ana"), dial("bob")
	file := make([]byte, 30_000)
	for i := range file {
		file[i] = byte(i * i >> 3)
	}
	encoded := base64.StdEncoding.EncodeToString(file)
	for i := range 10 {
		ana.Send(map[string]any{"type": "message", "to": "packed:r", "content": longText(i)})
		ana.Send(map[string]any{"type": "message", "to": "packed:r", "content": encoded, "encoding": "base64"})
		if got := bob.Await("message"); got["content"] != longText(i) {
			t.Fatalf("got %.200v, want message %d", got, i)
		}
		got, err := base64.StdEncoding.DecodeString(bob.Await("message").Text("content"))
		if err != nil || !bytes.Equal(got, file) {
			t.Fatalf("the file came as %d bytes, %v", len(got), err)
		}
	}
	metrics, _, err := getTLS(t, throngtest.HTTPClient(t, pair.Client()), s.URL("/metrics"))
	if err != nil {
		t.Fatal(err)
	}
	if in, out := sumOf(t, metrics, "throng_deflate_bytes_in_total"), sumOf(t, metrics, "throng_deflate_bytes_out_total"); in == 0 || out >= in {
		t.Errorf("%.0f bytes became %.0f", in, out)
	}
}

// gorillaClient speaks the JSON protocol with another library.
type gorillaClient struct {
	t    *testing.T
	conn *websocket.Conn
}

func dialGorilla(t *testing.T, url string) *gorillaClient {
	t.Helper()
	dialer := websocket.Dialer{EnableCompression: true}
	c, response, err := dialer.Dial(url, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if answer := response.Header.Get("Sec-WebSocket-Extensions"); !strings.Contains(answer, "permessage-deflate") {
		t.Fatalf("the server agrees to %q", answer)
	}
	g := &gorillaClient{t: t, conn: c}
	g.await("session")
	return g
}

func (g *gorillaClient) send(frame any) {
	g.t.Helper()
	if err := g.conn.WriteJSON(frame); err != nil {
		g.t.Fatal(err)
	}
}

func (g *gorillaClient) await(kind string) throngtest.Frame {
	g.t.Helper()
	if err := g.conn.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		g.t.Fatal(err)
	}
	for {
		_, payload, err := g.conn.ReadMessage()
		if err != nil {
			g.t.Fatal(err)
		}
		decoder := json.NewDecoder(bytes.NewReader(payload))
		decoder.UseNumber()
		var frame throngtest.Frame
		if err := decoder.Decode(&frame); err != nil {
			g.t.Fatalf("%q: %v", payload, err)
		}
		if frame.Type() == kind {
			return frame
		}
	}
}
