package api_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/thronghq/throng/api"
	"github.com/thronghq/throng/auth"
	"github.com/thronghq/throng/proto"
	"github.com/thronghq/throng/room"
	"github.com/thronghq/throng/session"
)

// stuckSessions answers no command but the first of those that are started.
type stuckSessions struct {
	*session.Manager
	started int
}

func (s *stuckSessions) Do(ctx context.Context, _ session.Caller, _ *proto.Command) (*proto.Event, *proto.Error) {
	<-ctx.Done()
	return nil, proto.ErrOverloaded.New()
}

func (s *stuckSessions) Start(by session.Caller, cmd *proto.Command, done func(*proto.Event, *proto.Error)) {
	if s.started++; s.started == 1 {
		s.Manager.Start(by, cmd, done)
	}
}

// stuckHub never tells of a room.
type stuckHub struct{ *room.Hub }

func (stuckHub) RoomInfo(string, *proto.Namespace, func(room.RoomInfo, *proto.Error)) {}

// TestRequestsEnd: with an answer, whatever they wait for.
func TestRequestsEnd(t *testing.T) {
	f := start(t, func(o *api.Options) {
		o.Timeout = 300 * time.Millisecond
		o.Sessions = &stuckSessions{Manager: o.Sessions.(*session.Manager)}
		o.Hub = stuckHub{o.Hub.(*room.Hub)}
	})
	ada := f.token("ada")
	f.request("GET /rooms/lobby", ada).do().refused(proto.ErrOverloaded).says("longer than 300ms")
	f.request("GET /rooms/lobby/messages", ada).do().refused(proto.ErrOverloaded)
	a := f.request("POST /rooms/lobby/messages/batch", ada).json(`{"messages":[{"content":1},{"content":2},{"content":3}]}`).do().is(http.StatusOK)
	results := get[[]any](a, "results")
	first, last := results[0].(map[string]any), results[2].(map[string]any)
	if first["offset"] != 1.0 || last["error"].(map[string]any)["code"] != "overloaded" {
		t.Errorf("results: %s", a.text)
	}
}

// TestABodyThatDoesNotCome: the request ends all the same.
func TestABodyThatDoesNotCome(t *testing.T) {
	f := start(t, func(o *api.Options) { o.Timeout = 100 * time.Millisecond })
	for _, request := range []string{
		"POST /api/v1/login",
		"GET /api/v1/rooms/lobby/events?token=" + f.token("ada"), // takes none, and must not wait for it either
	} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(f.root, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, request+" HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"); err != nil {
			t.Fatal(err)
		}
		answer, err := io.ReadAll(conn)
		if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 503 ") {
			t.Errorf("%.25s: %v, %q", request, err, answer)
		}
	}
}

// TestAStreamOutlivesTheTimeout, which is for requests that are answered at once.
func TestAStreamOutlivesTheTimeout(t *testing.T) {
	f := start(t, func(o *api.Options) { o.Timeout = 100 * time.Millisecond })
	stream := f.events("lobby", f.token("ada", func(c *auth.AccessClaims) { c.TTL = 2 * time.Second }))
	stream.next("joined")
	stream.next("token_expiring") // after three quarters of the token's time
	stream.next("error")
}

// TestAReaderThatGoesLeavesTheRoom: nothing of its stream stays behind.
func TestAReaderThatGoesLeavesTheRoom(t *testing.T) {
	f := start(t, nil)
	stream := f.events("lobby", f.token("bob"))
	stream.next("joined")
	stream.response.Body.Close()
	f.awaitNoSessions()
}

// TestAClosedStreamEnds, and one at a drain: also where its client does not read,
// and had a minute for that until then.
func TestAClosedStreamEnds(t *testing.T) {
	for name, end := range map[string]func(f *fixture, session string){
		"closed": func(f *fixture, session string) {
			f.request("DELETE /sessions/"+session, f.token("root", asAdmin)).do().is(http.StatusNoContent)
		},
		"drained": func(f *fixture, _ string) { f.end(proto.ErrShuttingDown.New()) },
	} {
		t.Run(name, func(t *testing.T) { endUnread(t, end) })
	}
}

func endUnread(t *testing.T, end func(f *fixture, session string)) {
	f := start(t, nil)
	ada := f.token("ada")
	conn, err := net.Dial("tcp", strings.TrimPrefix(f.root, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET /api/v1/rooms/lobby/events?token="+ada+" HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	root := f.token("root", asAdmin)
	var sessions []any
	for len(sessions) == 0 {
		sessions = get[[]any](f.request("GET /sessions?room=lobby", root).do().is(http.StatusOK), "sessions")
	}
	content := `"` + strings.Repeat("x", 60<<10) + `"`
	for range 300 { // 18 MB: more than sockets and the outbox take
		f.publish("lobby", ada, content)
	}
	end(f, sessions[0].(map[string]any)["sessionId"].(string))
	f.awaitNoSessions()
}

// awaitNoSessions waits until no session is left, and so no stream.
func (f *fixture) awaitNoSessions() {
	f.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; {
		left, _, err := f.manager.List(session.Filter{}, "", 0)
		switch {
		case err != nil:
			f.t.Fatal(err)
		case len(left) == 0:
			return
		case time.Now().After(deadline):
			f.t.Fatalf("after 30 s there are %+v", left)
		}
		runtime.Gosched()
	}
}
