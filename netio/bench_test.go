package netio

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"github.com/cloudwego/netpoll"
	"github.com/gobwas/ws"
	"golang.org/x/sys/unix"

	"github.com/thronghq/throng/internal/callgrind"
	"github.com/thronghq/throng/proto"
)

// bare makes an open connection over one end of a socket pair, on a loop whose
// poller does not run, and returns it with the other end. It is what a test
// that counts allocations wants: nothing else happens.
func bare(t testing.TB, h Handler) (*Conn, int) {
	t.Helper()
	o := Options{Handler: h, Listen: []string{"127.0.0.1:0"}}
	o.setDefaults()
	s := newServer(&o)
	l := &loop{core: s.core, poll: still{}, wake: -1, buf: make([]byte, readBufferSize), reader: s.core.newReader(), cork: make([]byte, 0, corkSize)}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = unix.Close(pair[0]), unix.Close(pair[1]) })
	c := newConn(l, pair[0], netip.AddrPort{}, 0)
	c.phase, c.told, c.maxMessage, c.maxReplies = phaseOpen, toldOpen, 1<<20, 1<<20
	return c, pair[1]
}

// still is a poller that watches nothing and says it does.
type still struct{}

func (still) Wait() error                                          { return nil }
func (still) Close() error                                         { return nil }
func (still) Control(*netpoll.FDOperator, netpoll.PollEvent) error { return nil }
func (still) Alloc() *netpoll.FDOperator                           { return new(netpoll.FDOperator) }
func (still) Free(*netpoll.FDOperator)                             {}

// drainTo reads everything that waits on a descriptor.
func drainTo(fd int, b []byte) {
	for {
		if n, errno := recv(fd, b); n <= 0 || errno != 0 {
			return
		}
	}
}

// echo sends every message back with its opcode.
type echo struct{}

func (echo) Upgrade(*Request) (Accept, *proto.Error)       { return Accept{}, nil }
func (echo) Open(*Conn)                                    {}
func (echo) Message(c *Conn, op ws.OpCode, payload []byte) { c.ReplyMessage(op, payload) }
func (echo) Drained(*Conn)                                 {}
func (echo) Expired(*Conn)                                 {}
func (echo) Closed(*Conn, CloseCause)                      {}

// TestHotPathAllocations: delivering to an open socket with an empty outbox
// allocates nothing, and neither does reading a small frame and answering it,
// or a control frame.
func TestHotPathAllocations(t *testing.T) {
	c, other := bare(t, echo{})
	buf := make([]byte, 64<<10)
	frame := small(1)
	read := func(b []byte) func() {
		in := make([]byte, len(b))
		return func() {
			copy(in, b)
			c.received(in)
			drainTo(other, buf)
		}
	}
	for _, tc := range []struct {
		name string
		f    func()
	}{
		{"Deliver", func() { c.Deliver(frame); drainTo(other, buf) }},
		{"Reply", func() { c.Reply(frame); drainTo(other, buf) }},
		{"a small frame and its answer", read(cf(text, "hello, world"))},
		{"sixteen small frames", read(bytes.Repeat(cf(text, "hello, world"), 16))},
		{"a ping", read(cf(ping, "x"))},
		{"a ping of the sweep", func() { c.sendPing(); drainTo(other, buf) }},
		{"fragments in one read", read(frames(cf(0x01, "hello, "), cf(0x80, "world")))},
	} {
		tc.f()
		if n := testing.AllocsPerRun(200, tc.f); n != 0 {
			t.Errorf("%s: %v allocations, want none", tc.name, n)
		}
	}
}

// BenchmarkDeliver is one delivery of 200 bytes to an idle connection, beside
// the bare system call.
func BenchmarkDeliver(b *testing.B) {
	c, other := bare(b, echo{})
	frame, buf := AppendFrame(nil, ws.OpText, make([]byte, 200)), make([]byte, 64<<10)
	run := func(name string, send func()) {
		b.Run(name, func(b *testing.B) {
			i := 0
			callgrind.Loop(b, func() {
				send()
				if i++; i%64 == 0 {
					drainTo(other, buf)
				}
			})
		})
	}
	run("netio", func() { c.Deliver(frame) })
	run("sendto", func() {
		if _, _, errno := syscall.RawSyscall6(syscall.SYS_SENDTO, uintptr(c.op.FD),
			uintptr(unsafe.Pointer(&frame[0])), uintptr(len(frame)), sendFlags, 0, 0); errno != 0 {
			b.Fatal(errno)
		}
	})
}

