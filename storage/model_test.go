package storage

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/thronghq/throng/proto"
)

// model is what a room's log should hold, as a plain slice.
type model struct {
	messages []proto.Message // all that were ever appended
	size     int
	ttl      time.Duration
	floor    uint64 // lower offsets were trimmed
}

// visible returns what can be read at a time.
func (m *model) visible(now int64) []proto.Message {
	out := m.messages[max(0, len(m.messages)-m.size):]
	cut := now - m.ttl.Microseconds()
	i := slices.IndexFunc(out, func(msg proto.Message) bool { return msg.Time >= cut && msg.Offset >= m.floor })
	if i < 0 {
		return nil
	}
	return out[i:]
}

// find returns what a range selects of what can be read.
func (m *model) find(rg proto.Range, now int64) []proto.Message {
	var out []proto.Message
	for _, msg := range m.visible(now) {
		if msg.Offset > rg.After && (rg.Before == 0 || msg.Offset < rg.Before) &&
			msg.Time >= rg.From && (rg.To == 0 || msg.Time < rg.To) {
			out = append(out, msg)
		}
	}
	if rg.Reverse {
		out = slices.Clone(out)
		slices.Reverse(out)
	}
	if rg.Limit > 0 && len(out) > rg.Limit {
		out = out[:rg.Limit]
	}
	return out
}

// TestModel appends, deletes, trims, ends, reads, reopens, lets time pass and jump, and compares every
// answer with the model's.
func TestModel(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { testModel(t, seed) })
	}
}

func testModel(t *testing.T, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 0))
	clock := newClock()
	o := testOptions(vfs.NewMem(), clock)
	models := make(map[string]*model)
	names := []string{"a", "b", "safe:a"}
	for i := range o.Namespaces[:2] {
		o.Namespaces[i].HistorySize = 20 + rng.IntN(60)
		o.Namespaces[i].HistoryTTL = time.Duration(20+rng.IntN(100)) * time.Second
	}
	for _, name := range names {
		ns := o.Namespaces[0]
		if name == "safe:a" {
			ns = o.Namespaces[1]
		}
		models[name] = &model{size: ns.HistorySize, ttl: ns.HistoryTTL}
	}
	s := mustOpen(t, o)
	rooms := make(map[string]*member)
	for range 600 {
		name := names[rng.IntN(len(names))]
		if rooms[name] == nil {
			rooms[name] = join(t, s, name)
		}
		switch m := models[name]; rng.IntN(14) {
		case 0, 1, 2, 3:
			for range rng.IntN(8) {
				rooms[name].push(publish(fmt.Sprint(len(m.messages))))
			}
			for _, p := range rooms[name].wait() {
				msg := p.Message
				msg.To = name
				m.messages = append(m.messages, msg)
			}
		case 4, 5:
			clock.advance(time.Duration(rng.Int64N(int64(8 * time.Second))))
		case 6:
			if rng.IntN(4) == 0 {
				clock.advance(time.Duration(rng.Int64N(int64(2 * time.Minute))))
			} else {
				clock.advance(-time.Duration(rng.Int64N(int64(10 * time.Second))))
			}
		case 7:
			rooms[name].Close()
			rooms[name] = nil
		case 8:
			s.expire()
		case 9:
			if rng.IntN(6) == 0 {
				mustClose(t, s)
				s = mustOpen(t, o)
				clear(rooms)
			}
		case 10:
			m.edit(t, rng, rooms[name])
		case 11:
			if rng.IntN(4) == 0 {
				if err := rooms[name].edit(endOfRoom()); err != nil {
					t.Fatal(err)
				}
				rooms[name].Close()
				rooms[name], m.messages, m.floor = nil, nil, 0
			}
		default:
			checkModel(t, rng, rooms[name], m)
		}
	}
	mustClose(t, s)
}

// edit deletes a message or trims the room.
func (m *model) edit(t *testing.T, rng *rand.Rand, room *member) {
	t.Helper()
	if len(m.messages) == 0 {
		return
	}
	visible := m.visible(room.store.clock.micros())
	msg := &m.messages[rng.IntN(len(m.messages))]
	if rng.IntN(3) == 0 {
		if err := room.edit(trimTo(msg.Offset, msg.Time)); err != nil {
			t.Fatal(err)
		}
		m.floor = max(m.floor, msg.Offset)
		return
	}
	err := room.edit(tombstone(msg))
	switch {
	case err == nil:
		msg.Kind, msg.Content = proto.KindDeleted, nil
	case len(visible) > 0 && msg.Offset >= visible[0].Offset:
		t.Fatalf("offset %d cannot be deleted: %v", msg.Offset, err)
	}
}

// checkModel asks one random question.
func checkModel(t *testing.T, rng *rand.Rand, room *member, m *model) {
	t.Helper()
	now := room.store.clock.micros()
	visible := m.visible(now)
	first := uint64(0)
	if len(visible) > 0 {
		first = visible[0].Offset
	}
	if got := room.First(); got != first {
		t.Fatalf("first is %d, want %d", got, first)
	}
	for offset := range uint64(len(m.messages) + 3) {
		want := offset == uint64(len(m.messages)) || first != 0 && offset+1 >= first && offset < uint64(len(m.messages))
		if got := room.Covers(proto.Position{Epoch: room.Head().Epoch, Offset: offset}); got != want {
			t.Fatalf("position %d of %d, first is %d: covered %v", offset, len(m.messages), first, got)
		}
	}
	rg := proto.Range{Limit: rng.IntN(10), Reverse: rng.IntN(2) == 0}
	pick := func() *proto.Message {
		if len(m.messages) == 0 {
			return &proto.Message{}
		}
		return &m.messages[rng.IntN(len(m.messages))]
	}
	hinted := func(msg *proto.Message) int64 {
		switch rng.IntN(4) {
		case 0:
			return msg.Time / 1000 * 1000
		case 1:
			return pick().Time // of another one
		case 2:
			return rng.Int64()
		}
		return 0
	}
	if rng.IntN(3) == 0 {
		msg := pick()
		rg.After = msg.Offset
		if !rg.Reverse {
			rg.Hint = hinted(msg)
		}
	}
	if rng.IntN(3) == 0 {
		msg := pick()
		rg.Before = msg.Offset
		if rg.Reverse {
			rg.Hint = hinted(msg)
		}
	}
	if rng.IntN(4) == 0 {
		rg.From = pick().Time + rng.Int64N(3) - 1
	}
	if rng.IntN(4) == 0 {
		rg.To = pick().Time + rng.Int64N(3) - 1
	}
	got, want := room.read(rg), m.find(rg, now)
	same := slices.EqualFunc(got, want, func(a, b proto.Message) bool {
		return a.ID == b.ID && a.Offset == b.Offset && a.Time == b.Time && a.From == b.From &&
			a.To == b.To && a.Kind == b.Kind && string(a.Content) == string(b.Content)
	})
	if !same {
		t.Fatalf("%+v selects %s, want %s of %s", rg, brief(offsets(got)), brief(offsets(want)), brief(offsets(visible)))
	}
}
