package netio

import (
	"math"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cloudwego/netpoll"
	"github.com/gobwas/ws"

	"github.com/thronghq/throng/proto"
)

// phase is how far a connection's life has come. It only grows.
type phase uint8

const (
	phaseHandshake phase = iota // the head of the request is being read
	phaseOpen                   // messages go both ways
	phaseClosing                // our close frame is queued, the peer's is awaited
	phaseLinger                 // the last bytes are queued; then the peer's end of stream is awaited
	phaseDead                   // shut down in both directions; the poller will report it
	phaseEnded                  // the descriptor is closed
)

const (
	closeWait  = 5 * time.Second // for the peer's close frame, and for a last flush
	lingerWait = 2 * time.Second // for the peer's end of stream after our last byte

	maxBound = math.MaxInt32 // of Accept.MaxMessage and MaxReplies
)

// interest is what the poller watches for a connection.
type interest uint8

const (
	watchRead      interest = iota
	watchReadWrite          // something waits to be written
	watchWrite              // and reading is paused
)

// Conn is one WebSocket connection. Its exported methods may be called from any
// goroutine at any time, also after the connection has ended: then they do
// nothing. A Conn is never used for a second connection, and the garbage
// collector frees it.
//
// There are as many as clients, so its size counts: a test bounds it. A field
// that most connections have no use for most of the time belongs behind one of
// the pointers.
type Conn struct {
	// Static after construction.
	loop *loop
	slot uint32 // of the sweep's record of this connection

	// Set by the loop's goroutine until the connection opens, static
	// afterwards.
	maxReplies uint32
	maxMessage uint32
	client     endpoint // the peer at first, then what a trusted one says
	window     proto.Window
	origin     origin
	state      any

	// Owned by the loop's goroutine.
	in      *frameReader  // nil between two messages; holds the head in phaseHandshake
	inHeld  atomic.Uint32 // bytes of in that are accounted for; anybody may read it
	turn    turn          // how its handshake stands with core.admission
	told    told          // what Handler knows of it
	paused  bool          // reading waits until replies have drained
	yielded bool          // … or just until the loop's other connections have had their turn
	muted   bool          // only the peer's close frame matters any more

	// Guarded by mu, which stands below the small ones: this way there are
	// no holes.
	phase   phase
	watch   interest
	corked  bool // a read is being processed: replies gather in loop.cork
	refused bool // Deliver refused: Drained is owed
	cause   CloseCause
	code    ws.StatusCode // that ended the connection, for the metrics
	mu      sync.Mutex
	op      *netpoll.FDOperator // with the descriptor; nil from phaseEnded on, which the loop's goroutine sets
	out     *outbox             // nil while nothing waits
	tls     *tlsStream          // nil for plain TCP; changed by the loop's goroutine alone
}

// told is how far Handler has been told of a connection.
type told uint8

const (
	toldNothing told = iota
	toldOpen         // Handler.Open was called
	toldClosed       // Handler.Closed was called
)

// origin is what is known of a connection when it is accepted.
type origin uint8

const (
	naked   origin = 1 << iota // the PROXY header has not come yet
	trusted                    // client is a trusted proxy: X-Forwarded-For counts
	full                       // accepted past the server's bound, to be answered 503
	secure                     // the address speaks TLS
	roomy                      // the kernel sizes its send buffer
)

func (o origin) is(what origin) bool { return o&what != 0 }

// set adds what, or takes it away.
func (o *origin) set(what origin, on bool) {
	*o &^= what
	if on {
		*o |= what
	}
}

// State returns Accept.State.
func (c *Conn) State() any { return c.state }

// Address returns the client's address: the peer's, or what a trusted proxy says
// it is. An IPv4 address has its plain form. It is not valid for a Unix socket
// whose peer names none.
func (c *Conn) Address() netip.Addr { return c.client.addrPort().Addr() }