// BenchmarkRead is the parsing and echoing of reads with 1 and 16 frames,
// without the system call that reads.
func BenchmarkRead(b *testing.B) {
	for _, n := range []int{1, 16} {
		b.Run(map[int]string{1: "1", 16: "16"}[n], func(b *testing.B) {
			c, other := bare(b, echo{})
			send, buf := bytes.Repeat(cf(text, "hello, world"), n), make([]byte, 64<<10)
			in := make([]byte, len(send))
			i := 0
			callgrind.Loop(b, func() {
				copy(in, send)
				c.received(in)
				if i++; i%64 == 0 {
					drainTo(other, buf)
				}
			})
		})
	}
}

// BenchmarkFrameReader is the parser alone.
func BenchmarkFrameReader(b *testing.B) {
	for _, size := range []int{16, 1024} {
		b.Run(map[int]string{16: "16B", 1024: "1KiB"}[size], func(b *testing.B) {
			send := bytes.Repeat(clientFrame(binry, make([]byte, size)), 16)
			in := make([]byte, len(send))
			r := frameReader{pool: new(buffers), maxMessage: 1 << 20}
			b.SetBytes(int64(len(send)))
			callgrind.Loop(b, func() {
				copy(in, send)
				if n, err := r.feed(in, dropAll{}); n != len(in) || err != nil {
					b.Fatal(n, err)
				}
			})
		})
	}
}

// dropAll is a frameSink that wants nothing.
type dropAll struct{}

func (dropAll) message(ws.OpCode, []byte) bool { return true }
func (dropAll) control(ws.OpCode, []byte) bool { return true }

// BenchmarkIdle reports the heap of one idle connection, its slot and its
// operator included.
func BenchmarkIdle(b *testing.B) {
	s, err := Listen(Options{Listen: []string{"127.0.0.1:0"}, Handler: echo{}, Pollers: 1})
	if err != nil {
		b.Fatal(err)
	}
	const n = 20_000
	for b.Loop() {
		before := liveHeap()
		conns := make([]*Conn, n)
		for i := range conns {
			c := newConn(s.loops[0], -1, netip.MustParseAddrPort("127.0.0.1:1"), 0)
			s.core.slots.publish(c)
			conns[i] = c
		}
		b.ReportMetric(float64(liveHeap()-before-8*n)/n, "heap-B/conn")
		for _, c := range conns {
			s.loops[0].poll.Free(c.op)
			s.core.leave(c)
		}
	}
	if err := s.Shutdown(b.Context()); err != nil {
		b.Fatal(err)
	}
}

func liveHeap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// BenchmarkEcho is a message there and back over loopback, client included, on
// each poller.
func BenchmarkEcho(b *testing.B) {
	for _, p := range []struct {
		name string
		open func() (poller, error)
	}{{"netpoll", newNetpoll}, {"epoll", newEpoll}} {
		b.Run(p.name, func(b *testing.B) {
			s, err := Listen(Options{Listen: []string{"127.0.0.1:0"}, Handler: echo{}, Pollers: 1, newPoller: p.open})
			if err != nil {
				b.Fatal(err)
			}
			served := make(chan error, 1)
			go func() { served <- s.Serve() }()
			conn, err := net.Dial("tcp", s.Addrs()[0].String())
			if err != nil {
				b.Fatal(err)
			}
			if _, err := conn.Write([]byte(upgradeRequest("/ws"))); err != nil {
				b.Fatal(err)
			}
			buf, frame := make([]byte, 4096), clientFrame(text, make([]byte, 100))
			if _, err := conn.Read(buf); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := conn.Write(frame); err != nil {
					b.Fatal(err)
				}
				if _, err := io.ReadFull(conn, buf[:len(frame)-4]); err != nil {
					b.Fatal(err)
				}
			}
			_ = conn.Close()
			if err := errors.Join(s.Shutdown(b.Context()), <-served); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// BenchmarkHandshake is the parsing and answering of an upgrade that a browser
// sends, without sockets: all of it, and the answer alone.
func BenchmarkHandshake(b *testing.B) {
	request := []byte(upgradeRequest("/ws?token=abc", "Origin: https://example.org", "User-Agent: "+strings.Repeat("x", 120),
		"Accept-Language: en", "Cache-Control: no-cache", "Sec-WebSocket-Extensions: permessage-deflate", "Sec-WebSocket-Protocol: a, b"))
	limits := proto.DefaultLimits()
	var answer []byte
	b.Run("all", func(b *testing.B) {
		callgrind.Loop(b, func() {
			h := parseHead(request[:findHead(request, 0)], nil)
			_, key, err := h.check(&limits, longestLine(request))
			if err != nil {
				b.Fatal(err)
			}
			answer = appendUpgrade(answer[:0], key, "a", "")
		})
	})
	b.Run("answer", func(b *testing.B) {
		callgrind.Loop(b, func() { answer = appendUpgrade(answer[:0], testKey, "a", "") })
	})
}
