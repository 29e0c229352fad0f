package netio

import (
	"syscall"
	"unsafe"

	"github.com/cloudwego/netpoll"
	"golang.org/x/sys/unix"
)

const (
	corkSize   = 64 << 10 // replies to one read that leave in one write
	maxVectors = 16       // pieces in one write
	// plainSendBuffer is SO_SNDBUF of what net/http answers, where the kernel
	// cannot be left to size it.
	plainSendBuffer = 256 << 10
	sendFlags       = unix.MSG_DONTWAIT | unix.MSG_NOSIGNAL
)

// replyLocked sends a copy of frame, or queues it behind what waits.
func (c *Conn) replyLocked(frame []byte) {
	switch {
	case c.out != nil:
		c.out.reply(&c.loop.core.pool, frame)
	case c.corked:
		if len(c.loop.cork)+len(frame) > corkSize {
			c.flushCorkLocked()
		}
		if c.out == nil && len(frame) <= corkSize {
			c.loop.cork = append(c.loop.cork, frame...)
			return
		}
		c.sendReplyLocked(frame)
	default:
		c.sendReplyLocked(frame)
	}
}

// sendReplyLocked writes frame now and queues a copy of what is left.
func (c *Conn) sendReplyLocked(frame []byte) {
	n := 0
	if c.out == nil {
		var ok bool
		if n, ok = c.sendLocked(frame); !ok || n == len(frame) {
			return
		}
	}
	o := c.queueLocked()
	o.reply(&c.loop.core.pool, frame[n:])
	o.cut = o.cut || n > 0
}

// deliverLocked sends shared frames, or queues them. It returns false if they
// are too many.
func (c *Conn) deliverLocked(frames []byte) bool {
	n := 0
	if c.out == nil && !c.corked {
		var ok bool
		n, ok = c.sendLocked(frames)
		if !ok || n == len(frames) {
			return true
		}
	} else if c.out != nil && c.out.deliveries > 0 && c.out.deliveries+len(frames) > c.loop.core.limits.Outbox {
		c.refused = true
		return false
	}
	if c.corked && len(c.loop.cork) > 0 && c.out == nil {
		c.flushCorkLocked()
	}
	if c.phase >= phaseDead {
		return true
	}
	c.queueLocked().deliver(&c.loop.core.memory, frames, n)
	c.accountOutLocked()
	return true
}

// queueLocked returns the outbox, with the poller watching for its drain.
func (c *Conn) queueLocked() *outbox {
	if c.out == nil {
		c.out = c.loop.core.newOutbox()
	}
	c.watchLocked()
	return c.out
}

// watchLocked has the poller watch for writability while something waits. A
// corked connection is written to when the read is done.
func (c *Conn) watchLocked() {
	if c.watch == watchRead && !c.corked && c.phase < phaseDead {
		c.watch = watchReadWrite
		c.watchOutputLocked(netpoll.PollR2RW)
	}
}

// watchOutputLocked begins to watch for writability. The connection's function
// for it is made the first time: most never wait for their sockets.
func (c *Conn) watchOutputLocked(event netpoll.PollEvent) {
	if c.op.OnWrite == nil {
		c.op.OnWrite = c.onWrite
	}
	_ = c.loop.poll.Control(c.op, event) // fails only where the hang-up is under way
}

// flushCorkLocked writes the corked replies; what is left goes to the outbox.
func (c *Conn) flushCorkLocked() {
	cork := c.loop.cork
	c.loop.cork = cork[:0]
	if len(cork) > 0 && c.phase < phaseDead {
		c.sendReplyLocked(cork)
	}
}

// uncorkLocked writes what was gathered.
func (c *Conn) uncorkLocked() {
	if c.out == nil {
		c.flushCorkLocked()
	}
	c.corked = false
	c.flushLocked()
}

