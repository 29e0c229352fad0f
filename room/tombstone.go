package room

import (
	"slices"

	"github.com/thronghq/throng/proto"
)

// A message that is deleted leaves a tombstone at its offset: id, author, time
// and idempotency key stay, the content goes. The log writes it over the message;
// then the ring gets it, and everybody is told, in this order: who reads the
// message afterwards reads the tombstone, and who may have read it before is told.

// DeleteMessage deletes one message, as its author and the room's host may. Done
// is called when the tombstone is on the disk and the members are being told. To
// delete a message again is no error. A direct message is deleted in both inboxes.
func (h *Hub) DeleteMessage(by Actor, name string, ns *proto.Namespace, offset uint64, done func(*proto.Error)) {
	h.existing(name, ns, func(r *Room, err *proto.Error) {
		switch head := r.head.Load(); {
		case err != nil:
		case offset == 0:
			err = proto.ErrInvalidField.With("field \"offset\" is 0; offsets count from 1")
		case offset > head:
			err = proto.ErrBeyondHead.With("field \"offset\" is %d; the head of room %q is %d", offset, name, head)
		}
		if err != nil {
			done(err)
			return
		}
		r.touch()
		host := r.settings.Load().host()
		h.readers.submit(&deleteJob{
			room: r, offset: offset, by: by.UserID, done: done,
			may: func(author string) bool {
				return author == by.UserID || by.Manage || host != "" && host == by.UserID
			},
		})
	})
}

// deleteJob looks up the message, and its twin in another inbox, before the log
// is asked to delete them.
type deleteJob struct {
	room   *Room
	offset uint64
	by     string
	may    func(author string) bool
	done   func(*proto.Error)

	peer  *Room // where the twin is, nil for none
	found proto.Message
}

func (j *deleteJob) run() {
	r := j.room
	if j.peer != nil {
		j.runPair()
		return
	}
	err := r.find(proto.Range{After: j.offset - 1, Before: j.offset + 1}, &j.found)
	switch {
	case err != nil:
	case j.found.Offset == 0:
		err = proto.ErrNotFound.With("room %q has no message at offset %d any more", r.name, j.offset)
	case !j.may(j.found.From):
		err = proto.ErrForbidden.With("the message at offset %d of room %q is another user's", j.offset, r.name)
	case j.found.Kind == proto.KindDeleted:
		j.done(nil)
		return
	}
	if err != nil {
		j.done(err)
		return
	}
	twin := r.twinOf(&j.found)
	if twin == "" {
		if err := r.submitEdit(r.tombstone(&j.found, j.by, j.done)); err != nil {
			j.done(err)
		}
		return
	}
	r.hub.post(twin, r.ns, func(peer *Room, err *proto.Error) {
		if err != nil {
			j.done(err)
			return
		}
		peer.touch()
		j.peer = peer
		r.hub.readers.submit(j)
	})
}

// runPair goes on with the twin's room awake.
func (j *deleteJob) runPair() {
	r := j.room
	var twin proto.Message
	at := j.found.Time
	err := j.peer.find(proto.Range{From: at, To: at + 1, Before: j.peer.head.Load() + 1}, &twin)
	if err != nil {
		j.done(err)
		return
	}
	e := r.tombstone(&j.found, j.by, j.done)
	if twin.Offset == 0 || twin.ID != j.found.ID { // trimmed
		err = r.submitEdit(e)
	} else {
		err = r.submitPair(e, j.peer, j.peer.tombstone(&twin, j.by, func(*proto.Error) {}))
	}
	if err != nil {
		j.done(err)
	}
}

// find copies the first message of a range, without its content; its offset
// stays 0 where there is none. It may block.
func (r *Room) find(rg proto.Range, found *proto.Message) *proto.Error {
	rg.Limit = 1
	err := r.read(rg, func(m *proto.Message) bool {
		*found = *m
		found.Content = nil
		return false
	})
	if err != nil {
		r.hub.logger.Error("a message could not be read", "room", r.name, "error", err)
		return proto.ErrStorage.With("the history of room %q could not be read", r.name)
	}
	return nil
}

// twinOf names the other inbox that holds a direct message, "" for none.
func (r *Room) twinOf(m *proto.Message) string {
	owner, inbox := InboxOwner(r.name)
	switch {
	case !inbox:
		return ""
	case m.To != r.name: // the author's own copy
		return m.To
	case m.From != owner:
		return Inbox(m.From)
	}
	return ""
}

