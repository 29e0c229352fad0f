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

// TestAStormOfResumesReadsTheLogOnce has two hundred members resume one room
// from nearly the same place, far behind its ring. The log is read for the first
// of them, and once more for each other place; everyone gets everything, and the
// author of a message its own copy.
func TestAStormOfResumesReadsTheLogOnce(t *testing.T) {
	const room, total, members, places = "r", 1500, 200, 5
	inHouse(t, func(t *testing.T, h *house) {
		h.fill(room, "ann", total)
		before := h.log.readsOf(room)
		var clients []*client
		for i := range members {
			c := h.client(fmt.Sprint("u", i))
			c.bound = 1 << 30
			clients = append(clients, c)
			h.join(c, room, position(uint64(100+i%places), "e1"))
		}
		for i, c := range clients {
			if got, want := offsets(c.readAll(t), "message"), span(uint64(101+i%places), total); !slices.Equal(got, want) {
				t.Fatalf("client %d got %d messages, want %d in order", i, len(got), len(want))
			}
		}
		ann := h.client("ann")
		ann.bound = 1 << 30
		h.join(ann, room, position(100, "e1"))
		if got := offsets(ann.readAll(t), "message"); !slices.Equal(got, span(101, total)) {
			t.Fatalf("the author got %d messages", len(got))
		}
		// Each reader goroutine may read a chunk that another one is reading.
		chunks := h.hub.replays.bytes/cursorBytes + 1
		most := readers*(chunks+places) + chunks + 1
		reads := h.log.readsOf(room) - before
		t.Logf("%d reads for %d members and %d chunks", reads, members, chunks)
		if reads > most {
			t.Errorf("the log was read %d times for %d members, want %d at the most", reads, members, most)
		}
	})
}

// TestASharedChunkIsNotOlderThanTheLog has members resume before and after the
// log changes.
func TestASharedChunkIsNotOlderThanTheLog(t *testing.T) {
	const room, total = "r", 1000
	inHouse(t, func(t *testing.T, h *house) {
		h.fill(room, "ann", total)
		resume := func(user string) []event {
			t.Helper()
			c := h.client(user)
			c.bound = 1 << 30
			h.join(c, room, position(0, "e1"))
			return c.readAll(t)
		}
		if got := offsets(resume("before"), "message"); !slices.Equal(got, span(1, total)) {
			t.Fatalf("%d messages before", len(got))
		}
		if h.hub.replays.bytes == 0 {
			t.Fatal("nothing is shared")
		}
		wantCode(t, "deleting", h.deleteMessage(ann, room, 7), "")
		for _, e := range resume("deleted") {
			if e.Type == "message" && e.Offset == 7 && !e.Deleted {
				t.Error("a deleted message was replayed")
			}
		}
		h.hub.Trim(ann, room, h.namespace(room), 11, 0, func(uint64, *proto.Error) {})
		synctest.Wait()
		c := h.client("trimmed")
		c.bound = 1 << 30
		h.join(c, room, position(10, "e1"))
		if got := offsets(c.readAll(t), "message"); !slices.Equal(got, span(11, total)) {
			t.Errorf("%d messages after the trim", len(got))
		}
		time.Sleep(replayLinger + 2*tickEvery)
		synctest.Wait()
		if n := h.hub.replays.bytes; n != 0 {
			t.Errorf("%d bytes are kept after %v", n, replayLinger)
		}
	})
}

// TestTheRoomMovesOnBeforeACursorMeetsIt: a message that is fanned out after the
// cursor has seen the head, and before the member is live, reaches it all the same.
func TestTheRoomMovesOnBeforeACursorMeetsIt(t *testing.T) {
	const room, total = "r", 2 * ringMessages
	inHouse(t, func(t *testing.T, h *house) {
		h.fill(room, "ann", total)
		reading, working := make(chan struct{}), make(chan struct{})
		h.log.set(func() { h.log.gate = reading })
		c := h.client("bob")
		c.bound = 1 << 30
		h.join(c, room, position(0, "e1"))
		synctest.Wait() // its cursor reads
		h.hub.room(room, h.namespace(room)).post(op{do: func(*Room, *proto.Error) { <-working }})
		h.publish(h.client("ann"), nil, room, "", `"during"`)
		synctest.Wait()
		close(reading)
		synctest.Wait() // the cursor's turn to meet comes after the message
		close(working)
		synctest.Wait()
		h.publish(h.client("ann"), nil, room, "", `"after"`)
		if got := offsets(c.readAll(t), "message"); !slices.Equal(got, span(1, total+2)) {
			t.Errorf("got %d messages, the last of them %v", len(got), got[max(0, len(got)-3):])
		}
	})
}

// TestASlowAuthorThatLeavesGetsItsAcks: acks that wait for their place in a stream
// which ends go out at its end.
func TestASlowAuthorThatLeavesGetsItsAcks(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		ana, bob := h.client("ana"), h.client("bob")
		ana.bound = 1 << 10
		a := h.join(ana, "r", proto.Since{})
		for i := range 100 {
			h.publish(bob, nil, "r", "", `"from bob"`)
			h.publish(ana, a, "r", fmt.Sprint(i), `"from ana"`)
		}
		synctest.Wait()
		if a.cursor.Load() == nil {
			t.Fatal("the author is not behind")
		}
		h.hub.Leave(a, "")
		synctest.Wait()
		var acks []uint64
		for _, e := range ana.readAll(t) {
			if e.Type == "ack" {
				acks = append(acks, e.Offset)
			}
		}
		if len(acks) != 100 || !slices.IsSorted(acks) {
			t.Errorf("%d acks: %v", len(acks), acks)
		}
	})
}