// Window returns whether, and with which window, the frames that the client gets
// may be compressed (RFC 7692): proto.Plain unless permessage-deflate was agreed
// on. Frames that are not compressed may be sent all the same.
func (c *Conn) Window() proto.Window { return c.window }

// Reply sends one whole frame that answers this client. The frame is the
// caller's again when Reply returns. Replies are never dropped: when more than
// the bound's bytes wait (Limits.Replies or Accept.MaxReplies), the connection
// is closed with CauseReplies. Replies given while a message of the same
// connection is being handled leave together when it has been.
func (c *Conn) Reply(frame []byte) {
	c.mu.Lock()
	told := false
	if c.phase == phaseOpen {
		c.loop.stats.framesOut.Add(1)
		c.replyLocked(frame)
		if c.out != nil && c.out.replies > int(c.maxReplies) {
			told = c.failLocked(CauseReplies, proto.ErrSlowConsumer.Close, proto.ErrSlowConsumer.Reason, true)
		}
		c.accountOutLocked()
	}
	c.mu.Unlock()
	if told {
		c.loop.post(c, taskClosed)
	}
}

// ReplyMessage is Reply with a frame that has that payload, compressed where that
// was agreed on and makes it smaller. The payload is the caller's again when
// ReplyMessage returns.
func (c *Conn) ReplyMessage(op ws.OpCode, payload []byte) {
	if c.window == proto.Plain && c.corkMessage(op, payload) {
		return
	}
	pool := &c.loop.core.pool
	frame := AppendFrame(pool.get(len(payload)+ws.MaxHeaderSize), op, payload)
	frame = proto.DeflateFrame(frame, 0, c.window, 0)
	c.Reply(frame)
	pool.put(frame)
}

// corkMessage makes the frame of a reply where it will leave from. It reports
// whether it was the turn of that: the connection's read is being handled, and
// nothing waits.
func (c *Conn) corkMessage(op ws.OpCode, payload []byte) bool {
	c.mu.Lock()
	cork := c.corked && c.phase == phaseOpen && c.out == nil && len(c.loop.cork)+len(payload)+ws.MaxHeaderSize <= corkSize
	if cork {
		c.loop.stats.framesOut.Add(1)
		c.loop.cork = AppendFrame(c.loop.cork, op, payload)
	}
	c.mu.Unlock()
	return cork
}

// Deliver sends one or more whole frames of a room. The bytes are shared: they
// are kept by reference until written, and nobody may change them any more.
//
// It returns false if the deliveries that wait have passed Limits.Outbox. Then
// nothing was taken, and Handler.Drained follows when they have fallen below a
// quarter of it. A connection that has ended takes everything. Without frames
// it tells whether Drained is still to come after an earlier refusal: whoever
// makes frames for one client need not make them in vain.
func (c *Conn) Deliver(frames []byte) bool {
	c.mu.Lock()
	if c.phase != phaseOpen {
		c.mu.Unlock()
		return true
	}
	if len(frames) == 0 {
		defer c.mu.Unlock()
		return !c.refused
	}
	ok := c.deliverLocked(frames)
	c.mu.Unlock()
	if ok {
		c.loop.stats.deliveries.Add(1)
	} else {
		c.loop.stats.refused.Add(1)
	}
	return ok
}

// Prefetch announces a Deliver: it brings the connection into the processor's
// caches, where there is an instruction for that, and has no other effect. Of
// several that are prefetched in turn the waiting for memory overlaps.
func (c *Conn) Prefetch() { prefetch(c) }

// Close sends what waits and a close frame, waits some seconds for the peer's,
// and ends the connection. No message arrives any more.
func (c *Conn) Close(code ws.StatusCode, reason string) { c.closeFor(CauseServer, code, reason) }

func (c *Conn) closeFor(cause CloseCause, code ws.StatusCode, reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.phase != phaseOpen {
		return
	}
	c.phase, c.cause, c.code = phaseClosing, cause, code
	c.setDueLocked(closeWait)
	var frame [2 + maxControl]byte
	c.replyLocked(appendCloseFrame(frame[:0], code, reason))
	c.accountOutLocked()
}

