package netio

import (
	"syscall"

	"github.com/cloudwego/netpoll"
	"github.com/gobwas/ws"

	"github.com/thronghq/throng/proto"
)

// readBufferSize is how much one read takes. Each loop has one such buffer.
const readBufferSize = 64 << 10

// maxEndReads bounds what is read from a peer that has gone.
const maxEndReads = 128

// onRead is called by the poller when there is something to read.
func (c *Conn) onRead(netpoll.Poll) error {
	if c.paused {
		return nil // the task that stops the watching is on its way
	}
	n, errno := recv(c.op.FD, c.loop.buf)
	if errno != 0 {
		switch errno {
		case syscall.EAGAIN, syscall.EINTR:
		case syscall.ECONNRESET:
			c.reset()
		default:
			c.die(CauseCut)
		}
		return nil
	}
	if n == 0 {
		return nil // the end of the stream: onHup follows
	}
	c.received(c.loop.buf[:n])
	return nil
}

// reset gives up a connection that the peer has reset: it has hung up already.
func (c *Conn) reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.phase < phaseDead {
		c.deadLocked(CauseCut)
	}
}

// received takes bytes from the socket, which it overwrites.
func (c *Conn) received(b []byte) {
	c.seenTick().Store(c.loop.core.clock.now())
	c.loop.stats.bytesIn.Add(uint64(len(b)))
	if c.tls != nil {
		c.tls.received(b)
		if c.told == toldOpen {
			c.expectMore() // a record may be on its way, of which nothing can be read yet
		}
	} else {
		c.take(b)
	}
	c.accountIn()
}

// take takes what the peer sent, decrypted where it was encrypted, and
// overwrites it.
func (c *Conn) take(b []byte) {
	switch c.currentPhase() {
	case phaseHandshake:
		c.readHead(b)
	case phaseOpen, phaseClosing:
		c.readFrames(b)
	}
}

// readFrames reads b with its replies corked.
func (c *Conn) readFrames(b []byte) {
	c.mu.Lock()
	c.corked = true
	c.muted = c.phase != phaseOpen
	c.mu.Unlock()
	r := c.in
	if r == nil {
		r = c.loop.reader
		r.maxMessage, r.inflater = int(c.maxMessage), c.inflater()
	}
	if r.inflater != nil {
		r.inflater.spent = 0
	}
	n, err := r.feed(b, c)
	if extra := r.extra; extra > 0 {
		r.extra = 0
		if c.loop.core.counter != nil && !c.muted {
			c.loop.core.counter.Frames(c, extra)
		}
	}
	switch {
	case err != nil:
		c.mu.Lock()
		c.failLocked(CauseProtocol, err.code, err.reason, false)
		c.mu.Unlock()
	case n < len(b) && c.paused:
		r.stash(b[n:])
	}
	c.uncork()
	c.keepReader(r)
}

// inflater returns what reads compressed messages of this connection, nil where
// it may not send any.
func (c *Conn) inflater() *inflater {
	if c.window == proto.Plain {
		return nil
	}
	if c.loop.unpack == nil {
		c.loop.unpack = newInflater(&c.loop.core.pool, c.loop.core.memory.inflated, &c.loop.stats.inflate)
	}
	return c.loop.unpack
}

// keepReader keeps the reader with the connection while it holds something.
func (c *Conn) keepReader(r *frameReader) {
	over := c.currentPhase() > phaseClosing
	switch {
	case over:
		r.release()
		r.pool = &c.loop.core.pool
		fallthrough
	case r.idle():
		c.forgive()
		if c.in == r {
			c.in = nil
			c.loop.core.readers.Put(r)
		}
	case c.in == nil:
		c.forgive()
		c.in, c.loop.reader = r, c.loop.core.newReader()
	}
	c.expectMore()
	if over {
		c.tellClosed()
	}
}

// forgetPartial gives back what was held of a message when the connection was
// ended from elsewhere: none of it is read any more.
func (c *Conn) forgetPartial() {
	if c.in == nil || c.currentPhase() <= phaseClosing {
		return
	}
	c.in.release()
	c.in = nil
	c.forgive()
	c.accountIn()
}

// forgive waits for nothing that has begun to come.
func (c *Conn) forgive() {
	if gain := c.gainTick(); gain.Load() != 0 {
		gain.Store(0)
	}
}

