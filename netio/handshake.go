package netio

import (
	"bytes"
	"cmp"
	"crypto/sha1"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/cloudwego/netpoll"

	"github.com/thronghq/throng/proto"
)

// newConn makes a connection of an accepted or adopted socket, which it owns
// from then on. Nothing happens before start.
func newConn(l *loop, fd int, client netip.AddrPort, from origin) *Conn {
	c := &Conn{loop: l, client: newEndpoint(client), origin: from}
	co := l.core
	co.live.enter()
	co.slots.take(c)
	c.seenTick().Store(co.clock.now())
	c.dueTick().Store(co.clock.in(co.limits.HandshakeTimeout))
	op := l.poll.Alloc()
	op.FD = fd
	op.OnRead, op.OnHup = c.onRead, c.onHup // OnWrite: see watchOutputLocked
	c.op = op
	return c
}

// start has the loop watch the connection.
func (c *Conn) start() {
	c.loop.core.slots.publish(c)
	if err := c.loop.poll.Control(c.op, netpoll.PollReadable); err != nil {
		c.loop.post(c, taskEnd) // the kernel has no room to watch it
	}
}

// adopt takes up a connection that net/http held: in holds the request's head,
// written anew, and what followed it.
func (c *Conn) adopt() {
	first := c.in.rest
	c.in.rest = nil
	c.loop.core.readers.Put(c.in)
	c.in = nil
	c.start()
	c.readHead(first)
	c.loop.core.pool.put(first)
	c.readRest()
	c.accountIn()
}

// readHead takes bytes of the request's head, and what follows it.
func (c *Conn) readHead(b []byte) {
	scanned := 0
	if c.in != nil {
		scanned = len(c.in.rest)
		c.in.stash(b)
		b = c.in.rest
	}
	if c.origin.is(naked) {
		var whole bool
		if b, whole = c.readProxyHeader(b); !whole {
			return
		}
		scanned = 0
	}
	if c.origin.is(secure) && c.tls == nil {
		c.startTLS(b)
		return
	}
	if c.tls == nil && len(b) > 0 && b[0] == recordSetup {
		c.loop.core.stats.tlsHandshake("plain")
		c.refuseKept(proto.ErrBadHandshake.With(tlsHelp))
		return
	}
	if c.turn == turnWaiting {
		// A client has nothing to say before it is answered (RFC 6455,
		// section 4.1); what little it does say is kept.
		if len(b) > c.loop.core.limits.HandshakeBytes {
			c.refuseKept(proto.ErrHandshakeLarge.New())
		}
		return
	}
	size := findHead(b, scanned)
	if size == 0 && len(b) <= c.loop.core.limits.HandshakeBytes {
		c.keepHead(b)
		return
	}
	lent := c.takeHead()
	c.handshake(b, size)
	c.loop.core.pool.put(lent)
}

// keepHead keeps the beginning of a head, where it is not kept already.
func (c *Conn) keepHead(b []byte) {
	if c.in == nil && len(b) > 0 {
		c.in = c.loop.core.newReader()
		c.in.stash(b)
	}
}

// takeHead returns what was kept of the head, lent by the pool, or nil.
func (c *Conn) takeHead() []byte {
	if c.in == nil {
		return nil
	}
	lent := c.in.rest
	c.in.rest = nil
	c.loop.core.readers.Put(c.in)
	c.in = nil
	return lent
}

// readProxyHeader takes the PROXY header off b, which holds all that the
// connection has sent, and returns what follows it. It reports whether the
// header was there; if not, b is kept, or the connection refused.
func (c *Conn) readProxyHeader(b []byte) (rest []byte, whole bool) {
	h, err := parseProxyHeader(b)
	if err != nil {
		c.refuseKept(proto.ErrBadHandshake.With("%v", err))
		return nil, false
	}
	if h.size == 0 {
		c.keepHead(b)
		return nil, false
	}
	c.origin.set(naked, false)
	switch {
	case h.source.IsValid():
		c.client = newEndpoint(h.source)
		c.origin.set(trusted, c.loop.core.proxies.trust(h.source.Addr()))
	case !h.local:
		c.origin.set(trusted, false) // it comes from somebody whom the proxy cannot name
	}
	rest = b[h.size:]
	if c.in != nil {
		c.in.rest = append(c.in.rest[:0], rest...)
		rest = c.in.rest
	}
	return rest, true
}

