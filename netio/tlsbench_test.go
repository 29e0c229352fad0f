package netio

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

// BenchmarkIdleTLS reports the heap of a connection over TLS beyond that of a
// plain one, after an upgrade and a message there and back. Of a client only
// the socket is left by then.
func BenchmarkIdleTLS(b *testing.B) {
	const n = 1000
	server, client := tlsSides(b)
	idle := func(o Options, client *tls.Config) float64 {
		s, err := Listen(o)
		if err != nil {
			b.Fatal(err)
		}
		served := make(chan error, 1)
		go func() { served <- s.Serve() }()
		ts := &testServer{Server: s, addr: s.Addrs()[0].String()}
		enter := func() net.Conn {
			raw, err := net.Dial("tcp", ts.addr)
			if err != nil {
				b.Fatal(err)
			}
			p := newPeer(b, raw)
			if client != nil {
				p.Conn = tls.Client(raw, client)
			}
			p.upgrade()
			p.frame(text, "hello")
			p.expect("81 hello")
			return raw
		}
		for range 10 {
			_ = enter().Close()
		}
		before := liveHeap()
		conns := make([]net.Conn, n)
		for i := range conns {
			conns[i] = enter()
		}
		each := float64(liveHeap()-before) / n
		for _, c := range conns {
			_ = c.Close()
		}
		if err := errors.Join(s.Shutdown(b.Context()), <-served); err != nil {
			b.Fatal(err)
		}
		return each
	}
	for b.Loop() {
		plain := idle(Options{Listen: []string{"127.0.0.1:0"}, Handler: echo{}, Pollers: 1}, nil)
		for _, v := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			client := client.Clone()
			client.MinVersion, client.MaxVersion = v, v
			over := idle(Options{Listen: []string{"127.0.0.1:0"}, Handler: echo{}, Pollers: 1, TLS: server}, client)
			b.ReportMetric(over-plain, fmt.Sprintf("B/conn-%s", strings.ReplaceAll(tls.VersionName(v), " ", "")))
		}
	}
}

// bareTLS is bare with TLS, whose handshake is done, and returns the client's
// side as well.
func bareTLS(t testing.TB, h Handler) (*Conn, int) {
	t.Helper()
	server, client := tlsSides(t)
	c, other := bare(t, h)
	c.loop.core.handshakes = newHandshakes(server)
	c.loop.plain = make([]byte, plainBuffer)
	c.loop.poll = still{}
	c.phase = phaseHandshake
	s := &tlsStream{c: c, hs: new(tlsHandshake)}
	s.hs.more.L = &s.hs.mu
	s.conn = tls.Server(s, c.loop.core.handshakes.config)
	c.tls = s
	done := make(chan error, 1)
	go func() { done <- tls.Client(&socket{fd: other}, client).Handshake() }()
	go func() {
		c.loop.core.handshakes.compute <- struct{}{}
		err := s.conn.Handshake()
		<-c.loop.core.handshakes.compute
		done <- err
	}()
	buf := make([]byte, 64<<10)
	for left := 2; left > 0; {
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			left--
		default:
			if n, _ := recv(c.op.FD, buf); n > 0 {
				s.hs.feed(&c.loop.core.pool, buf[:n])
			}
			runtime.Gosched()
		}
	}
	s.hs, c.phase = nil, phaseOpen
	drainTo(other, buf)
	return c, other
}

// cpuTime returns the CPU time of the process.
func cpuTime(t testing.TB) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// socket is a net.Conn over a descriptor that does not wait.
type socket struct {
	net.Conn
	fd int
}

func (s *socket) Read(b []byte) (int, error) {
	for {
		n, errno := recv(s.fd, b)
		if errno == 0 {
			return n, nil
		}
		runtime.Gosched()
	}
}
func (s *socket) Write(b []byte) (int, error)        { return syscall.Write(s.fd, b) }
func (s *socket) RemoteAddr() net.Addr               { return net.TCPAddrFromAddrPort(netip.AddrPort{}) }
func (s *socket) SetDeadline(time.Time) error        { return nil }
func (s *socket) SetWriteDeadline(t time.Time) error { return nil }

// TestTLSHotPathAllocations: delivering over TLS to an open socket allocates
// nothing either.
func TestTLSHotPathAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("crypto/tls takes its buffers from a pool, and pools forget under the race detector")
	}
	c, other := bareTLS(t, echo{})
	buf := make([]byte, 64<<10)
	for name, frame := range map[string][]byte{
		"small": small(1), "of 40 KB": AppendFrame(nil, ws.OpBinary, bytes.Repeat([]byte("x"), 40_000)),
	} {
		deliver := func() { c.Deliver(frame); drainTo(other, buf) }
		deliver()
		if n := testing.AllocsPerRun(200, deliver); n != 0 {
			t.Errorf("a delivery %s: %v allocations, want none", name, n)
		}
	}
}

// BenchmarkDeliverTLS is one delivery to an idle connection, plain and over TLS,
// by the frame's size, in CPU time of the process, which reads the bytes, too.
func BenchmarkDeliverTLS(b *testing.B) {
	for _, size := range []int{200, 1 << 10, 16 << 10} {
		frame, buf := AppendFrame(nil, ws.OpText, make([]byte, size)), make([]byte, 256<<10)
		for _, way := range []struct {
			name string
			open func(testing.TB, Handler) (*Conn, int)
		}{{"plain", bare}, {"tls", bareTLS}} {
			b.Run(fmt.Sprintf("%d/%s", size, way.name), func(b *testing.B) {
				c, other := way.open(b, echo{})
				b.ReportAllocs()
				before := cpuTime(b)
				for i := 0; b.Loop(); i++ {
					c.Deliver(frame)
					if i%8 == 7 {
						drainTo(other, buf)
					}
				}
				b.ReportMetric(float64(cpuTime(b)-before)/float64(b.N), "cpu-ns/op")
			})
		}
	}
}
