package netio

import (
	"crypto/tls"
	"io"
	"net"
	"time"
)

const (
	maxRecord     = 16<<10 - 256 // plaintext in one TLS record, so that its ciphertext fits 16 KiB; RFC 8446, section 5.1, allows 16 KiB
	maxSealed     = 64 << 10     // ciphertext that may wait for the socket
	recordSetup   = 22           // first byte of a connection that speaks TLS: a handshake record
	acmeTLSALPN   = "acme-tls/1"
	plainBuffer   = 64 << 10 // what one read is decrypted into; each loop has one such buffer
	tlsHelp       = "this address does not speak TLS: use http:// or ws://"
	plaintextHelp = "this address speaks TLS: use https:// or wss://"
)

// tlsStream puts crypto/tls, which wants a connection that it can wait on, on an
// event loop. It is the net.Conn beneath a tls.Conn, in three lives:
//
//   - While hs is there, a goroutine of handshakes runs the handshake. Read waits
//     for what the loop feeds to hs; Write takes the connection's lock.
//   - Then the loop reads and whoever holds the connection's lock writes, both
//     under that lock. Read returns what the loop has put in src and errDry
//     after it, which is temporary, so that crypto/tls goes on where it was at
//     the next read. Write hands ciphertext to the socket, and keeps what does
//     not fit in out. It never fails while the connection lives, for crypto/tls
//     does not forget a write that failed, and ciphertext cannot be dropped:
//     its records are numbered. So no record is made while out holds something,
//     and outboxes hold plaintext.
//   - Where web is there, net/http has the connection, and Read and Write wait.
type tlsStream struct {
	conn *tls.Conn // static

	// Owned by the loop's goroutine; by net/http where web is there.
	src  []byte // ciphertext to read now, borrowed
	rest []byte // ciphertext that waits while reading is paused, lent by the pool
	web  net.Conn

	given int // of sealed, what a record between two messages has been given time for

	// Written by the loop's goroutine under the lock of c, or before it starts.
	c  *Conn
	hs *tlsHandshake // nil once the handshake is done

	// Guarded by the lock of c.
	out     []byte  // ciphertext that waits for the socket, lent by the pool; nil for none
	sent    int     // bytes of it that are written
	counted counted // of out
}

// dry is the error of a read that would have to wait.
type dry struct{}

// Error implements error.
func (dry) Error() string { return "no ciphertext is left for now" }

// Timeout implements net.Error.
func (dry) Timeout() bool { return true }

// Temporary implements net.Error: crypto/tls remembers all other errors.
func (dry) Temporary() bool { return true }

var errDry net.Error = dry{}

// Read implements net.Conn.
func (s *tlsStream) Read(b []byte) (int, error) {
	if s.hs != nil {
		return s.hs.read(s, b)
	}
	from := &s.src
	if s.web != nil {
		if len(s.rest) == 0 {
			return s.web.Read(b)
		}
		from = &s.rest
	}
	if len(*from) == 0 {
		return 0, errDry
	}
	n := copy(b, *from)
	*from = (*from)[n:]
	return n, nil
}

// Write implements net.Conn.
func (s *tlsStream) Write(b []byte) (int, error) {
	if s.web != nil {
		if s.out != nil {
			if _, err := s.web.Write(s.out[s.sent:]); err != nil {
				return 0, err
			}
			s.out, s.sent = nil, 0
		}
		return s.web.Write(b)
	}
	if s.hs != nil {
		s.c.mu.Lock()
		defer s.c.mu.Unlock()
	}
	return s.writeLocked(b)
}

// writeLocked takes ciphertext whole.
func (s *tlsStream) writeLocked(b []byte) (int, error) {
	c, n := s.c, 0
	if c.phase >= phaseDead {
		return 0, net.ErrClosed
	}
	if s.out == nil {
		var ok bool
		if n, ok = c.sendRawLocked(b); !ok {
			return 0, net.ErrClosed
		}
	}
	if n == len(b) {
		return n, nil
	}
	if len(s.out)-s.sent+len(b)-n > maxSealed {
		c.dieLocked(CauseCut) // it has us answer and reads no answer
		return 0, net.ErrClosed
	}
	s.out = c.loop.core.pool.append(s.out, b[n:])
	c.queueLocked() // an outbox, empty as it may be, is what has the poller watch
	c.accountOutLocked()
	return len(b), nil
}

// Close implements net.Conn.
func (s *tlsStream) Close() error {
	if s.web != nil {
		return s.web.Close()
	}
	return nil // the loop closes the descriptor
}

// LocalAddr implements net.Conn.
func (s *tlsStream) LocalAddr() net.Addr {
	if s.web != nil {
		return s.web.LocalAddr()
	}
	return webAddr{}
}

// RemoteAddr implements net.Conn.
func (s *tlsStream) RemoteAddr() net.Addr {
	if s.web != nil {
		return s.web.RemoteAddr()
	}
	return net.TCPAddrFromAddrPort(s.c.client.addrPort())
}

// SetDeadline implements net.Conn. On a loop nothing waits, so that there is
// nothing to end.
func (s *tlsStream) SetDeadline(t time.Time) error {
	if s.web != nil {
		return s.web.SetDeadline(t)
	}
	return nil
}

// SetReadDeadline implements net.Conn.
func (s *tlsStream) SetReadDeadline(t time.Time) error {
	if s.web != nil {
		return s.web.SetReadDeadline(t)
	}
	return nil
}

