package storage

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/thronghq/throng/proto"
)

// TestAppendPair appends to two inboxes at once, with other messages between:
// both get every pair with the same id and time, whatever their own clocks say.
func TestAppendPair(t *testing.T) {
	clock := newClock()
	o := testOptions(vfs.NewMem(), clock)
	o.Namespaces = append(o.Namespaces, proto.InboxNamespace())
	s := mustOpen(t, o)
	ana, bob := join(t, s, "user:ana"), join(t, s, "user:bob")
	const pairs = 3000
	for i := range pairs {
		p := &proto.Publish{Message: proto.Message{From: "ana", To: "user:bob", Key: "k", Content: fmt.Appendf(nil, "%d", i)}}
		twin := &proto.Publish{Message: p.Message}
		twin.Key = ""
		from, to := ana, bob
		if i%2 == 1 {
			p.From, p.To, twin.From, twin.To = "bob", "user:ana", "bob", "user:ana"
			from, to = bob, ana
		}
		from.sent++
		to.sent++
		if err := s.AppendPair(from.Room, p, to.Room, twin); err != nil {
			t.Fatal(err)
		}
		if i%3 == 0 { // bob's log runs ahead
			bob.sent++
			if err := bob.Append(&proto.Publish{Message: proto.Message{From: "bob", To: "user:bob", Content: []byte("note")}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	for life := range 2 {
		check := func(m *member) (ids []proto.MsgID) {
			t.Helper()
			var last proto.Message
			err := m.Read(proto.Range{}, func(got *proto.Message) bool {
				if got.Offset != last.Offset+1 || got.Time <= last.Time || bytes.Compare(got.ID[:], last.ID[:]) <= 0 {
					t.Errorf("life %d: %+v came after %+v", life, got, last)
				}
				last = *got
				if string(got.Content) != "note" {
					ids = append(ids, got.ID)
					if want := map[string]string{"ana": "user:bob", "bob": "user:ana"}[got.From]; got.To != want {
						t.Errorf("life %d: a message of %s is to %s", life, got.From, got.To)
					}
				}
				return true
			})
			if err != nil {
				t.Fatal(err)
			}
			return ids
		}
		if life == 0 {
			ana.wait()
			bob.wait()
		}
		if a, b := check(ana), check(bob); len(a) != pairs || !slices.Equal(a, b) {
			t.Fatalf("life %d: %d and %d pairs, or other ids", life, len(a), len(b))
		}
		if life == 0 {
			for _, m := range []*member{ana, bob} {
				for i, p := range m.got {
					if p.Err != nil || p.Offset != uint64(i+1) {
						t.Fatalf("the sink got %+v at place %d", p, i)
					}
				}
			}
			mustClose(t, s)
			s = mustOpen(t, o)
			ana, bob = join(t, s, "user:ana"), join(t, s, "user:bob")
		}
	}
	mustClose(t, s)
}

func TestAPairIsTakenWholeOrNotAtAll(t *testing.T) {
	var q queue
	q.init(3, 1<<20)
	a, b := &Room{}, &Room{}
	if code := q.pushPair(a, &proto.Publish{}, b, &proto.Publish{}); code != nil {
		t.Fatal(code)
	}
	if code := q.pushPair(a, &proto.Publish{}, b, &proto.Publish{}); code != proto.ErrOverloaded || len(q.pending) != 2 {
		t.Errorf("%v with %d in the queue", code, len(q.pending))
	}
	b.idle = true
	if code := q.pushPair(a, &proto.Publish{}, b, &proto.Publish{}); code != proto.ErrInternal || len(q.pending) != 2 {
		t.Errorf("%v with %d in the queue", code, len(q.pending))
	}

	c := &committer{maxBytes: 150} // two small publishes
	one := op{pub: &proto.Publish{}}
	first := op{pub: &proto.Publish{}, paired: true}
	for _, test := range []struct {
		ops  []op
		want int
	}{
		{[]op{one, first, one, one}, 1},
		{[]op{first, one, one}, 2},
		{[]op{one, one, one}, 2},
	} {
		if got := c.cut(test.ops); got != test.want {
			t.Errorf("the first batch of %d has %d, want %d", len(test.ops), got, test.want)
		}
	}
	c.maxBytes = 1 << 30
	many := make([]op, maxBatchMessages-1, maxBatchMessages+1)
	for i := range many {
		many[i] = one
	}
	if got := c.cut(append(many, first, one)); got != maxBatchMessages+1 {
		t.Errorf("a pair at the bound: %d", got)
	}
}

func TestReceipts(t *testing.T) {
	o := testOptions(vfs.NewMem(), newClock())
	s := mustOpen(t, o)
	room := join(t, s, "r")
	room.sent++
	if err := room.Append(&proto.Publish{Message: proto.Message{From: "ana", To: "r", Content: []byte("1")}}); err != nil {
		t.Fatal(err)
	}
	room.wait()
	expect := func(room, user string, want uint64) {
		t.Helper()
		if got, err := s.Receipt(room, user); err != nil || got != want {
			t.Errorf("receipt of %s in %s: %d, %v, want %d", user, room, got, err, want)
		}
	}
	expect("r", "ana", 0)
	expect("nowhere", "ana", 0)
	for _, offset := range []uint64{300, 7} { // the second one lowers nothing
		err := s.SaveReceipts([]proto.Receipt{{Room: "r", User: "ana", Offset: offset}, {Room: "nowhere", User: "ana", Offset: 1}})
		if err != nil {
			t.Fatal(err)
		}
	}
	expect("r", "ana", 300)
	expect("r", "an", 0)
	expect("nowhere", "ana", 0)
	mustClose(t, s)
	s = mustOpen(t, o)
	expect("r", "ana", 300)
	mustClose(t, s)
	if err := s.SaveReceipts([]proto.Receipt{{Room: "r", User: "ana", Offset: 301}}); err == nil {
		t.Error("a closed store saved a receipt")
	}
	for _, b := range [][]byte{nil, {0x10}, {0x11, 1}, {0x20, 1}, {0x10, 1, 1}, {0x10, 0x81, 0}} {
		if _, err := decodeReceipt(b); err == nil {
			t.Errorf("a receipt %x was accepted", b)
		}
	}
}