// Abort ends the connection at once, without a close frame.
func (c *Conn) Abort() { c.die(CauseServer) }

func (c *Conn) die(cause CloseCause) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dieLocked(cause)
}

// SetDeadline has Handler.Expired called once after t, within a second or so; a
// deadline set later takes its place. The zero time is no deadline.
func (c *Conn) SetDeadline(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.phase != phaseOpen:
	case t.IsZero():
		c.dueTick().Store(0)
	default:
		c.setDueLocked(time.Until(t))
	}
}

// setDueLocked has the sweep come back to the connection in d.
func (c *Conn) setDueLocked(d time.Duration) {
	c.dueTick().Store(c.loop.core.clock.in(d))
}

// endLocked leaves phaseOpen or phaseClosing for good: frame is the last one.
// It reports whether the caller must see to it that Handler.Closed is called.
func (c *Conn) endLocked(cause CloseCause, code ws.StatusCode, frame []byte) bool {
	if c.phase != phaseOpen && c.phase != phaseClosing {
		return false
	}
	if c.phase == phaseOpen {
		c.cause, c.code = cause, code
	}
	c.phase = phaseLinger
	c.setDueLocked(closeWait)
	if frame != nil {
		c.replyLocked(frame)
	}
	c.accountOutLocked()
	c.finishLocked()
	return true
}

// failLocked ends the connection with a close frame of ours and does not wait
// for an answer. With drop, what waits is dropped.
func (c *Conn) failLocked(cause CloseCause, code ws.StatusCode, reason string, drop bool) bool {
	if drop && c.out != nil {
		c.out.dropUnsent(&c.loop.core.pool, &c.loop.core.memory)
	}
	if drop && c.corked {
		c.loop.cork = c.loop.cork[:0]
	}
	if c.phase == phaseClosing {
		return c.endLocked(cause, code, nil) // our close frame is on its way
	}
	var frame [2 + maxControl]byte
	return c.endLocked(cause, code, appendCloseFrame(frame[:0], code, reason))
}

// finishLocked tells the peer that nothing follows, once all of it is written.
func (c *Conn) finishLocked() {
	if c.phase == phaseLinger && c.out == nil && !(c.corked && len(c.loop.cork) > 0) {
		if c.tls != nil && !c.tls.endLocked() {
			return // flushLocked comes back here
		}
		c.setDueLocked(lingerWait)
		shutdownWrite(c.op.FD)
	}
}

// dieLocked gives the connection up: nothing is written any more, and the
// poller will report it as hung up.
func (c *Conn) dieLocked(cause CloseCause) {
	if c.phase >= phaseDead {
		return
	}
	c.deadLocked(cause)
	shutdownBoth(c.op.FD)
}

// deadLocked notes that a connection is given up.
func (c *Conn) deadLocked(cause CloseCause) {
	if c.phase < phaseClosing {
		c.cause, c.code = cause, ws.StatusAbnormalClosure
	}
	c.phase = phaseDead
	c.discardOutLocked()
}

// discardOutLocked drops all that waits.
func (c *Conn) discardOutLocked() {
	if c.corked {
		c.loop.cork = c.loop.cork[:0]
	}
	if c.out != nil {
		c.loop.core.freeOutbox(c.out)
		c.out = nil
	}
	if c.tls != nil {
		c.tls.discardLocked()
	}
	c.accountOutLocked()
}

// accountOutLocked brings the memory counts up to the outbox and the ciphertext.
func (c *Conn) accountOutLocked() {
	m := &c.loop.core.memory
	if c.out != nil {
		c.out.counted.to(m.outboxes, c.out.own)
	}
	if c.tls != nil {
		c.tls.counted.to(m.outboxes, cap(c.tls.out))
	}
}
