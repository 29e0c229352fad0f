package room

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/thronghq/throng/proto"
)

// inHouse runs a test in a synctest bubble with a hub over the log.
func inHouse(t *testing.T, run func(t *testing.T, h *house)) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, newMemory())
		defer h.hub.Close()
		run(t, h)
	})
}

func TestEveryMemberGetsTheOthersMessagesInOrder(t *testing.T) {
	for _, room := range []string{"r", "mem:r"} {
		t.Run(room, func(t *testing.T) {
			inHouse(t, func(t *testing.T, h *house) {
				ana, bob := h.client("ana"), h.client("bob")
				a, b := h.join(ana, room, proto.Since{}), h.join(bob, room, proto.Since{})
				synctest.Wait()
				joined := first(t, bob.read(t), "joined")
				if joined.Members.count != 2 || joined.Offset != 0 || joined.Recovered {
					t.Fatalf("joined: %+v", joined)
				}
				for i := range 50 {
					h.publish(ana, a, room, fmt.Sprint("a", i), `"x"`)
					h.publish(bob, b, room, fmt.Sprint("b", i), `"y"`)
				}
				for _, c := range []*client{ana, bob} {
					events := c.readAll(t)
					if got := len(offsets(events, "ack")); got != 50 {
						t.Fatalf("%s: %d acks, want 50", c.user, got)
					}
					var stream []uint64 // acks stand in the stream at their offsets
					for _, e := range events {
						if e.Type == "message" && e.From == c.user {
							t.Fatalf("%s got its own message %d", c.user, e.Offset)
						}
						if e.Type == "message" || e.Type == "ack" {
							stream = append(stream, e.Offset)
						}
					}
					if !slices.Equal(stream, span(1, 100)) {
						t.Fatalf("%s saw %v", c.user, stream)
					}
				}
			})
		})
	}
}

func TestEchoBringsTheAuthorsOwnMessage(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		ana := h.client("ana")
		ms := h.hub.NewMembership(ana, "r", h.namespace("r"))
		h.hub.Join(ms, JoinRequest{Echo: true, MayCreate: true})
		h.publishKeyed(ana, ms, "r", "1", "k", `"x"`)
		events := ana.readAll(t)
		if got := first(t, events, "message"); got.Key != "k" || got.Offset != first(t, events, "ack").Offset {
			t.Fatalf("got %+v", events)
		}
	})
}

func TestJoinReplaysWhatWasMissed(t *testing.T) {
	const room, total = "r", 1000 // more than a ring holds
	inHouse(t, func(t *testing.T, h *house) {
		ana := h.client("ana")
		ana.bound = 1 << 20
		a := h.join(ana, room, proto.Since{})
		for i := range total {
			h.publish(ana, a, room, "", fmt.Sprint(i))
		}
		synctest.Wait()
		middle := h.log.rooms[room].messages[499].Time / 1000
		for _, c := range []struct {
			name      string
			since     proto.Since
			recovered bool
			want      []uint64
		}{
			{"no since", proto.Since{}, false, nil},
			{"the head", position(total, "e1"), true, nil},
			{"within the ring", position(total-10, "e1"), true, span(total-9, total)},
			{"before the ring", position(100, "e1"), true, span(101, total)},
			{"the very beginning", position(0, "e1"), true, span(1, total)},
			{"another epoch", position(10, "e0"), false, nil},
			{"beyond the head", position(total+1, "e1"), false, nil},
			{"last in the ring", proto.Since{Kind: proto.SinceLast, Last: 3}, true, span(total-2, total)},
			{"last in the log", proto.Since{Kind: proto.SinceLast, Last: 600}, true, span(total-599, total)},
			{"more than there are", proto.Since{Kind: proto.SinceLast, Last: 5000}, true, span(1, total)},
			{"last none", proto.Since{Kind: proto.SinceLast}, true, nil},
			{"a time long ago", proto.Since{Kind: proto.SinceTime, Millis: middle}, true, span(1, total)}, // the bubble's clock stood still
			{"a time to come", proto.Since{Kind: proto.SinceTime, Millis: middle + 10_000}, true, nil},
		} {
			bob := h.client("bob")
			ms := h.join(bob, room, c.since)
			events := bob.readAll(t)
			if joined := events[0]; joined.Type != "joined" || joined.Recovered != c.recovered || joined.Offset != total {
				t.Errorf("%s: first came %+v", c.name, joined)
			}
			if got := offsets(events, "message"); !slices.Equal(got, c.want) {
				t.Errorf("%s: replayed %d messages, want %d: %v", c.name, len(got), len(c.want), got)
			}
			h.hub.Leave(ms, "")
			if left := first(t, bob.readAll(t), "left"); left.Room != room {
				t.Errorf("%s: left: %+v", c.name, left)
			}
		}
	})
}

