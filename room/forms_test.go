package room

import (
	"bytes"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"unsafe"

	"github.com/VictoriaMetrics/metrics"

	"github.com/thronghq/throng/proto"
)

var testBinary = proto.NewBinary(func() *proto.Limits { l := proto.DefaultLimits(); return &l }())

// forms are all that members' frames can look like.
var forms = []proto.Form{
	{Codec: testCodec},
	{Codec: testCodec, Window: proto.SmallWindow},
	{Codec: testCodec, Window: proto.StandardWindow},
	{Codec: testBinary},
	{Codec: testBinary, Window: proto.SmallWindow},
	{Codec: testBinary, Window: proto.StandardWindow},
}

const packedForms = 4 // of forms, those with a window

// long is content that is worth compressing.
func long(i int) string {
	return fmt.Sprintf(`{"n":%d,"text":%q}`, i, strings.Repeat("much alike ", 90))
}

// noise is content that gets no smaller; a room does not mind that it is no JSON.
func noise(seed byte) string {
	b := make([]byte, 400)
	rand.NewChaCha8([32]byte{seed}).Read(b)
	return string(b)
}

// formClient is a client of one form.
func (h *house) formClient(user string, f proto.Form) *client {
	c := h.client(user)
	c.codec, c.window, c.bound = f.Codec, f.Window, 1<<30
	return c
}

// take empties the outbox without looking into it.
func (c *client) take() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := c.out
	c.out = nil
	return out
}

// hasCompressed reports whether one of the frames is.
func hasCompressed(t *testing.T, frames []byte) bool {
	t.Helper()
	const header = 10
	return len(bytes.Join(payloads(t, frames), nil)) > len(frames)+header
}

// Members of all forms get the same messages, live, replayed and by the way of a
// cursor; what the namespace does not compress comes plain.
func TestMembersOfAllFormsGetTheSame(t *testing.T) {
	for _, room := range []string{"packed:r", "r"} {
		t.Run(room, func(t *testing.T) {
			inHouse(t, func(t *testing.T, h *house) {
				ana := h.formClient("ana", forms[0])
				a := h.join(ana, room, proto.Since{})
				var members []*client
				for i, f := range forms {
					c := h.formClient(fmt.Sprint("u", i), f)
					h.join(c, room, proto.Since{})
					members = append(members, c)
				}
				synctest.Wait()
				for _, c := range members {
					c.take() // joined, and who came
				}
				const sent = 60
				for i := range sent / 3 {
					for _, content := range []string{`"short"`, long(i), noise(byte(i))} {
						h.publish(ana, a, room, "", content)
					}
				}
				h.hub.Publish(ana, a, room, h.namespace(room), Publication{Content: []byte(long(99)), Transient: true})
				synctest.Wait()
				expectSame(t, room, "live", sent, members)

				resumed := make([]*client, len(forms))
				for i, f := range forms {
					resumed[i] = h.formClient(fmt.Sprint("v", i), f)
					h.join(resumed[i], room, position(0, "e1"))
					synctest.Wait()
				}
				for _, c := range resumed {
					c.out = frames(c.take(), 1, sent)
				}
				expectSame(t, room, "replayed", sent, resumed)
			})
		})
	}
}

// frames returns n frames after those that are skipped, or fewer.
func frames(b []byte, skipped, n int) []byte {
	end := 0
	for i := range skipped + n {
		if i == skipped {
			b, end = b[end:], 0
		}
		if end == len(b) {
			break
		}
		switch size := int(b[end+1]); size {
		case 126:
			end += 4 + int(b[end+2])<<8 + int(b[end+3])
		default:
			end += 2 + size
		}
	}
	return b[:end]
}

// expectSame holds what the members of each codec got to what the plain one did.
func expectSame(t *testing.T, room, how string, sent int, members []*client) {
	t.Helper()
	var plain [][]byte
	for i, c := range members {
		frames := c.take()
		got := payloads(t, frames)
		if forms[i].Window == proto.Plain {
			plain = got
			if len(plain) < sent {
				t.Fatalf("%s, %s: %s got %d messages", room, how, c.user, len(plain))
			}
		}
		if !slices.EqualFunc(got, plain, bytes.Equal) {
			t.Errorf("%s, %s: the member of window %d got %d messages that are not those of the plain one", room, how, forms[i].Window, len(got))
		}
		if got, want := hasCompressed(t, frames), forms[i].Window != proto.Plain && room != "r"; got != want {
			t.Errorf("%s, %s: window %d, compressed: %v, want %v", room, how, forms[i].Window, got, want)
		}
	}
}

