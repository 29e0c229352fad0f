package main

import (
	"io"
	"net"
	"syscall"
	"testing"

	"github.com/thronghq/throng/internal/throngtest"
)

// TestADrainCutsOffWhoDoesNotGo has an HTTP client stop in the middle of its
// request, and a WebSocket client that does not answer the server's close: no
// client decides how a stop ends.
func TestADrainCutsOffWhoDoesNotGo(t *testing.T) {
	s := throngtest.Start(t, throngtest.Options{Args: []string{"--drain-timeout=1s"}})
	throngtest.Dial(t, s.WSURL("/ws?user=ada"), throngtest.DialOptions{}).Expect("session")
	conn, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	// The first answer tells that net/http has the connection.
	const whole, half = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", "POST /api/x HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nhalf"
	if _, err := io.WriteString(conn, whole); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, half); err != nil {
		t.Fatal(err)
	}
	s.Signal(syscall.SIGTERM)
	s.AwaitStderr("were cut off")
	if code := s.Wait(); code != exitOK {
		t.Errorf("exit code %d, want %d", code, exitOK)
	}
}