func TestTooManyMissedMessagesAreNotReplayed(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.hub.limits.Replay = 5
		ana := h.client("ana")
		a := h.join(ana, "r", proto.Since{})
		for range 10 {
			h.publish(ana, a, "r", "", "1")
		}
		synctest.Wait()
		for after, want := range map[uint64]bool{5: true, 4: false} {
			bob := h.client("bob")
			h.join(bob, "r", position(after, "e1"))
			if got := first(t, bob.readAll(t), "joined").Recovered; got != want {
				t.Errorf("after %d: recovered %v, want %v", after, got, want)
			}
		}
	})
}

func TestLiveMessagesFollowTheReplayWithoutAGap(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		ana, bob := h.client("ana"), h.client("bob")
		ana.bound, bob.bound = 1<<30, 4<<10
		a := h.join(ana, "r", proto.Since{})
		for range 2000 {
			h.publish(ana, a, "r", "", `"before"`)
		}
		synctest.Wait()
		h.join(bob, "r", position(0, "e1"))
		var got []uint64
		for range 100 {
			h.publish(ana, a, "r", "", `"meanwhile"`)
			got = append(got, offsets(bob.read(t), "message")...)
		}
		got = append(got, offsets(bob.readAll(t), "message")...)
		if !slices.Equal(got, span(1, 2100)) {
			t.Fatalf("got %d messages of 2100, or out of order", len(got))
		}
		h.publish(ana, a, "r", "", `"live"`)
		synctest.Wait()
		if got := offsets(bob.read(t), "message"); !slices.Equal(got, []uint64{2101}) {
			t.Fatalf("live: %v", got)
		}
	})
}

func TestASlowMemberLagsAndCatchesUp(t *testing.T) {
	for _, read := range []int{0, 1} { // whether the slow member reads now and then
		t.Run(fmt.Sprint("reads ", read), func(t *testing.T) {
			inHouse(t, func(t *testing.T, h *house) {
				ana, bob, slow := h.client("ana"), h.client("bob"), h.client("slow")
				ana.bound, bob.bound, slow.bound = 1<<30, 1<<30, 2<<10
				a := h.join(ana, "r", proto.Since{})
				h.join(bob, "r", proto.Since{})
				h.join(slow, "r", proto.Since{})
				synctest.Wait()
				slow.read(t)
				var events []event
				for i := range 1000 {
					h.publish(ana, a, "r", "", `"x"`)
					if i%100 == 0 {
						synctest.Wait()
						if read == 1 && i%300 == 0 {
							events = append(events, slow.read(t)...)
						}
					}
				}
				if got := offsets(bob.readAll(t), "message"); !slices.Equal(got, span(1, 1000)) {
					t.Fatalf("the fast one got %d", len(got))
				}
				events = append(events, slow.readAll(t)...)
				lag := first(t, events, "lag")
				if at := offsets(events[:slices.IndexFunc(events, func(e event) bool { return e.Type == "lag" })], "message"); lag.Offset != at[len(at)-1] {
					t.Errorf("lag says %d after %v", lag.Offset, at)
				}
				if got := offsets(events, "message"); !slices.Equal(got, span(1, 1000)) {
					t.Fatalf("the slow one got %d messages, or out of order", len(got))
				}
				h.publish(ana, a, "r", "", `"live"`)
				synctest.Wait()
				if got := offsets(slow.read(t), "message"); !slices.Equal(got, []uint64{1001}) {
					t.Fatalf("live again: %v", got)
				}
			})
		})
	}
}