// witness is a Member that keeps which bytes it was given.
type witness struct {
	counter
	frames []*byte
}

func (w *witness) Prefetch() {}

func (w *witness) Deliver(b []byte) bool {
	w.frames = append(w.frames, unsafe.SliceData(b))
	return w.counter.Deliver(b)
}

// crowdOf makes a room with so many members of each form, without a hub's workers.
func crowdOf(each int, ns *proto.Namespace, forms []proto.Form) (*Room, []*witness, *metrics.Set) {
	set := metrics.NewSet()
	h := &Hub{limits: proto.DefaultLimits(), now: nowForTest, fans: 1, deflate: proto.NewCompression(compressFrom, set)}
	h.meters = newMeters(nil, h)
	r := newRoom(h, ns.Name+":r", ns)
	r.ring.limit = 0
	var members []*witness
	for i := range each * len(forms) {
		f := forms[i%len(forms)]
		w := &witness{counter: counter{codec: f.Codec, window: f.Window, name: fmt.Sprint(i)}}
		r.seat(w)
		members = append(members, w)
	}
	return r, members, set
}

// fanForTest sends a batch of messages of nobody in the room.
func (r *Room) fanForTest(contents ...string) {
	var ops []op
	author := &counter{codec: testCodec}
	for i, content := range contents {
		o := &outgoing{member: author}
		o.Offset, o.Content, o.To, o.From = r.head.Load()+uint64(i)+1, []byte(content), r.name, "ana"
		o.Origin = o
		ops = append(ops, op{pub: &o.Publish})
	}
	r.fanOut(ops)
}

// A batch is compressed once for each form, whoever many members take it, and all
// of them share the bytes.
func TestABatchIsCompressedOnceForEachForm(t *testing.T) {
	packed, plain := proto.NewNamespace("packed"), proto.NewNamespace("plain")
	packed.Compress = true
	for _, test := range []struct {
		name     string
		ns       *proto.Namespace
		forms    []proto.Form
		contents []string
		frames   int // that are compressed
		buffers  int // different ones that the members got
	}{
		{"all forms", &packed, forms, []string{long(1), `"short"`, long(2)}, 2 * packedForms, len(forms)},
		{"one form", &packed, forms[2:3], []string{long(1), long(2), long(3)}, 3, 1},
		{"nobody agreed", &packed, []proto.Form{forms[0], forms[3]}, []string{long(1)}, 0, 2},
		{"the namespace does not compress", &plain, forms, []string{long(1)}, 0, 2},
		{"all short: one buffer for each codec", &packed, forms, []string{`"short"`, `"and short"`}, 0, 2},
		{"nothing gets smaller: the same", &packed, forms, []string{noise(1), noise(2)}, 0, 2},
	} {
		for _, each := range []int{1, 1000} {
			r, members, set := crowdOf(each, test.ns, test.forms)
			r.fanForTest(test.contents...)
			if got := int(set.GetOrCreateCounter("throng_deflate_frames_total").Get()); got != test.frames {
				t.Errorf("%s, %d members of each: %d frames were compressed, want %d", test.name, each, got, test.frames)
			}
			buffers := make(map[*byte]bool)
			for _, w := range members {
				if len(w.frames) != 1 {
					t.Fatalf("%s: a member got %d deliveries, want 1", test.name, len(w.frames))
				}
				buffers[w.frames[0]] = true
			}
			if len(buffers) != test.buffers {
				t.Errorf("%s, %d members of each: they got %d buffers, want %d", test.name, each, len(buffers), test.buffers)
			}
		}
	}
}

// A delivery allocates nothing in a compressed room, either.
func TestCompressedDeliveryAllocatesNothingPerMember(t *testing.T) {
	if raceEnabled {
		t.Skip("not counted under the race detector")
	}
	packed := proto.NewNamespace("packed")
	packed.Compress = true
	cost := func(each int) float64 {
		r, members, _ := crowdOf(each, &packed, forms)
		for i, ms := range r.members {
			ms.member = &members[i].counter // keeps nothing
		}
		content := long(1)
		return testing.AllocsPerRun(50, func() { r.fanForTest(content) })
	}
	if few, many := cost(1), cost(200); few != many {
		t.Errorf("a batch to a member of each form allocates %v times, to 200 of each %v times", few, many)
	}
}

