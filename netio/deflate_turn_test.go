package netio

import (
	"bytes"
	"compress/flate"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/gobwas/ws"
	"golang.org/x/sys/unix"

	"github.com/thronghq/throng/proto"
)

// TestInflateTurns: a client that sends much in few bytes is read from in turns,
// each with a bound on what comes of it, so that its neighbours on the loop wait
// for one of them at the most. Nothing is lost, and the order is kept.
func TestInflateTurns(t *testing.T) {
	const messages, size = 300, 60 << 10
	var handled []byte
	h := &onMessage{f: func(c *Conn, payload []byte) {
		if held := c.loop.core.memory.inflated.Held(); held < int64(size) || held > 4*size {
			t.Errorf("%d bytes are counted while %d are handled", held, size)
		}
		if len(payload) != size {
			t.Fatalf("a message of %d bytes", len(payload))
		}
		handled = append(handled, payload[0])
	}}
	c, other := bare(t, h)
	c.window = proto.StandardWindow
	buf := make([]byte, readBufferSize)
	var send []byte
	for i := range messages {
		send = append(send, clientFrame(packedBinary, pack(t, flate.BestSpeed, bytes.Repeat([]byte{byte(i)}, size)))...)
	}
	turns := 0
	turn := func(f func()) {
		before := len(handled)
		f()
		drainTo(other, buf)
		if n := (len(handled) - before) * size; n > inflateTurn+size {
			t.Errorf("turn %d brought %d bytes", turns, n)
		}
		turns++
	}
	for rest := send; len(rest) > 0; {
		n := min(len(rest), readBufferSize)
		turn(func() { c.received(bytes.Clone(rest[:n])) })
		rest = rest[n:]
		for c.paused { // as the poller does it: the socket takes bytes
			c.run(taskPause)
			if err := c.onWrite(nil); err != nil {
				t.Fatal(err)
			}
			turn(func() { c.run(taskResume) })
		}
	}
	if len(handled) != messages || turns < messages*size/inflateTurn/2 {
		t.Errorf("%d messages in %d turns, want %d", len(handled), turns, messages)
	}
	for i, b := range handled {
		if b != byte(i) {
			t.Fatalf("message %d is %d", i, b)
		}
	}
	if c.yielded || (*holder)(c).Held() != 0 || c.loop.core.memory.inflated.Held() != 0 {
		t.Errorf("%d bytes are held in the end, %d inflated", (*holder)(c).Held(), c.loop.core.memory.inflated.Held())
	}
}

// TestInflateTurnsAtTheEnd: what a client that has gone leaves behind is read in
// turns, too, with what the loop has to do for others between them.
func TestInflateTurnsAtTheEnd(t *testing.T) {
	const size = 60 << 10
	handled := 0
	h := &onMessage{f: func(*Conn, []byte) { handled++ }}
	c, other := bare(t, h)
	c.window = proto.StandardWindow
	frame := clientFrame(packedBinary, pack(t, flate.BestSpeed, make([]byte, size)))
	sent := 0
	for ; sent < 100; sent++ {
		if n, err := unix.Write(other, frame); n != len(frame) {
			t.Fatal(n, err)
		}
	}
	if err := unix.Shutdown(other, unix.SHUT_WR); err != nil {
		t.Fatal(err)
	}
	turns, posted := 0, []task{{c, taskEnd}}
	for ; len(posted) > 0; posted = posted[1:] {
		before := handled
		c.run(posted[0].kind)
		if n := (handled - before) * size; n > inflateTurn+size {
			t.Errorf("turn %d brought %d bytes", turns, n)
		}
		turns++
		posted, c.loop.tasks = append(posted, c.loop.tasks...), nil
	}
	if handled != sent || turns < sent*size/inflateTurn/2 {
		t.Errorf("%d of %d messages were handled in %d turns", handled, sent, turns)
	}
	if c.phase != phaseEnded || (*holder)(c).Held() != 0 || c.loop.core.memory.partials.Held() != 0 {
		t.Errorf("phase %d, %d bytes are held", c.phase, (*holder)(c).Held())
	}
}

// onMessage is a Handler that calls f for each message.
type onMessage struct {
	echo
	f func(c *Conn, payload []byte)
}

// Message implements Handler.
func (h *onMessage) Message(c *Conn, _ ws.OpCode, payload []byte) { h.f(c, payload) }