func TestASlowAuthorGetsItsAcksInTheStream(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		ana, bob := h.client("ana"), h.client("bob")
		ana.bound, bob.bound = 1<<10, 1<<30
		a, b := h.join(ana, "r", proto.Since{}), h.join(bob, "r", proto.Since{})
		for i := range 200 {
			h.publish(bob, b, "r", "", `"from bob"`)
			h.publish(ana, a, "r", fmt.Sprint(i), `"from ana"`)
			if i%20 == 0 {
				synctest.Wait()
			}
		}
		var stream []uint64
		acks := 0
		for _, e := range ana.readAll(t) {
			switch e.Type {
			case "ack":
				acks++
				fallthrough
			case "message":
				stream = append(stream, e.Offset)
			}
		}
		if acks != 200 || !slices.Equal(stream, span(1, 400)) {
			t.Fatalf("%d acks; %v", acks, stream)
		}
	})
}

func TestAGapNamesWhatTheLogLost(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		ana, slow := h.client("ana"), h.client("slow")
		ana.bound, slow.bound = 1<<30, 1<<10
		a := h.join(ana, "r", proto.Since{})
		h.join(slow, "r", proto.Since{})
		for range 1000 {
			h.publish(ana, a, "r", "", `"x"`)
			synctest.Wait()
		}
		h.log.trim("r", 600)
		events := slow.readAll(t)
		gap := first(t, events, "gap")
		seen := offsets(events, "message")
		before := seen[:slices.Index(seen, 601)]
		if string(gap.Next) != "601" || gap.After != before[len(before)-1] {
			t.Fatalf("gap %+v after %v", gap, before)
		}
		if !slices.Equal(seen[len(before):], span(601, 1000)) {
			t.Fatalf("after the gap came %d", len(seen)-len(before))
		}
	})
}

// Where what an author missed is gone, its acks stand between the gaps.
func TestASlowAuthorsAcksStandBetweenTheGaps(t *testing.T) {
	for _, echo := range []bool{false, true} {
		inHouse(t, func(t *testing.T, h *house) {
			ana, bob := h.client("ana"), h.client("bob")
			ana.bound, bob.bound = 1, 1<<30
			a := h.hub.NewMembership(ana, "r", h.namespace("r"))
			ana.places = []*Membership{a}
			h.hub.Join(a, JoinRequest{ID: "j", Echo: echo, MayCreate: true})
			b := h.join(bob, "r", proto.Since{})
			for range ringMessages { // lost with the ring, below
				h.publish(bob, b, "r", "", "1")
			}
			synctest.Wait()
			h.publish(ana, a, "r", "mine", "2")
			synctest.Wait()
			for range ringMessages {
				h.publish(bob, b, "r", "", "3")
			}
			synctest.Wait()
			h.log.trim("r", 2*ringMessages+1)
			r := h.hub.room("r", h.namespace("r"))
			r.ring.clear()
			var got []string
			for _, e := range ana.readAll(t) {
				switch e.Type {
				case "gap":
					got = append(got, fmt.Sprintf("gap %d %s", e.After, e.Next))
				case "ack":
					got = append(got, fmt.Sprint("ack ", e.Offset))
				case "message":
					got = append(got, fmt.Sprint("message ", e.Offset))
				}
			}
			own := uint64(ringMessages + 1)
			want := []string{fmt.Sprintf("gap 0 %d", own), fmt.Sprint("ack ", own), fmt.Sprintf("gap %d %d", own, 2*ringMessages+2)}
			if echo {
				want = []string{fmt.Sprintf("gap 0 %d", 2*ringMessages+2), fmt.Sprint("ack ", own)}
			}
			if !slices.Equal(got, want) {
				t.Errorf("echo %v: got %q, want %q", echo, got, want)
			}
		})
	}
}

func TestAMemoryRoomsLagMeansGap(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		ana, slow := h.client("ana"), h.client("slow")
		ana.bound, slow.bound = 1<<30, 1<<10
		a := h.join(ana, "mem:r", proto.Since{})
		h.join(slow, "mem:r", proto.Since{})
		for range 1000 {
			h.publish(ana, a, "mem:r", "", `"x"`)
			synctest.Wait()
		}
		events := slow.readAll(t)
		if gap := first(t, events, "gap"); string(gap.Next) != fmt.Sprint(1000-ringMessages+1) {
			t.Fatalf("gap %+v", gap)
		}
		seen := offsets(events, "message")
		if got := seen[len(seen)-ringMessages:]; !slices.Equal(got, span(1000-ringMessages+1, 1000)) {
			t.Fatalf("the ring's messages: %v", got)
		}
	})
}

