package session

import (
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/thronghq/throng/auth"
	"github.com/thronghq/throng/internal/callgrind"
	"github.com/thronghq/throng/proto"
	"github.com/thronghq/throng/room"
)

// waiter is a Conn that tells of what it gets, and keeps nothing.
type waiter struct{ got chan struct{} }

func (waiter) Prefetch() {}

func (w waiter) Reply([]byte)                { w.got <- struct{}{} }
func (w waiter) Deliver([]byte) bool         { w.got <- struct{}{}; return true }
func (waiter) Close(proto.CloseCode, string) {}
func (waiter) Address() netip.Addr           { return netip.Addr{} }
func (waiter) SetDeadline(time.Time)         {}

// alone makes a session that has joined the room r, with a hub of memory rooms, and
// returns it with the channel that tells of what it gets.
func alone(t testing.TB) (*Session, <-chan struct{}) {
	t.Helper()
	limits := proto.DefaultLimits()
	people := NewDirectory()
	hub := room.NewHub(room.Options{
		Namespaces: []proto.Namespace{proto.NewNamespace("default"), proto.InboxNamespace()},
		Limits:     limits, People: people, Log: room.MemoryLog{}, Logger: slog.New(slog.DiscardHandler), Workers: 1,
	})
	t.Cleanup(hub.Close)
	m := NewManager(Options{
		Hub: hub, Directory: people, Limits: limits, Dev: true,
		Verifier: auth.NewVerifier(auth.VerifierOptions{Keys: auth.NewKeySet(secret)}), Authorizer: auth.NewAuthorizer(nil),
		Codecs: []proto.Codec{proto.NewJSON(&limits)}, Logger: slog.New(slog.DiscardHandler),
	})
	s, _, err := m.Accept(Handshake{Query: "user=ana"})
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan struct{}, 1)
	s.Open(waiter{got})
	<-got // session
	say(s, `{"type":"join","id":"1","room":"r"}`)
	<-got // joined
	t.Cleanup(func() { s.Closed("") })
	return s, got
}

// The frames of a session's hot path, and what they may allocate: an answer, and
// what is kept of a message (itself, its bytes, its frame with where it ends, and
// the author's ack).
var hotFrames = []struct {
	name, frame string
	allocations float64
}{
	{"PING", `{"type":"PING","timestamp":1760000000000}`, 1},
	{"message", `{"type":"message","id":"42","to":"r","content":{"text":"Hello, everybody in this room!","lang":"en"}}`, 5},
	{"transient", `{"type":"message","id":"42","to":"r","transient":true,"content":{"typing":true}}`, 3},
}

// dispatches returns a function that gives the session a frame and waits for the
// answer.
func dispatches(s *Session, got <-chan struct{}, frame string) func() {
	const text = 1
	payload := []byte(frame)
	return func() {
		s.Message(text, payload)
		<-got
	}
}

func TestDispatchAllocatesLittle(t *testing.T) {
	if raceEnabled {
		t.Skip("not counted under the race detector")
	}
	for _, f := range hotFrames {
		s, got := alone(t)
		run := dispatches(s, got, f.frame)
		run()
		if n := testing.AllocsPerRun(500, run); n > f.allocations {
			t.Errorf("%s: %v allocations, at most %v are due", f.name, n, f.allocations)
		}
	}
}

// BenchmarkDispatch is a command's way from the frame to the answer, in a room of
// which the session is the only member.
func BenchmarkDispatch(b *testing.B) {
	for _, f := range hotFrames {
		b.Run(f.name, func(b *testing.B) {
			s, got := alone(b)
			callgrind.Loop(b, dispatches(s, got, f.frame))
		})
	}
}
