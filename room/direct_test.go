package room

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/thronghq/throng/proto"
)

// connected returns a client that direct messages reach.
func (h *house) connected(user string) *client {
	c := h.client(user)
	h.people.connect(c)
	return c
}

func (h *house) direct(c *client, ms *Membership, to, id, key, content string, transient bool) {
	name := Inbox(to)
	h.hub.PublishDirect(c, ms, name, h.namespace(name), Publication{
		ID: []byte(id), Key: []byte(key), Content: []byte(content), Transient: transient, MayCreate: true,
	})
}

func TestADirectMessageReachesAllConnectionsOfBoth(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		ana, ana2, bob, bob2, eve := h.connected("ana"), h.connected("ana"), h.connected("bob"), h.connected("bob"), h.connected("eve")
		h.join(bob2, "user:bob", proto.Since{})
		first(t, bob2.readAll(t), "joined")
		h.direct(eve, nil, "bob", "0", "", "0", false) // so that the offsets differ
		for _, c := range []*client{eve, bob, bob2} {
			c.readAll(t)
		}
		for i := range 3 {
			h.direct(ana, nil, "bob", fmt.Sprint(i), "", fmt.Sprint(i), false)
		}
		acks := ana.readAll(t)
		if !slices.Equal(offsets(acks, "ack"), span(1, 3)) || len(acks) != 3 {
			t.Fatalf("acks %+v", acks)
		}
		for c, want := range map[*client][]uint64{ana2: span(1, 3), bob: span(2, 4), bob2: span(2, 4)} {
			got := c.readAll(t)
			if !slices.Equal(offsets(got, "message"), want) || len(got) != 3 {
				t.Fatalf("%s got %+v", c.user, got)
			}
			for i, m := range got {
				if m.MsgID != acks[i].MsgID || m.To != "user:bob" || m.From != "ana" {
					t.Errorf("%s got %+v", c.user, m)
				}
			}
		}
		if got := eve.readAll(t); len(got) > 0 {
			t.Errorf("eve got %+v", got)
		}
		if offsets, _, _ := h.page(ana, "user:ana", proto.History{}, ""); !slices.Equal(offsets, span(1, 3)) {
			t.Errorf("ana's inbox holds %v", offsets)
		}

		h.direct(ana, nil, "bob", "t", "", `"typing"`, true)
		if e := first(t, bob.readAll(t), "message"); e.Offset != 0 || e.To != "user:bob" {
			t.Errorf("typing: %+v", e)
		}
		expectKinds(t, bob2, "message")
		expectKinds(t, ana2)
		expectKinds(t, ana, "ack")
	})
}

func TestDirectMessagesHaveKeysToo(t *testing.T) {
	log := newMemory()
	for life := range 2 {
		synctest.Test(t, func(t *testing.T) {
			h := newHouse(t, log)
			defer h.hub.Close()
			ana := h.connected("ana")
			h.direct(ana, nil, "bob", "1", "k", "1", false)
			h.direct(ana, nil, "eve", "2", "k", "1", false) // another room, another key
			h.direct(ana, nil, "bob", "3", "k", "1", false)
			h.direct(ana, nil, "bob", "4", "k", "2", false)
			seen := make(map[string]event)
			for _, e := range ana.readAll(t) {
				seen[e.ID] = e
			}
			if e := seen["3"]; !e.Duplicate || e.Offset != seen["1"].Offset || e.MsgID != seen["1"].MsgID {
				t.Errorf("life %d: the repeat %+v of %+v", life, e, seen["1"])
			}
			if seen["4"].Code != "key_conflict" || seen["2"].Offset != 2 || seen["1"].Duplicate != (life == 1) {
				t.Errorf("life %d: %+v", life, seen)
			}
		})
	}
}

func TestARefusedDirectMessageIsInNoInbox(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		ana := h.connected("ana")
		h.log.set(func() { h.log.refuse = proto.ErrOverloaded.New() })
		h.direct(ana, nil, "bob", "1", "k", "1", false)
		if e := first(t, ana.readAll(t), "error"); e.Code != "overloaded" || e.ID != "1" {
			t.Errorf("%+v", e)
		}
		h.log.set(func() { h.log.refuse, h.log.fail = nil, proto.ErrStorage.New() })
		h.direct(ana, nil, "bob", "2", "k", "1", false)
		if e := first(t, ana.readAll(t), "error"); e.Code != "storage_failed" || e.ID != "2" {
			t.Errorf("%+v", e)
		}
		h.log.set(func() { h.log.fail = nil })
		h.direct(ana, nil, "bob", "3", "k", "1", false)
		if e := first(t, ana.readAll(t), "ack"); e.Offset != 1 || e.Duplicate {
			t.Errorf("%+v", e)
		}
		for _, room := range []string{"user:ana", "user:bob"} {
			if n := len(h.log.rooms[room].messages); n != 1 {
				t.Errorf("%s holds %d", room, n)
			}
		}
		time.Sleep(time.Minute) // nothing holds the inboxes in memory
		if n := h.hub.Rooms(); n != 0 {
			t.Errorf("%d rooms in memory", n)
		}
	})
}