// expectMore says by when more of the message, or of the TLS record, that is on its
// way has to have come. A connection that is not read from is not waited for.
func (c *Conn) expectMore() {
	sealed := c.tls.sealed()
	gained := sealed
	switch {
	case c.paused || c.in == nil && sealed == 0:
		c.forgive()
		return
	case c.in != nil:
		gained += c.in.gained
	default:
		gained -= c.tls.given
	}
	gain := c.gainTick()
	if gain.Load() != 0 && gained < enoughGained {
		return
	}
	gain.Store(c.loop.core.clock.in(c.loop.core.limits.MessageTimeout))
	if c.in != nil {
		c.in.gained = -sealed // which will come to it
	} else {
		c.tls.given = sealed
	}
}

// uncork writes the replies to a read, and pauses reading while too many wait.
func (c *Conn) uncork() {
	c.mu.Lock()
	c.uncorkLocked()
	drained := c.drainedLocked()
	c.mu.Unlock()
	if c.paused {
		c.loop.post(c, taskPause)
	}
	if drained {
		c.loop.core.handler.Drained(c)
	}
}

// message implements frameSink.
func (c *Conn) message(op ws.OpCode, payload []byte) bool {
	c.loop.stats.framesIn.Add(1)
	if !c.muted {
		c.loop.core.handler.Message(c, op, payload)
	}
	return c.readOn()
}

// control implements frameSink.
func (c *Conn) control(op ws.OpCode, payload []byte) bool {
	c.loop.stats.framesIn.Add(1)
	switch op {
	case ws.OpPing:
		c.Reply(AppendFrame(c.loop.control[:0], ws.OpPong, payload))
	case ws.OpClose:
		c.peerClosed(payload)
		return false
	}
	return c.readOn()
}

// readOn reports whether the next frame may be read, and pauses reading once a
// quarter of the replies that may wait do, or more came of compressed messages
// than fits one turn.
func (c *Conn) readOn() bool {
	c.mu.Lock()
	if c.phase == phaseOpen && c.out != nil && c.out.replies > int(c.maxReplies/4) {
		c.flushLocked()
		c.paused = c.phase == phaseOpen && c.out != nil && c.out.replies > int(c.maxReplies/4)
	}
	if c.window != proto.Plain && !c.paused && c.phase <= phaseClosing && c.loop.unpack.spent > inflateTurn {
		c.paused, c.yielded = true, true // the socket is likely to take bytes, which resumes it soon
	}
	c.muted = c.phase != phaseOpen
	more := !c.paused && c.phase <= phaseClosing
	c.mu.Unlock()
	return more
}

// peerClosed answers the peer's close frame (RFC 6455, section 5.5.1).
func (c *Conn) peerClosed(body []byte) {
	code, err := parseClose(body)
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err != nil:
		c.failLocked(CauseProtocol, err.code, err.reason, false)
	case c.phase == phaseClosing:
		c.endLocked(CausePeer, code, nil)
	default:
		c.endLocked(CausePeer, code, appendCloseFrame(c.loop.control[:0], code, ""))
	}
}

// onWrite is called by the poller when the socket takes bytes again.
func (c *Conn) onWrite(netpoll.Poll) error {
	if c.paused {
		c.seenTick().Store(c.loop.core.clock.now()) // it is not read from, but it takes bytes: it lives
	}
	c.mu.Lock()
	c.flushLocked()
	drained := c.drainedLocked()
	resume := c.paused && (c.out == nil || c.out.replies < int(c.maxReplies/8))
	c.mu.Unlock()
	if resume {
		c.loop.post(c, taskResume)
	}
	if drained {
		c.loop.core.handler.Drained(c)
	}
	return nil
}

// drainedLocked reports, once after each refusal, that deliveries fit again.
func (c *Conn) drainedLocked() bool {
	if !c.refused || c.phase != phaseOpen || c.out != nil && c.out.deliveries >= c.loop.core.limits.Outbox/4 {
		return false
	}
	c.refused = false
	return true
}

// pause stops the watching for input and watches for output alone. It runs as a
// task: a poller cannot change that inside the operator's own function.
func (c *Conn) pause() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.phase > phaseLinger || c.watch == watchWrite || !c.paused {
		return
	}
	if c.loop.poll.Control(c.op, netpoll.PollDetach) != nil {
		return // the poller has detached it: the hang-up is under way
	}
	c.watch = watchWrite
	c.watchOutputLocked(netpoll.PollWritable)
}

