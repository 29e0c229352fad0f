package netio

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/gobwas/ws"

	"github.com/thronghq/throng/proto"
)

// patience bounds every wait of the tests. Nothing measures time by it.
const patience = 60 * time.Second

// onPollers runs a test on each poller.
func onPollers(t *testing.T, test func(t *testing.T, open func() (poller, error))) {
	for _, p := range []struct {
		name string
		open func() (poller, error)
	}{{"netpoll", newNetpoll}, {"epoll", newEpoll}} {
		t.Run(p.name, func(t *testing.T) { test(t, p.open) })
	}
}

// event is one call of the handler.
type event struct {
	what  string // open, drained, expired, closed
	c     *Conn
	cause CloseCause
}

// recorder is a Handler that echoes text and binary, compressed where that was
// agreed on, and tells of each call.
// Fields are set before the server starts.
type recorder struct {
	upgrade func(*Request) (Accept, *proto.Error)
	open    func(*Conn)
	message func(c *Conn, op ws.OpCode, payload []byte)
	events  chan event
}

func newRecorder() *recorder { return &recorder{events: make(chan event, 1<<16)} }

func (r *recorder) Upgrade(q *Request) (Accept, *proto.Error) {
	if r.upgrade != nil {
		return r.upgrade(q)
	}
	return Accept{MaxMessage: 1 << 20, MaxReplies: 4 << 20, State: r}, nil
}

func (r *recorder) Open(c *Conn) {
	if r.open != nil {
		r.open(c)
	}
	r.events <- event{what: "open", c: c}
}

func (r *recorder) Message(c *Conn, op ws.OpCode, payload []byte) {
	if r.message != nil {
		r.message(c, op, payload)
		return
	}
	c.ReplyMessage(op, payload)
}
func (r *recorder) Drained(c *Conn) { r.events <- event{what: "drained", c: c} }
func (r *recorder) Expired(c *Conn) { r.events <- event{what: "expired", c: c} }
func (r *recorder) Closed(c *Conn, cause CloseCause) {
	r.events <- event{what: "closed", c: c, cause: cause}
}

// wait returns the next event, which must be of that kind.
func (r *recorder) wait(t *testing.T, what string) event {
	t.Helper()
	select {
	case e := <-r.events:
		if e.what != what {
			t.Fatalf("got event %q, want %q", e.what, what)
		}
		return e
	case <-time.After(patience):
		t.Fatalf("no event %q", what)
	}
	panic("unreachable")
}

// testServer is a running server.
type testServer struct {
	*Server
	addr string
	set  *metrics.Set
	stop func()
	cut  bool // Shutdown is expected to run out of time
}

// start runs a server on a free port. At the test's end it must shut down
// without a goroutine or descriptor left. The functions run before it serves.
func start(t *testing.T, o Options, before ...func(*Server)) *testServer {
	t.Helper()
	goroutines, descriptors := runtime.NumGoroutine(), openDescriptors(t)
	if o.Handler == nil {
		o.Handler = newRecorder()
	}
	if o.Listen == nil {
		o.Listen = []string{"127.0.0.1:0"}
	}
	if o.Pollers == 0 {
		o.Pollers = 2
	}
	if o.PingInterval == 0 {
		o.PingInterval = time.Hour // no ping comes in between
		o.PingTimeout = 2 * o.PingInterval
	}
	if o.Metrics == nil {
		o.Metrics = metrics.NewSet()
	}
	s, err := Listen(o)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range before {
		f(s)
	}
	ts := &testServer{Server: s, addr: s.Addrs()[0].String(), set: o.Metrics}
	served := make(chan error, 1)
	go func() { served <- s.Serve() }()
	var once sync.Once
	ts.stop = func() {
		once.Do(func() {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			err := errors.Join(s.Shutdown(ctx), <-served)
			if err != nil && !(ts.cut && errors.Is(err, context.DeadlineExceeded)) {
				t.Errorf("shutdown: %v", err)
			}
			noLeak(t, "goroutines", goroutines, func() int { return runtime.NumGoroutine() })
			noLeak(t, "descriptors", descriptors, func() int { return openDescriptors(t) })
			if n := s.core.memory.outboxes.Held() + s.core.memory.partials.Held() + s.core.memory.inflated.Held(); n != 0 {
				t.Errorf("%d bytes of buffers are left in the books", n)
			}
			if n := s.Connections(); n != 0 {
				t.Errorf("%d connections are left in the books", n)
			}
		})
	}
	t.Cleanup(ts.stop)
	return ts
}