func TestASlowListenerIsTold(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		ana, bob := h.connected("ana"), h.connected("bob")
		bob.bound = 1 << 10
		for range 20 {
			h.direct(ana, nil, "bob", "", "", `"x"`, false)
			synctest.Wait()
		}
		events := bob.read(t)
		seen := offsets(events, "message")
		if lag := first(t, events, "lag"); lag.Room != "user:bob" || lag.Offset != seen[len(seen)-1] {
			t.Errorf("%+v after %v", lag, seen)
		}
	})
}

func TestAuthorsLearnWhatHasArrived(t *testing.T) {
	log := newMemory()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, log)
		ana, eve, bob := h.connected("ana"), h.connected("eve"), h.connected("bob")
		for _, c := range []*client{ana, ana, eve, ana} {
			h.direct(c, nil, "bob", "", "", "1", false)
			synctest.Wait()
		}
		ids := make(map[uint64]string)
		for _, m := range bob.readAll(t) {
			ids[m.Offset] = m.MsgID
		}
		ana.readAll(t)
		eve.readAll(t)
		ack := func(offset uint64) {
			h.hub.Ack(bob, nil, "user:bob", h.namespace("user:bob"), AckRequest{ID: "a", Epoch: "e1", Offset: offset})
		}
		ack(3)
		if e := first(t, ana.readAll(t), "delivered"); e.MsgID != ids[2] || e.To != "user:bob" {
			t.Errorf("ana: %+v", e)
		}
		if e := first(t, eve.readAll(t), "delivered"); e.MsgID != ids[3] {
			t.Errorf("eve: %+v", e)
		}
		ack(2) // nothing new
		expectKinds(t, ana)
		ack(4)
		if e := first(t, ana.readAll(t), "delivered"); e.MsgID != ids[4] {
			t.Errorf("ana: %+v", e)
		}
		expectKinds(t, eve)
		ack(5)
		if e := first(t, bob.readAll(t), "error"); e.Code != "beyond_head" {
			t.Errorf("%+v", e)
		}
		h.hub.Close() // saves
	})
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, log)
		defer h.hub.Close()
		ana, bob := h.connected("ana"), h.connected("bob")
		h.hub.Ack(bob, nil, "user:bob", h.namespace("user:bob"), AckRequest{ID: "a", Epoch: "e1", Offset: 4})
		expectKinds(t, ana) // told before the restart
		expectKinds(t, bob)
	})
}

func TestReceiptsAreSavedNowAndThen(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		ana := h.connected("ana")
		ms := h.join(ana, "r", proto.Since{})
		h.publish(ana, ms, "r", "", "1")
		ana.readAll(t)
		h.hub.Ack(ana, ms, "r", h.namespace("r"), AckRequest{ID: "a", Epoch: "e1", Offset: 1})
		synctest.Wait()
		h.log.set(func() { h.log.broken = fmt.Errorf("no disk") })
		time.Sleep(2 * saveEvery)
		h.log.set(func() { h.log.broken = nil })
		if n, _ := h.log.Receipt("r", "ana"); n != 0 {
			t.Errorf("saved %d on a broken disk", n)
		}
		time.Sleep(2 * saveEvery) // what could not be saved was kept
		if n, _ := h.log.Receipt("r", "ana"); n != 1 {
			t.Errorf("saved %d", n)
		}
	})
}

func TestReceiptsThatCannotBeSavedAreBounded(t *testing.T) {
	var table receipts
	table.full = make(chan struct{}, 1)
	for i := range maxReceiptsWaiting + 10 {
		if !table.raise("r", fmt.Sprint(i), 1) {
			t.Fatalf("receipt %d was not new", i)
		}
	}
	if n := len(table.dirty); n != maxReceiptsWaiting {
		t.Errorf("%d wait", n)
	}
	table.raise("r", "0", 2) // one that waits already goes on rising
	if got := table.waiting("r", "0"); got != 2 {
		t.Errorf("it waits at %d", got)
	}
}