// SetWriteDeadline implements net.Conn.
func (s *tlsStream) SetWriteDeadline(t time.Time) error {
	if s.web != nil {
		return s.web.SetWriteDeadline(t)
	}
	return nil
}

// sealLocked encrypts and sends b, record by record, for as long as the socket
// takes them whole. It returns how much of b it took. ok is false if the
// connection is lost.
func (s *tlsStream) sealLocked(b []byte) (n int, ok bool) {
	for n < len(b) && s.out == nil {
		m, err := s.conn.Write(b[n:min(len(b), n+maxRecord)])
		if err != nil {
			s.c.dieLocked(CauseCut)
			return n, false
		}
		n += m
	}
	return n, true
}

// sealPiecesLocked sends the first pieces of the outbox, small ones together in
// one record. It returns the bytes taken and asked for.
func (s *tlsStream) sealPiecesLocked(o *outbox) (n, size int, ok bool) {
	first := o.pieces[o.head].b[o.sent:]
	if len(first) >= maxRecord || o.head+1 == len(o.pieces) {
		n, ok = s.sealLocked(first)
		return n, len(first), ok
	}
	pool := &s.c.loop.core.pool
	record := append(pool.get(maxRecord), first...)
	for _, p := range o.pieces[o.head+1:] {
		room := maxRecord - len(record)
		if room == 0 {
			break
		}
		record = append(record, p.b[:min(len(p.b), room)]...)
	}
	n, ok = s.sealLocked(record)
	size = len(record)
	pool.put(record)
	return n, size, ok
}

// flushLocked writes the ciphertext that waits, and reports whether none is
// left.
func (s *tlsStream) flushLocked() bool {
	if s.out == nil {
		return true
	}
	n, ok := s.c.sendRawLocked(s.out[s.sent:])
	if !ok {
		return false
	}
	if s.sent += n; s.sent < len(s.out) {
		return false
	}
	s.discardLocked()
	return true
}

// discardLocked drops the ciphertext that waits.
func (s *tlsStream) discardLocked() {
	s.c.loop.core.pool.put(s.out)
	s.out, s.sent = nil, 0
}

// endLocked tells the peer that nothing follows (close_notify, RFC 8446, section
// 6.1), and reports whether the socket has taken it.
func (s *tlsStream) endLocked() bool {
	if s.hs == nil {
		_ = s.conn.CloseWrite() // does nothing the second time, and writeLocked never fails on a live connection
	}
	return s.out == nil
}

// held returns how many bytes the stream holds for the loop.
func (s *tlsStream) held() int {
	if s.hs != nil {
		return s.hs.held()
	}
	return cap(s.rest) + s.buffered()
}

// received takes ciphertext from the socket.
func (s *tlsStream) received(b []byte) {
	c := s.c
	if s.hs == nil {
		s.src = b
		c.pump()
		return
	}
	if !s.hs.feed(&c.loop.core.pool, b) && !c.paused {
		c.paused = true
		c.loop.post(c, taskPause)
	}
}

// pump decrypts what src holds and what crypto/tls has still got, and reads it.
// What a pause leaves goes to rest.
func (c *Conn) pump() {
	s, plain := c.tls, c.loop.plain
	for {
		c.mu.Lock()
		if c.phase > phaseClosing {
			c.mu.Unlock()
			break
		}
		n, err := s.openLocked(plain)
		if err == errDry {
			s.trimLocked()
		}
		c.mu.Unlock()
		if n > 0 {
			c.take(plain[:n])
		}
		if c.tls != s {
			return // net/http has it
		}
		if err == nil && !c.paused {
			continue
		}
		if err != nil && err != errDry {
			c.lastTurn()
			c.unreadable(err)
		}
		break
	}
	if c.paused && len(s.src) > 0 {
		s.rest = c.loop.core.pool.append(s.rest, s.src)
	}
	s.src = nil
}

// openLocked fills plain with what can be decrypted. Without an error there may
// be more.
func (s *tlsStream) openLocked(plain []byte) (n int, err error) {
	for n < len(plain) && err == nil {
		var m int
		m, err = s.conn.Read(plain[n:])
		n += m
	}
	return n, err
}

// unreadable ends a connection whose peer has said that nothing follows, or
// whose records are not what they should be. crypto/tls has sent the alert.
func (c *Conn) unreadable(err error) {
	if err != io.EOF {
		c.loop.core.stats.tlsBroken.Add(1)
	}
	c.die(CauseCut)
}

// release gives the buffers back, once the descriptor is closed.
func (s *tlsStream) release() {
	if s.hs != nil {
		s.c.loop.core.handshakes.leave(s)
		s.hs.fail(&s.c.loop.core.pool, net.ErrClosed)
	}
	s.c.loop.core.pool.put(s.rest)
	s.rest = nil
}

// toWeb takes the stream off its connection, to which nothing is written any
// more, for net/http.
func (s *tlsStream) toWebLocked() {
	s.counted.to(s.c.loop.core.memory.outboxes, 0)
	rest, out := s.src, s.out
	s.rest, s.src = append([]byte(nil), rest...), nil
	if out != nil {
		s.out, s.sent = append([]byte(nil), out[s.sent:]...), 0
		s.c.loop.core.pool.put(out)
	}
}
