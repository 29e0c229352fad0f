package room

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/thronghq/throng/proto"
)

func TestADeletedRoomPutsItsMembersOutAndBeginsAnew(t *testing.T) {
	for _, room := range []string{"r", "mem:r"} {
		t.Run(room, func(t *testing.T) {
			inHouse(t, func(t *testing.T, h *house) {
				const crowd = 1000
				clients := make([]*client, crowd)
				for i := range clients {
					clients[i] = h.client(fmt.Sprint("u", i))
					h.join(clients[i], room, proto.Since{})
				}
				h.publishKeyed(clients[0], nil, room, "p", "k", "1")
				gone := h.client("late") // expected back when the room ends
				lates := h.join(gone, room, proto.Since{})
				synctest.Wait()
				h.hub.Drop(lates)
				synctest.Wait()
				old := first(t, clients[1].readAll(t), "joined")
				wantCode(t, "by a guest", h.delete(bob, room), "not_host")
				for _, c := range clients {
					c.readAll(t)
				}
				h.hub.receipts.raise(room, "u1", 1)
				wantCode(t, "by a manager", h.delete(manager, room), "")
				for _, c := range clients {
					if events := c.readAll(t); len(events) != 1 || events[0].Type != "room_closed" || events[0].Reason != "room_closed" || c.ended != 1 {
						t.Fatalf("%s was told %+v, ended %d times", c.user, events, c.ended)
					}
				}
				synctest.Wait() // a room that nobody has created leaves after it has said so
				if n, vacant := h.hub.Rooms(), h.hub.vacant.Load(); n != 0 || vacant != 0 {
					t.Fatalf("%d rooms are left, %d count as empty", n, vacant)
				}
				if keys, used, acked := h.hub.keys.Load(), h.hub.rings.used.Load(), h.hub.receipts.waiting(room, "u1"); keys != 0 || used != 0 || acked != 0 {
					t.Fatalf("%d keys, %d bytes of rings and a receipt of %d are left", keys, used, acked)
				}
				wantCode(t, "again", h.delete(manager, room), "not_found")

				h.join(clients[0], room, proto.Since{Kind: proto.SincePosition, Offset: 0, Epoch: []byte(old.Epoch)})
				h.publishKeyed(clients[0], nil, room, "p", "k", "2")
				events := clients[0].readAll(t)
				joined, ack := first(t, events, "joined"), first(t, events, "ack")
				if joined.Epoch == old.Epoch || joined.Recovered || joined.Offset != 0 || joined.Members.count != 1 || ack.Offset != 1 || ack.Duplicate {
					t.Fatalf("the new room: %+v, %+v", joined, ack)
				}
			})
		})
	}
}

func TestWhatCannotBeDeleted(t *testing.T) {
	log := newMemory()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, log)
		defer h.hub.Close()
		wantCode(t, "nothing", h.delete(manager, "r"), "not_found")
		c := h.client("ann")
		h.publish(c, nil, "user:ann", "p", "1")
		synctest.Wait()
		wantCode(t, "an inbox", h.delete(manager, "user:ann"), "forbidden")
		h.join(c, "r", proto.Since{})
		c.readAll(t)
		log.set(func() { log.fail = proto.ErrStorage.New() })
		wantCode(t, "with a broken disk", h.delete(ann, "r"), "storage_failed")
		log.set(func() { log.fail, log.refuse = nil, proto.ErrOverloaded.New() })
		wantCode(t, "with a full queue", h.delete(ann, "r"), "overloaded")
		log.set(func() { log.refuse = nil })
		h.publish(c, nil, "r", "p", "1")
		if events := c.readAll(t); len(events) != 1 || events[0].Type != "ack" {
			t.Fatalf("the room goes on: %+v", events)
		}
		var twice [2]*proto.Error
		var deleting sync.WaitGroup
		for i := range twice {
			deleting.Go(func() { twice[i] = h.deleteUnsynced(ann, "r") })
		}
		deleting.Wait()
		if (twice[0] == nil) == (twice[1] == nil) {
			t.Fatalf("deleted twice: %v", twice)
		}
		for _, err := range twice {
			if err != nil {
				wantCode(t, "the second one", err, "not_found")
			}
		}
	})
}

