package room

import (
	"math/rand/v2"
	"runtime"

	"github.com/thronghq/throng/proto"
)

// Publication is a message command that the session has found in order. Its
// slices may be borrowed: Publish copies what it keeps.
type Publication struct {
	ID        []byte
	Key       []byte
	Content   []byte
	Kind      proto.Kind
	Transient bool
	MayCreate bool // the user has the right to create the room
}

// outgoing is a publish on its way, with whom to answer.
type outgoing struct {
	proto.Publish

	member    Member
	ms        *Membership // the author's place in the room when it published, or nil
	id        []byte
	acked     bool // the answer is out already
	transient bool
	direct    bool // goes to another user's inbox, too
	mayCreate bool
	entry     *keyEntry // of an idempotency key, nil for none
}

// ack is the answer to the author.
func (o *outgoing) ack() *proto.Event {
	return &proto.Event{Type: proto.EvAck, ID: o.id, Room: o.To, MsgID: o.Message.ID, Offset: o.Offset, Millis: o.Millis()}
}

// fail answers the author with an error. The addressee's copy of a direct
// message has nobody to answer.
func (o *outgoing) fail(err *proto.Error) {
	if o.member == nil {
		return
	}
	o.member.Send(&proto.Event{Type: proto.EvError, ID: o.id, Room: o.To, Err: err})
}

// newOutgoing copies what a publication borrows.
func newOutgoing(m Member, ms *Membership, to string, p Publication) *outgoing {
	buf := make([]byte, 0, len(p.Content)+len(p.ID))
	buf = append(append(buf, p.Content...), p.ID...)
	o := &outgoing{
		member:    m,
		ms:        ms,
		id:        buf[len(p.Content):],
		transient: p.Transient,
		mayCreate: p.MayCreate,
	}
	o.From, o.To, o.Kind, o.Content = m.UserID(), to, p.Kind, buf[:len(p.Content):len(p.Content)]
	o.Key = string(p.Key)
	return o
}

// Publish sends a message to the room. Member m gets an ack or an error; ms is
// its place in the room, or nil.
func (h *Hub) Publish(m Member, ms *Membership, name string, ns *proto.Namespace, p Publication) {
	o := newOutgoing(m, ms, name, p)
	if r := h.room(name, ns); r.awake.Load() && r.held.Load() == 0 && !r.fresh() {
		r.publish(o)
		return
	}
	h.hold(name, ns, o)
}

// hold sends a message through the room's queue, because the room is waking,
// or not yet created, or because an earlier message is held: what one client
// sends to a room keeps its order.
func (h *Hub) hold(name string, ns *proto.Namespace, o *outgoing) {
	for {
		r := h.room(name, ns)
		if err := r.keep(o); err != nil {
			r.refuse(o, err)
			return
		}
		r.held.Add(1)
		if r.post(op{do: func(r *Room, err *proto.Error) { r.release(o, err) }}) {
			return
		}
		r.held.Add(-1)
		r.unkeep(o)
		runtime.Gosched() // the room is just leaving memory
	}
}

// keep counts a message that has to wait before the log can have it, or says
// why it cannot: what waits is bounded for each room, and for all together,
// because a disk that does not answer keeps every room from waking.
func (r *Room) keep(o *outgoing) *proto.Error {
	if err := r.overloaded(); err != nil {
		return err
	}
	size := o.size()
	if r.hub.kept.Add(size) > maxKept {
		r.hub.kept.Add(-size)
		return overloadedBy("more messages wait for rooms to be read from the disk than fit in memory")
	}
	r.backlog.Add(size)
	return nil
}

// unkeep undoes keep.
func (r *Room) unkeep(o *outgoing) {
	size := o.size()
	r.backlog.Add(-size)
	r.hub.kept.Add(-size)
}

// release publishes a held message, or keeps it until the room's keys are
// read.
func (r *Room) release(o *outgoing, err *proto.Error) {
	if err == nil {
		err = r.create(o.From, o.mayCreate)
	}
	if err == nil && r.awaitKeys(o) {
		return
	}
	r.unkeep(o)
	if err != nil {
		o.fail(err)
	} else {
		r.publish(o)
	}
	r.held.Add(-1)
}

// publish hands a message to the log, or a transient one to the queue.
func (r *Room) publish(o *outgoing) {
	if !o.direct {
		o.To = r.name // one string for all of the room's messages
	}
	if err := r.settings.Load().mayPublish(o.From); err != nil {
		o.fail(err)
		return
	}
	switch {
	case o.transient:
		r.publishTransient(o)
	case o.Key != "":
		r.publishKeyed(o)
	default:
		r.append(o)
	}
}

// refuse answers a message that the log did not take.
func (r *Room) refuse(o *outgoing, err *proto.Error) {
	r.hub.meters.refused.Inc()
	o.Origin = nil
	if o.entry != nil {
		o.Err = err
		r.settleKey(o)
	}
	o.fail(err)
}

func (r *Room) publishTransient(o *outgoing) {
	r.hub.meters.transient.Inc()
	o.Time = r.hub.now().UnixMicro()
	o.Message.ID = proto.NewMsgID(o.Time, rand.Uint64())
	o.Origin = o
	o.acked = true
	o.member.Send(o.ack())
	size := o.size()
	r.backlog.Add(size)
	if r.overloaded() != nil || !r.post(op{pub: &o.Publish}) {
		// Too much is queued already, or the room has just left memory,
		// being empty.
		r.backlog.Add(-size)
		r.hub.meters.dropped.Inc()
	}
}

// size is what a message counts in the room's backlog.
func (o *outgoing) size() int64 { return int64(len(o.Content) + frameOverhead) }

// overloaded refuses messages while the room has too many that its members have
// not been sent yet: a log takes far more than a large room's fan-out.
func (r *Room) overloaded() *proto.Error {
	if r.backlog.Load() < maxBacklog {
		return nil
	}
	return overloadedBy("room %q has more messages on their way than it can send to its members", r.name)
}

func overloadedBy(format string, args ...any) *proto.Error {
	err := proto.ErrOverloaded.With(format, args...)
	err.RetryAfter = backlogRetry
	return err
}

// append gives a message to the log. The room stays in memory until the log
// has given it back.
func (r *Room) append(o *outgoing) {
	if o.direct {
		r.appendDirect(o)
		return
	}
	if err := r.overloaded(); err != nil {
		r.refuse(o, err)
		return
	}
	if !r.beginAppend() {
		r.abandonKey(o)
		r.hub.hold(r.name, r.ns, o) // for the room's next life
		return
	}
	if r.unsaved.CompareAndSwap(true, false) {
		o.Settings = r.settings.Load().marshal()
	}
	o.Origin = o
	size := o.size() // o belongs to the log afterwards
	r.backlog.Add(size)
	err := r.stream.Append(&o.Publish)
	if err == nil {
		r.hub.meters.published.Inc()
		return
	}
	r.backlog.Add(-size)
	r.endAppend()
	if o.Settings != nil {
		o.Settings = nil
		r.unsaved.Store(true)
	}
	r.refuse(o, err)
}

// beginAppend keeps the room in memory until the log has given a publish back.
// It reports false where the room is out of memory already.
func (r *Room) beginAppend() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.dead {
		return false
	}
	r.appending++
	return true
}

// endAppend undoes beginAppend where the log took nothing.
func (r *Room) endAppend() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.appending--
}
