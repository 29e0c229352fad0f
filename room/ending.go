package room

import "github.com/thronghq/throng/proto"

// A room that is deleted ends in three steps: the log forgets it, which is when
// what was on its way is told from what came too late; its members are put out;
// and it leaves memory as soon as nothing of it is on the way any more. Until
// then it refuses everything, as a closed room does. The next one of its name
// begins anew.

// endedSettings are those of a room that has ended: a closed room without a
// host.
var endedSettings = &Settings{Closed: true}

// DeleteRoom ends a room, as its host may: its members are put out, its messages,
// settings, receipts and keys are gone. Done is called when a room of that name
// can begin anew, on the disk, too. Inboxes cannot be deleted.
func (h *Hub) DeleteRoom(by Actor, name string, ns *proto.Namespace, done func(*proto.Error)) {
	h.existing(name, ns, func(r *Room, err *proto.Error) {
		if err == nil {
			err = r.mayEnd(by)
		}
		if err == nil {
			e := &edit{done: func(err *proto.Error) { r.end(err, done) }}
			e.To, e.Edit, e.Durable = r.name, proto.EditEnd, true
			err = r.submitEdit(e)
		}
		if err != nil {
			done(err)
		}
	})
}

func (r *Room) mayEnd(by Actor) *proto.Error {
	if _, inbox := InboxOwner(r.name); inbox {
		return proto.ErrForbidden.With("room %q is an inbox; it can be trimmed, not deleted", r.name)
	}
	return r.mayRule(by)
}

// end takes it that the log has forgotten the room, or has failed to.
func (r *Room) end(err *proto.Error, done func(*proto.Error)) {
	if err != nil {
		if err.Code == proto.ErrRoomClosed { // another one has deleted it meanwhile
			err = r.missing()
		}
		done(err)
		return
	}
	r.ended = true
	r.settings.Store(endedSettings)
	r.unsaved.Store(false)
	r.expelAll(proto.ErrRoomClosed)
	for user := range r.presence.leaving {
		r.gone(user) // who was expected back
	}
	r.ring.clear()
	r.hub.replays.rewritten(r)
	r.hub.receipts.forget(r.name)
	r.farewells = append(r.farewells, done)
	r.watch() // so that the room leaves, whatever it still waits for
}

// missing is the answer of a room that nobody has created.
func (r *Room) missing() *proto.Error {
	return proto.ErrNotFound.With("nobody has created room %q", r.name)
}

// leave takes the room out of memory unless something keeps it there, and
// reports whether it did. Only its worker calls it.
func (r *Room) leave() bool {
	if !r.hub.forget(r) {
		return false
	}
	r.ring.clear()
	r.hub.replays.rewritten(r)
	r.keys.clear()
	for _, done := range r.farewells {
		done(nil)
	}
	r.farewells = nil
	return true
}