func TestOtherPoliciesForSlowMembers(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		ana, shut, last := h.client("ana"), h.client("shut"), h.client("last")
		ana.bound, shut.bound, last.bound = 1<<30, 1<<10, 1<<10
		a := h.join(ana, "shut:r", proto.Since{})
		h.join(shut, "shut:r", proto.Since{})
		b := h.join(ana, "last:r", proto.Since{})
		h.join(last, "last:r", proto.Since{})
		for range 100 {
			h.publish(ana, a, "shut:r", "", `"x"`)
			h.publish(ana, b, "last:r", "", `"x"`)
			synctest.Wait()
		}
		if !errors.Is(shut.closed, proto.ErrSlowConsumer) {
			t.Errorf("closed with %v", shut.closed)
		}
		events := last.readAll(t)
		seen := offsets(events, "message")
		if seen[len(seen)-1] != 100 || len(seen) > 20 || len(offsets(events, "gap"))+len(offsets(events, "lag")) > 0 {
			t.Errorf("conflated: %v", seen)
		}
	})
}

func TestIdempotencyKeys(t *testing.T) {
	log := newMemory()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, log)
		ana := h.client("ana")
		a := h.join(ana, "r", proto.Since{})
		h.publishKeyed(ana, a, "r", "1", "k", `"x"`)
		h.publishKeyed(ana, a, "r", "2", "k", `"x"`) // waits for the first
		synctest.Wait()
		h.publishKeyed(ana, a, "r", "3", "k", `"x"`)
		h.publishKeyed(ana, a, "r", "4", "k", `"y"`)
		events := ana.readAll(t)
		var ids []string
		for _, e := range events {
			if e.Type == "ack" {
				ids = append(ids, e.ID)
				if e.Offset != 1 || e.Duplicate != (e.ID != "1") || e.MsgID != events[1].MsgID {
					t.Errorf("ack %+v", e)
				}
			}
		}
		if !slices.Equal(ids, []string{"1", "2", "3"}) {
			t.Errorf("acks for %v", ids)
		}
		if e := first(t, events, "error"); e.ID != "4" || e.Code != "key_conflict" {
			t.Errorf("error %+v", e)
		}
		bob := h.client("bob") // another user's key is another key
		h.publishKeyed(bob, nil, "r", "5", "k", `"z"`)
		if e := first(t, bob.readAll(t), "ack"); e.Duplicate || e.Offset != 2 {
			t.Errorf("bob's ack %+v", e)
		}
		h.hub.Close()
	})
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, log) // a restart: the keys are in the log
		defer h.hub.Close()
		ana := h.client("ana")
		h.publishKeyed(ana, nil, "r", "6", "k", `"x"`)
		h.publishKeyed(ana, nil, "r", "7", "new", `"x"`)
		h.publishKeyed(ana, nil, "r", "8", "k", `"other"`)
		events := ana.readAll(t)
		if e := events[slices.IndexFunc(events, func(e event) bool { return e.ID == "6" })]; !e.Duplicate || e.Offset != 1 {
			t.Errorf("after a restart: %+v", e)
		}
		if e := events[slices.IndexFunc(events, func(e event) bool { return e.ID == "7" })]; e.Duplicate || e.Offset != 3 {
			t.Errorf("a new key after a restart: %+v", e)
		}
		if e := first(t, events, "error"); e.ID != "8" || e.Code != "key_conflict" {
			t.Errorf("a conflict after a restart: %+v", e)
		}
		time.Sleep(h.hub.limits.KeyTTL + time.Second) // the bubble's clock
		h.publishKeyed(ana, nil, "r", "9", "k", `"other"`)
		if e := first(t, ana.readAll(t), "ack"); e.Duplicate || e.Offset != 4 {
			t.Errorf("after the key's time: %+v", e)
		}
	})
}

// eager is a client that says more the moment it is told of an ack.
type eager struct {
	*client
	say func()
}

func (e *eager) Prefetch() {}

func (e *eager) Deliver(frames []byte) bool {
	taken := e.client.Deliver(frames)
	if say := e.say; say != nil && len(frames) > 0 {
		e.say = nil
		say()
	}
	return taken
}

