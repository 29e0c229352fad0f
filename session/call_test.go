package session

import (
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/thronghq/throng/auth"
	"github.com/thronghq/throng/proto"
)

func TestCommandsWithoutAConnection(t *testing.T) {
	inFixture(t, nil, func(t *testing.T, f *fixture) {
		ana, bob := f.caller("ana"), f.caller("bob")
		manager := Caller{Identity: &auth.Identity{UserID: "root", Grant: &auth.Grant{Admin: true}}}
		message := func(room, content, key string, transient bool) *proto.Command {
			return &proto.Command{Type: proto.CmdMessage, ID: []byte("x"), Room: []byte(room), Content: []byte(content), Key: []byte(key), Transient: transient}
		}
		for i, step := range []struct {
			by   Caller
			cmd  *proto.Command
			want string // of the answer, or the error's code
		}{
			{ana, message("r", "1", "", false), "ack 1"},
			{bob, message("r", "2", "k", false), "ack 2"},
			{bob, message("r", "2", "k", false), "ack 2 duplicate"},
			{bob, message("r", "3", "k", false), "key_conflict"},
			{bob, message("r", "4", "", true), "ack 0"},
			{bob, message("r", strings.Repeat("1", 1<<16+1), "", false), "too_large"},
			{bob, message("r", "1", strings.Repeat("k", 65), false), "invalid_field"},
			{bob, message("", "1", "", false), "invalid_field"},
			{bob, message("no:room", "1", "", false), "unknown_namespace"},
			{bob, message("user:ana", `"for ana"`, "", false), "storage_failed"}, // the memory log keeps no pairs
			{ana, message("user:ana", `"for ana"`, "", false), "ack 1"},
			{ana, &proto.Command{Type: proto.CmdHistory, Room: []byte("user:ana")}, "history 1"},
			{bob, &proto.Command{Type: proto.CmdHistory, Room: []byte("user:ana")}, "forbidden"},
			{ana, &proto.Command{Type: proto.CmdHistory, Room: []byte("r"), History: proto.History{After: 1}}, "history 1"},
			{ana, &proto.Command{Type: proto.CmdHistory, Room: []byte("r"), Cursor: []byte("x")}, "invalid_cursor"},
			{ana, &proto.Command{Type: proto.CmdMembers, Room: []byte("r")}, "members 0"},
			{ana, &proto.Command{Type: proto.CmdAck, Room: []byte("user:ana"), Epoch: []byte("x"), Offset: 1}, "invalid_field"},
			{ana, &proto.Command{Type: proto.CmdAck, Room: []byte("user:bob"), Epoch: []byte("x"), Offset: 1}, "not_joined"},
			{bob, &proto.Command{Type: proto.CmdHost, Room: []byte("r"), Action: proto.HostMaxUsers, Max: 3}, "not_host"},
			{ana, &proto.Command{Type: proto.CmdHost, Room: []byte("r"), Action: proto.HostMaxUsers, Max: 3}, "host"},
			{manager, &proto.Command{Type: proto.CmdHost, Room: []byte("r"), Action: proto.HostMute, User: []byte("bob")}, "host"},
			{bob, message("r", "5", "", false), "muted"},
			{Caller{}, message("r", "5", "", false), "unauthenticated"},
			{ana, &proto.Command{Type: proto.CmdJoin, Room: []byte("r")}, "unknown_type"},
			{ana, &proto.Command{Type: proto.CmdAuth, Token: []byte("x")}, "unknown_type"},
			{ana, &proto.Command{}, "unknown_type"},
		} {
			ev, err := f.manager.Do(t.Context(), step.by, step.cmd)
			got := ""
			switch {
			case err != nil:
				got = err.Name
			case ev.Type == proto.EvAck:
				got = fmt.Sprint("ack ", ev.Offset)
				if ev.Duplicate {
					got += " duplicate"
				}
			case ev.Type == proto.EvHistory:
				got = fmt.Sprint("history ", len(ev.Messages))
			case ev.Type == proto.EvMembers:
				got = fmt.Sprint("members ", len(ev.List))
			case ev.Type == proto.EvHost:
				got = "host"
			}
			if got != step.want {
				t.Errorf("step %d: %s (%v), want %s", i, got, err, step.want)
			}
		}
		page, err := f.manager.Do(t.Context(), ana, &proto.Command{Type: proto.CmdHistory, Room: []byte("user:ana")})
		if err != nil {
			t.Fatal(err)
		}
		taken, err := f.manager.Do(t.Context(), ana, &proto.Command{Type: proto.CmdAck, Room: []byte("user:ana"), Epoch: []byte(page.Epoch), Offset: 1})
		if err != nil || taken.Type != proto.EvAck {
			t.Errorf("an ack: %v, %v", taken, err)
		}
		if n := f.manager.Directory.count(); n != 0 {
			t.Errorf("%d calls are listed as sessions", n)
		}
	})
}

