package room

import (
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/thronghq/throng/internal/callgrind"
	"github.com/thronghq/throng/proto"
)

// counter is a Member that counts what is delivered to it.
type counter struct {
	delivered atomic.Int64
	codec     proto.Codec
	window    proto.Window
	name      string
}

func (c *counter) UserID() string    { return c.name }
func (c *counter) Form() proto.Form  { return proto.Form{Codec: c.codec, Window: c.window} }
func (c *counter) Send(*proto.Event) {}
func (c *counter) Prefetch()         {}

func (c *counter) Deliver(b []byte) bool { c.delivered.Add(int64(len(b))); return true }
func (c *counter) Close(*proto.Error)    {}
func (c *counter) Ended(*Membership)     {}

func TestALargeRoomsMembersAllGetEachMessageOnce(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		const members, messages = 5*fanChunk + 77, 20
		ana := h.client("ana")
		a := h.join(ana, "r", proto.Since{})
		all := make([]*client, members)
		for i := range all {
			all[i] = h.client(fmt.Sprint("u", i))
			h.join(all[i], "r", proto.Since{})
		}
		for range messages {
			h.publish(ana, a, "r", "", `"x"`)
		}
		synctest.Wait()
		for _, c := range all {
			if got := offsets(c.read(t), "message"); !slices.Equal(got, span(1, messages)) {
				t.Fatalf("%s got %v", c.user, got)
			}
		}
	})
}

// seat makes a member of somebody who has not joined.
func (r *Room) seat(m Member) *Membership {
	ms := &Membership{member: m, slot: int32(len(r.members)), state: stateLive}
	ms.room.Store(r)
	r.members = append(r.members, ms)
	ms.form = r.enterForm(r.form(m))
	return ms
}

// A delivery must not allocate: what a batch costs may not depend on how many
// members get it.
func TestDeliveryAllocatesNothingPerMember(t *testing.T) {
	cost := func(members int) float64 {
		h := &Hub{limits: proto.DefaultLimits(), now: nowForTest, fans: 1}
		h.meters = newMeters(nil, h)
		ns := proto.NewNamespace("default")
		r := newRoom(h, "r", &ns)
		for i := range members {
			r.seat(&counter{codec: testCodec, name: fmt.Sprint(i)})
		}
		r.ring.limit = 0
		author := &counter{codec: testCodec}
		return testing.AllocsPerRun(100, func() {
			o := &outgoing{member: author}
			o.Offset, o.Content, o.To, o.From = 1, []byte(`"x"`), "r", "ana"
			o.Origin = o
			r.fanOut([]op{{pub: &o.Publish}})
		})
	}
	const lent = 8 // what a batch may cost whose pool is empty: the race detector's gives some away
	if few, many := cost(1), cost(1000); many > few+lent {
		t.Errorf("a batch to 1 member allocates %v times, to 1000 members %v times", few, many)
	}
}

func BenchmarkFanOut(b *testing.B) {
	h := &Hub{limits: proto.DefaultLimits(), now: nowForTest, fans: 1}
	h.meters = newMeters(nil, h)
	ns := proto.NewNamespace("default")
	r := newRoom(h, "r", &ns)
	const members = 1000
	for range members {
		r.seat(&counter{codec: testCodec})
	}
	content := []byte(`"` + fmt.Sprintf("%0126d", 0) + `"`)
	author := &counter{codec: testCodec}
	callgrind.Loop(b, func() {
		o := &outgoing{member: author}
		o.Offset, o.Content, o.To, o.From = 1, content, "r", "ana"
		o.Origin = o
		r.fanOut([]op{{pub: &o.Publish}})
	})
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/members, "ns/delivery")
}

// BenchmarkPublish is a message's whole way through a room of ten members, from
// the command to the last delivery, without sockets and without a disk.
func BenchmarkPublish(b *testing.B) {
	for _, rooms := range []int{1, 1000} {
		b.Run(fmt.Sprint("rooms=", rooms), func(b *testing.B) {
			h := NewHub(Options{Namespaces: namespaces(), Limits: proto.DefaultLimits(), Log: newMemory(), Logger: slog.New(slog.DiscardHandler)})
			defer h.Close()
			ns, err := h.Namespace("room", "mem:r")
			if err != nil {
				b.Fatal(err)
			}
			var joined sync.WaitGroup
			names := make([]string, rooms)
			for i := range names {
				names[i] = fmt.Sprint("mem:", i)
				for j := range 10 {
					joined.Add(1)
					h.Join(h.NewMembership(&joiner{counter: counter{codec: testCodec, name: fmt.Sprint(j)}, joined: &joined}, names[i], ns), JoinRequest{MayCreate: true})
				}
			}
			joined.Wait()
			author := &counter{codec: testCodec, name: "author"}
			content := []byte(fmt.Sprintf(`"%0126d"`, 0))
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				h.Publish(author, nil, names[i%rooms], ns, Publication{ID: []byte("1"), Content: content})
			}
			batches, messages := h.meters.batches.Get(), h.meters.batched.Get()
			b.ReportMetric(float64(messages)/float64(batches), "messages/batch")
		})
	}
}

// joiner is a counter that tells when it has joined.
type joiner struct {
	counter
	joined *sync.WaitGroup
}

func (j *joiner) Send(ev *proto.Event) {
	if ev.Type == proto.EvJoined {
		j.joined.Done()
	}
}
