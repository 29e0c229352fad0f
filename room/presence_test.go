package room

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/thronghq/throng/proto"
)

// kinds lists the types of the events, those of member events with the user.
func kinds(events []event) []string {
	var list []string
	for _, e := range events {
		switch e.Type {
		case "member_joined", "member_left":
			list = append(list, fmt.Sprint(e.Type, " ", e.UserID, " ", e.Members.count))
		case "member_count":
			list = append(list, fmt.Sprint(e.Type, " ", e.Members.count))
		default:
			list = append(list, e.Type)
		}
	}
	return list
}

func expectKinds(t *testing.T, c *client, want ...string) {
	t.Helper()
	if got := kinds(c.readAll(t)); !slices.Equal(got, want) {
		t.Errorf("%s got %q, want %q", c.user, got, want)
	}
}

func TestMembersLearnWhoComesAndGoes(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		ana, bob, bob2 := h.client("ana"), h.client("bob"), h.client("bob")
		h.join(ana, "r", proto.Since{})
		expectKinds(t, ana, "joined")
		b := h.join(bob, "r", proto.Since{})
		expectKinds(t, bob, "joined")
		expectKinds(t, ana, "member_joined bob 2")
		b2 := h.join(bob2, "r", proto.Since{}) // the same user: nothing new
		expectKinds(t, bob2, "joined")
		expectKinds(t, bob)
		h.hub.Leave(b, "")
		expectKinds(t, bob, "left")
		expectKinds(t, ana)

		h.hub.Drop(b2) // the last one is cut off, and comes back in time
		time.Sleep(grace - time.Second)
		bob3 := h.client("bob")
		b3 := h.join(bob3, "r", proto.Since{})
		time.Sleep(2 * grace)
		expectKinds(t, bob3, "joined")
		expectKinds(t, ana)

		h.hub.Drop(b3) // and now it does not
		time.Sleep(grace - time.Second)
		expectKinds(t, ana)
		time.Sleep(2 * time.Second)
		expectKinds(t, ana, "member_left bob 1")

		b = h.join(bob, "r", proto.Since{})
		expectKinds(t, ana, "member_joined bob 2")
		h.hub.Leave(b, "") // by its own will: at once
		expectKinds(t, ana, "member_left bob 1")
	})
}

func TestLargeRoomsGetCounts(t *testing.T) {
	for room, told := range map[string]int{"r": countedAbove - 1, "quiet:r": 0} {
		t.Run(room, func(t *testing.T) {
			inHouse(t, func(t *testing.T, h *house) {
				ana := h.client("ana")
				h.join(ana, room, proto.Since{})
				const others = countedAbove + 50
				for i := range others {
					h.join(h.client(fmt.Sprint("u", i)), room, proto.Since{})
				}
				synctest.Wait()
				events := ana.read(t)
				if n := len(offsets(events, "member_joined")); n != told {
					t.Errorf("%d arrivals told, want %d", n, told)
				}
				time.Sleep(3 * time.Second)
				expectKinds(t, ana, fmt.Sprintf("member_count %d", others+1))
				h.join(h.client("late"), room, proto.Since{})
				h.join(h.client("later"), room, proto.Since{})
				time.Sleep(3 * time.Second)
				expectKinds(t, ana, fmt.Sprintf("member_count %d", others+3))
				time.Sleep(time.Minute)
				expectKinds(t, ana)
			})
		})
	}
}

func TestAMemberThatLaggedLearnsTheCount(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		ana, slow := h.client("ana"), h.client("slow")
		ana.bound, slow.bound = 1<<30, 1<<10
		a := h.join(ana, "r", proto.Since{})
		h.join(slow, "r", proto.Since{})
		for range 50 {
			h.publish(ana, a, "r", "", `"x"`)
			synctest.Wait()
		}
		h.join(h.client("bob"), "r", proto.Since{})
		list := kinds(slow.readAll(t))
		if list[len(list)-1] != "member_count 3" || slices.Contains(list, "member_joined bob 3") {
			t.Errorf("it got %q", list)
		}
	})
}