func TestAnEndedRoomWaitsForWhatIsOnItsWay(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		c := h.client("ann")
		h.join(c, "r", proto.Since{})
		synctest.Wait()
		r := h.hub.room("r", h.namespace("r"))
		r.beginAppend() // somebody is about to append
		var err *proto.Error
		answered := false
		h.hub.DeleteRoom(manager, "r", h.namespace("r"), func(e *proto.Error) { answered, err = true, e })
		synctest.Wait()
		first(t, c.readAll(t), "room_closed")
		h.join(c, "r", proto.Since{})
		if e := first(t, c.readAll(t), "error"); e.Code != "room_closed" || answered {
			t.Fatalf("%+v, answered: %v", e, answered)
		}
		_, refused := h.create(ann, "r", RoomSettings{})
		wantCode(t, "creating it already", refused, "overloaded")
		wantCode(t, "deleting it again", h.delete(manager, "r"), "not_found")
		r.endAppend() // the log has refused it
		time.Sleep(2 * tickEvery)
		synctest.Wait()
		if !answered || err != nil || h.hub.Rooms() != 0 {
			t.Fatalf("answered: %v, %v; %d rooms", answered, err, h.hub.Rooms())
		}
	})
}

// deleteUnsynced is delete for several goroutines.
func (h *house) deleteUnsynced(by Actor, room string) *proto.Error {
	c := make(chan *proto.Error, 1)
	h.hub.DeleteRoom(by, room, h.namespace(room), func(err *proto.Error) { c <- err })
	return <-c
}

// TestDeletionRaces lets rooms be created, joined, left, published to and deleted
// all at once. Whatever happens, each command gets one answer, and in the end those
// are members who were told so last.
func TestDeletionRaces(t *testing.T) {
	for seed := range uint64(10) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			inHouse(t, func(t *testing.T, h *house) { testDeletionRaces(t, h, seed) })
		})
	}
}

func testDeletionRaces(t *testing.T, h *house, seed uint64) {
	rooms := []string{"a", "mem:a"}
	clients := make([]*client, 6)
	sent := make([]int, len(clients)) // commands that are answered with an id
	var busy sync.WaitGroup
	for i := range clients {
		clients[i] = h.client(fmt.Sprint("u", i))
		clients[i].bound = 1 << 30
		busy.Go(func() {
			rng := rand.New(rand.NewPCG(seed, uint64(i)))
			for n := range 150 {
				room := rooms[rng.IntN(len(rooms))]
				switch rng.IntN(8) {
				case 0:
					h.deleteUnsynced(manager, room)
				case 1:
					c := make(chan struct{})
					h.hub.CreateRoom(ann, room, h.namespace(room), RoomSettings{}, func(RoomInfo, *proto.Error) { close(c) })
					<-c
				case 2, 3, 4:
					h.join(clients[i], room, proto.Since{})
					sent[i]++
				default:
					h.publishKeyed(clients[i], nil, room, fmt.Sprint(n), fmt.Sprint(n), "1")
					sent[i]++
				}
			}
		})
	}
	busy.Wait()
	for _, room := range rooms {
		var want []string
		for i, c := range clients {
			synctest.Wait()
			c.mu.Lock()
			events := decodeFrames(t, c.out)
			c.mu.Unlock()
			last, answers := "", 0
			for _, e := range events {
				if e.ID != "" {
					answers++
				}
				if e.Room == room && (e.Type == "joined" || e.Type == "room_closed") {
					last = e.Type
				}
			}
			if answers != sent[i] {
				t.Fatalf("%s got %d answers to %d commands", c.user, answers, sent[i])
			}
			if last == "joined" {
				want = append(want, c.user)
			}
		}
		var got []string
		h.hub.ListMembers(room, h.namespace(room), "", 100, func(list []proto.MemberInfo, _ string, _ int, _ *proto.Error) {
			for _, m := range list {
				got = append(got, m.UserID)
			}
		})
		synctest.Wait()
		if !slices.Equal(got, want) {
			t.Fatalf("members of %s: %v, want %v", room, got, want)
		}
		h.deleteUnsynced(manager, room)
	}
	synctest.Wait() // a room that nobody has created leaves after it has said so
	if n, vacant := h.hub.Rooms(), h.hub.vacant.Load(); n != 0 || vacant != 0 {
		t.Fatalf("%d rooms are left, %d count as empty", n, vacant)
	}
	if backlog := h.hub.kept.Load(); backlog != 0 {
		t.Fatalf("%d bytes are said to wait", backlog)
	}
}
