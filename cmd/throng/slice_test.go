package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/thronghq/throng/internal/throngtest"
)

// since is a join that resumes after an offset.
func since(room string, joined throngtest.Frame, offset any) map[string]any {
	return map[string]any{"type": "join", "room": room, "since": map[string]any{"offset": offset, "epoch": joined["epoch"]}}
}

// syncConfig writes a configuration in which every ack means that the message
// is on the disk.
func syncConfig(t *testing.T) string {
	path := filepath.Join(t.TempDir(), "throng.toml")
	if err := os.WriteFile(path, []byte("[namespace.default]\ndurability = \"sync\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestMain(m *testing.M) { throngtest.Main(m) }

// TestMessagesReachMembersAndTheDisk is the whole way of a message: join,
// publish, log, deliver, and after kill -9 and a restart resume and history.
func TestMessagesReachMembersAndTheDisk(t *testing.T) {
	s := throngtest.Start(t, throngtest.Options{Args: []string{"--config", syncConfig(t)}})
	ana := throngtest.Dial(t, s.WSURL("/ws?user=ana"), throngtest.DialOptions{})
	bob := throngtest.Dial(t, s.WSURL("/ws?user=bob"), throngtest.DialOptions{})
	for _, c := range []*throngtest.Client{ana, bob} {
		c.Send(map[string]any{"type": "join", "room": "lobby"})
		c.Await("joined")
	}
	bob.Send(map[string]any{"type": "join", "room": "lobby"}) // once more, for the position
	joined := bob.Expect("joined")
	ana.Expect("member_joined")

	const messages = 20
	for i := range messages {
		ana.SendText(fmt.Sprintf(`{"type":"message","id":"m%d","to":"lobby","content":{"n":%d, "text" : "hé"}}`, i, i))
		ack := ana.Expect("ack")
		got := bob.Expect("message")
		if ack["offset"] != json.Number(fmt.Sprint(i+1)) || got["offset"] != ack["offset"] || got["msgId"] != ack["msgId"] || ack["id"] != fmt.Sprintf("m%d", i) {
			t.Fatalf("ack %v, message %v", ack, got)
		}
	}

	s.Kill()
	s.Restart()

	bob = throngtest.Dial(t, s.WSURL("/ws?user=bob"), throngtest.DialOptions{})
	bob.Expect("session")
	bob.Send(since("lobby", joined, messages-5))
	if again := bob.Expect("joined"); again["recovered"] != true {
		t.Fatalf("joined again: %v", again)
	}
	for i := messages - 5; i < messages; i++ {
		if got := bob.Expect("message"); got["offset"] != json.Number(fmt.Sprint(i+1)) {
			t.Fatalf("replayed %v, want offset %d", got, i+1)
		}
	}
	bob.Send(map[string]any{"type": "history", "id": "h", "room": "lobby", "limit": 100})
	if page := bob.Expect("history")["messages"].([]any); len(page) != messages {
		t.Fatalf("%d messages of history", len(page))
	}
	s.Stop()
}

func TestTheServerAnswersHTTP(t *testing.T) {
	s := throngtest.Start(t, throngtest.Options{})
	for path, want := range map[string]int{
		"/": 200, "/healthz": 200, "/readyz": 200, "/metrics": 200, "/nothing": 404, "/api/v1/nothing": 404, "/ws": 400,
	} {
		response, err := http.Get(s.URL(path))
		if err != nil {
			t.Fatal(err)
		}
		if err := response.Body.Close(); err != nil {
			t.Error(err)
		}
		if response.StatusCode != want {
			t.Errorf("GET %s: %s, want %d", path, response.Status, want)
		}
	}
}

func TestATokenAdmitsItsUserOnly(t *testing.T) {
	s := throngtest.Start(t, throngtest.Options{NoDev: true})
	_, response, err := throngtest.TryDial(t, s.WSURL("/ws?token=nonsense"), throngtest.DialOptions{})
	if err == nil || response == nil || response.StatusCode != http.StatusUnauthorized {
		t.Fatalf("a bad token in the handshake: %v, %v", response, err)
	}
	code, token, stderr := invoke("token", "--user", "ana", "--ttl", "1h", "--data-dir", s.DataDir)
	if code != exitOK {
		t.Fatalf("throng token: %s", stderr)
	}
	token = token[:len(token)-1]

	for name, opts := range map[string]throngtest.DialOptions{
		"header":      {Header: http.Header{"Authorization": {"Bearer " + token}}},
		"subprotocol": {Subprotocols: []string{"bearer." + token, "throng.v1.json"}},
	} {
		c := throngtest.Dial(t, s.WSURL("/ws"), opts)
		if user := c.Expect("session")["userId"]; user != "ana" {
			t.Errorf("%s: admitted %v", name, user)
		}
		if want := map[string]string{"header": "", "subprotocol": "throng.v1.json"}[name]; c.Conn.Subprotocol() != want {
			t.Errorf("%s: answered the subprotocol %q", name, c.Conn.Subprotocol())
		}
	}
	c := throngtest.Dial(t, s.WSURL("/ws?token="+token), throngtest.DialOptions{})
	c.Expect("session")

	// ?user= is for --dev alone; this client has to authenticate.
	late := throngtest.Dial(t, s.WSURL("/ws?user=ana"), throngtest.DialOptions{})
	late.Send(map[string]any{"type": "join", "id": "1", "room": "lobby"})
	if e := late.Expect("error"); e["code"] != "unauthenticated" || e["id"] != "1" {
		t.Errorf("before auth: %v", e)
	}
	late.Send(map[string]any{"type": "auth", "token": token})
	late.Expect("session")
	late.Send(map[string]any{"type": "auth", "token": token[:len(token)-2]})
	if e := late.Expect("error"); e["code"] != "invalid_token" {
		t.Errorf("a bad token: %v", e)
	}
	late.ExpectClose(4401)
}

func TestThreeInvalidFramesInARowCloseTheConnection(t *testing.T) {
	s := throngtest.Start(t, throngtest.Options{})
	c := throngtest.Dial(t, s.WSURL("/ws?user=ana"), throngtest.DialOptions{})
	c.Expect("session")
	for _, round := range []int{2, 3} {
		for range round {
			c.SendText(`{"type":`)
			if e := c.Expect("error"); e["code"] != "invalid_json" {
				t.Fatalf("%v", e)
			}
		}
		if round == 2 {
			c.SendText(`{"type":"PING","timestamp":7}`)
			c.Expect("PONG")
		}
	}
	if e := c.Expect("error"); e["code"] != "too_many_errors" {
		t.Fatalf("%v", e)
	}
	c.ExpectClose(1008)
}