// What many members have missed is compressed once for each form, not for each of
// them, and a plain member gets none of it.
func TestReplaysShareWhatWasCompressed(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		const room, total, members = "packed:r", 100, 60
		ann := h.client("ann")
		ann.bound = 1 << 30
		for i := range total {
			h.publish(ann, nil, room, "f", long(i))
		}
		synctest.Wait()
		before := h.compressed.Get()
		clients := make([]*client, members)
		for i := range clients {
			clients[i] = h.formClient(fmt.Sprint("u", i), forms[i%3])
			h.join(clients[i], room, position(0, "e1"))
		}
		for _, c := range clients {
			if got := offsets(c.readAll(t), "message"); !slices.Equal(got, span(1, total)) {
				t.Fatalf("%s of window %d got %v", c.user, c.window, got)
			}
		}
		// Each reader goroutine may make a chunk that another one is making.
		made, most := int(h.compressed.Get()-before), 2*readers*total
		t.Logf("%d frames were compressed for %d members", made, members)
		if made > most || made < 2*total {
			t.Errorf("%d frames were compressed for %d messages in two forms, want %d at the most", made, total, most)
		}
	})
}

// A chunk is as many messages as without compression: what they take to read and
// to compress is bounded, not what is sent.
func TestAChunksSizeCountsBeforeCompression(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		const room, total = "packed:r", 100
		ann := h.client("ann")
		ann.bound = 1 << 30
		for i := range total {
			h.publish(ann, nil, room, "f", long(i))
		}
		synctest.Wait()
		bob := h.formClient("bob", forms[2])
		h.join(bob, room, position(0, "e1"))
		if got := offsets(bob.readAll(t), "message"); !slices.Equal(got, span(1, total)) {
			t.Fatalf("got %v", got)
		}
		if chunks, want := int(h.hub.meters.chunks.Get()), total*len(long(0))/cursorBytes; chunks < want {
			t.Errorf("%d messages were read in %d chunks, want %d or more", total, chunks, want)
		}
	})
}

// An author gets its acks, its own copies where it asked for them, and what the
// others wrote in one batch with them, in the order of the room.
func TestAnAuthorsCopiesAreCompressed(t *testing.T) {
	for _, f := range forms[:3] {
		for _, echo := range []bool{false, true} {
			inHouse(t, func(t *testing.T, h *house) {
				const room = "packed:r"
				ana, bob := h.formClient("ana", f), h.formClient("bob", forms[2])
				a := h.hub.NewMembership(ana, room, h.namespace(room))
				h.hub.Join(a, JoinRequest{Echo: echo, MayCreate: true})
				b := h.join(bob, room, proto.Since{})
				synctest.Wait()
				ana.take()
				for i := range 10 {
					h.publishKeyed(ana, a, room, fmt.Sprint(i), fmt.Sprint("k", i), long(i))
					h.publish(bob, b, room, "", long(100+i))
				}
				synctest.Wait()
				frames := ana.take()
				events := decodeFrames(t, frames)
				if hasCompressed(t, frames) != (f.Window != proto.Plain) {
					t.Errorf("window %d, echo %v: compressed: %v", f.Window, echo, hasCompressed(t, frames))
				}
				next, own := uint64(1), 0
				for _, e := range events {
					switch {
					case e.Type == "ack" && echo:
						continue // its copy follows
					case e.Type == "message" && e.From == "ana":
						own++
						if e.Key == "" {
							t.Errorf("the author's copy of %d has no key", e.Offset)
						}
					}
					if e.Offset != next {
						t.Fatalf("window %d, echo %v: got offset %d, want %d", f.Window, echo, e.Offset, next)
					}
					next++
				}
				if want := map[bool]int{true: 10}[echo]; next != 21 || own != want {
					t.Errorf("window %d, echo %v: %d events, %d copies, want 20 and %d", f.Window, echo, next-1, own, want)
				}
			})
		}
	}
}

// hoarder is a Member whose outbox holds all that it was given.
type hoarder struct {
	counter
	held int
}

func (w *hoarder) Prefetch() {}

func (w *hoarder) Deliver(b []byte) bool {
	w.held += cap(b)
	return w.counter.Deliver(b)
}

