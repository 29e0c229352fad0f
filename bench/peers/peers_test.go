package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// TestMain is a peer itself where the environment says so: each test has a
// process of its own, which is ended with it.
func TestMain(m *testing.M) {
	if name := os.Getenv("THRONG_TEST_PEER"); name != "" {
		fmt.Fprintln(os.Stderr, run(name, "127.0.0.1:0"))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// command is how a peer is started: those of Go by this binary.
func command(t *testing.T, name string) *exec.Cmd {
	t.Helper()
	for _, p := range peers() {
		if p.name == name {
			self, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			c := exec.Command(self)
			c.Env = append(os.Environ(), "THRONG_TEST_PEER="+name)
			return c
		}
	}
	if _, err := exec.LookPath("node"); err != nil {
		t.Skip("node is not installed")
	}
	if _, err := os.Stat("node/node_modules"); err != nil {
		t.Skip("the packages of node/ are not installed: npm ci")
	}
	return exec.Command("node", "node/server.js", name, "--listen", "127.0.0.1:0")
}

// start runs a peer and returns its address, as host:port.
func start(t *testing.T, name string) string {
	t.Helper()
	c := command(t, name)
	c.Stderr = os.Stderr
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	address, ok := strings.CutPrefix(strings.TrimSpace(line), name+" is ready: http://")
	if err != nil || !ok {
		t.Fatalf("%s said %q, %v", name, line, err)
	}
	return strings.TrimSuffix(address, "/")
}

func dial(t *testing.T, address, path string) *websocket.Conn {
	t.Helper()
	c, _, err := websocket.DefaultDialer.Dial("ws://"+address+path, nil)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	return c
}

func send(t *testing.T, c *websocket.Conn, kind int, text string) {
	t.Helper()
	if err := c.WriteMessage(kind, []byte(text)); err != nil {
		t.Fatal(err)
	}
}

func expect(t *testing.T, c *websocket.Conn, kind int, text string) {
	t.Helper()
	got, payload, err := c.ReadMessage()
	if err != nil || got != kind || string(payload) != text {
		t.Fatalf("got %.200q of kind %d, %v; expected %.200q of kind %d", payload, got, err, text, kind)
	}
}

// raw are the peers that speak the floor's protocol.
func raw() []string {
	var raw []string
	for _, name := range names() {
		if name != "centrifuge" {
			raw = append(raw, name)
		}
	}
	return append(raw, "ws")
}

// TestRooms has two members of a room see all of its messages in one order, and
// none of another room's.
func TestRooms(t *testing.T) {
	const messages = 300
	for _, name := range raw() {
		t.Run(name, func(t *testing.T) {
			address := start(t, name)
			other := dial(t, address, "/floor?room=other")
			members := []*websocket.Conn{dial(t, address, "/floor?room=a"), dial(t, address, "/floor?room=a")}
			send(t, other, websocket.TextMessage, "elsewhere")
			for i := range messages {
				send(t, members[0], websocket.TextMessage, fmt.Sprint("message ", i))
				for _, m := range members { // a queue is shorter than the messages
					expect(t, m, websocket.TextMessage, fmt.Sprint("message ", i))
				}
			}
			for i := range 16 {
				send(t, members[1], websocket.TextMessage, fmt.Sprint("at once ", i))
			}
			for _, m := range members {
				for i := range 16 {
					expect(t, m, websocket.TextMessage, fmt.Sprint("at once ", i))
				}
			}
			expect(t, other, websocket.TextMessage, "elsewhere")
			send(t, other, websocket.TextMessage, "done")
			expect(t, other, websocket.TextMessage, "done")
		})
	}
}

// TestRoomGoesOnWithoutAMember has the others get what is sent after one has
// gone.
func TestRoomGoesOnWithoutAMember(t *testing.T) {
	for _, name := range raw() {
		t.Run(name, func(t *testing.T) {
			address := start(t, name)
			left, gone := dial(t, address, "/floor?room=a"), dial(t, address, "/floor?room=a")
			send(t, gone, websocket.TextMessage, "here")
			expect(t, gone, websocket.TextMessage, "here")
			expect(t, left, websocket.TextMessage, "here")
			_ = gone.UnderlyingConn().Close()
			for i := range 100 {
				send(t, left, websocket.TextMessage, fmt.Sprint(i))
				expect(t, left, websocket.TextMessage, fmt.Sprint(i))
			}
		})
	}
}

func TestEcho(t *testing.T) {
	for _, name := range raw() {
		t.Run(name, func(t *testing.T) {
			c := dial(t, start(t, name), "/echo")
			for _, text := range []string{"short", strings.Repeat("medium ", 50), strings.Repeat("long ", 50_000)} {
				send(t, c, websocket.TextMessage, text)
				expect(t, c, websocket.TextMessage, text)
				send(t, c, websocket.BinaryMessage, text)
				expect(t, c, websocket.BinaryMessage, text)
			}
			for i := range 16 {
				send(t, c, websocket.BinaryMessage, fmt.Sprint(i))
			}
			for i := range 16 {
				expect(t, c, websocket.BinaryMessage, fmt.Sprint(i))
			}
		})
	}
}

// TestCentrifuge speaks the library's own protocol.
func TestCentrifuge(t *testing.T) {
	address := start(t, "centrifuge")
	var members []*websocket.Conn
	for range 2 {
		c := dial(t, address, "/connection/websocket")
		send(t, c, websocket.TextMessage, `{"id":1,"connect":{}}`+"\n"+`{"id":2,"subscribe":{"channel":"a"}}`)
		awaitLine(t, c, `{"id":2,"subscribe":{}}`)
		members = append(members, c)
	}
	for i := range 3 {
		send(t, members[0], websocket.TextMessage, fmt.Sprintf(`{"id":%d,"publish":{"channel":"a","data":"%d"}}`, 3+i, i))
	}
	for _, m := range members {
		for i := range 3 {
			awaitLine(t, m, fmt.Sprintf(`{"push":{"channel":"a","pub":{"data":"%d"}}}`, i))
		}
	}
	send(t, members[1], websocket.TextMessage, `{"id":9,"rpc":{"data":"to and fro"}}`)
	awaitLine(t, members[1], `{"id":9,"rpc":{"data":"to and fro"}}`)
}

// unread is what came with a line that was awaited, and has not been.
var unread = map[*websocket.Conn][]string{}

// awaitLine reads until a frame has the line, passing over replies.
func awaitLine(t *testing.T, c *websocket.Conn, want string) {
	t.Helper()
	for {
		for len(unread[c]) == 0 {
			_, payload, err := c.ReadMessage()
			if err != nil {
				t.Fatalf("%v, while %s was awaited", err, want)
			}
			unread[c] = strings.Split(strings.TrimSpace(string(payload)), "\n")
		}
		line := unread[c][0]
		unread[c] = unread[c][1:]
		if line == want {
			return
		}
		if strings.HasPrefix(line, `{"push"`) || strings.Contains(line, `"error"`) {
			t.Fatalf("got %s while %s was awaited", line, want)
		}
	}
}

// TestSocketIO speaks Socket.IO over Engine.IO, as its clients do once they are
// on a WebSocket.
func TestSocketIO(t *testing.T) {
	address := start(t, "socket.io")
	var members []*websocket.Conn
	for range 2 {
		c := dial(t, address, "/socket.io/?EIO=4&transport=websocket")
		if _, open, err := c.ReadMessage(); err != nil || !strings.HasPrefix(string(open), `0{"sid":`) {
			t.Fatalf("%q, %v", open, err)
		}
		send(t, c, websocket.TextMessage, `40{"room":"a"}`)
		if _, connected, err := c.ReadMessage(); err != nil || !strings.HasPrefix(string(connected), `40{"sid":`) {
			t.Fatalf("%q, %v", connected, err)
		}
		members = append(members, c)
	}
	for i := range 100 {
		send(t, members[0], websocket.TextMessage, fmt.Sprintf(`42["message",{"n":%d}]`, i))
		for _, m := range members {
			expect(t, m, websocket.TextMessage, fmt.Sprintf(`42["message",{"n":%d}]`, i))
		}
	}
	send(t, members[1], websocket.TextMessage, `42["echo","to and fro"]`)
	expect(t, members[1], websocket.TextMessage, `42["echo","to and fro"]`)
}

func TestOnlyTheLoopback(t *testing.T) {
	if err := run("gws", "0.0.0.0:0"); err == nil || !strings.Contains(err.Error(), "loopback") {
		t.Errorf("listening on every address: %v", err)
	}
	if err := run("nobody", "127.0.0.1:0"); err == nil {
		t.Error("a peer of no name started")
	}
}
