package netio

import (
	"container/list"
	"crypto/tls"
	"errors"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/thronghq/throng/proto"
)

const (
	maxHandshakes     = 1024 // TLS handshakes at once, a goroutine each; more wait for their turn
	stallGrace        = time.Second
	maxHandshakeBytes = 64 << 10 // ciphertext that waits for a handshake; past it the socket is not read
)

// handshakes runs TLS handshakes: each on a goroutine while it lasts, at most
// maxHandshakes at once, of which as many compute as there are places in
// compute. The rest of the processors are the pollers'. Who comes when all are
// taken waits in line, and has the one go that has kept the server waiting for
// longest, if that was for grace or more: who stalls does not keep others out,
// nor who sends a byte now and then, for all of its pauses count. Where nobody has
// kept it waiting for so long yet, the sweep looks again while somebody waits.
// Limits.HandshakeTimeout ends handshakes, wherever they are, for it counts from
// the accept.
type handshakes struct {
	// Static after construction.
	config  *tls.Config
	compute chan struct{}

	work sync.WaitGroup

	mu      sync.Mutex
	grace   time.Duration
	running int
	waiting list.List                // of *tlsStream, in line; those that have ended are taken out
	stalled map[*tlsStream]time.Time // those among the running that wait for their peer; see awaits
}

// newHandshakes takes what the operator says of certificates, and says the rest.
func newHandshakes(config *tls.Config) *handshakes {
	config = config.Clone()
	config.MinVersion = max(config.MinVersion, tls.VersionTLS12)
	config.Renegotiation = tls.RenegotiateNever
	config.DynamicRecordSizingDisabled = true // writes are cut to records already
	if config.NextProtos == nil {
		config.NextProtos = []string{"http/1.1"}
	}
	return &handshakes{
		config: config, grace: stallGrace, stalled: make(map[*tlsStream]time.Time),
		compute: make(chan struct{}, max(runtime.NumCPU()/2, 1)),
	}
}

// enter has a handshake run, now or when its turn comes.
func (h *handshakes) enter(s *tlsStream) {
	h.mu.Lock()
	if h.running < maxHandshakes {
		h.running++
		h.work.Go(func() { h.run(s) })
		h.mu.Unlock()
		return
	}
	s.hs.turn = h.waiting.PushBack(s)
	slowest := h.slowestLocked(1)
	h.mu.Unlock()
	for _, s := range slowest {
		s.c.giveWay()
	}
}

// relieve has stalled handshakes go for those that still stand in line.
func (h *handshakes) relieve() {
	h.mu.Lock()
	slowest := h.slowestLocked(h.waiting.Len())
	h.mu.Unlock()
	for _, s := range slowest {
		s.c.giveWay()
	}
}

// slowestLocked takes up to n handshakes from the stalled ones, those first that
// have kept the server waiting for longest, if for grace or more.
func (h *handshakes) slowestLocked(n int) []*tlsStream {
	if n == 0 {
		return nil
	}
	var slow []*tlsStream
	latest := time.Now().Add(-h.grace)
	for s, since := range h.stalled {
		if !since.After(latest) {
			slow = append(slow, s)
		}
	}
	older := func(a, b *tlsStream) int { return h.stalled[a].Compare(h.stalled[b]) }
	switch {
	case n >= len(slow):
	case n == 1: // of each who comes; the sweep has more
		slow[0] = slices.MinFunc(slow, older)
	default:
		slices.SortFunc(slow, older)
	}
	slow = slow[:min(n, len(slow))]
	for _, s := range slow {
		delete(h.stalled, s)
	}
	return slow
}

// giveWay ends a connection for its TLS handshake, unless it is done after all.
func (c *Conn) giveWay() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.tls != nil && c.tls.hs != nil {
		c.dieLocked(CauseCut)
	}
}

// leave takes a handshake that has ended out of the line, if it stands there.
func (h *handshakes) leave(s *tlsStream) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if s.hs.turn != nil {
		h.waiting.Remove(s.hs.turn)
		s.hs.turn = nil
	}
}

// awaits calls wait, in which the handshake waits for its peer and others
// compute. It counts as stalled since as long before now as it has waited in all.
func (h *handshakes) awaits(s *tlsStream, wait func()) {
	<-h.compute
	h.mu.Lock()
	since := time.Now().Add(-s.hs.waited)
	h.stalled[s] = since
	h.mu.Unlock()
	wait()
	h.mu.Lock()
	delete(h.stalled, s) // does nothing where enter was first
	s.hs.waited = time.Since(since)
	h.mu.Unlock()
	h.compute <- struct{}{}
}

// next returns the handshake whose turn it is, or nil.
func (h *handshakes) next() *tlsStream {
	h.mu.Lock()
	defer h.mu.Unlock()
	front := h.waiting.Front()
	if front == nil {
		h.running--
		return nil
	}
	s := h.waiting.Remove(front).(*tlsStream)
	s.hs.turn = nil
	return s
}

// counts returns how many handshakes run and how many wait.
func (h *handshakes) counts() (running, waiting int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.running, h.waiting.Len()
}

// run does one handshake after the other until none waits.
func (h *handshakes) run(s *tlsStream) {
	for ; s != nil; s = h.next() {
		h.compute <- struct{}{}
		err := s.conn.Handshake()
		<-h.compute
		s.c.shook(s, err)
	}
}

