package main

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/coder/websocket"

	"github.com/thronghq/throng/internal/throngtest"
)

// TestALogThatCannotGrowEndsTheServerInOrder runs the server on a tmpfs of its
// own and takes all its inodes, so that no next write-ahead log can be created,
// while there is space for bytes: the clients are told, the exit code says so,
// and the next start has everything that was acknowledged.
func TestALogThatCannotGrowEndsTheServerInOrder(t *testing.T) {
	dir := t.TempDir()
	config := filepath.Join(t.TempDir(), "throng.toml")
	if err := os.WriteFile(config, []byte("[namespace.safe]\ndurability = \"sync\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	unshare := []string{"unshare", "--mount"}
	if os.Getuid() != 0 { // as in TestANearlyFullDiskRefusesPublishesAndRecovers
		unshare = append(unshare, "--user", "--map-root-user")
	}
	// The second life writes to standard error where it is ready.
	const lives = `mount -t tmpfs -o size=160m,nr_inodes=200 none "$0" || exit
"$@"; echo "the first life ended with $?" >&2
rm -r "$0/filler"; exec "$@" >&2`
	s := throngtest.Start(t, throngtest.Options{
		DataDir: filepath.Join(dir, "data"),
		Command: append(unshare, "sh", "-c", lives, dir),
		Args:    []string{"--storage-min-free", "16MiB", "--config", config},
	})
	filler := fmt.Sprintf("/proc/%d/root%s/filler", s.PID(), dir)
	if err := os.Mkdir(filler, 0o700); err != nil {
		t.Fatal(err)
	}
	for i := 0; ; i++ {
		if err := os.WriteFile(filepath.Join(filler, fmt.Sprint(i)), nil, 0o600); err != nil {
			break // none is left
		}
	}

	listener := throngtest.Dial(t, s.WSURL("/ws?user=bob"), throngtest.DialOptions{})
	listener.Expect("session")
	c := throngtest.Dial(t, s.WSURL("/ws?user=ana"), throngtest.DialOptions{})
	c.Expect("session")
	noise := make([]byte, 30<<10)
	if _, err := rand.Read(noise); err != nil {
		t.Fatal(err)
	}
	content, acked := hex.EncodeToString(noise), 0
	for {
		c.Send(map[string]any{"type": "message", "id": "m", "to": "safe:vault", "content": content})
		f, err := c.TryReceive()
		if err != nil {
			told(t, "the publisher", err)
			break
		}
		if f.Type() == "ack" {
			acked++
		} else if code := f["code"]; code != "storage_failed" && code != "shutting_down" {
			t.Fatalf("after %d messages: %v", acked, f)
		} else if _, err := c.TryReceive(); err != nil {
			told(t, "the publisher", err)
			break
		}
	}
	for {
		if _, err := listener.TryReceive(); err != nil {
			told(t, "a listener", err)
			break
		}
	}
	s.AwaitStderr("the first life ended with 1")
	s.AwaitStderr("throng is ready: ")
	address := regexp.MustCompile(`throng is ready: http://([^/\s]+)`).FindStringSubmatch(s.Stderr())
	again := throngtest.Dial(t, "ws://"+address[1]+"/ws?user=ana", throngtest.DialOptions{})
	again.Expect("session")
	again.Send(map[string]any{"type": "join", "id": "j", "room": "safe:vault"})
	if got := again.Expect("joined").Int("offset"); got < int64(acked) || acked == 0 {
		t.Errorf("%d messages are there of %d acknowledged ones", got, acked)
	}
	again.Send(map[string]any{"type": "message", "id": "n", "to": "safe:vault", "content": 1})
	again.Expect("ack")
	again.Close()
	s.Stop()
}

// told fails the test unless the connection ended with the close code of a
// server that goes.
func told(t *testing.T, who string, err error) {
	t.Helper()
	var end websocket.CloseError
	if !errors.As(err, &end) || end.Code != websocket.StatusServiceRestart {
		t.Errorf("%s was not told: %v", who, err)
	}
}

// TestADamagedTableIsAnErrorAndNoMore flips bytes in the middle of the largest
// file of history: reading it is an error, never a part of it, and all else goes
// on.
func TestADamagedTableIsAnErrorAndNoMore(t *testing.T) {
	s := throngtest.Start(t, throngtest.Options{})
	c := throngtest.Dial(t, s.WSURL("/ws?user=ana"), throngtest.DialOptions{})
	c.Expect("session")
	noise := make([]byte, 10<<10)
	for range 60 {
		if _, err := rand.Read(noise); err != nil {
			t.Fatal(err)
		}
		c.Send(map[string]any{"type": "message", "id": "m", "to": "lobby", "content": hex.EncodeToString(noise)})
		c.Expect("ack")
	}
	s.Stop()
	s.Restart() // which writes the log's messages into a table
	s.Stop()
	tables, err := filepath.Glob(filepath.Join(s.DataDir, "store", "*.sst"))
	if err != nil || len(tables) == 0 {
		t.Fatalf("there is no table to damage: %v", err)
	}
	var largest []byte
	var name string
	for _, table := range tables {
		b, err := os.ReadFile(table)
		if err != nil {
			t.Fatal(err)
		}
		if len(b) > len(largest) {
			largest, name = b, table
		}
	}
	for i := range 64 {
		largest[len(largest)/2+i] ^= 0xff
	}
	if err := os.WriteFile(name, largest, 0o600); err != nil {
		t.Fatal(err)
	}
	s.Restart()
	c = throngtest.Dial(t, s.WSURL("/ws?user=ana"), throngtest.DialOptions{})
	c.Expect("session")
	ask := map[string]any{"type": "history", "id": "h", "room": "lobby"}
	for { // pages are bounded in bytes, and the first ones may not reach the damage
		c.Send(ask)
		f := c.Receive()
		if f.Type() == "error" && f["code"] == "storage_failed" {
			break
		}
		if ask["cursor"] = f.Text("next"); f.Type() != "history" || ask["cursor"] == "" {
			t.Fatalf("the damaged history ends with %.200v", f)
		}
	}
	c.Send(map[string]any{"type": "message", "id": "m", "to": "hall", "content": 1})
	c.Expect("ack")
	c.Send(map[string]any{"type": "history", "id": "h", "room": "hall"})
	if page := c.Expect("history")["messages"].([]any); len(page) != 1 {
		t.Errorf("another room's history has %d messages", len(page))
	}
	c.Close()
	s.Stop()
}