// What a member's outbox keeps alive is what it counts: frames that are one member's
// alone do not bring the space in which they were compressed.
func TestCompressedFramesKeepNoSpace(t *testing.T) {
	for _, f := range forms {
		for _, ways := range []struct {
			name string
			join JoinRequest
		}{
			{"its copies", JoinRequest{Echo: true}},
			{"a replay of its own messages", JoinRequest{Since: position(0, "e1")}},
			{"a replay by time", JoinRequest{Since: proto.Since{Kind: proto.SinceTime, Millis: 1}}},
		} {
			inHouse(t, func(t *testing.T, h *house) {
				const room = "packed:r"
				w := &hoarder{counter: counter{codec: f.Codec, window: f.Window, name: "ana"}}
				ms := h.hub.NewMembership(w, room, h.namespace(room))
				publish := func() {
					for range 10 {
						h.hub.Publish(w, ms, room, h.namespace(room), Publication{Content: []byte(`"` + strings.Repeat("a", 30_000) + `"`), MayCreate: true})
						synctest.Wait()
					}
				}
				publish()
				w.held = 0
				w.delivered.Store(0)
				h.hub.Join(ms, ways.join)
				synctest.Wait()
				if ways.join.Echo {
					publish()
				}
				if sent := int(w.delivered.Load()); sent == 0 || w.held > 2*sent {
					t.Errorf("%s, window %d: %d bytes were delivered, %d are held", ways.name, f.Window, sent, w.held)
				}
			})
		}
	}
}

// A member whose outbox fills catches up with compressed frames, and ends with
// every message once and in order.
func TestACompressedMemberLagsAndCatchesUp(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		const room, total = "packed:r", 400
		ana, bob := h.client("ana"), h.formClient("bob", forms[2])
		bob.bound = 4 << 10
		a := h.join(ana, room, proto.Since{})
		b := h.join(bob, room, proto.Since{})
		for i := range total {
			h.publish(ana, a, room, "", long(i))
			if i%50 == 0 {
				synctest.Wait() // in some batches
			}
		}
		synctest.Wait()
		if b.cursor.Load() == nil {
			t.Fatal("the member has kept up")
		}
		events := bob.readAll(t)
		if got := offsets(events, "message"); !slices.Equal(got, span(1, total)) {
			t.Fatalf("got %d messages: %v", len(got), got)
		}
		first(t, events, "lag")
	})
}

// Sessions of an inbox's owner that have not joined it get direct messages in
// their own forms, and deletions, too.
func TestListenersGetTheirForms(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		ana := h.client("ana")
		var listeners []*client
		for _, f := range forms[:3] {
			c := h.formClient("bob", f)
			h.people.connect(c)
			listeners = append(listeners, c)
		}
		h.hub.PublishDirect(ana, nil, Inbox("bob"), h.namespace(Inbox("bob")), Publication{Content: []byte(long(1)), MayCreate: true})
		synctest.Wait()
		wantCode(t, "deleting", h.deleteMessage(Actor{UserID: "bob", Manage: true}, Inbox("bob"), 1), "")
		synctest.Wait()
		for _, c := range listeners {
			frames := c.take()
			events := decodeFrames(t, frames)
			if len(events) != 2 || events[0].Type != "message" || string(events[0].Content) != long(1) || events[1].Type != "deleted" {
				t.Errorf("window %d got %+v", c.window, events)
			}
			if hasCompressed(t, frames) != (c.window != proto.Plain) {
				t.Errorf("window %d, compressed: %v", c.window, hasCompressed(t, frames))
			}
			h.people.disconnect(c)
		}
	})
}

// A frame for one member alone is compressed where it is about a room whose
// namespace says so.
func TestHubCompressesByNamespace(t *testing.T) {
	set := metrics.NewSet()
	h := NewHub(Options{
		Namespaces: namespaces(), Limits: proto.DefaultLimits(), Log: newMemory(), Logger: slog.New(slog.DiscardHandler),
		Compression: proto.NewCompression(compressFrom, set),
	})
	defer h.Close()
	frame := proto.AppendMessageFrame(nil, testCodec, &proto.Message{Content: []byte(long(1))}, false)
	for room, want := range map[string]bool{"packed:r": true, "user:ana": true, "r": false, "mem:r": false, "unknown:r": false, "": false} {
		for _, w := range []proto.Window{proto.Plain, proto.SmallWindow, proto.StandardWindow} {
			got := h.Compress(bytes.Clone(frame), room, w)
			if compressed := len(got) < len(frame); compressed != (want && w != proto.Plain) {
				t.Errorf("room %q, window %d: compressed: %v", room, w, compressed)
			}
		}
	}
}
