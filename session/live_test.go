package session

import (
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/thronghq/throng/auth"
	"github.com/thronghq/throng/proto"
)

// pages lists all sessions that the filter selects, by pages of the limit.
func (f *fixture) pages(filter Filter, limit int) (list []Info) {
	f.t.Helper()
	cursor := ""
	for {
		page, next, err := f.manager.List(filter, cursor, limit)
		if err != nil {
			f.t.Fatal(err)
		}
		if list = append(list, page...); next == "" {
			return list
		}
		cursor = next
	}
}

func TestLiveSessionsAreListed(t *testing.T) {
	inFixture(t, nil, func(t *testing.T, f *fixture) {
		waiting, _ := f.open(Handshake{})
		s, c := f.open(Handshake{Authorization: "Bearer " + f.token("ana", time.Hour), Address: netip.MustParseAddr("::ffff:192.0.2.7")})
		c.await(t, "session")
		for i := range 25 {
			f.user(fmt.Sprint("user", i))
		}
		second, d := f.user("ana")
		for _, at := range []struct {
			s    *Session
			c    *conn
			room string
		}{{s, c, "b"}, {s, c, "a"}, {second, d, "b"}} {
			say(at.s, `{"type":"join","room":%q}`, at.room)
			at.c.await(t, "joined")
		}
		if n := len(f.pages(Filter{}, 4)); n != 27 {
			t.Errorf("%d sessions are listed", n)
		}
		if mine := f.pages(Filter{UserID: "ana"}, 1); len(mine) != 2 || mine[0].UserID != "ana" || mine[0].SessionID == mine[1].SessionID {
			t.Errorf("ana has %v", mine)
		}
		if in := f.pages(Filter{Room: "b"}, 1); len(in) != 2 {
			t.Errorf("in b are %v", in)
		}
		for _, filter := range []Filter{{UserID: "ana"}, {Room: "b"}} { // both are all that there are
			if page, next, err := f.manager.List(filter, "", 2); len(page) != 2 || next != "" || err != nil {
				t.Errorf("%+v: %d sessions, next %q, %v", filter, len(page), next, err)
			}
		}
		if in := f.pages(Filter{UserID: "user1", Room: "b"}, 0); len(in) != 0 {
			t.Errorf("of user1, in b are %v", in)
		}
		info, ok := f.manager.Get(s.ID())
		want := Info{
			SessionID: s.ID(), UserID: "ana", Address: "192.0.2.7", Codec: "throng.v1.json", Via: "websocket",
			ConnectedAt: time.Now().UnixMilli(), TokenExpires: time.Now().Add(time.Hour).UnixMilli(), Rooms: []string{"a", "b"},
		}
		if !ok || fmt.Sprint(info) != fmt.Sprint(want) {
			t.Errorf("%+v, want %+v", info, want)
		}
		if _, _, err := f.manager.List(Filter{}, "x", 1); err == nil || err.Code != proto.ErrBadCursor {
			t.Errorf("a bad cursor: %v", err)
		}
		if waiting.ID() != "" {
			t.Error("a session without a user has an id")
		}
		say(waiting, `{"type":"auth","token":%q,"deviceInfo":{"type":"web","os":"x"}}`, f.token("ana", time.Hour))
		if info, ok := f.manager.Get(waiting.ID()); !ok || info.DeviceType != "web" || info.DeviceOS != "x" {
			t.Errorf("%+v, %v", info, ok)
		}
		for _, s := range []*Session{s, second, waiting} {
			s.Closed("")
		}
		if mine := f.pages(Filter{UserID: "ana"}, 0); len(mine) != 0 {
			t.Errorf("of those who have gone, %v are listed", mine)
		}
	})
}

func TestASessionIsDisconnected(t *testing.T) {
	inFixture(t, nil, func(t *testing.T, f *fixture) {
		s, c := f.user("ana")
		if f.manager.Disconnect("x", proto.ErrDisconnected.New()) || f.manager.Disconnect(formatID([16]byte{1}), proto.ErrDisconnected.New()) {
			t.Error("a session that is not there was closed")
		}
		if !f.manager.Disconnect(s.ID(), proto.ErrDisconnected.New()) {
			t.Error("not found")
		}
		c.refused(t, "", "disconnected")
		if c.closed != 4405 {
			t.Errorf("closed with %d", c.closed)
		}
		s.Close(proto.ErrRevoked.New()) // the first reason counts
		say(s, `{"type":"PING","timestamp":1}`)
		if synctest.Wait(); len(c.frames) > 0 {
			t.Errorf("%v", c.frames)
		}
	})
}

func TestARevocationClosesWhatItCovers(t *testing.T) {
	inFixture(t, nil, func(t *testing.T, f *fixture) {
		conns := make(map[string]*conn)
		for _, id := range []auth.Identity{
			{UserID: "ana", Grant: &auth.Grant{Session: "s1", TokenID: "t1"}},
			{UserID: "ana", Grant: &auth.Grant{Session: "s2", TokenID: "t2"}},
			{UserID: "bob", Grant: &auth.Grant{Session: "s3", TokenID: "t3"}},
			{UserID: "bob", Grant: &auth.Grant{KeyID: "k1"}},
		} {
			conns[id.UserID+id.Session] = &conn{}
			s := &Session{manager: f.manager}
			s.identify(&id)
			s.Open(conns[id.UserID+id.Session])
		}
		closed := func() (names []string) {
			for name, c := range conns {
				if c.closed == proto.ErrRevoked.Close {
					names = append(names, name)
				}
			}
			slices.Sort(names)
			return names
		}
		for _, step := range []struct {
			r     auth.Revocation
			count int
			want  []string
		}{
			{auth.Revocation{UserID: "cyd"}, 0, nil},
			{auth.Revocation{UserID: "ana", Session: "s3"}, 0, nil},
			{auth.Revocation{UserID: "ana", Session: "s2"}, 1, []string{"anas2"}},
			{auth.Revocation{TokenID: "t3"}, 1, []string{"anas2", "bobs3"}},
			{auth.Revocation{UserID: "ana"}, 1, []string{"anas1", "anas2", "bobs3"}},
			{auth.Revocation{KeyID: "k1"}, 1, []string{"anas1", "anas2", "bob", "bobs3"}},
		} {
			if n := f.manager.Revoke(step.r); n != step.count {
				t.Errorf("%+v closed %d", step.r, n)
			}
			if got := closed(); !slices.Equal(got, step.want) {
				t.Errorf("%+v left %v closed, want %v", step.r, got, step.want)
			}
		}
	})
}