// TestCallsAndConnectionsShareARoom: same order, same offsets.
func TestCallsAndConnectionsShareARoom(t *testing.T) {
	inFixture(t, nil, func(t *testing.T, f *fixture) {
		s, c := f.user("ana")
		say(s, `{"type":"join","room":"r"}`)
		c.await(t, "joined")
		other, d := f.user("ana")
		_ = other
		ana := f.caller("ana")
		var answered sync.WaitGroup
		const messages = 500
		for i := range messages {
			answered.Add(1)
			content := fmt.Append(nil, i)
			f.manager.Start(ana, &proto.Command{Type: proto.CmdMessage, Room: []byte("r"), Content: content}, func(ev *proto.Event, err *proto.Error) {
				defer answered.Done()
				if err != nil || ev.Offset != uint64(i+1) {
					t.Errorf("message %d: %v, %v", i, ev, err)
				}
			})
			clear(content) // it was borrowed until Start returned
		}
		answered.Wait()
		for i := range messages {
			if m := c.await(t, "message"); m["offset"] != float64(i+1) || m["content"] != float64(i) || m["from"] != "ana" {
				t.Fatalf("%v", m)
			}
		}
		c.nothing(t)
		d.nothing(t)
	})
}

func TestCallsAreLimited(t *testing.T) {
	r := Rates{User: RateSet{Publishes: rate(1, 2)}, Room: RateSet{Bytes: rate(1, 10)}}
	inFixture(t, withRates(r), func(t *testing.T, f *fixture) {
		do := func(user, content string) *proto.Error {
			c := f.caller(user)
			c.Address = netip.MustParseAddr("192.0.2.1")
			_, err := f.manager.Do(t.Context(), c, &proto.Command{Type: proto.CmdMessage, Room: []byte("r"), Content: []byte(content)})
			return err
		}
		for i, want := range []bool{false, false, true, true} {
			if err := do("ana", "1"); (err != nil) != want || err != nil && (err.Code != proto.ErrRateLimited || err.RetryAfter == 0) {
				t.Errorf("message %d: %v", i, err)
			}
		}
		if err := do("bob", "123456789"); err == nil {
			t.Error("the room takes more bytes than its rate allows")
		}
		if err := do("bob", "12345678"); err != nil {
			t.Error(err)
		}
	})
}

