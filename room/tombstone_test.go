package room

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/thronghq/throng/proto"
)

// historyOf asks for all that can be read of a room.
func (h *house) historyOf(c *client, room string) []event {
	h.t.Helper()
	h.hub.History(c, room, h.namespace(room), HistoryRequest{ID: "h"}, func() {})
	return first(h.t, c.readAll(h.t), "history").Messages
}

// fill publishes messages 1 to n.
func (h *house) fill(room, author string, n int) {
	c := h.client(author)
	c.bound = 1 << 30
	for i := range n {
		h.publish(c, nil, room, "f", fmt.Sprint(i+1))
	}
	synctest.Wait()
}

func TestADeletedMessageIsGoneEverywhere(t *testing.T) {
	for _, room := range []string{"r", "mem:r"} {
		t.Run(room, func(t *testing.T) {
			inHouse(t, func(t *testing.T, h *house) {
				reader, binary := h.client("eve"), h.client("ivy")
				limits := proto.DefaultLimits()
				binary.codec = proto.NewBinary(&limits)
				h.join(reader, room, proto.Since{})
				h.join(binary, room, proto.Since{})
				h.fill(room, "ann", 3)
				h.fill(room, "bob", 2)
				got := slices.DeleteFunc(reader.readAll(t), func(e event) bool { return e.Type != "message" })
				binary.mu.Lock()
				binary.out = nil
				binary.mu.Unlock()

				wantCode(t, "of no room", h.deleteMessage(manager, "nowhere", 1), "not_found")
				wantCode(t, "offset 0", h.deleteMessage(ann, room, 0), "invalid_field")
				wantCode(t, "beyond the head", h.deleteMessage(ann, room, 6), "beyond_head")
				wantCode(t, "another's message", h.deleteMessage(bob, room, 2), "forbidden")
				wantCode(t, "one's own", h.deleteMessage(ann, room, 2), "")
				wantCode(t, "by a manager", h.deleteMessage(manager, room, 5), "")
				wantCode(t, "again", h.deleteMessage(ann, room, 2), "")
				wantCode(t, "another's that is gone", h.deleteMessage(bob, room, 2), "forbidden")

				events := reader.readAll(t)
				if len(events) != 2 {
					t.Fatalf("told %+v", events)
				}
				for i, want := range []event{
					{Type: "deleted", Room: room, Offset: 2, UserID: "ann", MsgID: got[1].MsgID},
					{Type: "deleted", Room: room, Offset: 5, UserID: "root", MsgID: got[4].MsgID},
				} {
					if e := events[i]; e.Type != want.Type || e.Room != want.Room || e.Offset != want.Offset || e.UserID != want.UserID || e.MsgID != want.MsgID {
						t.Fatalf("told %+v, want %+v", e, want)
					}
				}
				binary.mu.Lock()
				frames := binary.out
				binary.mu.Unlock()
				var want []byte
				for _, ev := range []proto.Event{
					{Type: proto.EvDeleted, Room: room, MsgID: msgID(t, got[1].MsgID), Offset: 2, UserID: "ann"},
					{Type: proto.EvDeleted, Room: room, MsgID: msgID(t, got[4].MsgID), Offset: 5, UserID: "root"},
				} {
					want = proto.AppendEventFrame(want, binary.codec, &ev)
				}
				if !bytes.Equal(frames, want) {
					t.Fatalf("the binary codec got % x, want % x", frames, want)
				}

				h.checkTombstones(t, room, reader, 2, 5)
				fresh := h.client("new")
				h.join(fresh, room, proto.Since{Kind: proto.SinceLast, Last: 5})
				replayed := fresh.readAll(t)
				if !slices.Equal(offsets(replayed, "message"), span(1, 5)) || !replayed[2].Deleted || replayed[2].Content != nil || replayed[3].Deleted {
					t.Fatalf("replay: %+v", replayed)
				}
				if room == "r" { // without the ring
					time.Sleep(2 * ringLinger)
					synctest.Wait()
					h.checkTombstones(t, room, reader, 2, 5)
				}
			})
		})
	}
}

// msgID reads an id as JSON has it.
func msgID(t *testing.T, text string) (id proto.MsgID) {
	t.Helper()
	if _, err := hex.Decode(id[:], []byte(strings.ReplaceAll(text, "-", ""))); err != nil {
		t.Fatal(err)
	}
	return id
}

