package session

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/thronghq/throng/auth"
	"github.com/thronghq/throng/proto"
	"github.com/thronghq/throng/room"
)

var secret = []byte("a secret of at least thirty-two bytes")

// conn is a Conn that keeps what is sent.
type conn struct {
	address  netip.Addr
	mu       sync.Mutex
	frames   []map[string]any
	closed   proto.CloseCode
	deadline time.Time
}

func (c *conn) Reply(frame []byte) { c.take(frame) }
func (c *conn) Prefetch()          {}

func (c *conn) Deliver(frames []byte) bool { c.take(frames); return true }
func (c *conn) Address() netip.Addr        { return c.address }
func (c *conn) SetDeadline(at time.Time)   { c.deadline = at }
func (c *conn) Close(code proto.CloseCode, _ string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed == 0 {
		c.closed = code
	}
}

// elapse lets the time come that the session waits for.
func (c *conn) elapse(s *Session) {
	time.Sleep(time.Until(c.deadline))
	c.deadline = time.Time{}
	s.Expired()
}

func (c *conn) take(b []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(b) > 0 {
		n, head := int(b[1]), 2
		if n == 126 {
			n, head = int(b[2])<<8|int(b[3]), 4
		}
		var f map[string]any
		if err := json.Unmarshal(b[head:head+n], &f); err != nil {
			panic(err)
		}
		c.frames = append(c.frames, f)
		b = b[head+n:]
	}
}

// fixture is a manager with a hub of memory rooms, in a synctest bubble.
type fixture struct {
	t       *testing.T
	manager *Manager
}

func inFixture(t *testing.T, change func(*Options), run func(t *testing.T, f *fixture)) {
	synctest.Test(t, func(t *testing.T) {
		limits := proto.DefaultLimits()
		people := NewDirectory()
		packed := proto.NewNamespace("packed")
		packed.Compress = true
		hub := room.NewHub(room.Options{
			Namespaces: []proto.Namespace{proto.NewNamespace("default"), proto.NewNamespace("chat"), packed, proto.InboxNamespace()},
			Limits:     limits, People: people, Log: room.MemoryLog{}, Logger: slog.New(slog.DiscardHandler), Compression: proto.NewCompression(256, metrics.NewSet()),
		})
		defer hub.Close()
		o := Options{
			Hub: hub, Directory: people, Limits: limits,
			Verifier: auth.NewVerifier(auth.VerifierOptions{Keys: auth.NewKeySet(secret)}), Authorizer: auth.NewAuthorizer(nil),
			Codecs: []proto.Codec{proto.NewJSON(&limits)}, Heartbeat: 25 * time.Second, Logger: slog.New(slog.DiscardHandler),
		}
		if change != nil {
			change(&o)
		}
		run(t, &fixture{t, NewManager(o)})
	})
}

func (f *fixture) token(user string, ttl time.Duration, rooms ...auth.Rule) string {
	f.t.Helper()
	token, err := auth.Sign(secret, user, ttl, auth.SignOptions{Now: time.Now(), Rooms: rooms})
	if err != nil {
		f.t.Fatal(err)
	}
	return token
}

// open makes a session with the handshake and a connection for it.
func (f *fixture) open(h Handshake) (*Session, *conn) {
	f.t.Helper()
	s, _, err := f.manager.Accept(h)
	if err != nil {
		f.t.Fatal(err)
	}
	c := &conn{address: h.Address}
	s.Open(c)
	return s, c
}

func (f *fixture) user(name string, rooms ...auth.Rule) (*Session, *conn) {
	s, c := f.open(Handshake{Authorization: "Bearer " + f.token(name, time.Hour, rooms...)})
	c.await(f.t, "session")
	return s, c
}

// say sends a text frame.
func say(s *Session, format string, args ...any) {
	const text = 1
	s.Message(text, fmt.Appendf(nil, format, args...))
}

