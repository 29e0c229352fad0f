package room

import (
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/thronghq/throng/proto"
)

const (
	// frameOverhead is about what a message's frame has beside its content.
	frameOverhead = 192

	// fanChunk is how many members one worker takes at a time in a room that
	// several workers share, and fanYield how many it serves before it lets
	// the scheduler run something else: sends are raw system calls, in which
	// the scheduler cannot step in. fanPrefetch members are prefetched at a
	// time, see docs/design/0056-prefetch.md.
	fanChunk    = 512
	fanYield    = 32
	fanPrefetch = 16
)

// batch is one fan-out in the making. It is used again, by whichever room.
type batch struct {
	pubs      []*outgoing
	first     uint64       // the lowest offset in it, 0 when all are transient
	notice    notice       // what it tells of in place of messages
	deleted   *proto.Event // the deletion that it tells of, nil for none
	encodings []encoding
	authors   []author
	listeners []Member // of an inbox, see Room.listeners

	ack proto.Event // that is being encoded
}

// author is a connection that has messages in the batch, and what it gets in
// place of the plain frames.
type author struct {
	member Member
	ms     *Membership // nil when it is not in the room
	hears  bool        // it gets what the others write
}

// fanOut sends committed publishes to all members: the authors first, each
// with its acks in place of its messages, then the others.
func (r *Room) fanOut(ops []op) {
	b := batches.Get().(*batch)
	for _, o := range ops {
		r.take(b, o.pub)
	}
	if len(b.pubs) > 0 {
		r.touch()
		r.hub.meters.batches.Inc()
		r.hub.meters.batched.Add(len(b.pubs))
		b.listeners = r.listeners(b.listeners)
		r.encode(b)
		for _, a := range b.authors {
			r.answer(b, a)
		}
		r.deliver(b)
		r.deliverDirect(b)
		r.settle(b)
		if o := r.hub.observer; o != nil && b.first > 0 {
			o.Published(r.name, r.epoch, b.first, r.head.Load())
		}
	}
	b.reset()
	batches.Put(b)
}

// batches lends what fan-outs are made in.
var batches = sync.Pool{New: func() any { return new(batch) }}

// take moves the room's head over one message and adds it to the batch. One that
// failed is answered at once.
func (r *Room) take(b *batch, p *proto.Publish) {
	o := p.Origin.(*outgoing)
	p.Origin = nil
	r.backlog.Add(-o.size())
	if p.Err != nil {
		r.hub.meters.refused.Inc()
		if p.Settings != nil {
			r.unsaved.Store(true)
		}
		r.settleKey(o)
		o.fail(p.Err)
		return
	}
	r.finishKey(o)
	if o.ms == nil || !o.ms.in(r) {
		o.ms = r.placeOf(b, o.member)
	}
	if o.ms != nil && o.ms.state == stateBehind && !o.acked {
		// Its cursor must know of the ack before it can read the message.
		o.ms.cursor.Load().expect(o)
		o.acked = true
	}
	if p.Offset > 0 {
		r.head.Store(p.Offset)
		r.headTime.Store(p.Time)
		r.ring.push(&p.Message)
		if b.first == 0 {
			b.first = p.Offset
		}
	}
	b.pubs = append(b.pubs, o)
	b.addAuthor(o)
}

// placeOf finds the place of an author that had none, or another one, when it
// published: it may have joined before the log gave the message back.
func (r *Room) placeOf(b *batch, m Member) *Membership {
	if m == nil {
		return nil
	}
	if n := len(b.pubs); n > 0 && b.pubs[n-1].member == m {
		return b.pubs[n-1].ms
	}
	if i := slices.IndexFunc(r.members, func(ms *Membership) bool { return ms.member == m }); i >= 0 {
		return r.members[i]
	}
	return nil
}

func (b *batch) addAuthor(o *outgoing) {
	switch {
	case o.member == nil: // the addressee's copy of a direct message
		return
	case o.ms == nil:
		for _, a := range b.authors {
			if a.member == o.member {
				return
			}
		}
	case o.ms.author || o.ms.state == stateBehind:
		return
	default:
		o.ms.author = true
	}
	b.authors = append(b.authors, author{o.member, o.ms, o.ms != nil})
}

// settle ends the batch for its authors and their idempotency keys.
func (r *Room) settle(b *batch) {
	for _, a := range b.authors {
		if a.ms != nil {
			a.ms.author = false
		}
	}
	for _, o := range b.pubs {
		r.settleKey(o)
	}
}

// reset lets go of everything that the batch refers to.
func (b *batch) reset() {
	for _, o := range b.pubs {
		o.member, o.ms, o.id = nil, nil, nil
	}
	const kept = 64
	if cap(b.pubs) > kept {
		*b = batch{}
		return
	}
	clear(b.pubs)
	clear(b.authors)
	clear(b.encodings)
	*b = batch{pubs: b.pubs[:0], authors: b.authors[:0], encodings: b.encodings[:0]} // listeners are rare
}