func (h *house) checkTombstones(t *testing.T, room string, c *client, gone ...uint64) {
	t.Helper()
	for _, m := range h.historyOf(c, room) {
		deleted := slices.Contains(gone, m.Offset)
		if m.Deleted != deleted || (m.Content == nil) != deleted || m.From == "" || m.MsgID == "" {
			t.Fatalf("history: %+v", m)
		}
	}
}

func TestARoomsHostDeletesGuestsMessages(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.create(ann, "r", RoomSettings{})
		h.fill("r", "bob", 2)
		wantCode(t, "by the host", h.deleteMessage(ann, "r", 1), "")
		wantCode(t, "handing over", h.moderate(ann, "r", proto.HostHandOver, "eve"), "")
		wantCode(t, "by the host before", h.deleteMessage(ann, "r", 2), "forbidden")
	})
}

func TestADeletedMessagesKeyIsRemembered(t *testing.T) {
	log := newMemory()
	play := func(t *testing.T, content string) {
		h := newHouse(t, log)
		defer h.hub.Close()
		c := h.client("ann")
		h.publishKeyed(c, nil, "r", "p", "k", "1")
		ack := first(t, c.readAll(t), "ack")
		wantCode(t, "deleting", h.deleteMessage(ann, "r", 1), "")
		h.publishKeyed(c, nil, "r", "p", "k", content)
		if e := c.readAll(t); len(e) != 1 || e[0].Type != "ack" || !e[0].Duplicate || e[0].MsgID != ack.MsgID || e[0].Offset != 1 {
			t.Fatalf("a repeat: %+v", e)
		}
	}
	synctest.Test(t, func(t *testing.T) { play(t, "1") })
	synctest.Test(t, func(t *testing.T) { play(t, "2") }) // a restart: the content to compare with is gone
}

func TestADirectMessageIsDeletedInBothInboxes(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		anns, bobs := h.client("ann"), h.client("bob")
		h.people.connect(anns)
		h.people.connect(bobs)
		h.publish(bobs, nil, "user:bob", "p", `"a note to itself"`)
		synctest.Wait()
		for i := range 3 {
			h.hub.PublishDirect(anns, nil, "user:bob", h.namespace("user:bob"), Publication{ID: []byte("d"), Content: fmt.Append(nil, i), MayCreate: true})
		}
		anns.readAll(t)
		bobs.readAll(t)
		told := func(c *client, room string, offset uint64) {
			t.Helper()
			if e := c.readAll(t); len(e) != 1 || e[0].Type != "deleted" || e[0].Room != room || e[0].Offset != offset || e[0].UserID != "ann" {
				t.Fatalf("%s was told %+v", c.user, e)
			}
		}
		wantCode(t, "by the addressee", h.deleteMessage(bob, "user:bob", 2), "forbidden")
		wantCode(t, "in one's own inbox", h.deleteMessage(ann, "user:ann", 1), "")
		told(anns, "user:ann", 1)
		told(bobs, "user:bob", 2)
		wantCode(t, "in the other's inbox", h.deleteMessage(ann, "user:bob", 3), "")
		told(anns, "user:ann", 2)
		told(bobs, "user:bob", 3)
		h.checkTombstones(t, "user:ann", anns, 1, 2)
		h.checkTombstones(t, "user:bob", bobs, 2, 3)

		// The twin is gone, or its inbox has to be woken.
		_, err := h.trim(bob, "user:bob", 5, 0)
		wantCode(t, "trimming one's own inbox", err, "")
		time.Sleep(2 * roomLinger)
		synctest.Wait()
		wantCode(t, "without a twin", h.deleteMessage(ann, "user:ann", 3), "")
		told(anns, "user:ann", 3)
		if e := bobs.readAll(t); len(e) != 0 {
			t.Fatalf("bob was told %+v", e)
		}
		wantCode(t, "a note", h.deleteMessage(bob, "user:bob", 1), "not_found")
	})
}

// consistent checks what a member got of a room from an offset on: each offset
// once, and of a deleted message either a tombstone, or the content and then the
// news that it is deleted.
func consistent(t *testing.T, events []event, from, head uint64, gone []uint64) {
	t.Helper()
	next := from
	retracted := make(map[uint64]bool)
	for _, e := range events {
		switch e.Type {
		case "deleted":
			if e.Offset >= next || retracted[e.Offset] {
				t.Fatalf("told that %d is deleted, before %d or twice", e.Offset, next)
			}
			retracted[e.Offset] = true
		case "message":
			if e.Offset != next {
				t.Fatalf("offset %d in place of %d", e.Offset, next)
			}
			if e.Deleted {
				retracted[e.Offset] = true
			}
			next++
		}
	}
	if next != head+1 {
		t.Fatalf("the last offset is %d, want %d", next-1, head)
	}
	for _, offset := range gone {
		if !retracted[offset] {
			t.Fatalf("offset %d was deleted, and the member does not know", offset)
		}
	}
}

