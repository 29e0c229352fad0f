package room

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/thronghq/throng/internal/callgrind"
	"github.com/thronghq/throng/proto"
)

// TestAStormOfResumesReadsTheLogOnce has many members resume one room, far behind
// its ring. The log is read for the first of them, whether they stand at a few
// places or each at its own; everyone gets everything, and the author of a message
// its own copy. Only where each member stands before all those that came earlier
// has it something to read for itself, once.
func TestAStormOfResumesReadsTheLogOnce(t *testing.T) {
	const room, total, members = "r", 700, 100
	for _, test := range []struct {
		name  string
		place func(i int) uint64 // the offset that a member has seen
		own   int                // reads that members have to do for themselves
	}{
		{"few places", func(i int) uint64 { return uint64(10 + i%5) }, 0},
		{"each further on", func(i int) uint64 { return uint64(10 + 4*i) }, 0},
		{"each further back", func(i int) uint64 { return uint64(10 + 4*(members-i)) }, members},
		{"anywhere", func(i int) uint64 { return uint64(10 + i*7919%400) }, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			inHouse(t, func(t *testing.T, h *house) {
				author := h.client("ann")
				author.bound = 1 << 30
				for range total {
					h.publish(author, nil, room, "f", `"`+strings.Repeat("x", 600)+`"`)
				}
				synctest.Wait()
				before := h.log.readsOf(room)
				var clients []*client
				for i := range members {
					c := h.client(fmt.Sprint("u", i))
					c.bound = 1 << 30
					clients = append(clients, c)
					h.join(c, room, position(test.place(i), "e1"))
				}
				for i, c := range clients {
					if got, want := c.replayed(t), span(test.place(i)+1, total); !slices.Equal(got, want) {
						t.Fatalf("client %d got %d messages, want %d in order", i, len(got), len(want))
					}
				}
				ann := h.client("ann")
				ann.bound = 1 << 30
				h.join(ann, room, position(10, "e1"))
				if got := ann.replayed(t); !slices.Equal(got, span(11, total)) {
					t.Fatalf("the author got %d messages", len(got))
				}
				// Each reader goroutine may read a chunk that another one is reading. Each
				// chunk for each member would be a hundred times as much.
				chunks := total*800/cursorBytes + 1
				most := readers*2*chunks + test.own
				reads := h.log.readsOf(room) - before
				t.Logf("%d reads for %d members, with %d chunks", reads, members, chunks)
				if reads > most {
					t.Errorf("the log was read %d times for %d members, want %d at the most", reads, members, most)
				}
				h.checkReplays()
			})
		})
	}
}

// replayed waits until nothing comes any more, and returns the messages' offsets,
// in their order. It decodes no more than that.
func (c *client) replayed(t *testing.T) (offsets []uint64) {
	t.Helper()
	synctest.Wait()
	c.mu.Lock()
	out := c.out
	c.out = nil
	c.mu.Unlock()
	for _, payload := range payloads(t, out) {
		if !bytes.HasPrefix(payload, []byte(`{"type":"message"`)) {
			continue
		}
		// The offset is the last field, but for the key of an author's own.
		_, rest, found := bytes.Cut(payload, []byte(`,"offset":`))
		end := bytes.IndexAny(rest, ",}")
		offset, err := strconv.ParseUint(string(rest[:max(end, 0)]), 10, 64)
		if !found || err != nil {
			t.Fatalf("no offset in %.200q", payload)
		}
		offsets = append(offsets, offset)
	}
	return offsets
}

// checkReplays holds what is kept to its own rules.
func (h *house) checkReplays() {
	h.t.Helper()
	p := &h.hub.replays
	p.mu.Lock()
	defer p.mu.Unlock()
	bytes, chunks := 0, 0
	for _, s := range p.order {
		bytes += s.size()
	}
	for _, list := range p.chunks {
		for i, s := range list {
			chunks++
			if len(s.ends) != int(s.at.next-s.first) || int(s.ends[len(s.ends)-1]) != len(s.frames) {
				h.t.Errorf("a chunk of %d messages from %d to %d, the last of which ends at byte %d of %d", len(s.ends), s.first, s.at.next, s.ends[len(s.ends)-1], len(s.frames))
			}
			if i > 0 && (list[i-1].first >= s.first || list[i-1].at.next >= s.at.next) {
				h.t.Errorf("a chunk from %d to %d follows one from %d to %d", s.first, s.at.next, list[i-1].first, list[i-1].at.next)
			}
		}
	}
	if bytes != p.bytes || chunks != len(p.order) {
		h.t.Errorf("%d bytes in %d chunks are kept; %d and %d are counted", bytes, len(p.order), p.bytes, chunks)
	}
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
	p := &replays{account: uncounted{}, most: replayBytes}
	r, other := new(Room), new(Room)
	rewrites := r.rewrites.Load()
	p.keep(chunkOf(r, 1, 10, 10), rewrites)
	p.keep(chunkOf(other, 1, 10, 10), 0)
	p.rewritten(r)
	p.keep(chunkOf(r, 11, 20, 10), rewrites)
	if found, meets := p.find(replayKey{room: r}, 1, 100); found != nil || meets != 0 {
		t.Errorf("found %v and %d", found, meets)
	}
	if found, _ := p.find(replayKey{room: other}, 1, 100); found == nil || p.bytes != found.size() {
		t.Errorf("of another room's chunk %v is left, and %d bytes", found, p.bytes)
	}
}

