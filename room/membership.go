package room

import (
	"sync/atomic"

	"github.com/thronghq/throng/proto"
)

type memberState uint8

const (
	stateOut    memberState = iota // not in the room
	stateLive                      // gets batches as they are made
	stateBehind                    // its cursor reads on for it
)

// Membership is one connection's place in one room. There are as many as
// connections, or more, so its size counts: a test bounds it.
type Membership struct {
	member Member // static

	// The room; while out of it perhaps one of the same name that has left
	// memory. Written by the worker that has the room.
	room atomic.Pointer[Room]

	// Written by the room's worker, read by Drained.
	cursor atomic.Pointer[cursor]

	// Owned by the worker that has the room.
	slot   int32 // index in the room's members, or out
	state  memberState
	echo   bool
	author bool // has a message in the batch at hand
	missed notice
	form   uint8 // index in the room's forms

	joining atomic.Int32 // joins in the room's queue
}

// out is the slot of who is not in the room.
const out = -1

// NewMembership returns a place that is not in the room yet; Join takes it. The
// room comes into memory.
func (h *Hub) NewMembership(m Member, room string, ns *proto.Namespace) *Membership {
	ms := &Membership{member: m, slot: out}
	ms.room.Store(h.room(room, ns))
	return ms
}

// Room names the room.
func (ms *Membership) Room() string { return ms.room.Load().name }

// Namespace returns the settings that hold for the room.
func (ms *Membership) Namespace() *proto.Namespace { return ms.room.Load().ns }

// in reports whether it is in that room. Only the room's worker calls it.
func (ms *Membership) in(r *Room) bool { return ms.slot != out && ms.room.Load() == r }

// Joining reports whether a join waits in the room's queue.
func (ms *Membership) Joining() bool { return ms.joining.Load() > 0 }

// Drained tells that the connection's outbox has room again after Deliver
// refused. It does not block.
func (ms *Membership) Drained() {
	if c := ms.cursor.Load(); c != nil {
		c.resume()
	}
}

// JoinRequest is a join command that the session has found in order.
type JoinRequest struct {
	ID        string
	Since     proto.Since // Epoch must not be borrowed
	Echo      bool
	MayCreate bool // the user has the right to create the room
}

// Join brings the connection into the room, or begins its stream anew where it
// is a member already. The answer is joined or an error; after an error that
// leaves it outside, Member.Ended follows.
func (h *Hub) Join(ms *Membership, req JoinRequest) {
	ms.joining.Add(1)
	h.post(ms.Room(), ms.Namespace(), func(r *Room, err *proto.Error) {
		ms.joining.Add(-1)
		if err == nil {
			err = r.admit(ms, req.MayCreate)
		}
		if err != nil {
			sendError(ms.member, req.ID, ms.Room(), err)
			if !ms.in(r) {
				ms.member.Ended(ms)
			}
			return
		}
		r.begin(ms, req)
	})
}

// admit makes ms a member, or says why not.
func (r *Room) admit(ms *Membership, mayCreate bool) *proto.Error {
	user := ms.member.UserID()
	if err := r.create(user, mayCreate); err != nil {
		return err
	}
	s := r.settings.Load()
	switch {
	case s.closed() && user != s.host():
		return proto.ErrRoomClosed.New()
	case s.banned(user):
		return proto.ErrBanned.New()
	case ms.in(r):
		return nil
	}
	if n := r.userCount(); s.maxUsers() > 0 && n >= s.maxUsers() && !r.has(user) {
		return proto.ErrRoomFull.With("room %q has %d users, as many as maxUsers allows", r.name, n)
	}
	ms.room.Store(r)
	ms.form = r.enterForm(r.form(ms.member))
	r.arrive(ms)
	r.hub.meters.members.Inc()
	return nil
}

// begin answers a join and starts the stream of messages where the client
// wants it.
func (r *Room) begin(ms *Membership, req JoinRequest) {
	r.touch()
	ms.stopCursor()
	ms.missed = 0 // joined says how things stand
	ms.echo = req.Echo
	ms.state = stateLive
	head := r.head.Load()
	start, recovered := r.start(req.Since, head)
	s := r.settings.Load()
	ms.member.Send(&proto.Event{
		Type: proto.EvJoined, ID: []byte(req.ID), Room: r.name, Epoch: r.epoch, Offset: head, Recovered: recovered,
		Host: s.host(), MaxUsers: s.maxUsers(), Members: r.userCount(),
	})
	if !recovered {
		r.hub.meters.unrecov.Inc()
		return
	}
	r.hub.meters.recovered.Inc()
	if start.next <= head {
		ms.state = stateBehind
		r.follow(ms, start, nil)
	}
}