// await lets everything settle and returns the first frame, which must be of
// the type.
func (c *conn) await(t *testing.T, kind string) map[string]any {
	t.Helper()
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.frames) == 0 {
		t.Fatalf("nothing came, want %s", kind)
	}
	f := c.frames[0]
	c.frames = c.frames[1:]
	if f["type"] != kind {
		t.Fatalf("got %v, want %s", f, kind)
	}
	return f
}

func (c *conn) refused(t *testing.T, id, code string) {
	t.Helper()
	f := c.await(t, "error")
	if f["code"] != code || id != "" && f["id"] != id {
		t.Fatalf("got %v, want %s for %q", f, code, id)
	}
}

func TestHandshakes(t *testing.T) {
	inFixture(t, nil, func(t *testing.T, f *fixture) {
		good := f.token("ana", time.Hour)
		for _, c := range []struct {
			name     string
			h        Handshake
			code     string // of the refusal
			answer   string
			user     string
			devAdmit bool
		}{
			{name: "nothing", h: Handshake{}},
			{name: "a protocol", h: Handshake{Protocols: []string{"x", "throng.v1.json"}}, answer: "throng.v1.json"},
			{name: "unknown protocols", h: Handshake{Protocols: []string{"x"}}, code: "unknown_subprotocol"},
			{name: "a bearer alone", h: Handshake{Protocols: []string{"bearer." + good}}, code: "unknown_subprotocol"},
			{name: "a bearer", h: Handshake{Protocols: []string{"bearer." + good, "throng.v1.json"}}, answer: "throng.v1.json", user: "ana"},
			{name: "a header", h: Handshake{Authorization: "bearer " + good}, user: "ana"},
			{name: "another scheme", h: Handshake{Authorization: "Basic eA=="}, code: "invalid_token"},
			{name: "a query", h: Handshake{Query: "token=" + good}, user: "ana"},
			{name: "a broken query", h: Handshake{Query: "token=%zz"}, code: "bad_handshake"},
			{name: "a bad token", h: Handshake{Query: "token=x"}, code: "invalid_token"},
			{name: "a huge token", h: Handshake{Query: "token=" + strings.Repeat("x", 5000)}, code: "invalid_token"},
			{name: "the header before the query", h: Handshake{Authorization: "Bearer " + good, Query: "token=x"}, user: "ana"},
			{name: "a name without dev", h: Handshake{Query: "user=bob"}},
		} {
			s, answer, err := f.manager.Accept(c.h)
			switch {
			case c.code != "":
				if err == nil || err.Name != c.code {
					t.Errorf("%s: %v, want %s", c.name, err, c.code)
				}
			case err != nil:
				t.Errorf("%s: %v", c.name, err)
			case answer != c.answer || s.UserID() != c.user:
				t.Errorf("%s: answered %q for user %q", c.name, answer, s.UserID())
			}
		}
	})
	inFixture(t, func(o *Options) { o.Dev = true }, func(t *testing.T, f *fixture) {
		if s, _, err := f.manager.Accept(Handshake{Query: "user=b%C3%B6b"}); err != nil || s.UserID() != "böb" {
			t.Errorf("dev: %v", err)
		}
		if _, _, err := f.manager.Accept(Handshake{Query: "user=a%0Ab"}); err == nil || err.Name != "invalid_field" {
			t.Errorf("dev, bad name: %v", err)
		}
	})
}