// What a full outbox refuses of arrivals, departures and settings is told as it
// stands when there is space again, also where no message was refused.
func TestNoticesThatWereRefusedAreMadeUpFor(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		ana, slow := h.client("ana"), h.client("slow")
		a := h.join(ana, "r", proto.Since{})
		h.join(slow, "r", proto.Since{})
		slow.readAll(t)
		for range 3 {
			h.publish(ana, a, "r", "", `"`+strings.Repeat("x", 100)+`"`)
			synctest.Wait()
		}
		slow.bound = len(slow.out) // full
		h.join(h.client("bob"), "r", proto.Since{})
		synctest.Wait()
		h.join(h.client("eve"), "r", proto.Since{})
		h.command(ana, "r", proto.HostMaxUsers, "", 9)
		synctest.Wait()
		h.publish(ana, a, "r", "", "1")
		expectKinds(t, slow, "message", "message", "message", "lag", "message", "member_count 4", "room_updated")
		h.join(h.client("fay"), "r", proto.Since{}) // live again
		expectKinds(t, slow, "member_joined fay 5")
		for range 20 { // a member that never reads gets no ever longer list
			ms := h.join(h.client("gil"), "r", proto.Since{})
			synctest.Wait()
			h.hub.Leave(ms, "")
			synctest.Wait()
		}
		slow.mu.Lock()
		waiting := len(slow.out)
		slow.mu.Unlock()
		if waiting > slow.bound+200 {
			t.Errorf("%d bytes wait", waiting)
		}
		list := kinds(slow.readAll(t))
		if last := list[len(list)-1]; last != "member_count 5" {
			t.Errorf("it got %q", list)
		}
	})
}

func TestMembersAreListedInPages(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		ana := h.client("u0000")
		h.people.connect(ana)
		h.people.setStatus("u0000", Away)
		a := h.join(ana, "r", proto.Since{})
		ana.readAll(t)
		h.join(h.client("u0000"), "r", proto.Since{})
		const users = 2*membersPage + 5
		for i := 1; i < users; i++ {
			h.join(h.client(fmt.Sprintf("u%04d", i)), "r", proto.Since{})
		}
		synctest.Wait()
		time.Sleep(2 * time.Second)
		ana.readAll(t)
		var names []string
		cursor, pages := "", 0
		for range 3 {
			h.hub.Members(a, "m", cursor, func() { pages++ })
			page := first(t, ana.readAll(t), "members")
			for _, m := range page.Members.list {
				names = append(names, m.UserID)
				if want := map[bool]string{true: "away", false: "online"}[m.UserID == "u0000"]; m.Status != want {
					t.Errorf("%s is %s", m.UserID, m.Status)
				}
			}
			cursor = page.nextCursor(t)
		}
		if len(names) != users || !slices.IsSorted(names) || cursor != "" {
			t.Errorf("%d names, cursor %q", len(names), cursor)
		}
		for _, bad := range []string{"x", "***", membersCursor("other", "u0001")} {
			h.hub.Members(a, "m", bad, func() { pages++ })
			if e := first(t, ana.readAll(t), "error"); e.Code != "invalid_cursor" {
				t.Errorf("%q: %+v", bad, e)
			}
		}
		h.hub.Members(h.hub.NewMembership(ana, "r", h.namespace("r")), "m", "", func() { pages++ })
		if e := first(t, ana.readAll(t), "error"); e.Code != "not_joined" {
			t.Errorf("%+v", e)
		}
		if pages != 7 {
			t.Errorf("%d pages ended, want all 7", pages)
		}
	})
}

func TestTheOldestMemberInheritsTheRoom(t *testing.T) {
	log := newMemory()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, log)
		const room = "heir:r"
		ana, bob, eve := h.client("ana"), h.client("bob"), h.client("eve")
		a := h.join(ana, room, proto.Since{})
		b := h.join(bob, room, proto.Since{})
		h.join(eve, room, proto.Since{})
		synctest.Wait()
		eve.read(t)
		h.hub.Leave(a, "")
		events := eve.readAll(t)
		if e := first(t, events, "room_updated"); e.Host != "bob" {
			t.Errorf("%+v", e)
		}
		h.publish(bob, b, room, "", "1") // stores it
		h.command(bob, room, proto.HostHandOver, "eve", 0)
		events = eve.readAll(t)
		if e := first(t, events, "room_updated"); e.Host != "eve" {
			t.Errorf("%+v", e)
		}
		h.hub.Close()
	})
	if s, err := parseSettings(log.rooms["heir:r"].settings); err != nil || s.Host != "eve" {
		t.Errorf("stored %+v, %v", s, err)
	}
}
