package main

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/thronghq/throng/internal/throngtest"
)

// TestANearlyFullDiskRefusesPublishesAndRecovers runs the server on a small
// tmpfs of its own, in a mount namespace that ends with it, and publishes until
// the disk is nearly full.
func TestANearlyFullDiskRefusesPublishesAndRecovers(t *testing.T) {
	dir := t.TempDir()
	unshare := []string{"unshare", "--mount"}
	if os.Getuid() != 0 { // who is root may mount without a user namespace, and may have none, as in a chroot
		unshare = append(unshare, "--user", "--map-root-user")
	}
	s := throngtest.Start(t, throngtest.Options{
		DataDir: filepath.Join(dir, "data"),
		Command: append(unshare, "sh", "-c", `mount -t tmpfs -o size=160m none "$0" && exec "$@"`, dir),
		Args:    []string{"--storage-min-free", "64MiB"},
	})
	// The tmpfs as this process reaches it, which is outside the namespace.
	disk := fmt.Sprintf("/proc/%d/root%s", s.PID(), dir)
	filler := filepath.Join(disk, "filler")
	if err := os.WriteFile(filler, make([]byte, 60<<20), 0o600); err != nil {
		t.Fatal(err)
	}

	c := throngtest.Dial(t, s.WSURL("/ws?user=ana"), throngtest.DialOptions{})
	c.Expect("session")
	noise := make([]byte, 30<<10) // which no compression makes smaller
	if _, err := rand.Read(noise); err != nil {
		t.Fatal(err)
	}
	content := hex.EncodeToString(noise)
	accepted := 0
	publish := func() throngtest.Frame {
		t.Helper()
		c.Send(map[string]any{"type": "message", "id": "m", "to": "lobby", "content": content})
		return c.Receive()
	}
	for {
		f := publish()
		if f.Type() == "ack" {
			accepted++
			continue
		}
		if f["code"] != "storage_full" || f["retry"] != true || f["id"] != "m" {
			t.Fatalf("after %d messages: %v", accepted, f)
		}
		break
	}
	if accepted < 10 {
		t.Fatalf("only %d messages fitted", accepted)
	}
	t.Logf("%d messages of 60 KiB were accepted before the refusal", accepted)

	// Readers are served meanwhile, and the probe says what is wrong.
	c.Send(map[string]any{"type": "history", "id": "h", "room": "lobby", "limit": 1})
	if page := c.Expect("history")["messages"].([]any); len(page) != 1 {
		t.Errorf("history has %d messages", len(page))
	}
	c.Send(map[string]any{"type": "join", "id": "j", "room": "lobby", "since": map[string]any{"last": 3}})
	c.Expect("joined")
	for range 3 {
		c.Expect("message")
	}
	if status := readiness(t, s); status != http.StatusInsufficientStorage {
		t.Errorf("/readyz answers %d while publishes are refused", status)
	}
	if f := publish(); f["code"] != "storage_full" {
		t.Errorf("still full: %v", f)
	}

	// Space is back: no restart.
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	for {
		f := publish()
		if f.Type() == "ack" {
			break
		}
		if f["code"] != "storage_full" {
			t.Fatalf("with space again: %v", f)
		}
	}
	if status := readiness(t, s); status != http.StatusOK {
		t.Errorf("/readyz answers %d with space again", status)
	}
	c.Close()
	s.Stop()
}

func readiness(t *testing.T, s *throngtest.Server) int {
	t.Helper()
	response, err := http.Get(s.URL("/readyz"))
	if err != nil {
		t.Fatal(err)
	}
	if err := response.Body.Close(); err != nil {
		t.Error(err)
	}
	return response.StatusCode
}
