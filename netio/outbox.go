package netio

// slotCost is what one waiting piece costs beside its bytes.
const slotCost = 32

// piece is one run of whole frames that waits to be written.
type piece struct {
	b    []byte
	kind pieceKind
}

type pieceKind uint8

const (
	sharedPiece pieceKind = iota // holds deliveries, which others may hold, too
	ownedPiece                   // holds replies; lent by the pool
	pingPiece                    // pingFrame
)

// outbox is the FIFO of what could not be written at once. It exists only
// while something waits. Its connection's lock guards it.
//
// Shared pieces are referenced, never copied. Replies are copied into owned
// pieces; the last one takes more until it is full.
type outbox struct {
	pieces     []piece
	head       int     // of the first piece that is not written
	sent       int     // bytes of that piece that are written
	cut        bool    // the first piece begins inside a frame of which bytes are written
	replies    int     // unwritten bytes and slots of owned pieces
	deliveries int     // unwritten bytes and slots of shared pieces
	own        int     // what the queue alone takes: slots and the owned pieces' capacity
	counted    counted // of own
	shared     int     // bytes of shared pieces that it keeps alive, perhaps with others
	pings      int     // pings that wait
}

// empty reports whether nothing waits.
func (o *outbox) empty() bool { return o.head == len(o.pieces) }

// deliver appends a shared piece, of which sent bytes are written; that is not 0
// only in an empty outbox.
func (o *outbox) deliver(m *memory, frames []byte, sent int) {
	o.pieces = append(o.pieces, piece{b: frames})
	if sent > 0 {
		o.sent, o.cut = sent, true
	}
	o.deliveries += len(frames) - sent + slotCost
	o.own += slotCost
	o.shared += len(frames)
	m.outboxes.Hold(frames)
}

// reply appends a copy of frame.
func (o *outbox) reply(pool *buffers, frame []byte) {
	o.replies += len(frame)
	if last := len(o.pieces) - 1; last >= o.head && o.pieces[last].kind == ownedPiece {
		if p := &o.pieces[last]; len(p.b)+len(frame) <= cap(p.b) {
			p.b = append(p.b, frame...)
			return
		}
	}
	b := append(pool.get(len(frame)), frame...)
	o.pieces = append(o.pieces, piece{b: b, kind: ownedPiece})
	o.replies += slotCost
	o.own += cap(b) + slotCost
}

// ping puts a ping before everything but a piece that is partly written. Of
// pings at most one waits.
func (o *outbox) ping() {
	if o.pings > 0 {
		return
	}
	at := o.head
	if o.cut {
		at++
	}
	o.pieces = append(o.pieces, piece{})
	copy(o.pieces[at+1:], o.pieces[at:])
	o.pieces[at] = piece{b: pingFrame, kind: pingPiece}
	o.pings++
	o.own += slotCost
}

// dropUnsent forgets everything but a piece that is partly written, so that the
// stream still ends at the end of a frame.
func (o *outbox) dropUnsent(pool *buffers, m *memory) {
	keep := o.head
	if o.cut && keep < len(o.pieces) {
		keep++
	}
	for i := keep; i < len(o.pieces); i++ {
		o.forget(pool, m, &o.pieces[i], len(o.pieces[i].b))
	}
	o.pieces = o.pieces[:keep]
}

// wrote takes n written bytes off the front.
func (o *outbox) wrote(pool *buffers, m *memory, n int) {
	for n > 0 {
		p := &o.pieces[o.head]
		left := len(p.b) - o.sent
		if n < left {
			o.sent += n
			o.cut = true
			o.spend(p, n)
			return
		}
		n -= left
		o.sent, o.cut = 0, false
		o.head++
		o.forget(pool, m, p, left)
	}
	if o.head > len(o.pieces)/2 && o.head >= 64 {
		o.pieces = append(o.pieces[:0], o.pieces[o.head:]...)
		clear(o.pieces[len(o.pieces):cap(o.pieces)])
		o.head = 0
	}
}

// spend takes n bytes of a piece off the counts.
func (o *outbox) spend(p *piece, n int) {
	switch p.kind {
	case ownedPiece:
		o.replies -= n
	case sharedPiece:
		o.deliveries -= n
	}
}

// forget takes a whole piece, of which left bytes are unwritten, off the counts
// and gives its buffer back.
func (o *outbox) forget(pool *buffers, m *memory, p *piece, left int) {
	o.spend(p, left+slotCost)
	o.own -= slotCost
	switch p.kind {
	case ownedPiece:
		o.own -= cap(p.b)
		pool.put(p.b)
	case sharedPiece:
		o.shared -= len(p.b)
		m.outboxes.Drop(p.b)
	case pingPiece:
		o.pings--
	}
	*p = piece{}
}

// discard forgets everything, and leaves the outbox to be used again.
func (o *outbox) discard(pool *buffers, m *memory) {
	for i := o.head; i < len(o.pieces); i++ {
		o.forget(pool, m, &o.pieces[i], 0)
	}
	keep := o.pieces[:0]
	if cap(keep) > 256 {
		keep = nil
	}
	*o = outbox{pieces: keep}
}