// resume watches for input again, and reads what was left.
func (c *Conn) resume() {
	c.mu.Lock()
	if c.phase > phaseLinger || !c.paused || c.handshakeFull() || !c.watchInputLocked() {
		c.mu.Unlock()
		return
	}
	reading := c.phase <= phaseClosing
	c.mu.Unlock()
	if reading {
		if c.told != toldNothing {
			c.expectMore()
		}
		c.readLeft()
		c.readRest()
	}
}

// readLeft reads what a pause has left, as far as it was decrypted.
func (c *Conn) readLeft() {
	if c.in != nil && c.in.rest != nil {
		rest := c.in.rest
		c.in.rest = nil
		c.readFrames(rest)
		c.loop.core.pool.put(rest)
		c.accountIn()
	}
}

// lastTurn reads, as readLeft does, what other connections were to have their turn
// before: the peer has gone, and there will be no other turn.
func (c *Conn) lastTurn() {
	for c.yielded {
		c.paused, c.yielded = false, false
		c.readLeft()
	}
}

// watchInputLocked undoes a pause, and reports whether the connection is read
// again. Where the task that pauses has not run yet, it will find nothing to do.
func (c *Conn) watchInputLocked() bool {
	if c.watch == watchWrite {
		if c.loop.poll.Control(c.op, netpoll.PollDetach) != nil {
			return false // the hang-up is under way
		}
		c.watch = watchRead
		_ = c.loop.poll.Control(c.op, netpoll.PollReadable) // an open descriptor can be watched
	}
	c.paused, c.yielded = false, false
	if c.out != nil {
		c.watchLocked()
	}
	return true
}

// handshakeFull reports whether a TLS handshake has as much as it may be fed.
func (c *Conn) handshakeFull() bool { return c.tls != nil && c.tls.hs != nil && c.tls.hs.isFull() }

// onHup is called by the poller, on a goroutine of its own, when the peer has
// gone and the operator is detached.
func (c *Conn) onHup(netpoll.Poll) error {
	c.loop.post(c, taskEnd)
	return nil
}

// end reads what the peer sent before it went, in turns as before, and closes the
// descriptor.
func (c *Conn) end() {
	if c.yielded {
		c.paused, c.yielded = false, false
		c.readLeft()
		c.readRest()
	}
	for range maxEndReads {
		if c.yielded {
			c.loop.post(c, taskEnd)
			return
		}
		if p := c.currentPhase(); c.paused || p == phaseHandshake || p >= phaseDead {
			break
		}
		n, errno := recv(c.op.FD, c.loop.buf)
		if errno == syscall.EINTR {
			continue
		}
		if errno != 0 || n == 0 {
			break
		}
		c.received(c.loop.buf[:n])
	}
	c.leaveQueue()
	c.mu.Lock()
	c.dieLocked(CauseCut)
	c.discardOutLocked()
	c.phase = phaseEnded
	op, fd, stream := c.op, c.op.FD, c.tls
	c.op, c.tls = nil, nil
	c.mu.Unlock()

	if c.in != nil {
		c.in.release()
		c.in = nil
	}
	if stream != nil {
		stream.release()
	}
	c.accountIn()
	c.tellClosed()
	c.loop.poll.Free(op)
	closeDescriptor(fd)
	c.loop.core.leave(c)
}

// tellClosed calls Handler.Closed, once, if Open was called.
func (c *Conn) tellClosed() {
	if c.told != toldOpen {
		return
	}
	c.told = toldClosed
	c.mu.Lock()
	cause, code := c.cause, c.code
	c.mu.Unlock()
	c.loop.core.stats.closed(cause, code)
	c.loop.core.handler.Closed(c, cause)
}

// accountIn brings the memory counts up to the reader's buffers.
func (c *Conn) accountIn() {
	held := 0
	if c.in != nil {
		held = c.in.held()
	}
	if c.tls != nil {
		held += c.tls.held()
	}
	if d := held - int(c.inHeld.Load()); d != 0 {
		c.inHeld.Store(uint32(held))
		c.loop.core.memory.partials.Add(int64(d))
	}
}

// currentPhase returns the phase as it is now.
func (c *Conn) currentPhase() phase {
	c.mu.Lock()
	p := c.phase
	c.mu.Unlock()
	return p
}