// Who has an ack has the key's end, too: what comes of repeats after it comes
// in their order.
func TestRepeatsAfterAnAckAreAnsweredInOrder(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		ana := &eager{client: h.client("ana")}
		say := func(id, content string) {
			h.hub.Publish(ana, nil, "r", h.namespace("r"), Publication{ID: []byte(id), Key: []byte("k"), Content: []byte(content), MayCreate: true})
		}
		ana.say = func() {
			say("repeat", `"x"`)
			say("conflict", `"y"`)
		}
		say("first", `"x"`)
		var got []string
		for _, e := range ana.readAll(t) {
			got = append(got, e.ID+" "+e.Type)
		}
		if want := []string{"first ack", "repeat ack", "conflict error"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

// A room that is just waking, or reads its keys, holds messages back; what one
// client sends must not overtake itself meanwhile.
func TestOneClientsMessagesKeepTheirOrderThroughAWake(t *testing.T) {
	log := newMemory()
	for life := range 20 {
		synctest.Test(t, func(t *testing.T) {
			h := newHouse(t, log)
			defer h.hub.Close()
			ana := h.client("ana")
			for i := range 100 {
				id := fmt.Sprint(i)
				switch {
				case i%7 == life%7:
					h.publishKeyed(ana, nil, "r", id, fmt.Sprint(life, "-", i), id)
				default:
					h.publish(ana, nil, "r", id, id)
				}
				if i%10 == 0 {
					runtime.Gosched()
				}
			}
			for i, e := range ana.readAll(t) {
				if e.Type != "ack" || e.ID != fmt.Sprint(i) || e.Offset != uint64(life*100+i+1) {
					t.Fatalf("life %d: answer %d is %+v", life, i, e)
				}
			}
		})
	}
}

func TestARefusedKeyIsFreeAgain(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		ana := h.client("ana")
		h.log.set(func() { h.log.refuse = proto.ErrStorageFull.New() })
		h.publishKeyed(ana, nil, "r", "1", "k", `"x"`)
		if e := first(t, ana.readAll(t), "error"); e.Code != "storage_full" || e.ID != "1" {
			t.Fatalf("refused: %+v", e)
		}
		h.log.set(func() { h.log.refuse, h.log.fail = nil, proto.ErrStorage.New() })
		h.publishKeyed(ana, nil, "r", "2", "k", `"x"`)
		h.publishKeyed(ana, nil, "r", "3", "k", `"x"`)
		events := ana.readAll(t)
		if len(events) != 2 || events[0].Code != "storage_failed" || events[1].Code != "storage_failed" {
			t.Fatalf("failed: %+v", events)
		}
		h.log.set(func() { h.log.fail = nil })
		h.publishKeyed(ana, nil, "r", "4", "k", `"x"`)
		if e := first(t, ana.readAll(t), "ack"); e.Offset != 1 || e.Duplicate {
			t.Fatalf("at last: %+v", e)
		}
		if h.log.rooms["r"].settings == nil {
			t.Error("the host was not stored with the first message that the log took")
		}
	})
}

func TestTransientMessagesLeaveNoTrace(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		ana, bob := h.client("ana"), h.client("bob")
		a := h.join(ana, "r", proto.Since{})
		h.join(bob, "r", proto.Since{})
		h.hub.Publish(ana, a, "r", h.namespace("r"), Publication{ID: []byte("t"), Content: []byte(`1`), Transient: true})
		if e := first(t, ana.readAll(t), "ack"); e.Offset != 0 || e.MsgID == "" {
			t.Errorf("ack %+v", e)
		}
		if e := first(t, bob.readAll(t), "message"); e.Offset != 0 || string(e.Content) != "1" {
			t.Errorf("message %+v", e)
		}
		if n := len(h.log.rooms["r"].messages); n != 0 {
			t.Errorf("%d messages in the log", n)
		}
	})
}

func TestARoomThatCannotBeWokenSaysSo(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.log.set(func() { h.log.broken = errors.New("no disk") })
		ana := h.client("ana")
		h.join(ana, "r", proto.Since{})
		h.publish(ana, nil, "r", "p", `1`)
		h.hub.History(ana, "r", h.namespace("r"), HistoryRequest{ID: "h"}, func() {})
		events := ana.readAll(t)
		if len(events) != 3 || ana.ended != 1 || h.hub.Rooms() != 0 {
			t.Fatalf("%+v; %d ended; %d rooms", events, ana.ended, h.hub.Rooms())
		}
		for _, e := range events {
			if e.Code != "storage_failed" || strings.Contains(e.Reason, "no disk") {
				t.Errorf("%+v", e)
			}
		}
		h.log.set(func() { h.log.broken = nil })
		h.join(ana, "r", proto.Since{})
		first(t, ana.readAll(t), "joined")
	})
}

