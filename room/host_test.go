package room

import (
	"slices"
	"testing"
	"testing/synctest"

	"github.com/thronghq/throng/proto"
)

func (h *house) command(c *client, room string, action proto.HostAction, user string, limit int) {
	h.hub.Host(c, room, h.namespace(room), HostRequest{ID: "h", Action: action, User: user, Max: limit})
}

func TestTheHostRulesTheRoom(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		ana, bob, eve := h.client("ana"), h.client("bob"), h.client("eve")
		h.join(ana, "r", proto.Since{})
		bobs := h.join(bob, "r", proto.Since{})
		if host := first(t, bob.readAll(t), "joined").Host; host != "ana" {
			t.Fatalf("the host is %q", host)
		}
		h.command(bob, "r", proto.HostMaxUsers, "", 1)
		if e := first(t, bob.readAll(t), "error"); e.Code != "not_host" || e.ID != "h" {
			t.Fatalf("a guest's command: %+v", e)
		}

		h.command(ana, "r", proto.HostMaxUsers, "", 2)
		first(t, ana.readAll(t), "host")
		h.join(eve, "r", proto.Since{})
		if e := first(t, eve.readAll(t), "error"); e.Code != "room_full" || eve.ended != 1 {
			t.Fatalf("a third user: %+v", e)
		}
		bob2 := h.client("bob") // another session of a member fits
		h.join(bob2, "r", proto.Since{})
		if n := first(t, bob2.readAll(t), "joined").Members.count; n != 2 {
			t.Fatalf("%d members", n)
		}

		h.command(ana, "r", proto.HostMute, "bob", 0)
		synctest.Wait()
		h.publish(bob, bobs, "r", "p", "1")
		if e := first(t, bob.readAll(t), "error"); e.Code != "muted" || e.ID != "p" {
			t.Fatalf("muted: %+v", e)
		}
		h.command(ana, "r", proto.HostUnmute, "bob", 0)
		synctest.Wait()
		h.publish(bob, bobs, "r", "p", "1")
		first(t, bob.readAll(t), "ack")
		bob2.readAll(t)

		h.command(ana, "r", proto.HostKick, "bob", 0)
		for _, c := range []*client{bob, bob2} {
			if e := first(t, c.readAll(t), "room_closed"); e.Reason != "kicked" || c.ended != 1 {
				t.Fatalf("kicked: %+v, %d", e, c.ended)
			}
		}
		h.command(ana, "r", proto.HostBan, "bob", 0)
		h.join(bob, "r", proto.Since{})
		if e := first(t, bob.readAll(t), "error"); e.Code != "banned" {
			t.Fatalf("banned: %+v", e)
		}
		h.publish(bob, nil, "r", "p", "1")
		if e := first(t, bob.readAll(t), "error"); e.Code != "banned" {
			t.Fatalf("banned, publishing: %+v", e)
		}
		h.command(ana, "r", proto.HostBan, "ana", 0)
		if e := first(t, ana.readAll(t), "error"); e.Code != "invalid_field" {
			t.Fatalf("the host bans itself: %+v", e)
		}
	})
}

func TestAClosedRoomStaysClosedUntilItsHostReopensIt(t *testing.T) {
	log := newMemory()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, log)
		ana, bob := h.client("ana"), h.client("bob")
		h.join(ana, "r", proto.Since{})
		h.join(bob, "r", proto.Since{})
		h.command(ana, "r", proto.HostMaxUsers, "", 7)
		h.command(ana, "r", proto.HostClose, "", 0)
		for _, c := range []*client{ana, bob} {
			if e := first(t, c.readAll(t), "room_closed"); e.Reason != "room_closed" {
				t.Fatalf("%+v", e)
			}
		}
		h.hub.Close()
	})
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, log) // a restart
		defer h.hub.Close()
		ana, bob := h.client("ana"), h.client("bob")
		h.join(bob, "r", proto.Since{})
		if e := first(t, bob.readAll(t), "error"); e.Code != "room_closed" {
			t.Fatalf("join: %+v", e)
		}
		h.publish(ana, nil, "r", "", "1")
		if e := first(t, ana.readAll(t), "error"); e.Code != "room_closed" {
			t.Fatalf("publish: %+v", e)
		}
		h.command(ana, "r", proto.HostReopen, "", 0)
		h.command(ana, "r", proto.HostHandOver, "bob", 0)
		h.command(ana, "r", proto.HostKick, "bob", 0)
		if e := first(t, ana.readAll(t), "error"); e.Code != "not_host" {
			t.Fatalf("after handing over: %+v", e)
		}
		h.join(bob, "r", proto.Since{})
		if e := first(t, bob.readAll(t), "joined"); e.Host != "bob" {
			t.Fatalf("joined: %+v", e)
		}
		if s, err := parseSettings(log.rooms["r"].settings); err != nil || s.MaxUsers != 7 || s.Host != "bob" || s.Closed {
			t.Fatalf("stored %+v, %v", s, err)
		}
	})
}

func TestOnlyWhoMayCreateCreates(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		ana, bob := h.client("ana"), h.client("bob")
		ns := h.namespace("r")
		h.hub.Join(h.hub.NewMembership(bob, "r", h.namespace("r")), JoinRequest{})
		h.hub.Publish(bob, nil, "r", ns, Publication{Content: []byte("1")})
		if events := bob.readAll(t); len(events) != 2 || events[0].Code != "forbidden" || events[1].Code != "forbidden" {
			t.Fatalf("%+v", events)
		}
		h.join(ana, "r", proto.Since{})
		h.hub.Join(h.hub.NewMembership(bob, "r", h.namespace("r")), JoinRequest{})
		first(t, bob.readAll(t), "joined")
	})
}

func TestUserLists(t *testing.T) {
	base := make([]string, 1, 8)
	base[0] = "a"
	one, two := with(base, "b"), with(base, "c")
	if !slices.Equal(one, []string{"a", "b"}) || !slices.Equal(two, []string{"a", "c"}) || !slices.Equal(with(one, "a"), one) {
		t.Errorf("%v %v", one, two)
	}
	if got := without(one, "a"); !slices.Equal(got, []string{"b"}) || !slices.Equal(one, []string{"a", "b"}) {
		t.Errorf("%v %v", got, one)
	}
}