func TestALaggingMemberLearnsOfDeletions(t *testing.T) {
	for _, cleared := range []bool{false, true} {
		t.Run(fmt.Sprint(cleared), func(t *testing.T) {
			inHouse(t, func(t *testing.T, h *house) {
				slow := h.client("slow")
				slow.bound = 3 << 10
				h.join(slow, "r", proto.Since{})
				synctest.Wait()
				const head = 600         // several chunks
				h.fill("r", "ann", head) // most of them wait
				if cleared {
					h.hub.room("r", h.namespace("r")).ring.clear()
				}
				gone := []uint64{1, 3, 20, 100, 599, 600}
				for _, offset := range gone {
					wantCode(t, "deleting", h.deleteMessage(ann, "r", offset), "")
				}
				events := slow.read(t)
				// What it has by now it may have read: some more of that goes.
				for _, offset := range []uint64{2, 30} {
					wantCode(t, "deleting", h.deleteMessage(ann, "r", offset), "")
				}
				events = append(events, slow.readAll(t)...)
				first(t, events, "lag")
				consistent(t, events, 1, head, append(gone, 2, 30))
				wantCode(t, "deleting what it has", h.deleteMessage(ann, "r", 50), "")
				if e := slow.readAll(t); len(e) != 1 || e[0].Offset != 50 {
					t.Fatalf("live again, it was told %+v", e)
				}
			})
		})
	}
}

func TestADeletionOvertakesAReplay(t *testing.T) {
	log := newMemory()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, log)
		h.fill("r", "ann", 20)
		h.hub.Close()
	})
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, log)
		defer h.hub.Close()
		c := h.client("eve")
		h.hub.RoomInfo("r", h.namespace("r"), func(RoomInfo, *proto.Error) {})
		synctest.Wait()
		// The replay has read the messages, and not delivered them yet.
		gate := make(chan struct{})
		log.set(func() { log.after = gate })
		h.join(c, "r", proto.Since{Kind: proto.SinceLast, Last: 20})
		synctest.Wait()
		log.set(func() { log.after = nil })
		for _, offset := range []uint64{1, 20} {
			wantCode(t, "deleting", h.deleteMessage(ann, "r", offset), "")
		}
		h.fill("r", "ann", 1)
		close(gate)
		events := c.readAll(t)
		consistent(t, events, 1, 21, []uint64{1, 20})
		if at := slices.IndexFunc(events, func(e event) bool { return e.Type == "message" && e.Offset == 1 }); events[at].Deleted {
			t.Fatal("the replay had not read the message before it was deleted: the test tests nothing")
		}
	})
}

func TestWhoIsFullWhenSomethingIsDeleted(t *testing.T) {
	for room, want := range map[string]string{"r": "deleted", "last:r": "deleted", "shut:r": ""} {
		t.Run(room, func(t *testing.T) {
			inHouse(t, func(t *testing.T, h *house) {
				slow := h.client("slow")
				h.join(slow, room, proto.Since{})
				h.fill(room, "ann", 3)
				slow.mu.Lock()
				slow.bound = len(slow.out) // full
				slow.mu.Unlock()
				wantCode(t, "deleting", h.deleteMessage(ann, room, 2), "")
				if want == "" {
					if slow.closed == nil || slow.closed.Code != proto.ErrSlowConsumer {
						t.Fatalf("closed: %v", slow.closed)
					}
					return
				}
				if got := offsets(slow.readAll(t), "deleted"); !slices.Equal(got, []uint64{2}) {
					t.Fatalf("told %v", got)
				}
			})
		})
	}
}

func TestRetractionsAreBounded(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		slow := h.client("slow")
		slow.bound = 1
		ms := h.join(slow, "r", proto.Since{})
		synctest.Wait()
		h.fill("r", "ann", 10)
		c := ms.cursor.Load()
		for range retractionsWaiting {
			c.retract(&proto.Event{Type: proto.EvDeleted, Offset: 1})
		}
		if slow.closed != nil {
			t.Fatal("closed early")
		}
		c.retract(&proto.Event{Type: proto.EvDeleted, Offset: 1})
		if slow.closed == nil || slow.closed.Code != proto.ErrSlowConsumer {
			t.Fatalf("closed: %v", slow.closed)
		}
	})
}