// TestInflateFlood: a client sends hundreds of messages that inflate a
// thousandfold, and goes at once. All of them are handled, plain or over TLS, and
// a neighbour on the same loop is answered meanwhile.
func TestInflateFlood(t *testing.T) {
	server, client := tlsSides(t)
	const messages, size = 400, 60 << 10
	flood := bytes.Repeat(clientFrame(packedBinary, pack(t, flate.BestSpeed, make([]byte, size))), messages)
	test := func(t *testing.T, o Options, open func(*testServer) *peer) {
		var got atomic.Int64
		r := deflates()
		r.message = func(c *Conn, op ws.OpCode, payload []byte) {
			if op == ws.OpBinary {
				got.Add(int64(len(payload)))
				return
			}
			c.ReplyMessage(op, payload)
		}
		o.Handler, o.Pollers = r, 1
		s := start(t, o)
		neighbour := open(s)
		r.wait(t, "open")
		p := open(s)
		r.wait(t, "open")
		p.send(string(flood))
		neighbour.frame(text, "hello")
		neighbour.expect("81 hello")
		if c, ok := p.Conn.(interface{ CloseWrite() error }); !ok || c.CloseWrite() != nil {
			t.Error("the client cannot go")
		}
		r.wait(t, "closed")
		if n := got.Load(); n != messages*size {
			t.Errorf("%d bytes were handled, want %d", n, messages*size)
		}
		if n := s.metric("throng_inflate_messages_total"); n != "400" {
			t.Errorf("%s messages are counted", n)
		}
	}
	onPollers(t, func(t *testing.T, open func() (poller, error)) {
		t.Run("plain", func(t *testing.T) {
			test(t, Options{newPoller: open}, func(s *testServer) *peer { return s.dialDeflate(t, "") })
		})
		t.Run("tls", func(t *testing.T) {
			test(t, Options{newPoller: open, TLS: server}, func(s *testServer) *peer {
				return s.tlsConnect(t, client).upgradeDeflate("")
			})
		})
	})
}

// TestDeflateTLS: messages of all sizes go there and back over TLS.
func TestDeflateTLS(t *testing.T) {
	server, client := tlsSides(t)
	onPollers(t, func(t *testing.T, open func() (poller, error)) {
		s := start(t, Options{Handler: deflates(), newPoller: open, TLS: server})
		p := s.tlsConnect(t, client).upgradeDeflate("; server_max_window_bits=10")
		for _, size := range []int{0, 5, 300, 5000, 70_000, 300_000} {
			for _, message := range [][]byte{prose(size), noise(size)} {
				p.send(string(fragmented(packedBinary&^finBit, pack(t, flate.BestSpeed, message), 20_000)))
				p.expect("82 " + string(message))
			}
		}
		p.frame(closeF, "\x03\xe8")
		p.expectClose(1000)
	})
}

// TestDeflateShutdown: a server that goes tells clients inside a compressed message,
// and hears their close frames behind the rest of it.
func TestDeflateShutdown(t *testing.T) {
	onPollers(t, func(t *testing.T, open func() (poller, error)) {
		r := deflates()
		s := start(t, Options{Handler: r, newPoller: open})
		p := s.dialDeflate(t, "")
		c := r.wait(t, "open").c
		packed := pack(t, flate.BestSpeed, prose(10_000))
		p.frame(0x41, string(packed[:1000]))
		if !eventually(func() bool { return s.core.memory.partials.Held() >= 1000 }) {
			t.Fatal("the fragment is not counted")
		}
		ended := make(chan error, 1)
		go func() { ended <- s.Shutdown(t.Context()) }()
		if got := p.read(); !strings.HasPrefix(got, closing(1012)) {
			t.Fatalf("got %.80q, want a close frame with 1012", got)
		}
		p.send(string(frames(cf(0x80, string(packed[1000:])), cf(closeF, "\x03\xf4"))))
		p.expect("eof")
		if e := r.wait(t, "closed"); e.c != c || e.cause != CauseShutdown {
			t.Errorf("closed by %v", e.cause)
		}
		_ = p.Close()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// TestDeflateChurn is TestChurn with compressed messages.
func TestDeflateChurn(t *testing.T) {
	hello := clientFrame(packedText, pack(t, flate.BestSpeed, prose(2000)))
	churn(t, Options{}, deflates, 60, func(p *peer) *peer {
		p.Conn = &cutter{p.Conn, func(c net.Conn, b []byte) error {
			plain := []byte(upgradeRequest("/ws"))
			if rest, ok := bytes.CutPrefix(b, plain); ok {
				b = append([]byte(upgradeRequest("/ws", "Sec-WebSocket-Extensions: permessage-deflate")), hello...)
				b = append(b, rest...)
			}
			_, err := c.Write(b)
			return err
		}}
		return p
	})
}

// TestInflateAllocations: reading compressed messages and answering them
// compressed allocates nothing, once buffers have their size.
func TestInflateAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector has sync.Pool drop at random")
	}
	h := echo{}
	c, other := bare(t, h)
	c.window = proto.StandardWindow
	buf := make([]byte, 64<<10)
	for _, size := range []int{20, 500, 10_000} {
		frame := clientFrame(packedText, pack(t, flate.BestSpeed, prose(size)))
		in := make([]byte, len(frame))
		f := func() {
			copy(in, frame)
			c.received(in)
			drainTo(other, buf)
		}
		f()
		if n := testing.AllocsPerRun(200, f); n != 0 {
			t.Errorf("a message of %d bytes: %v allocations, want none", size, n)
		}
	}
}