// handshake decides on a connection whose head is whole, or too long where size
// is 0. What follows the head are frames already.
func (c *Conn) handshake(b []byte, size int) {
	if size == 0 || size > c.loop.core.limits.HandshakeBytes {
		c.refuse(proto.ErrHandshakeLarge.New())
		return
	}
	h := parseHead(b[:size], c.loop.lines)
	defer c.loop.keepLines(h)
	if !h.isUpgrade() {
		c.giveAway(b)
		return
	}
	r, key, err := h.check(&c.loop.core.limits, longestLine(b[:size]))
	switch {
	case err != nil:
	case c.loop.core.refusing.Load():
		err = proto.ErrShuttingDown.After(jitter(retrySoon))
	case c.origin.is(full) || c.loop.core.memory.full():
		err = proto.ErrUnavailable.After(jitter(retrySoon))
	default:
		err = c.accept(h, r, key)
	}
	switch {
	case err != nil:
		c.refuse(err)
		return
	case c.turn == turnWaiting:
		c.waitAdmission(b)
		return
	}
	if rest := b[size:]; len(rest) > 0 && c.currentPhase() == phaseOpen {
		c.readFrames(rest)
	}
}

// longestLine returns the length of the longest line, without its end.
func longestLine(b []byte) int {
	longest := 0
	for line := range bytes.Lines(b) {
		longest = max(longest, len(bytes.TrimRight(line, "\r\n")))
	}
	return longest
}

// accept asks the handler, answers the upgrade and opens the connection; where
// the budget of handshakes is spent, it leaves it queued.
func (c *Conn) accept(h *head, r *Request, key string) *proto.Error {
	if !c.loop.core.upgrade(r.Path) {
		return proto.ErrNotFound.New()
	}
	if !c.loop.core.origins.allows(r.Origin, r.Host) {
		return proto.ErrOrigin.New()
	}
	if c.turn == turnNone {
		if c.origin.is(trusted) {
			c.client = newEndpoint(c.loop.core.proxies.client(c.client.addrPort(), h.values(forwardedHeader)))
		}
		answer, after, pushed := c.loop.core.admission.enter(c, time.Now())
		if pushed != nil {
			pushed.loop.post(pushed, taskPushed)
		}
		switch answer {
		case toWait:
			c.turn = turnWaiting
			return nil
		case notAdmitted:
			return proto.ErrUnavailable.After(after)
		}
	}
	r.Address = c.Address()
	a, err := c.loop.core.handler.Upgrade(r)
	if err != nil {
		return err
	}
	if a.Subprotocol != "" && !slices.Contains(r.Protocols, a.Subprotocol) {
		return proto.ErrSubprotocol.New()
	}
	extensions := ""
	if a.Deflate {
		c.window, extensions = agreeDeflate(h)
	}
	limits := &c.loop.core.limits
	c.state = a.State
	c.maxMessage = bound(cmp.Or(a.MaxMessage, limits.Message+limits.Envelope))
	c.maxReplies = bound(max(a.MaxReplies, limits.Replies))
	c.mu.Lock()
	if c.phase != phaseHandshake {
		c.mu.Unlock()
		return nil // it ended meanwhile; refuse would find the same
	}
	if c.origin.is(roomy) {
		boundSendBuffer(c.op.FD, c.loop.core.sendBuffer)
	}
	c.phase = phaseOpen
	c.dueTick().Store(0)
	c.pingTick().Store(c.loop.core.firstPing())
	c.corked = true // the answer and what Open sends leave together
	var answer [256]byte
	c.replyLocked(appendUpgrade(answer[:0], key, a.Subprotocol, extensions))
	c.mu.Unlock()

	c.loop.core.stats.upgraded.Inc()
	c.loop.core.stats.opened.Add(1)
	if c.window != proto.Plain {
		c.loop.core.stats.deflate(c.window)
	}
	c.told = toldOpen
	c.loop.core.handler.Open(c)
	c.uncork()
	return nil
}

// bound returns a bound in bytes as a Conn has it.
func bound(n int) uint32 { return uint32(min(n, maxBound)) }