// TestATokenRevokedDuringTheHandshake: between the check of the token and the
// session's place in the index.
func TestATokenRevokedDuringTheHandshake(t *testing.T) {
	var revoked atomic.Bool
	inFixture(t, func(o *Options) { o.Revoked = func(*auth.Identity) bool { return revoked.Load() } }, func(t *testing.T, f *fixture) {
		s, _, err := f.manager.Accept(Handshake{Authorization: "Bearer " + f.token("ana", time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		revoked.Store(true)
		if n := f.manager.Revoke(auth.Revocation{UserID: "ana"}); n != 0 {
			t.Fatalf("%d closed", n)
		}
		c := &conn{}
		s.Open(c)
		c.refused(t, "", "revoked")
		if c.closed != 4403 {
			t.Errorf("closed with %d", c.closed)
		}
		s.Closed("")

		revoked.Store(false)
		s, c = f.user("ana")
		revoked.Store(true)
		say(s, `{"type":"auth","token":%q}`, f.token("ana", time.Hour))
		c.refused(t, "", "revoked")
		if c.closed != 4403 {
			t.Errorf("closed with %d", c.closed)
		}
	})
}

// TestNoSessionEscapesItsRevocation has users connect while they are revoked.
func TestNoSessionEscapesItsRevocation(t *testing.T) {
	var revoked sync.Map
	inFixture(t, func(o *Options) {
		o.Revoked = func(id *auth.Identity) bool { _, yes := revoked.Load(id.UserID); return yes }
	}, func(t *testing.T, f *fixture) {
		const users = 200
		conns := make([]*conn, users)
		var work sync.WaitGroup
		for i := range users {
			conns[i] = &conn{}
			work.Go(func() {
				s := &Session{manager: f.manager}
				s.identify(auth.NewIdentity(fmt.Sprint("user", i)))
				s.Open(conns[i])
			})
			work.Go(func() {
				revoked.Store(fmt.Sprint("user", i), true)
				f.manager.Revoke(auth.Revocation{UserID: fmt.Sprint("user", i)})
			})
		}
		work.Wait()
		for i, c := range conns {
			if c.closed != proto.ErrRevoked.Close {
				t.Errorf("user%d is still connected", i)
			}
		}
	})
}

// TestAllSessionsAreRevokedAtOnce: one key, fifteen thousand connections.
func TestAllSessionsAreRevokedAtOnce(t *testing.T) {
	inFixture(t, nil, func(t *testing.T, f *fixture) {
		const sessions = 15_000
		var closed atomic.Int64
		for i := range sessions {
			s := &Session{manager: f.manager}
			s.identify(&auth.Identity{UserID: fmt.Sprint(i), Grant: &auth.Grant{KeyID: "k"}})
			s.Open(closeCounter{&closed})
		}
		if n := f.manager.Revoke(auth.Revocation{KeyID: "k"}); n != sessions || closed.Load() != sessions {
			t.Errorf("%d revoked, %d closed", n, closed.Load())
		}
		if n := f.manager.Revoke(auth.Revocation{KeyID: "k"}); n != 0 {
			t.Errorf("%d were closed twice", n)
		}
	})
}

// closeCounter is a Conn that counts closes.
type closeCounter struct{ closed *atomic.Int64 }

func (closeCounter) Reply([]byte) {}
func (closeCounter) Prefetch()    {}

func (closeCounter) Deliver([]byte) bool             { return true }
func (closeCounter) Address() netip.Addr             { return netip.Addr{} }
func (closeCounter) SetDeadline(time.Time)           {}
func (c closeCounter) Close(proto.CloseCode, string) { c.closed.Add(1) }

// TestAStatusIsTheUsers: it holds for all of a user's connections, and lasts as
// long as the user has one.
func TestAStatusIsTheUsers(t *testing.T) {
	inFixture(t, nil, func(t *testing.T, f *fixture) {
		status := func() string { return f.manager.Directory.Status("ana").String() }
		first, _ := f.user("ana")
		f.user("bob")
		say(first, `{"type":"status","status":"busy"}`)
		if s := status(); s != "busy" {
			t.Errorf("a user who is busy is %s", s)
		}
		second, _ := f.user("ana")
		if first.Closed(""); status() != "busy" {
			t.Errorf("with another connection, a user who is busy is %s", status())
		}
		if n := len(f.manager.Directory.Members(nil, "ana")); n != 1 {
			t.Errorf("%d connections reach the user, want 1", n)
		}
		if second.Closed(""); status() != "online" {
			t.Errorf("after the last connection a user is %s", status())
		}
		if f.user("ana"); status() != "online" {
			t.Errorf("a user who comes anew is %s", status())
		}
	})
}