// start finds where a stream begins. It reports false when what the client
// missed cannot be replayed whole.
func (r *Room) start(since proto.Since, head uint64) (startAt, bool) {
	switch since.Kind {
	case proto.SincePosition:
		pos := proto.Position{Epoch: string(since.Epoch), Offset: since.Offset, Time: since.Millis * 1000}
		if !r.covers(pos, head) || head-pos.Offset > uint64(r.hub.limits.Replay) {
			return startAt{}, false
		}
		return startAt{next: pos.Offset + 1, hint: pos.Time}, true
	case proto.SinceTime:
		if head == 0 || since.Millis*1000 > r.headTime.Load() {
			return startAt{next: head + 1}, true
		}
		return startAt{next: 1, from: since.Millis * 1000, loose: true}, true
	case proto.SinceLast:
		n := min(uint64(since.Last), head)
		return startAt{next: head - n + 1, loose: true}, true
	default:
		return startAt{next: head + 1}, false
	}
}

// covers reports whether everything after the position can be replayed.
func (r *Room) covers(pos proto.Position, head uint64) bool {
	if pos.Offset > head {
		return false
	}
	if pos.Epoch == r.epoch {
		oldest, _ := r.ring.oldest(r.cutoff())
		if pos.Offset == head || oldest > 0 && oldest <= pos.Offset+1 {
			return true
		}
	}
	return r.stream.Covers(pos)
}

// cutoff is the time (µs) before which messages are not shown any more.
func (r *Room) cutoff() int64 { return r.hub.now().Add(-r.ns.HistoryTTL).UnixMicro() }

// Leave takes the connection out of the room and answers left.
func (h *Hub) Leave(ms *Membership, id string) {
	h.post(ms.Room(), ms.Namespace(), func(r *Room, err *proto.Error) {
		if err == nil && !ms.in(r) {
			err = proto.ErrNotJoined.New()
		}
		if err != nil {
			sendError(ms.member, id, ms.Room(), err)
			return
		}
		r.remove(ms, true)
		ms.member.Send(&proto.Event{Type: proto.EvLeft, ID: []byte(id), Room: r.name})
		ms.member.Ended(ms)
	})
}

// Drop takes a connection that is gone out of the room.
func (h *Hub) Drop(ms *Membership) {
	h.post(ms.Room(), ms.Namespace(), func(r *Room, _ *proto.Error) {
		if ms.in(r) {
			r.remove(ms, false)
		}
	})
}

// remove ends a membership; nothing is delivered through it afterwards. Its
// user is gone at once, or has some time to come back.
func (r *Room) remove(ms *Membership, atOnce bool) {
	ms.stopCursor()
	last := len(r.members) - 1
	moved := r.members[last]
	r.members[ms.slot], moved.slot = moved, ms.slot
	r.members[last] = nil
	r.members = r.members[:last]
	r.forms[ms.form].members--
	r.hub.meters.members.Dec()
	ms.slot, ms.state = out, stateOut
	r.touch()
	r.depart(ms.member.UserID(), atOnce)
}

// expel removes a membership from the server's side and says why.
func (r *Room) expel(ms *Membership, code *proto.Code) {
	r.remove(ms, true)
	ms.member.Send(&proto.Event{Type: proto.EvRoomClosed, Room: r.name, Reason: code.Name})
	ms.member.Ended(ms)
}

// Expel takes the connection out of the room because it may not stay, and
// tells it so.
func (h *Hub) Expel(ms *Membership, code *proto.Code) {
	h.post(ms.Room(), ms.Namespace(), func(r *Room, _ *proto.Error) {
		if ms.in(r) {
			r.expel(ms, code)
		}
	})
}

// sendError answers a command with an error.
func sendError(m Member, id, room string, err *proto.Error) {
	m.Send(&proto.Event{Type: proto.EvError, ID: []byte(id), Room: room, Err: err})
}