// appendUpgrade appends the 101 answer (RFC 6455, section 4.2.2); "" stands for
// no subprotocol and no extensions.
func appendUpgrade(dst []byte, key, subprotocol, extensions string) []byte {
	const magic = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11" // section 1.3
	var keyed [len(magic) + keySize]byte
	sum := sha1.Sum(append(append(keyed[:0], key...), magic...))
	dst = append(dst, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "...)
	dst = base64.StdEncoding.AppendEncode(dst, sum[:])
	if subprotocol != "" {
		dst = append(append(dst, "\r\nSec-WebSocket-Protocol: "...), subprotocol...)
	}
	if extensions != "" {
		dst = append(append(dst, "\r\n"+extensionsHeader+": "...), extensions...)
	}
	return append(dst, "\r\n\r\n"...)
}

// refuse answers a handshake with an error and ends the connection.
func (c *Conn) refuse(err *proto.Error) {
	c.loop.core.stats.handshakeRefused(err.Name)
	c.leaveQueue()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.phase != phaseHandshake {
		return
	}
	c.phase = phaseLinger
	c.setDueLocked(closeWait)
	c.replyLocked(appendRefusal(nil, err))
	c.accountOutLocked()
	c.finishLocked()
}

// handshakeLate ends a handshake that took too long.
func (c *Conn) handshakeLate() {
	if c.turn == turnWaiting {
		c.refuseKept(proto.ErrUnavailable.After(jitter(retrySoon)))
		return
	}
	if c.in == nil {
		c.loop.core.stats.handshakeRefused(proto.ErrHandshakeTimeout.Name)
		c.die(CauseCut) // it never said a word
		return
	}
	c.refuseKept(proto.ErrHandshakeTimeout.New())
}

// refuseKept refuses a handshake of which something is kept. It lets go of that
// first: who has been answered holds nothing.
func (c *Conn) refuseKept(err *proto.Error) {
	c.loop.core.pool.put(c.takeHead())
	c.accountIn()
	c.refuse(err)
}

// giveAway hands a plain HTTP request to net/http. The descriptor and the
// operator are no longer this connection's.
func (c *Conn) giveAway(read []byte) {
	c.mu.Lock()
	if c.phase != phaseHandshake {
		c.mu.Unlock()
		return
	}
	op, fd, stream := c.op, c.op.FD, c.tls
	if stream != nil {
		stream.toWebLocked()
		c.tls = nil
		c.discardOutLocked()
	}
	c.phase, c.op = phaseEnded, nil
	c.mu.Unlock()
	op.OnHup = nil // the poller may have seen a hang-up, too; net/http will find it
	_ = c.loop.poll.Control(op, netpoll.PollDetach)
	c.loop.core.stats.handOvers.Add(1)
	c.loop.core.handOver(c, fd, op, stream, bytes.Clone(read))
	c.loop.core.leave(c)
}

// refusal is the body of an HTTP error.
type refusal struct {
	Error refusalError `json:"error"`
}

type refusalError struct {
	Code   string `json:"code"`
	Reason string `json:"reason"`
}

// refusalBody returns the JSON body of an HTTP error.
func refusalBody(err *proto.Error) []byte {
	body, failed := json.Marshal(refusal{refusalError{err.Name, err.Text()}})
	if failed != nil {
		panic(failed) // two strings always marshal
	}
	return append(body, '\n')
}

// refusalStatus returns an error's HTTP status.
func refusalStatus(err *proto.Error) int {
	if err.HTTP == 0 {
		return http.StatusBadRequest
	}
	return err.HTTP
}

// refusalHeaders calls set for the headers that belong to an error's answer.
func refusalHeaders(err *proto.Error, set func(name, value string)) {
	set("Content-Type", "application/json")
	switch err.Code {
	case proto.ErrUpgradeVersion:
		set("Sec-WebSocket-Version", "13")
		set("Upgrade", "websocket")
	case proto.ErrMethodNotAllowed:
		set("Allow", http.MethodGet)
	}
	if refusalStatus(err) == http.StatusUnauthorized {
		set("WWW-Authenticate", "Bearer")
	}
	if err.RetryAfter > 0 {
		set("Retry-After", strconv.Itoa(int((err.RetryAfter+time.Second-1)/time.Second)))
	}
}

// appendRefusal appends a whole HTTP answer that tells of an error.
func appendRefusal(dst []byte, err *proto.Error) []byte {
	status, body := refusalStatus(err), refusalBody(err)
	dst = fmt.Appendf(dst, "HTTP/1.1 %d %s\r\n", status, http.StatusText(status))
	refusalHeaders(err, func(name, value string) { dst = fmt.Appendf(dst, "%s: %s\r\n", name, value) })
	dst = fmt.Appendf(dst, "Content-Length: %d\r\nConnection: close\r\n\r\n", len(body))
	return append(dst, body...)
}

// writeError answers a request of net/http with an error.
func writeError(w http.ResponseWriter, err *proto.Error) {
	refusalHeaders(err, w.Header().Set)
	w.WriteHeader(refusalStatus(err))
	_, _ = w.Write(refusalBody(err)) // fails only where the client has gone
}