func TestAClientAuthenticatesInTime(t *testing.T) {
	inFixture(t, nil, func(t *testing.T, f *fixture) {
		s, c := f.open(Handshake{})
		if got := time.Until(c.deadline); got != 10*time.Second {
			t.Errorf("the deadline is in %v", got)
		}
		say(s, `{"type":"PING","timestamp":5}`)
		c.await(t, "PONG")
		say(s, `{"type":"message","id":"1","to":"r","content":1}`)
		c.refused(t, "1", "unauthenticated")
		say(s, `{"type":"auth","id":"2","token":%q,"deviceInfo":{"type":"web","os":"x"}}`, f.token("ana", time.Minute))
		session := c.await(t, "session")
		if session["userId"] != "ana" || session["deviceInfo"].(map[string]any)["type"] != "web" {
			t.Errorf("%v", session)
		}
		if got := time.Until(c.deadline); got != 45*time.Second {
			t.Errorf("the token's deadline is in %v", got)
		}
		say(s, `{"type":"auth","id":"3","token":%q}`, f.token("bob", time.Minute))
		c.refused(t, "3", "wrong_user")
		say(s, `{"type":"auth","id":"4","token":%q}`, f.token("ana", time.Hour))
		if again := c.await(t, "session"); again["sessionId"] != session["sessionId"] {
			t.Errorf("a fresh token made another session")
		}
		c.elapse(s)
		if warning := c.await(t, "token_expiring"); warning["expiresAt"] != float64(time.Now().Add(time.Minute).UnixMilli()) {
			t.Errorf("%v at %d", warning, time.Now().UnixMilli())
		}
		c.elapse(s)
		c.refused(t, "", "token_expired")
		if c.closed != 4402 {
			t.Errorf("closed with %d", c.closed)
		}
		say(s, `{"type":"PING","timestamp":5}`) // not looked at any more
		synctest.Wait()
		if len(c.frames) > 0 {
			t.Errorf("answered %v", c.frames)
		}

		s, c = f.open(Handshake{})
		c.elapse(s)
		c.refused(t, "", "auth_timeout")
		s, c = f.open(Handshake{})
		say(s, `{"type":"auth","token":"x"}`)
		c.refused(t, "", "invalid_token")
		if c.closed != 4401 {
			t.Errorf("closed with %d", c.closed)
		}
		s.Closed("")
	})
}

func TestCommandsAreCheckedBeforeTheyReachARoom(t *testing.T) {
	inFixture(t, func(o *Options) { o.Limits.RoomsPerConn = 2 }, func(t *testing.T, f *fixture) {
		s, c := f.user("ana", auth.Rule{Match: "chat:*", Allow: auth.DefaultRights}, auth.Rule{Match: "r*", Allow: auth.RightsOf(auth.RightJoin, auth.RightCreate)})
		for _, q := range []struct{ frame, code string }{
			{`{"type":"join","id":"1","room":"no:room"}`, "unknown_namespace"},
			{`{"type":"join","id":"1","room":"secret"}`, "forbidden"},
			{`{"type":"join","id":"1","room":"r","since":{"last":1}}`, "forbidden"}, // replay is reading
			{`{"type":"join","id":"1","room":"chat:x","since":{"last":10001}}`, "invalid_field"},
			{`{"type":"message","id":"1","to":"r","content":1}`, "forbidden"},
			{`{"type":"history","id":"1","room":"r"}`, "forbidden"},
			{`{"type":"leave","id":"1","room":"r"}`, "not_joined"},
			{`{"type":"ack","id":"1","room":"r","epoch":"e","offset":1}`, "not_joined"},
			{`{"type":"host","id":"1","room":"chat:x","close":true}`, "not_host"},
			{`{"type":"members","id":"1","room":"r"}`, "not_joined"},
			{`{"type":"status","id":"1","status":"gone"}`, "invalid_field"},
			{`{"type":"join","id":"1","room":"user:bob"}`, "forbidden"},
			{`{"type":"history","id":"1","room":"user:bob"}`, "forbidden"},
			{`{"type":"ack","id":"1","room":"user:bob","epoch":"e","offset":1}`, "not_joined"},
			{`{"type":"message","id":"1","to":"user:bob","content":1}`, "forbidden"},
			{`{"type":"message","id":"1","to":"user:","content":1}`, "invalid_field"},
			{`{"type":"nonsense","id":"1"}`, "unknown_type"},
		} {
			say(s, "%s", q.frame)
			c.refused(t, "1", q.code)
			say(s, `{"type":"PING","timestamp":1}`) // the errors are not in a row
			c.await(t, "PONG")
		}
		for _, name := range []string{"r", "chat:x"} {
			say(s, `{"type":"join","room":%q}`, name)
			c.await(t, "joined")
		}
		say(s, `{"type":"join","id":"1","room":"chat:y"}`)
		c.refused(t, "1", "too_many_rooms")
		say(s, `{"type":"leave","room":"r"}`)
		c.await(t, "left")
		say(s, `{"type":"join","room":"chat:y"}`)
		c.await(t, "joined")
		say(s, `{"type":"leave","id":"1","room":"r"}`)
		c.refused(t, "1", "not_joined")
	})
}