func TestAnUnreadableLogIsAnErrorAndAGap(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		ana, bob := h.client("ana"), h.client("bob")
		ana.bound = 1 << 30
		a := h.join(ana, "r", proto.Since{})
		for range 500 {
			h.publish(ana, a, "r", "", "1")
		}
		synctest.Wait()
		h.log.set(func() { h.log.broken = errors.New("corrupt") })
		h.join(bob, "r", position(0, "e1"))
		events := bob.readAll(t)
		if e := first(t, events, "error"); e.Code != "storage_failed" {
			t.Errorf("error %+v", e)
		}
		if gap := first(t, events, "gap"); gap.After != 0 || string(gap.Next) != "501" {
			t.Errorf("gap %+v", gap)
		}
		h.hub.History(bob, "r", h.namespace("r"), HistoryRequest{ID: "h"}, func() {})
		if e := first(t, bob.readAll(t), "error"); e.ID != "h" || e.Code != "storage_failed" {
			t.Errorf("history %+v", e)
		}
	})
}

func TestIdleRoomsLeaveMemory(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		ana := h.client("ana")
		var epochs []string
		for range 2 {
			for _, room := range []string{"r", "mem:r"} {
				ms := h.join(ana, room, proto.Since{})
				h.publish(ana, ms, room, "", "1")
				synctest.Wait()
				epochs = append(epochs, first(t, ana.read(t), "joined").Epoch)
				time.Sleep(time.Hour)
				if h.hub.Rooms() == 0 {
					t.Fatal("a room with a member has left memory")
				}
				h.hub.Drop(ms)
				time.Sleep(time.Minute)
				if n := h.hub.Rooms(); n != 0 {
					t.Fatalf("%d rooms in memory", n)
				}
			}
		}
		if epochs[0] != epochs[2] || epochs[1] == epochs[3] {
			t.Errorf("epochs %v: a durable room keeps its own, a memory room draws one each life", epochs)
		}
		if h.log.rooms["r"].open || len(h.log.rooms["r"].messages) != 2 {
			t.Errorf("the stream was not closed, or lost messages")
		}
	})
}

func TestASecondJoinBeginsTheStreamAnew(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		ana, bob := h.client("ana"), h.client("bob")
		ana.bound, bob.bound = 1<<30, 2<<10
		a := h.join(ana, "r", proto.Since{})
		b := h.join(bob, "r", proto.Since{})
		for range 300 {
			h.publish(ana, a, "r", "", `"x"`)
		}
		synctest.Wait() // bob is behind now
		bob.read(t)
		h.hub.Join(b, JoinRequest{ID: "again", Since: position(290, "e1")})
		events := bob.readAll(t)
		at := slices.IndexFunc(events, func(e event) bool { return e.ID == "again" })
		if at < 0 || events[at].Members.count != 2 {
			t.Fatalf("events %+v", events)
		}
		if got := offsets(events[at:], "message"); !slices.Equal(got, span(291, 300)) {
			t.Fatalf("after the second join: %v", got)
		}
	})
}

// A cursor may still be reading for the join before, with acks to place, while
// the next one changes whether the member wants an echo: the race detector
// watches.
func TestASecondJoinMayChangeItsMindWhileACursorReads(t *testing.T) {
	for range 20 {
		inHouse(t, func(t *testing.T, h *house) {
			ana, bob := h.client("ana"), h.client("bob")
			ana.bound, bob.bound = 1, 1<<30
			a, b := h.join(ana, "r", proto.Since{}), h.join(bob, "r", proto.Since{})
			synctest.Wait()
			h.publish(bob, b, "r", "", "1") // ana's outbox is full: it falls behind
			synctest.Wait()
			h.publish(ana, a, "r", "mine", "2")
			synctest.Wait()
			for range ringMessages {
				h.publish(bob, b, "r", "", "3")
			}
			synctest.Wait()
			gate := make(chan struct{})
			h.log.set(func() { h.log.gate = gate })
			ana.bound = 1 << 30
			ana.read(t)
			synctest.Wait() // the cursor stands at the gate
			h.hub.Join(a, JoinRequest{ID: "2", Since: position(1, "e1"), Echo: true})
			close(gate)
			events := ana.readAll(t)
			at := slices.IndexFunc(events, func(e event) bool { return e.ID == "2" })
			if at < 0 || !slices.Equal(offsets(events[at:], "message"), span(2, ringMessages+2)) {
				t.Fatalf("after the second join came %v", offsets(events, "message"))
			}
		})
	}
}

