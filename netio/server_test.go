package netio

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/thronghq/throng/proto"
)

// echo sends every message back with its opcode.
type echo struct{}

func (echo) Upgrade(*Request) (Accept, *proto.Error) {
	return Accept{MaxMessage: 16 << 20, MaxReplies: 64 << 20}, nil
}
func (echo) Open(*Conn) {}
func (echo) Message(c *Conn, op ws.OpCode, payload []byte) {
	c.Reply(AppendFrame(make([]byte, 0, len(payload)+10), op, payload))
}
func (echo) Drained(*Conn)            {}
func (echo) Expired(*Conn)            {}
func (echo) Closed(*Conn, CloseCause) {}

// TestServeEcho serves an echo for an outside client, for as long as
// THRONG_ECHO says.
func TestServeEcho(t *testing.T) {
	d, err := time.ParseDuration(os.Getenv("THRONG_ECHO"))
	if err != nil {
		t.Skip("THRONG_ECHO is not set")
	}
	s, err := Listen(Options{Listen: []string{os.Getenv("THRONG_ECHO_LISTEN")}, Handler: echo{}})
	if err != nil {
		t.Fatal(err)
	}
	t.Log(s.Addrs())
	go s.Serve()
	time.Sleep(d)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
}
