package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/thronghq/throng/internal/throngtest"
)

// TestASecondSignalHurriesTheDrain has a message acknowledged and then a drain
// that would last: one connection does not answer the server's close, and the
// others come late in the batches. The second signal has all of them told and
// ends the drain; what was acknowledged is on the disk.
func TestASecondSignalHurriesTheDrain(t *testing.T) {
	s := throngtest.Start(t, throngtest.Options{Args: []string{"--drain-timeout=1h"}})
	var clients []*throngtest.Client
	for i := range 100 {
		c := throngtest.Dial(t, s.WSURL(fmt.Sprintf("/ws?user=u%d", i)), throngtest.DialOptions{})
		c.Expect("session")
		clients = append(clients, c)
	}
	clients[0].Send(map[string]any{"type": "message", "to": "r", "content": 1})
	clients[0].Await("ack")
	throngtest.Dial(t, s.WSURL("/ws?user=deaf"), throngtest.DialOptions{}).Expect("session")
	s.Signal(syscall.SIGTERM)
	s.AwaitStderr(`"msg":"draining"`)
	s.Signal(syscall.SIGINT)
	s.AwaitStderr(`"msg":"hurrying"`)
	for _, c := range clients {
		c.ExpectClose(1012)
	}
	if code := s.Wait(); code != exitOK {
		t.Errorf("exit code %d, want %d", code, exitOK)
	}
	s.Restart()
	c := throngtest.Dial(t, s.WSURL("/ws?user=late"), throngtest.DialOptions{})
	c.Send(map[string]any{"type": "join", "room": "r"})
	if f := c.Await("joined"); f["offset"] != json.Number("1") {
		t.Errorf("after the drain: %v", f)
	}
}

// TestAThirdSignalEndsTheProcess holds a connection that does not answer the
// server's close, so that even the hurried drain lasts for a moment.
func TestAThirdSignalEndsTheProcess(t *testing.T) {
	s := throngtest.Start(t, throngtest.Options{Args: []string{"--drain-timeout=1h"}})
	throngtest.Dial(t, s.WSURL("/ws?user=ada"), throngtest.DialOptions{}).Expect("session")
	s.Signal(syscall.SIGTERM)
	s.AwaitStderr(`"msg":"draining"`)
	s.Signal(syscall.SIGTERM)
	s.AwaitStderr(`"msg":"hurrying"`)
	s.Signal(syscall.SIGTERM)
	if code := s.Wait(); code != -1 {
		t.Errorf("exit code %d, want -1: the signal should have ended it", code)
	}
}

// TestServeRefuses starts servers that cannot serve.
func TestServeRefuses(t *testing.T) {
	s := throngtest.Start(t, throngtest.Options{})
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("open\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		args []string
		code int
		says string
	}{
		{"a taken port", []string{"--listen=" + s.Addr(), "--data-dir=" + t.TempDir()}, exitFailure, s.Addr()},
		{"a taken data directory", []string{"--listen=127.0.0.1:0", "--data-dir=" + s.DataDir}, exitFailure, s.DataDir},
		{"a file as data directory", []string{"--listen=127.0.0.1:0", "--data-dir=" + file}, exitFailure, file},
		{"a secret that others read", []string{"--listen=127.0.0.1:0", "--data-dir=" + filepath.Dir(secret)}, exitFailure, "chmod 600"},
		{"a refused configuration", []string{"--listen=here"}, exitConfig, "listen = here (flag --listen)"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			code, stdout, stderr := throngtest.Run(t, nil, test.args...)
			if code != test.code || stdout != "" || !strings.Contains(stderr, test.says) {
				t.Errorf("exit code %d, standard output %q, standard error %s\nwant %d and a mention of %q", code, stdout, stderr, test.code, test.says)
			}
		})
	}
}