func TestARejoinLosesNoDeletion(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		slow := h.client("slow")
		ms := h.join(slow, "r", proto.Since{})
		h.fill("r", "ann", 3)
		slow.mu.Lock()
		slow.bound = len(slow.out)
		slow.mu.Unlock()
		wantCode(t, "deleting", h.deleteMessage(ann, "r", 2), "")
		h.hub.Join(ms, JoinRequest{ID: "again", Since: position(3, "e1")})
		if e := first(t, slow.readAll(t), "deleted"); e.Offset != 2 {
			t.Fatalf("%+v", e)
		}
	})
}

func TestTrimming(t *testing.T) {
	for _, room := range []string{"r", "mem:r"} {
		t.Run(room, func(t *testing.T) {
			inHouse(t, func(t *testing.T, h *house) {
				c := h.client("eve")
				h.join(c, room, proto.Since{})
				epoch := first(t, c.readAll(t), "joined").Epoch
				h.fill(room, "ann", 10)
				time.Sleep(time.Minute)
				noon := time.Now().UnixMilli()
				h.fill(room, "ann", 10)
				c.readAll(t)
				_, err := h.trim(ann, room, 5, 0)
				wantCode(t, "by a guest", err, "not_host")
				_, err = h.trim(manager, "nowhere", 5, 0)
				wantCode(t, "no room", err, "not_found")
				_, err = h.trim(manager, room, 0, 0)
				wantCode(t, "nothing", err, "invalid_field")
				_, err = h.trim(manager, room, 22, 0)
				wantCode(t, "beyond the head", err, "beyond_head")
				for _, step := range []struct {
					before    uint64
					olderThan int64
					oldest    uint64
				}{{5, 0, 5}, {3, 0, 5}, {3, noon - 120_000, 5}, {0, noon, 11}, {13, noon, 13}} {
					oldest, err := h.trim(manager, room, step.before, step.olderThan)
					wantCode(t, "trimming", err, "")
					info, _ := h.info(room)
					messages := h.historyOf(c, room)
					if oldest != step.oldest || info.Oldest != step.oldest || messages[0].Offset != step.oldest || len(messages) != 21-int(step.oldest) {
						t.Fatalf("%+v: oldest %d, %+v, %d messages", step, oldest, info, len(messages))
					}
				}
				wantCode(t, "deleting what is trimmed", h.deleteMessage(ann, room, 12), "not_found")
				late := h.client("late")
				h.join(late, room, position(11, epoch))
				if e := first(t, late.readAll(t), "joined"); e.Recovered {
					t.Fatalf("%+v", e)
				}
				h.join(late, room, position(12, epoch))
				if got := offsets(late.readAll(t), "message"); !slices.Equal(got, span(13, 20)) {
					t.Fatalf("%v", got)
				}
				oldest, err := h.trim(manager, room, 0, time.Now().UnixMilli()+1)
				if wantCode(t, "all", err, ""); oldest != 21 || len(h.historyOf(c, room)) != 0 {
					t.Fatalf("oldest %d", oldest)
				}
				h.fill(room, "ann", 1)
				if got := offsets(h.historyOf(c, room), "message"); !slices.Equal(got, []uint64{21}) {
					t.Fatalf("%v", got)
				}
			})
		})
	}
}

func TestATrimOvertakesALaggingMember(t *testing.T) {
	for _, cleared := range []bool{false, true} {
		t.Run(fmt.Sprint(cleared), func(t *testing.T) {
			inHouse(t, func(t *testing.T, h *house) {
				slow := h.client("slow")
				slow.bound = 3 << 10
				h.join(slow, "r", proto.Since{})
				synctest.Wait()
				h.fill("r", "ann", 100)
				if cleared {
					h.hub.room("r", h.namespace("r")).ring.clear()
				}
				oldest, err := h.trim(manager, "r", 90, 0)
				if wantCode(t, "trimming", err, ""); oldest != 90 {
					t.Fatalf("oldest %d", oldest)
				}
				events := slow.readAll(t)
				gap := first(t, events, "gap")
				got := offsets(events, "message")
				want := append(span(1, gap.After), span(90, 100)...)
				if string(gap.Next) != "90" || !slices.Equal(got, want) {
					t.Fatalf("%+v, %v", gap, got)
				}
			})
		})
	}
}