// tombstone returns the edit that deletes a message.
func (r *Room) tombstone(m *proto.Message, by string, done func(*proto.Error)) *edit {
	e := &edit{}
	e.Message, e.Edit, e.Durable = *m, proto.EditDelete, true
	e.Kind, e.Content = proto.KindDeleted, nil
	e.done = func(err *proto.Error) {
		if err == nil {
			r.deleted(&e.Message, by)
		}
		done(err)
	}
	return e
}

// submitPair gives two edits to the log, in one commit.
func (r *Room) submitPair(e *edit, peer *Room, twin *edit) *proto.Error {
	e.prepare(r)
	twin.prepare(peer)
	if !r.beginAppend() {
		return r.absent()
	}
	if !peer.beginAppend() {
		r.endAppend()
		return peer.absent()
	}
	err := r.hub.log.AppendPair(r.stream, &e.Publish, peer.stream, &twin.Publish)
	if err != nil {
		r.endAppend()
		peer.endAppend()
	}
	return err
}

// deleted puts a tombstone in the place of its message for all who come to read
// it, and tells the members.
func (r *Room) deleted(m *proto.Message, by string) {
	kept := *m // the edit goes, and whom it answered
	r.ring.replace(&kept)
	r.hub.replays.rewritten(r)
	r.keys.anyContent(m)
	ev := &proto.Event{Type: proto.EvDeleted, Room: r.name, MsgID: m.ID, Offset: m.Offset, UserID: by}
	b := batch{notice: noticeDeleted, deleted: ev}
	r.encodeEvents(&b, ev)
	r.deliver(&b)
	for _, listener := range r.listeners(nil) {
		form := r.form(listener)
		if b.encoding(form) == nil {
			r.encodeEvent(&b, form, ev)
		}
		if !listener.Deliver(b.encoding(form).frames) {
			r.lag(listener, m.Offset)
		}
	}
}

// miss notes what a member that is behind has not been told.
func (b *batch) miss(ms *Membership) {
	ms.missed |= b.notice
	if c := ms.cursor.Load(); c != nil && b.deleted != nil {
		c.retract(b.deleted)
	}
}

// retractionsWaiting is how many deletions may wait for one lagging member.
const retractionsWaiting = 4096

// retract keeps a deletion for a member that is behind: it is told after the
// message, if it gets it at all.
func (c *cursor) retract(ev *proto.Event) {
	c.mu.Lock()
	c.retracted = append(c.retracted, ev)
	n := len(c.retracted)
	c.mu.Unlock()
	if n > retractionsWaiting {
		c.ms.member.Close(proto.ErrSlowConsumer.With("more than %d deletions wait for a client that does not read", retractionsWaiting))
	}
}

// retractionsLocked appends the frames of the deletions of messages that the
// member has, or gets with the chunk, which may be empty: what comes after it are
// tombstones, as are some in it.
func (c *cursor) retractionsLocked(dst []byte, k *chunk) []byte {
	for _, ev := range c.retracted {
		here := k.first <= ev.Offset && ev.Offset <= k.last && !slices.Contains(k.deleted, ev.Offset)
		if ev.Offset < c.passed || here {
			dst = proto.AppendEventFrame(dst, c.ms.member.Form().Codec, ev)
		}
	}
	return dst
}

// takeRetractions appends the frames of all deletions that wait, which is to say
// that the cursor has reached the head.
func (c *cursor) takeRetractions(dst []byte) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.retractionsLocked(dst, new(chunk))
}

// replace puts a tombstone in the place of its message, if the ring has that.
func (r *ring) replace(m *proto.Message) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.n == 0 || m.Offset < r.at(0).Offset || m.Offset > r.at(r.n-1).Offset {
		return
	}
	i := int(m.Offset - r.at(0).Offset)
	size := len(r.at(i).Content)
	r.slots[(r.first+i)%len(r.slots)] = m
	r.bytes -= size
	r.budget.used.Add(-int64(size))
}

// anyContent lets a deleted message's key be answered whatever comes with it:
// the content to compare with is gone.
func (t *keyTable) anyContent(m *proto.Message) {
	if m.Key == "" {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if e := t.entries[keyID{m.From, m.To, m.Key}]; e != nil && e.done && e.offset == m.Offset {
		e.deleted = true
	}
}

// forget drops what waits to be saved of a room that has ended.
func (t *receipts) forget(room string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for of := range t.dirty {
		if of.room == room {
			delete(t.dirty, of)
		}
	}
}