// noLeak waits until a count is back at where it was.
func noLeak(t *testing.T, what string, want int, count func() int) {
	t.Helper()
	if !eventually(func() bool { return count() <= want }) {
		buf := make([]byte, 1<<16)
		t.Errorf("%s: %d before, %d after\n%s", what, want, count(), buf[:runtime.Stack(buf, true)])
	}
}

// eventually reports whether cond comes true within the tests' patience.
func eventually(cond func() bool) bool {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); time.Now().Before(end); <-tick.C {
		if cond() {
			return true
		}
	}
	return false
}

func openDescriptors(t *testing.T) int {
	t.Helper()
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}

// metric returns a metric's value as text, "" where there is none.
func (s *testServer) metric(name string) string {
	var b bytes.Buffer
	s.set.WritePrometheus(&b)
	for line := range strings.Lines(b.String()) {
		if v, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// peer is a client that sends bytes as it is told.
type peer struct {
	t testing.TB
	net.Conn
	buf     []byte // read and not yet looked at
	inflate bool   // read inflates what is compressed
	packed  int    // frames that it has inflated
}

// connect opens a TCP connection, without a handshake.
func (s *testServer) connect(t testing.TB) *peer {
	t.Helper()
	conn, err := net.Dial(s.Addrs()[0].Network(), s.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return newPeer(t, conn)
}

func newPeer(t testing.TB, conn net.Conn) *peer {
	_ = conn.SetDeadline(time.Now().Add(patience))
	return &peer{t: t, Conn: conn}
}

// dial opens a WebSocket.
func (s *testServer) dial(t testing.TB, headers ...string) *peer {
	t.Helper()
	p := s.connect(t)
	p.send(upgradeRequest("/ws", headers...))
	if status := p.answer(); !strings.HasPrefix(status, "HTTP/1.1 101 ") {
		t.Fatalf("upgrade: %q", status)
	}
	return p
}

// testKey is the key of RFC 6455, section 1.3, and testAccept its answer.
const (
	testKey    = "dGhlIHNhbXBsZSBub25jZQ=="
	testAccept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
)

// upgradeRequest returns a request's head; further headers come last.
func upgradeRequest(target string, headers ...string) string {
	h := "GET " + target + " HTTP/1.1\r\nHost: example.org\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Key: " + testKey + "\r\nSec-WebSocket-Version: 13\r\n"
	for _, line := range headers {
		h += line + "\r\n"
	}
	return h + "\r\n"
}

func (p *peer) send(s string) {
	p.t.Helper()
	if _, err := io.WriteString(p.Conn, s); err != nil {
		p.t.Fatalf("send: %v", err)
	}
}

// more reads once.
func (p *peer) more() error {
	b := make([]byte, 64<<10)
	n, err := p.Conn.Read(b)
	p.buf = append(p.buf, b[:n]...)
	if n > 0 {
		return nil
	}
	return err
}

// answer reads the head of an HTTP answer.
func (p *peer) answer() string {
	p.t.Helper()
	for {
		if i := bytes.Index(p.buf, []byte("\r\n\r\n")); i >= 0 {
			head := string(p.buf[:i+4])
			p.buf = p.buf[i+4:]
			return head
		}
		if err := p.more(); err != nil {
			p.t.Fatalf("answer: %v after %q", err, p.buf)
		}
	}
}

// rest reads until the server ends the stream.
func (p *peer) rest() string {
	p.t.Helper()
	for {
		if err := p.more(); errors.Is(err, io.EOF) {
			b := p.buf
			p.buf = nil
			return string(b)
		} else if err != nil {
			p.t.Fatalf("read to the end: %v after %q", err, p.buf)
		}
	}
}

// clientFrame returns a masked frame. first is its first byte.
func clientFrame(first byte, payload []byte) []byte {
	var mask [4]byte
	binary.BigEndian.PutUint32(mask[:], rand.Uint32())
	return maskedFrame(first, mask, payload)
}

// maskedFrame is clientFrame with that mask.
func maskedFrame(first byte, mask [4]byte, payload []byte) []byte {
	b := []byte{first}
	switch n := len(payload); {
	case n <= 125:
		b = append(b, 0x80|byte(n))
	case n <= 0xffff:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), uint64(n))
	}
	b = append(append(b, mask[:]...), payload...)
	ws.Cipher(b[len(b)-len(payload):], mask, 0)
	return b
}

// frame sends a masked frame with that first byte.
func (p *peer) frame(first byte, payload string) {
	p.t.Helper()
	p.send(string(clientFrame(first, []byte(payload))))
}

// First bytes of frames.
const (
	text   = 0x81
	binry  = 0x82
	ping   = 0x89
	pong   = 0x8a
	closeF = 0x88
)

// read returns the next frame of the server, which must be unmasked. At the end
// of the stream it returns "eof", or "cut" for a reset.
func (p *peer) read() string {
	p.t.Helper()
	for {
		if f, ok := p.next(); ok && p.inflate && strings.HasPrefix(f, "c") {
			p.packed++
			return unpack(p.t, f)
		} else if ok {
			return f
		}
		if err := p.more(); errors.Is(err, io.EOF) && len(p.buf) == 0 {
			return "eof"
		} else if errors.Is(err, os.ErrDeadlineExceeded) {
			p.t.Fatalf("no frame came")
		} else if err != nil {
			return "cut"
		}
	}
}

// next cuts a frame off what was read: its first byte in hex, then its payload.
func (p *peer) next() (string, bool) {
	b := p.buf
	if len(b) < 2 {
		return "", false
	}
	n, size := uint64(b[1]), 2
	switch {
	case b[1] == 126 && len(b) >= 4:
		n, size = uint64(binary.BigEndian.Uint16(b[2:])), 4
	case b[1] == 127 && len(b) >= 10:
		n, size = binary.BigEndian.Uint64(b[2:]), 10
	case b[1] > 127:
		p.t.Fatalf("masked frame from the server: %x", b[:2])
	case b[1] > 125:
		return "", false
	}
	if uint64(len(b)-size) < n {
		return "", false
	}
	p.buf = b[size+int(n):]
	return fmt.Sprintf("%02x %s", b[0], b[size:size+int(n)]), true
}

// expect reads frames that must be these.
func (p *peer) expect(frames ...string) {
	p.t.Helper()
	for i, want := range frames {
		if got := p.read(); got != want {
			p.t.Fatalf("frame %d: got %.80q, want %.80q", i, got, want)
		}
	}
}

// closing returns a close frame as read returns it, up to the reason.
func closing(code ws.StatusCode) string {
	return "88 " + string(binary.BigEndian.AppendUint16(nil, uint16(code)))
}

// expectClose reads a close frame with that code and the end of the stream.
func (p *peer) expectClose(code ws.StatusCode) {
	p.t.Helper()
	if got := p.read(); !strings.HasPrefix(got, closing(code)) {
		p.t.Fatalf("got %.80q, want a close frame with %d", got, code)
	}
	p.expect("eof")
}

func basicKey(raw string) string { return base64.StdEncoding.EncodeToString([]byte(raw)) }