func TestEventStreams(t *testing.T) {
	inFixture(t, nil, func(t *testing.T, f *fixture) {
		ana, bob := f.caller("ana"), f.caller("bob")
		publish := func(by Caller, room string) {
			t.Helper()
			if _, err := f.manager.Do(t.Context(), by, &proto.Command{Type: proto.CmdMessage, Room: []byte(room), Content: []byte("1")}); err != nil {
				t.Fatal(err)
			}
		}
		publish(bob, "r")
		c := &conn{}
		s := f.manager.OpenStream(ana, c)
		if err := s.Subscribe("r", proto.Since{Kind: proto.SinceLast, Last: 10}); err != nil {
			t.Fatal(err)
		}
		if joined := c.await(t, "joined"); joined["recovered"] != true || joined["offset"] != 1.0 {
			t.Errorf("%v", joined)
		}
		c.await(t, "message")
		publish(ana, "r") // the user's own come too: they are not from this connection
		if m := c.await(t, "message"); m["offset"] != 2.0 {
			t.Errorf("%v", m)
		}
		publish(ana, "user:ana") // for connections, and streams of the inbox
		c.nothing(t)
		if err := s.Subscribe("user:ana", proto.Since{}); err != nil {
			t.Fatal(err)
		}
		c.await(t, "joined")
		publish(ana, "user:ana")
		c.await(t, "message")
		for room, code := range map[string]*proto.Code{"": proto.ErrInvalidField, "no:room": proto.ErrUnknownNamespace, "user:bob": proto.ErrForbidden} {
			if err := s.Subscribe(room, proto.Since{}); err == nil || err.Code != code {
				t.Errorf("room %q: %v", room, err)
			}
		}
		if info, ok := f.manager.Get(s.ID()); !ok || info.Via != "sse" || len(info.Rooms) != 2 {
			t.Errorf("%+v, %v", info, ok)
		}
		if n := f.manager.Revoke(auth.Revocation{UserID: "ana"}); n != 1 {
			t.Errorf("%d revoked", n)
		}
		c.refused(t, "", "revoked")
		s.Closed("")
		if n := f.manager.Directory.count(); n != 0 {
			t.Errorf("%d streams are left", n)
		}
	})
}

func TestPayloads(t *testing.T) {
	limits := proto.DefaultLimits()
	codec := proto.NewJSON(&limits)
	var frames []byte
	var want []string
	for _, n := range []int{1, 50, 100, 125, 126, 1000, 65_400, 65_600, 1} {
		ev := &proto.Event{Type: proto.EvLeft, Room: strings.Repeat("r", n)}
		want = append(want, string(codec.AppendEvent(nil, ev)))
		frames = proto.AppendEventFrame(frames, codec, ev)
	}
	var got []string
	for payload := range Payloads(frames) {
		got = append(got, string(payload))
	}
	if len(got) != len(want) {
		t.Fatalf("%d payloads, want %d", len(got), len(want))
	}
	for i := range got {
		if got[i] != want[i] {
			t.Errorf("payload %d is %.60s, want %.60s", i, got[i], want[i])
		}
	}
	for range Payloads(frames) {
		break
	}
}

func TestTokensThatRunOut(t *testing.T) {
	for _, c := range []struct{ ttl, warned time.Duration }{
		{time.Hour, time.Hour - time.Minute},
		{4 * time.Minute, 3 * time.Minute},
		{time.Minute, 45 * time.Second},
		{4 * time.Second, 3 * time.Second},
	} {
		inFixture(t, nil, func(t *testing.T, f *fixture) {
			start := time.Now()
			s, conn := f.open(Handshake{Authorization: "Bearer " + f.token("ana", c.ttl)})
			conn.await(t, "session")
			conn.elapse(s)
			if at := time.Since(start); at != c.warned {
				t.Errorf("a token of %v: told after %v, want %v", c.ttl, at, c.warned)
			}
			if e := conn.await(t, "token_expiring"); e["expiresAt"] != float64(start.Add(c.ttl).UnixMilli()) {
				t.Errorf("%v", e)
			}
			say(s, `{"type":"auth","id":"1","token":%q}`, f.token("ana", c.ttl))
			conn.await(t, "session")
			conn.elapse(s)
			conn.await(t, "token_expiring")
			conn.elapse(s)
			conn.refused(t, "", "token_expired")
			if at := time.Since(start); at != c.warned+c.ttl || conn.closed != 4402 {
				t.Errorf("a token of %v: closed with %d after %v", c.ttl, conn.closed, at)
			}
		})
	}
	inFixture(t, func(o *Options) { o.Dev = true }, func(t *testing.T, f *fixture) {
		_, conn := f.open(Handshake{Query: "user=ana"})
		conn.await(t, "session")
		if !conn.deadline.IsZero() {
			t.Error("an admission without an end has a deadline")
		}
		s, conn := f.open(Handshake{Authorization: "Bearer " + f.token("ana", time.Hour)})
		conn.await(t, "session")
		time.Sleep(2 * time.Hour) // the deadline comes far too late
		s.Expired()
		conn.refused(t, "", "token_expired")
		synctest.Wait()
	})
}