// tlsHandshake is what a tlsStream needs besides while its handshake runs.
type tlsHandshake struct {
	// Guarded by the lock of handshakes.
	turn   *list.Element // in handshakes.waiting; nil where it is not in line
	waited time.Duration // for its peer, in all

	mu   sync.Mutex
	more sync.Cond
	in   []byte // ciphertext, lent by the pool
	at   int    // of the first byte that is not read
	full bool   // reading from the socket is paused
	err  error  // the connection has ended
}

// feed takes ciphertext, and reports whether more may come.
func (h *tlsHandshake) feed(pool *buffers, b []byte) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.err != nil {
		return true // nobody reads it
	}
	h.in = pool.append(h.in, b)
	h.full = len(h.in)-h.at >= maxHandshakeBytes
	h.more.Signal()
	return !h.full
}

// read is the goroutine's: it waits for ciphertext, and lets others compute
// meanwhile.
func (h *tlsHandshake) read(s *tlsStream, b []byte) (int, error) {
	if h.isEmpty() {
		s.c.loop.core.handshakes.awaits(s, func() { h.wait(s) })
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.err != nil {
		return 0, h.err
	}
	n := copy(b, h.in[h.at:])
	if h.at += n; h.at == len(h.in) {
		h.in, h.at = h.in[:0], 0
	}
	return n, nil
}

// isEmpty reports whether a read would have to wait.
func (h *tlsHandshake) isEmpty() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.at == len(h.in) && h.err == nil
}

// wait waits until there is something to read, or the end.
func (h *tlsHandshake) wait(s *tlsStream) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.full {
		h.full = false
		s.c.loop.post(s.c, taskResume)
	}
	for h.at == len(h.in) && h.err == nil {
		h.more.Wait()
	}
}

// isFull reports whether the socket must not be read for now.
func (h *tlsHandshake) isFull() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.full
}

// held returns how many bytes the buffer takes.
func (h *tlsHandshake) held() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return cap(h.in)
}

// fail ends a read that waits, and all after it.
func (h *tlsHandshake) fail(pool *buffers, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.err = err
	pool.put(h.in)
	h.in, h.at = nil, 0
	h.more.Signal()
}

// failure returns what fail was given, nil where it was not called.
func (h *tlsHandshake) failure() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.err
}

// take returns the buffer, which is the caller's then, and where in it begins
// what the handshake has not read.
func (h *tlsHandshake) take() (in []byte, at int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	in, at = h.in, h.at
	h.in, h.at = nil, 0
	return in, at
}

// startTLS begins the handshake with the first bytes that the peer has sent,
// which are borrowed.
func (c *Conn) startTLS(b []byte) {
	lent := c.takeHead()
	defer func() { c.loop.core.pool.put(lent) }()
	if len(b) == 0 {
		return // a PROXY header and nothing yet
	}
	if b[0] != recordSetup {
		c.refuse(proto.ErrBadHandshake.With(plaintextHelp))
		return
	}
	s := &tlsStream{c: c, hs: new(tlsHandshake)}
	s.hs.more.L = &s.hs.mu
	s.conn = tls.Server(s, c.loop.core.handshakes.config)
	c.mu.Lock()
	c.tls = s
	c.mu.Unlock()
	s.received(b)
	c.loop.core.handshakes.enter(s)
}

// shook is called by the handshake's goroutine when it is done or has failed.
func (c *Conn) shook(s *tlsStream, err error) {
	switch {
	case err == nil:
		c.loop.core.stats.tlsHandshake("done")
		c.loop.post(c, taskSecured)
		return
	case s.hs.failure() != nil:
		c.loop.core.stats.tlsHandshake("cut")
		return
	}
	c.loop.core.stats.tlsHandshake(handshakeFailure(err))
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.phase != phaseHandshake {
		return
	}
	c.phase = phaseLinger // the alert may be on its way
	c.setDueLocked(closeWait)
	c.finishLocked()
}

// handshakeFailure names a failure as the metrics do: what the peer says of us
// is another matter than what we say of it.
func handshakeFailure(err error) string {
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return "certificate"
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return "garbage"
	}
	return "failed"
}

// secured is called on the loop's goroutine when the handshake is done.
func (c *Conn) secured() {
	s := c.tls
	if s == nil || c.currentPhase() != phaseHandshake {
		return
	}
	lent, at := s.hs.take()
	c.mu.Lock()
	s.hs = nil
	if s.conn.ConnectionState().NegotiatedProtocol == acmeTLSALPN {
		c.phase = phaseLinger // RFC 8737, section 3: it was about the certificate alone
		c.setDueLocked(closeWait)
		c.finishLocked()
	}
	c.mu.Unlock()
	s.rest = c.loop.core.pool.append(nil, lent[at:])
	c.loop.core.pool.put(lent)
	if c.paused {
		c.resume()
	} else {
		c.readRest()
	}
}

// readRest reads the ciphertext that was left.
func (c *Conn) readRest() {
	s := c.tls
	if s == nil || s.hs != nil || c.paused {
		return
	}
	rest := s.rest
	s.src, s.rest = rest, nil
	c.pump()
	c.loop.core.pool.put(rest)
	c.accountIn()
}