// flushLocked writes what waits, as far as the socket takes it.
func (c *Conn) flushLocked() {
	for c.out != nil && c.phase < phaseDead {
		if c.tls != nil && !c.tls.flushLocked() {
			c.watchLocked()
			break
		}
		if c.out.empty() {
			c.loop.core.freeOutbox(c.out)
			c.out = nil
			break
		}
		n, size, ok := c.sendPiecesLocked()
		if !ok {
			return
		}
		c.out.wrote(&c.loop.core.pool, &c.loop.core.memory, n)
		if n < size {
			c.watchLocked()
			break
		}
	}
	if c.out == nil && c.watch == watchReadWrite {
		c.watch = watchRead
		_ = c.loop.poll.Control(c.op, netpoll.PollRW2R) // fails only where the hang-up is under way
	}
	c.accountOutLocked()
	c.finishLocked()
}

// sendPiecesLocked writes the first pieces of the outbox with one system call.
// It returns the bytes written and asked for.
func (c *Conn) sendPiecesLocked() (n, size int, ok bool) {
	o := c.out
	if c.tls != nil {
		return c.tls.sealPiecesLocked(o)
	}
	first := o.pieces[o.head].b[o.sent:]
	count := min(len(o.pieces)-o.head, maxVectors)
	if count == 1 {
		n, ok = c.sendLocked(first)
		return n, len(first), ok
	}
	var vectors [maxVectors]syscall.Iovec
	for i, p := range o.pieces[o.head : o.head+count] {
		b := p.b
		if i == 0 {
			b = first
		}
		vectors[i].Base = unsafe.SliceData(b)
		vectors[i].SetLen(len(b))
		size += len(b)
	}
	message := syscall.Msghdr{Iov: &vectors[0], Iovlen: uint64(count)}
	r, _, errno := syscall.RawSyscall(syscall.SYS_SENDMSG, uintptr(c.op.FD), uintptr(unsafe.Pointer(&message)), sendFlags)
	n, ok = c.sentLocked(int(r), errno)
	return n, size, ok
}

// sendLocked writes b as far as the socket takes it. ok is false if the
// connection is lost, which it has then been given up for.
func (c *Conn) sendLocked(b []byte) (n int, ok bool) {
	switch {
	case len(b) == 0:
		return 0, true
	case c.tls != nil:
		return c.tls.sealLocked(b)
	}
	return c.sendRawLocked(b)
}

// sendRawLocked is sendLocked without TLS.
func (c *Conn) sendRawLocked(b []byte) (n int, ok bool) {
	r, _, errno := syscall.RawSyscall6(syscall.SYS_SENDTO, uintptr(c.op.FD),
		uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), sendFlags, 0, 0)
	return c.sentLocked(int(r), errno)
}

// sentLocked judges the outcome of a send.
func (c *Conn) sentLocked(n int, errno syscall.Errno) (int, bool) {
	switch errno {
	case 0:
		c.loop.stats.writes.Add(1)
		c.loop.stats.bytesOut.Add(uint64(n))
		return n, true
	case syscall.EAGAIN, syscall.EINTR, syscall.ENOBUFS, syscall.ENOMEM:
		return 0, true
	}
	c.dieLocked(CauseCut)
	return 0, false
}

// shutdownWrite sends the end of the stream.
func shutdownWrite(fd int) { _ = unix.Shutdown(fd, unix.SHUT_WR) } // fails only where the peer has gone

// shutdownBoth ends the stream in both directions, which the poller reports.
func shutdownBoth(fd int) { _ = unix.Shutdown(fd, unix.SHUT_RDWR) } // fails only where the peer has gone

// boundSendBuffer bounds what the kernel keeps of a stream. A failure leaves its
// own bound.
func boundSendBuffer(fd, size int) { _ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, size) }

// freeSendBuffer has the kernel size the buffer again.
func freeSendBuffer(fd int) {
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BUF_LOCK, 0) != nil { // before Linux 5.14
		boundSendBuffer(fd, plainSendBuffer)
	}
}