// answer gives an author its acks, and in their places in the stream what the
// others wrote.
func (r *Room) answer(b *batch, a author) {
	a.hears = a.hears || slices.Contains(b.listeners, a.member)
	frames := r.compose(b, a)
	if len(frames) == 0 || a.member.Deliver(frames) {
		return
	}
	var acks []waitingAck
	for _, o := range b.pubs {
		if o.member == a.member && !o.acked {
			acks = append(acks, o.waitingAck())
		}
	}
	if a.ms != nil && r.fallBehind(a.ms, b.first, acks) {
		return
	}
	for i := range acks {
		a.member.Send(acks[i].event())
	}
	if a.hears && b.first > 0 {
		r.lag(a.member, b.first)
	}
}

// compose builds what one author gets for the batch.
func (r *Room) compose(b *batch, a author) []byte {
	form := r.form(a.member)
	enc := b.encoding(form)
	buf := scratch.Get().(*[]byte)
	frames, start := (*buf)[:0], 0
	for i, o := range b.pubs {
		own := o.member == a.member
		if own && !o.acked {
			b.ack = *o.ack()
			frames = proto.AppendEventFrame(frames, form.Codec, &b.ack)
		}
		switch {
		case !a.hears:
		case own && a.ms != nil && a.ms.echo:
			frames = r.appendMessage(frames, form, &o.Message, true)
		case !own:
			frames = append(frames, enc.frames[start:enc.ends[i]]...)
		}
		if enc != nil {
			start = enc.ends[i]
		}
	}
	return keepOf(buf, frames)
}

// deliver sends the batch to every live member that has no message in it. A
// large room is shared among the workers: each takes the next chunk of members
// until none is left, so a worker that comes late or never costs nothing.
func (r *Room) deliver(b *batch) {
	if len(r.members) <= fanChunk || r.hub.fans == 1 {
		r.deliverTo(b, r.members)
		return
	}
	f := &fan{room: r, batch: b, chunks: int64((len(r.members) + fanChunk - 1) / fanChunk)}
	f.undone.Add(int(f.chunks))
	for range r.hub.fans - 1 {
		r.hub.workers.submit(f)
	}
	f.run()
	f.undone.Wait()
}

// fan is one batch's way to a large room's members.
type fan struct {
	room   *Room
	batch  *batch
	chunks int64
	next   atomic.Int64
	undone sync.WaitGroup // chunks not yet delivered
}

func (f *fan) run() {
	for {
		i := f.next.Add(1) - 1
		if i >= f.chunks {
			return
		}
		members := f.room.members
		f.room.deliverTo(f.batch, members[i*fanChunk:min(int(i+1)*fanChunk, len(members))])
		f.undone.Done()
	}
}

// deliverTo writes the batch to these members. Nothing is allocated for each.
func (r *Room) deliverTo(b *batch, members []*Membership) {
	var enc *encoding
	var form uint8 // of enc
	for i, ms := range members {
		if i%fanYield == fanYield-1 {
			runtime.Gosched()
		}
		if i%fanPrefetch == 0 {
			for _, next := range members[i:min(i+fanPrefetch, len(members))] {
				next.member.Prefetch()
			}
		}
		if ms.state != stateLive {
			b.miss(ms)
			continue
		}
		if ms.author {
			continue
		}
		if enc == nil || ms.form != form {
			form = ms.form
			enc = b.encoding(r.forms[form].form)
		}
		switch {
		case ms.member.Deliver(enc.frames):
		case b.notice != 0:
			r.fallBehind(ms, r.head.Load()+1, nil)
			b.miss(ms)
		default:
			r.fallBehind(ms, b.first, nil)
		}
	}
}

// fallBehind is what happens to a live member whose outbox refused the message
// at the given offset; 0 stands for transient messages alone, which are simply
// lost to it. The acks wait for their places in its stream. It reports whether
// the member got a cursor.
func (r *Room) fallBehind(ms *Membership, offset uint64, acks []waitingAck) bool {
	m := r.hub.meters
	switch {
	case offset == 0:
		m.dropped.Inc()
		return false
	case r.ns.Slow == proto.SlowClose:
		m.slowClosed.Inc()
		ms.state = stateBehind
		ms.cursor.Store(newCursor(r, ms, startAt{next: offset}, acks)) // stays where it is until the connection has gone
		ms.member.Close(proto.ErrSlowConsumer.New())
	case r.ns.Slow == proto.SlowConflate:
		m.conflated.Inc()
		ms.state = stateBehind
		r.follow(ms, startAt{next: offset, latest: true}, acks)
	default:
		m.lagged.Inc()
		ms.state = stateBehind
		ms.member.Send(&proto.Event{Type: proto.EvLag, Room: r.name, Offset: offset - 1})
		r.follow(ms, startAt{next: offset}, acks)
	}
	return true
}