func TestAcksAreChecked(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		ana := h.client("ana")
		ms := h.join(ana, "r", proto.Since{})
		h.publish(ana, ms, "r", "", "1")
		ns := h.namespace("r")
		ana.readAll(t)
		for _, req := range []AckRequest{
			{ID: "ok", Epoch: "e1", Offset: 1},
			{ID: "beyond", Epoch: "e1", Offset: 2},
			{ID: "epoch", Epoch: "e0", Offset: 1},
			{ID: "lower", Epoch: "e1"},
		} {
			h.hub.Ack(ana, ms, "r", ns, req)
		}
		events := ana.readAll(t)
		if len(events) != 2 || events[0].ID != "beyond" || events[0].Code != "beyond_head" || events[1].ID != "epoch" {
			t.Fatalf("%+v", events)
		}
		time.Sleep(saveEvery)
		synctest.Wait()
		if n, err := h.log.Receipt("r", "ana"); n != 1 || err != nil {
			t.Errorf("saved %d, %v", n, err)
		}
	})
}

// gate is a Member that holds the room's worker until it is opened.
type gate struct {
	counter
	open chan struct{}
}

func (g *gate) Prefetch() {}

func (g *gate) Deliver(b []byte) bool {
	<-g.open
	return g.counter.Deliver(b)
}

func TestARoomsBacklogIsBounded(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		g := &gate{counter: counter{codec: testCodec, name: "slow"}, open: make(chan struct{})}
		h.hub.Join(h.hub.NewMembership(g, "r", h.namespace("r")), JoinRequest{MayCreate: true})
		ana := h.client("ana")
		ana.bound = 1 << 30
		content := `"` + strings.Repeat("x", 60<<10) + `"`
		const sent = 2 * maxBacklog / (60 << 10)
		for i := range sent {
			h.publish(ana, nil, "r", fmt.Sprint(i), content)
			synctest.Wait()
		}
		events := ana.read(t)
		refused := first(t, events, "error")
		if refused.Code != "overloaded" || len(events) < sent/3 || len(events) > 2*sent/3 {
			t.Errorf("%d of %d refused, first %+v", len(events), sent, refused)
		}
		close(g.open)
		if got := len(offsets(ana.readAll(t), "ack")); got != sent-len(events) {
			t.Errorf("%d acks", got)
		}
		h.publish(ana, nil, "r", "", "1")
		first(t, ana.readAll(t), "ack")
	})
}

// TestAnAuthorThatJoinsMeanwhileGetsOnlyTheAck has a connection publish while it
// is in no room, and join before the log has the message.
func TestAnAuthorThatJoinsMeanwhileGetsOnlyTheAck(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		ana, bob := h.client("ana"), h.client("bob")
		h.publish(bob, nil, "r", "", "1")
		h.join(bob, "r", proto.Since{})
		bob.readAll(t)

		h.join(ana, "r", proto.Since{})
		h.publish(ana, nil, "r", "m", "2") // it has no place yet for all that the session knows
		events := ana.readAll(t)
		if got := offsets(events, "ack"); !slices.Equal(got, span(2, 2)) {
			t.Errorf("acks %v", got)
		}
		if got := offsets(events, "message"); len(got) > 0 {
			t.Errorf("the author got its own message: %v", got)
		}
		if got := offsets(bob.readAll(t), "message"); !slices.Equal(got, span(2, 2)) {
			t.Errorf("the other one got %v", got)
		}
		h.publish(bob, nil, "r", "", "3")
		if got := offsets(ana.readAll(t), "message"); !slices.Equal(got, span(3, 3)) {
			t.Errorf("the next message: %v", got)
		}
	})
}