// chunkOf makes a full chunk of the messages from first to last, of so many bytes
// each.
func chunkOf(r *Room, first, last uint64, size int) *sharedChunk {
	n := int(last + 1 - first)
	s := &sharedChunk{key: replayKey{room: r}, first: first, frames: make([]byte, n*size), at: startAt{next: last + 1}, full: true}
	for i := range n {
		s.ends = append(s.ends, uint32((i+1)*size))
	}
	s.ends = slices.Clip(s.ends)
	return s
}

// TestWhatIsKeptOfReplays: cursors find the chunk that has their message, wherever
// it begins, and what lies within another chunk is not kept beside it.
func TestWhatIsKeptOfReplays(t *testing.T) {
	synctest.Test(t, testWhatIsKeptOfReplays)
}

func testWhatIsKeptOfReplays(t *testing.T) {
	p := &replays{account: uncounted{}, most: replayBytes}
	r := new(Room)
	h := &house{t: t, hub: &Hub{}}
	check := func(next, head, wantFirst, wantMeets uint64) {
		t.Helper()
		found, meets := p.find(replayKey{room: r}, next, head)
		first := uint64(0)
		if found != nil {
			first = found.first
			if got, want := len(found.from(next)), int(found.at.next-next)*10; got != want {
				t.Errorf("from %d: %d bytes, want %d", next, got, want)
			}
		}
		if first != wantFirst || meets != wantMeets {
			t.Errorf("from %d, head %d: the chunk that begins at %d, then that at %d; want %d and %d", next, head, first, meets, wantFirst, wantMeets)
		}
	}
	p.keep(chunkOf(r, 101, 200, 10), 0)
	p.keep(chunkOf(r, 51, 100, 10), 0)
	check(50, 1000, 0, 51)
	check(51, 1000, 51, 0)
	check(100, 1000, 51, 0)
	check(150, 1000, 101, 0)
	check(200, 1000, 101, 0)
	check(201, 1000, 0, 0)
	check(150, 199, 0, 0) // reaches beyond the head that the cursor knows
	tail := chunkOf(r, 201, 300, 10)
	tail.full = false
	p.keep(tail, 0)
	check(250, 300, 201, 0)
	check(250, 301, 0, 0) // small, and the room has gone on
	check(190, 301, 101, 0)
	longer := chunkOf(r, 201, 301, 10)
	longer.full = false
	p.keep(longer, 0)
	check(250, 301, 201, 0)
	p.keep(chunkOf(r, 40, 250, 10), 0) // all that began and ended within
	check(60, 1000, 40, 0)
	check(251, 301, 201, 0)
	p.keep(chunkOf(r, 60, 90, 10), 0) // lies within another
	check(60, 1000, 40, 0)
	if len(p.order) != 2 {
		t.Errorf("%d chunks are kept, want 2", len(p.order))
	}
	h.hub.replays.chunks, h.hub.replays.order, h.hub.replays.bytes = p.chunks, p.order, p.bytes
	h.checkReplays()

	big := chunkOf(r, 1001, 1001+cursorBytes/10, 10)
	big.full = false
	p.keep(big, 0)
	check(1001, 5000, 1001, 0) // the room has gone on, but much of it is there
	check(1001+cursorBytes/10, 5000, 0, 0)

	for i := range uint64(3 * replayChunks) {
		p.keep(chunkOf(r, 10_000+2*i, 10_000+2*i, 1), 0)
	}
	if len(p.order) != replayChunks || len(p.chunks[replayKey{room: r}]) != replayChunks {
		t.Errorf("%d chunks are kept, %d can be found", len(p.order), len(p.chunks[replayKey{room: r}]))
	}
	p.keep(chunkOf(r, 1, 10, replayBytes/10-10), 0)
	if p.bytes > replayBytes || len(p.order) == replayChunks {
		t.Errorf("%d bytes are kept in %d chunks", p.bytes, len(p.order))
	}
	time.Sleep(replayLinger + 1)
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
			h.replays.account, h.replays.most = uncounted{}, replayBytes
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
			callgrind.Loop(b, func() {
				if !shared {
					h.replays.rewritten(r)
				}
				c := newCursor(r, ms, startAt{next: 1}, nil)
				for c.next <= total {
					c.step(total)
				}
			})
		})
	}
}