// TestASharedChunkHoldsNobodysKeys: the author of a message gets its key when it
// resumes, whoever read the same messages before it; others never get it, also
// after the author.
func TestASharedChunkHoldsNobodysKeys(t *testing.T) {
	const room = "r"
	for _, users := range [][]string{{"bob", "ann", "eve"}, {"ann", "bob", "ann"}} {
		inHouse(t, func(t *testing.T, h *house) {
			h.publishKeyed(h.client("ann"), nil, room, "", "secret", `"x"`)
			h.fill(room, "zoe", 1000)
			for _, user := range users {
				c := h.client(user)
				c.bound = 1 << 30
				h.join(c, room, position(0, "e1"))
				want := ""
				if user == "ann" {
					want = "secret"
				}
				if got := first(t, c.readAll(t), "message"); got.Offset != 1 || got.Key != want {
					t.Errorf("%s of %v got offset %d with key %q, want %q", user, users, got.Offset, got.Key, want)
				}
			}
			if h.hub.replays.bytes == 0 {
				t.Error("nothing is shared")
			}
		})
	}
}

// TestAChunkReadDuringADeletionIsNotKept: what was read before the log changed
// may be delivered, and nobody else gets it.
func TestAChunkReadDuringADeletionIsNotKept(t *testing.T) {
	now := time.Unix(1, 0)
	p := &replays{now: func() time.Time { return now }, account: uncounted{}, most: replayBytes}
	r, other := new(Room), new(Room)
	chunk := func(r *Room, next uint64, size int) *sharedChunk {
		return &sharedChunk{key: replayKey{room: r, next: next}, frames: make([]byte, size), at: startAt{next: next + 10}, full: true}
	}
	rewrites := r.rewrites.Load()
	p.keep(chunk(r, 1, 100), rewrites)
	p.keep(chunk(other, 1, 100), 0)
	p.rewritten(r)
	p.keep(chunk(r, 11, 100), rewrites)
	if found, meets := p.find(replayKey{room: r, next: 1}, 100); found != nil || meets != 0 || p.bytes != 100 {
		t.Errorf("found %v and %d, %d bytes kept", found, meets, p.bytes)
	}
	if found, _ := p.find(replayKey{room: other, next: 1}, 100); found == nil {
		t.Error("another room's chunk has gone")
	}
	rewrites = r.rewrites.Load()
	p.keep(chunk(r, 21, 1), rewrites)
	p.keep(chunk(r, 15, 1), rewrites)
	if _, meets := p.find(replayKey{room: r, next: 12}, 100); meets != 15 {
		t.Errorf("the next chunk begins at %d, want 15", meets)
	}
	if found, _ := p.find(replayKey{room: r, next: 15}, 20); found != nil {
		t.Error("a chunk reaches beyond the head that its cursor knows")
	}
	for i := range 3 * replayChunks {
		p.keep(chunk(r, uint64(100+i), 1), rewrites)
	}
	if len(p.order) != replayChunks || len(p.chunks) != replayChunks {
		t.Errorf("%d chunks are kept, %d can be found", len(p.order), len(p.chunks))
	}
	p.keep(chunk(r, 1, replayBytes), rewrites)
	if p.bytes > replayBytes || len(p.chunks) != 1 {
		t.Errorf("%d bytes are kept in %d chunks", p.bytes, len(p.chunks))
	}
	now = now.Add(replayLinger + 1)
	p.expire()
	if p.bytes != 0 || len(p.chunks) != 0 || len(p.order) != 0 {
		t.Errorf("%d bytes are kept in the end", p.bytes)
	}
}

// BenchmarkReplay is a resume of 1,000 messages of 200 bytes, by a member that is
// alone and by one of many. The log is a slice: a disk comes on top.
func BenchmarkReplay(b *testing.B) {
	for _, shared := range []bool{false, true} {
		b.Run(fmt.Sprintf("shared=%v", shared), func(b *testing.B) {
			const total = 1000
			h := &Hub{limits: proto.DefaultLimits(), now: nowForTest}
			h.replays.now, h.replays.account, h.replays.most = nowForTest, uncounted{}, replayBytes
			h.meters = newMeters(nil, h)
			ns := proto.NewNamespace("default")
			r := newRoom(h, "r", &ns)
			stream := &memoryRoom{log: newMemory()}
			for i := range uint64(total) {
				stream.messages = append(stream.messages, proto.Message{
					Offset: i + 1, Time: nowForTest().UnixMicro(), From: "ann", To: "r", Content: []byte(`"` + strings.Repeat("x", 198) + `"`),
				})
			}
			r.stream = stream
			r.head.Store(total)
			ms := r.seat(&counter{codec: testCodec, name: "bob"})
			b.ReportAllocs()
			for b.Loop() {
				if !shared {
					h.replays.rewritten(r)
				}
				c := newCursor(r, ms, startAt{next: 1}, nil)
				for c.next <= total {
					c.step(total)
				}
			}
		})
	}
}
