package room

import (
	"encoding/base64"
	"encoding/binary"
	"hash/fnv"

	"github.com/thronghq/throng/proto"
)

// HistoryRequest is a history command that the session has found in order.
type HistoryRequest struct {
	ID     string
	Query  proto.History
	Cursor string // of the page before, "" for none
}

// History reads one page of a room's messages and answers with it. Done is
// called after the answer.
func (h *Hub) History(m Member, name string, ns *proto.Namespace, req HistoryRequest, done func()) {
	h.post(name, ns, func(r *Room, err *proto.Error) {
		if err != nil {
			sendError(m, req.ID, name, err)
			done()
			return
		}
		r.touch()
		h.readers.submit(&historyJob{room: r, member: m, req: req, done: done})
	})
}

// What is set aside for a page when its first message is there: messages, and
// bytes of their content. A page that is larger grows.
const (
	fullPage  = 64
	fullArena = 16 << 10
)

type historyJob struct {
	room   *Room
	member Member
	req    HistoryRequest
	done   func()
}

func (j *historyJob) run() {
	defer j.done()
	page, err := j.room.page(&j.req)
	if err != nil {
		sendError(j.member, j.req.ID, j.room.name, err)
		return
	}
	page.Type, page.ID, page.Own = proto.EvHistory, []byte(j.req.ID), j.member.UserID()
	j.member.Send(page)
}

// page reads the messages that the request selects, up to the limits, and the
// cursor of the next page where there are more.
func (r *Room) page(req *HistoryRequest) (*proto.Event, *proto.Error) {
	limits := &r.hub.limits
	limit := req.Query.Limit
	if limit == 0 || limit > limits.HistoryPage {
		limit = limits.HistoryPage
	}
	rg := proto.Range{
		After: req.Query.After, Before: req.Query.Before, Reverse: req.Query.Reverse,
		From: req.Query.From * 1000, To: req.Query.To * 1000,
	}
	if req.Cursor != "" {
		if err := r.applyCursor(&rg, req.Cursor); err != nil {
			return nil, err
		}
	}
	if head := r.head.Load(); rg.Before == 0 || rg.Before > head {
		rg.Before = head + 1
	}
	page := &proto.Event{Room: r.name, Epoch: r.epoch}
	var arena []byte
	more := false
	err := r.read(rg, func(m *proto.Message) bool {
		n := len(page.Messages)
		if n == 0 { // pages are mostly of one kind of message, and asked for in full
			page.Messages = make([]proto.Message, 0, min(limit, fullPage))
			arena = make([]byte, 0, min(limit*len(m.Content), fullArena))
		}
		if n == limit || n > 0 && len(arena)+len(m.Content) > limits.HistoryBytes {
			more = true
			return false
		}
		kept := *m
		start := len(arena)
		arena = append(arena, m.Content...)
		kept.Content = arena[start:len(arena):len(arena)] // an older arena stays alive where it grew
		page.Messages = append(page.Messages, kept)
		return true
	})
	if err != nil {
		r.hub.logger.Error("a page of history could not be read", "room", r.name, "error", err)
		return nil, proto.ErrStorage.With("the history of room %q could not be read", r.name)
	}
	if more {
		page.Next = r.cursorAt(&page.Messages[len(page.Messages)-1], rg.Reverse)
	}
	return page, nil
}

// read visits the messages in rg, which must end at the room's head: the older
// ones from the log, the newest from the ring.
func (r *Room) read(rg proto.Range, visit func(*proto.Message) bool) error {
	going := true
	left := rg.Limit
	each := func(m *proto.Message) bool {
		going = visit(m)
		if left > 0 {
			if left--; left == 0 {
				going = false
			}
		}
		return going
	}
	cutoff := max(rg.From, r.cutoff())
	recent, below := r.recent(rg, cutoff)
	fromLog := func() error {
		older := rg
		if older.Before == 0 || older.Before > below {
			older.Before = below
		}
		older.Limit = left
		if older.Before <= older.After+1 {
			return nil
		}
		if older.Reverse && older.Before != rg.Before {
			older.Hint = recent[0].Time
		}
		return r.stream.Read(older, each)
	}
	if !rg.Reverse {
		if err := fromLog(); err != nil || !going {
			return err
		}
	}
	for i := range recent {
		m := recent[i]
		if rg.Reverse {
			m = recent[len(recent)-1-i]
		}
		if m.Time < cutoff || m.Offset <= rg.After || rg.Before > 0 && m.Offset >= rg.Before || rg.To > 0 && m.Time >= rg.To {
			continue
		}
		if !each(m) {
			return nil
		}
	}
	if rg.Reverse {
		return fromLog()
	}
	return nil
}

// recent returns the ring's messages above rg.After that are not too old, and
// the offset below which the log has to be asked; the range's own end where
// the ring is of no use.
func (r *Room) recent(rg proto.Range, cutoff int64) (msgs []*proto.Message, below uint64) {
	oldest, _ := r.ring.oldest(cutoff)
	if oldest == 0 || rg.Before > 0 && rg.Before <= oldest {
		return nil, max(rg.Before, 1)
	}
	start := max(rg.After, oldest-1)
	msgs, ok := r.ring.after(nil, start, cutoff, ringMessages)
	if !ok {
		return nil, max(rg.Before, 1)
	}
	if start == rg.After {
		return msgs, 0 // nothing in the log is wanted
	}
	return msgs, oldest
}

const (
	cursorVersion = 1
	cursorReverse = 2 // in the low bits beside the version
)

// cursorAt names the place after a message, for the next page. It holds the
// message's offset and time, the direction, and a sum of the room's name.
func (r *Room) cursorAt(m *proto.Message, reverse bool) string {
	flags := byte(cursorVersion)
	if reverse {
		flags |= cursorReverse
	}
	b := []byte{flags}
	b = binary.BigEndian.AppendUint32(b, nameSum(r.name))
	b = binary.AppendUvarint(b, m.Offset)
	b = binary.AppendUvarint(b, uint64(m.Time))
	return base64.RawURLEncoding.EncodeToString(b)
}

// applyCursor narrows the range to what follows the cursor's place.
func (r *Room) applyCursor(rg *proto.Range, cursor string) *proto.Error {
	bad := proto.ErrBadCursor.With("field \"cursor\" is %.60q; it must be the next of a page of room %q, in the same direction", cursor, r.name)
	b, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil || len(b) < 7 || b[0]&^cursorReverse != cursorVersion || binary.BigEndian.Uint32(b[1:]) != nameSum(r.name) {
		return bad
	}
	if (b[0]&cursorReverse != 0) != rg.Reverse {
		return bad
	}
	offset, n := binary.Uvarint(b[5:])
	if n <= 0 {
		return bad
	}
	micros, n2 := binary.Uvarint(b[5+n:])
	if n2 <= 0 || len(b) != 5+n+n2 || offset == 0 {
		return bad
	}
	rg.Hint = int64(micros)
	if rg.Reverse {
		if rg.Before == 0 || offset < rg.Before {
			rg.Before = offset
		}
	} else {
		rg.After = max(rg.After, offset)
	}
	return nil
}

func nameSum(name string) uint32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(name)) // never fails
	return h.Sum32()
}
