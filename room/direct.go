package room

import (
	"runtime"
	"slices"
	"strings"

	"github.com/thronghq/throng/proto"
)

// A direct message goes into two logs: the inbox of the user that it is for,
// and the author's own, so that the author's other devices have it. Both are
// rooms of the namespace "user", and one commit appends to both. The author's
// inbox leads: its offset is in the ack, and its keys are looked up.

// Inbox names a user's inbox.
func Inbox(user string) string { return proto.UserNamespace + ":" + user }

// InboxOwner returns the user whose inbox a room is.
func InboxOwner(room string) (user string, ok bool) {
	return strings.CutPrefix(room, proto.UserNamespace+":")
}

// PublishDirect sends a message to another user's inbox. It is Publish in all
// else; ms is the author's place in its own inbox, or nil.
func (h *Hub) PublishDirect(m Member, ms *Membership, to string, ns *proto.Namespace, p Publication) {
	o := newOutgoing(m, ms, to, p)
	if p.Transient {
		o.ms = nil // its audience is in the other inbox
		h.hold(to, ns, o)
		return
	}
	o.direct = true
	h.hold(Inbox(o.From), ns, o)
}

// appendDirect queues a message of the author's inbox r: direct messages of one
// author go out in their order, though an addressee's inbox may have to be woken
// first. Only r's worker calls it.
func (r *Room) appendDirect(o *outgoing) {
	if err := r.keep(o); err != nil {
		r.refuse(o, err)
		return
	}
	if r.directs = append(r.directs, o); len(r.directs) == 1 {
		r.sendDirects()
	}
}

// sendDirects appends queued direct messages to both inboxes until it has to
// wait for one of them to wake.
func (r *Room) sendDirects() {
	for len(r.directs) > 0 {
		o := r.directs[0]
		peer := r.hub.room(o.To, r.ns)
		if !peer.awake.Load() {
			r.awaitPeer(o)
			return
		}
		taken, err := r.appendPair(o, peer)
		switch {
		case err != nil:
			r.refuse(o, err)
		case !taken:
			runtime.Gosched() // the inbox is just leaving memory
			continue
		}
		r.dropDirect(o)
	}
	r.directs = nil
}

// dropDirect takes the first direct message, o, off the queue.
func (r *Room) dropDirect(o *outgoing) {
	r.unkeep(o)
	r.directs = r.directs[1:]
}

// awaitPeer goes on with the queue once the addressee's inbox is awake, or
// refuses the message where it does not wake.
func (r *Room) awaitPeer(o *outgoing) {
	r.held.Add(1)
	r.hub.post(o.To, r.ns, func(_ *Room, err *proto.Error) {
		r.post(op{do: func(r *Room, _ *proto.Error) {
			r.held.Add(-1)
			if err != nil {
				r.dropDirect(o)
				r.refuse(o, err)
			}
			r.sendDirects()
		}})
	})
}

// appendPair appends a message to both inboxes. It reports false where the
// addressee's has left memory.
func (r *Room) appendPair(o *outgoing, peer *Room) (taken bool, _ *proto.Error) {
	twin := &outgoing{Publish: proto.Publish{Message: o.Message}}
	twin.Key = "" // the addressee has no use for it
	o.Origin, twin.Origin = o, twin
	if err := peer.overloaded(); err != nil {
		return false, err
	}
	if !peer.beginAppend() {
		return false, nil
	}
	r.beginAppend() // r is alive: its worker is at it
	size := o.size()
	r.backlog.Add(size)
	peer.backlog.Add(size)
	err := r.hub.log.AppendPair(r.stream, &o.Publish, peer.stream, &twin.Publish)
	if err != nil {
		r.backlog.Add(-size)
		peer.backlog.Add(-size)
		r.endAppend()
		peer.endAppend()
		return false, err
	}
	r.hub.meters.published.Inc()
	return true, nil
}

// listeners appends the connections of an inbox's owner that have not joined
// it: they get what comes live all the same.
func (r *Room) listeners(dst []Member) []Member {
	user, ok := InboxOwner(r.name)
	if !ok {
		return dst
	}
	start := len(dst)
	dst = r.hub.people.Members(dst, user)
	joined := func(m Member) bool {
		return slices.ContainsFunc(r.members, func(ms *Membership) bool { return ms.member == m })
	}
	return append(dst[:start], slices.DeleteFunc(dst[start:], joined)...)
}

// deliverDirect writes a batch to the inbox's listeners that have no message in
// it. A listener has no cursor: what its outbox refuses it can read from the
// inbox's history, and lag says from where.
func (r *Room) deliverDirect(b *batch) {
	for _, m := range b.listeners {
		if slices.ContainsFunc(b.authors, func(a author) bool { return a.member == m }) {
			continue
		}
		r.deliverOrLag(b, m, b.encoding(r.form(m)).frames)
	}
}

func (r *Room) deliverOrLag(b *batch, m Member, frames []byte) {
	switch {
	case m.Deliver(frames):
	case b.first == 0:
		r.hub.meters.dropped.Inc()
	default:
		r.lag(m, b.first)
	}
}

// lag tells a listener that it missed the messages from an offset on.
func (r *Room) lag(m Member, offset uint64) {
	r.hub.meters.lagged.Inc()
	m.Send(&proto.Event{Type: proto.EvLag, Room: r.name, Offset: offset - 1})
}

// maxReceipts is how many messages one ack of an inbox looks at for authors to
// tell.
const maxReceipts = 1000

// deliveredJob tells the authors of an inbox's messages that they have arrived.
type deliveredJob struct {
	room *Room
	user string // the inbox's owner
	to   uint64 // the offset that was acknowledged
}

func (j *deliveredJob) run() {
	r := j.room
	from, err := r.hub.receipt(r.name, j.user)
	if err != nil {
		r.hub.logger.Error("a receipt could not be read", "room", r.name, "error", err)
		return
	}
	if from >= j.to || !r.hub.receipts.raise(r.name, j.user, j.to) {
		return
	}
	if j.to > maxReceipts {
		from = max(from, j.to-maxReceipts)
	}
	latest := make(map[string]proto.MsgID)
	err = r.read(proto.Range{After: from, Before: j.to + 1}, func(m *proto.Message) bool {
		if m.From != j.user {
			latest[m.From] = m.ID
		}
		return true
	})
	if err != nil {
		r.hub.logger.Error("acknowledged messages could not be read", "room", r.name, "error", err)
		return
	}
	var sessions []Member
	for from, id := range latest {
		sessions = r.hub.people.Members(sessions[:0], from)
		for _, m := range sessions {
			m.Send(&proto.Event{Type: proto.EvDelivered, Room: r.name, MsgID: id})
		}
	}
}