func TestPipelinedJoinsAndLeavesKeepTheirOrder(t *testing.T) {
	inFixture(t, nil, func(t *testing.T, f *fixture) {
		s, c := f.user("ana")
		for i := range 20 {
			say(s, `{"type":"join","id":"j%d","room":"r"}`, i)
			say(s, `{"type":"leave","id":"l%d","room":"r"}`, i)
		}
		for i := range 20 {
			if id := c.await(t, "joined")["id"]; id != fmt.Sprint("j", i) {
				t.Fatalf("joined %v", id)
			}
			if id := c.await(t, "left")["id"]; id != fmt.Sprint("l", i) {
				t.Fatalf("left %v", id)
			}
		}
		say(s, `{"type":"join","room":"r"}`)
		if n := c.await(t, "joined")["members"]; n != 1.0 {
			t.Errorf("%v members", n)
		}
		s.Closed("")
		other, d := f.user("bob")
		say(other, `{"type":"join","room":"r"}`)
		if n := d.await(t, "joined")["members"]; n != 2.0 {
			t.Errorf("%v members just after the first has gone", n)
		}
		time.Sleep(6 * time.Second)
		if left := d.await(t, "member_left"); left["userId"] != "ana" || left["members"] != 1.0 {
			t.Errorf("%v", left)
		}
	})
}

func TestAFreshTokenThatAllowsLessLeavesRooms(t *testing.T) {
	inFixture(t, nil, func(t *testing.T, f *fixture) {
		s, c := f.user("ana")
		for _, name := range []string{"a", "b"} {
			say(s, `{"type":"join","room":%q}`, name)
			c.await(t, "joined")
		}
		say(s, `{"type":"auth","token":%q}`, f.token("ana", time.Hour, auth.Rule{Match: "a", Allow: auth.DefaultRights}))
		c.await(t, "session")
		if e := c.await(t, "room_closed"); e["room"] != "b" || e["reason"] != "forbidden" {
			t.Errorf("%v", e)
		}
		say(s, `{"type":"message","to":"a","content":1}`)
		c.await(t, "ack")
	})
}

func TestTooManyPagesAtOnce(t *testing.T) {
	inFixture(t, nil, func(t *testing.T, f *fixture) {
		s, c := f.user("ana")
		say(s, `{"type":"join","room":"r"}`)
		c.await(t, "joined")
		s.pages = pagesPerConn
		say(s, `{"type":"history","id":"1","room":"r"}`)
		c.refused(t, "1", "overloaded")
		say(s, `{"type":"members","id":"1","room":"r"}`)
		c.refused(t, "1", "overloaded")
		s.endPage()
		say(s, `{"type":"members","id":"2","room":"r"}`)
		c.await(t, "members")
		say(s, `{"type":"history","id":"2","room":"r"}`)
		c.await(t, "history")
		if n := s.pages; n != pagesPerConn-1 {
			t.Errorf("%d pages counted", n)
		}
	})
}

func TestBinaryFramesAreNotJSON(t *testing.T) {
	inFixture(t, nil, func(t *testing.T, f *fixture) {
		s, c := f.user("ana")
		const binary = 2
		for range 3 {
			s.Message(binary, []byte(`{"type":"PING","timestamp":1}`))
			c.refused(t, "", "invalid_frame")
		}
		c.refused(t, "", "too_many_errors")
		if c.closed != 1008 {
			t.Errorf("closed with %d", c.closed)
		}
	})
}
