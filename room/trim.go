package room

import "github.com/thronghq/throng/proto"

// Trim removes a room's oldest messages, as its host and an inbox's owner may:
// those below an offset, and those older than a time (Unix ms); 0 stands for no
// such bound. Done is called when that is on the disk, with the lowest offset that
// can be read, or the next message's where none can. Who is to be replayed what is
// gone is told of a gap.
func (h *Hub) Trim(by Actor, name string, ns *proto.Namespace, before uint64, olderThan int64, done func(oldest uint64, err *proto.Error)) {
	h.existing(name, ns, func(r *Room, err *proto.Error) {
		if err == nil {
			err = r.mayTrim(by, before, olderThan)
		}
		if err != nil {
			done(0, err)
			return
		}
		r.touch()
		h.readers.submit(&trimJob{room: r, before: before, olderThan: olderThan, done: done})
	})
}

func (r *Room) mayTrim(by Actor, before uint64, olderThan int64) *proto.Error {
	if owner, inbox := InboxOwner(r.name); !inbox || owner != by.UserID {
		if err := r.mayRule(by); err != nil {
			return err
		}
	}
	switch head := r.head.Load(); {
	case before == 0 && olderThan <= 0:
		return proto.ErrInvalidField.With("neither \"before\" (an offset) nor \"olderThan\" (a time) says what to trim")
	case before > head+1:
		return proto.ErrBeyondHead.With("field \"before\" is %d; the head of room %q is %d", before, r.name, head)
	}
	return nil
}

// trimJob finds the first message that stays.
type trimJob struct {
	room      *Room
	before    uint64
	olderThan int64 // Unix ms
	done      func(oldest uint64, err *proto.Error)
}

func (j *trimJob) run() {
	r := j.room
	head := r.head.Load()
	var kept proto.Message
	err := r.find(proto.Range{After: max(j.before, 1) - 1, Before: head + 1, From: max(j.olderThan, 0) * 1000}, &kept)
	if err != nil {
		j.done(0, err)
		return
	}
	e := &edit{}
	e.To, e.Edit, e.Durable = r.name, proto.EditTrim, true
	e.Offset, e.Time = head+1, 0
	if kept.Offset > 0 {
		e.Offset, e.Time = kept.Offset, kept.Time
	}
	e.done = func(err *proto.Error) {
		if err != nil {
			j.done(0, err)
			return
		}
		r.ring.trim(e.Offset)
		r.hub.replays.rewritten(r)
		r.hub.readers.submit(&oldestJob{room: r, done: j.done})
	}
	if err := r.submitEdit(e); err != nil {
		j.done(0, err)
	}
}

// oldestJob tells what is left after a trim.
type oldestJob struct {
	room *Room
	done func(oldest uint64, err *proto.Error)
}

func (j *oldestJob) run() { j.done(j.room.oldest(j.room.head.Load())) }
