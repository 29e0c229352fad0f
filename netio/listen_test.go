package netio

import (
	"crypto/tls"
	"errors"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/thronghq/throng/proto"
)

// leaveStaleSocket leaves the file of a Unix socket that nobody listens on.
func leaveStaleSocket(t *testing.T, path string) {
	t.Helper()
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	ln.(*net.UnixListener).SetUnlinkOnClose(false)
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestTakenPort: a port that any other socket listens on, sharing or not, is an
// error that names it, and nothing is left open.
func TestTakenPort(t *testing.T) {
	s := start(t, Options{Listeners: 2})
	before := openDescriptors(t)
	for _, listeners := range []int{1, 2} {
		_, err := Listen(Options{Listen: []string{"127.0.0.1:0", s.addr}, Listeners: listeners, Pollers: 2, Handler: newRecorder()})
		if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), s.addr) {
			t.Errorf("%d listeners: got %v, want an error that names %s", listeners, err, s.addr)
		}
	}
	noLeak(t, "descriptors", before, func() int { return openDescriptors(t) })
}

// TestListeners: every combination of listeners and pollers serves, on port 0.
func TestListeners(t *testing.T) {
	onPollers(t, func(t *testing.T, open func() (poller, error)) {
		listen := []string{"127.0.0.1:0"}
		if ln, err := net.Listen("tcp", "[::1]:0"); err == nil { // not where IPv6 is off
			_ = ln.Close()
			listen = append(listen, "[::1]:0")
		}
		for _, n := range []struct{ listeners, pollers int }{{1, 1}, {1, 3}, {2, 2}, {3, 1}, {3, 2}} {
			r := newRecorder()
			s := start(t, Options{Listeners: n.listeners, Pollers: n.pollers, Handler: r, newPoller: open, Listen: listen})
			if len(s.Addrs()) != len(listen) || strings.HasSuffix(s.addr, ":0") {
				t.Errorf("addresses %v", s.Addrs())
			}
			var peers []*peer
			for range 16 {
				p := s.dial(t)
				p.frame(text, "x")
				p.expect("81 x")
				r.wait(t, "open")
				peers = append(peers, p)
			}
			if got := s.Connections(); got != 16 {
				t.Errorf("%d connections, want 16", got)
			}
			for _, p := range peers {
				_ = p.Close()
			}
			s.stop()
		}
	})
}

// TestAnyAddress: an address without a host takes IPv4, also with shared ports.
func TestAnyAddress(t *testing.T) {
	for _, listeners := range []int{1, 2} {
		s := start(t, Options{Listen: []string{":0"}, Listeners: listeners})
		_, port, err := net.SplitHostPort(s.addr)
		if err != nil {
			t.Fatal(err)
		}
		s.addr = net.JoinHostPort("127.0.0.1", port)
		if !s.tryEcho() {
			t.Errorf("%d listeners on %v do not answer on %s", listeners, s.Addrs(), s.addr)
		}
	}
}

// TestExhausted: without descriptors, connections are refused and counted,
// once a tick and listener at most; when there are some again, all is well. And
// the same once more.
func TestExhausted(t *testing.T) {
	onPollers(t, func(t *testing.T, open func() (poller, error)) {
		limits := proto.DefaultLimits()
		limits.HandshakeTimeout = 50 * minTick // for one that slips in while others are being closed
		s := start(t, Options{newPoller: open, Limits: limits, Pollers: 1})
		restore := lowerLimit(t, openDescriptors(t)+64)
		defer restore()
		for round := range 2 {
			const clients = 8
			var waiting []int
			for range clients {
				fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
				if err != nil {
					t.Fatal(err)
				}
				waiting = append(waiting, fd)
			}
			free := fillDescriptors(t)
			before, tick := s.core.stats.exhausted.Load(), s.core.clock.now()
			sa := sockaddr(t, s.addr)
			for _, fd := range waiting {
				if err := unix.Connect(fd, sa); err != nil {
					t.Fatal(err)
				}
			}
			for _, fd := range waiting {
				// The reserve descriptor serves to close each of them.
				if n, err := unix.Read(fd, make([]byte, 1)); n > 0 {
					t.Errorf("read %d bytes, %v, want the end", n, err)
				}
			}
			hits, ticks := s.core.stats.exhausted.Load()-before, uint64(s.core.clock.now()-tick)
			if hits == 0 || hits > ticks+2 {
				t.Errorf("round %d: %d failures in %d ticks", round, hits, ticks)
			}
			free()
			for _, fd := range waiting {
				_ = unix.Close(fd)
			}
			// The last of the closes may still be under way, and take one more.
			if !eventually(func() bool { return s.tryEcho() }) {
				t.Fatalf("round %d: the server does not recover", round)
			}
		}
	})
}

// tryEcho reports whether a new connection gets its echo.
func (s *testServer) tryEcho() bool {
	conn, err := net.Dial("tcp", s.addr)
	if err != nil {
		return false
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience)) // a TCP connection has deadlines
	want := "\r\n\r\n\x81\x01x"
	_, err = conn.Write([]byte(upgradeRequest("/ws") + string(cf(text, "x"))))
	var got []byte
	for err == nil && !strings.HasSuffix(string(got), want) {
		var n int
		b := make([]byte, 512)
		n, err = conn.Read(b)
		got = append(got, b[:n]...)
	}
	return err == nil
}

func sockaddr(t *testing.T, addr string) unix.Sockaddr {
	t.Helper()
	a, err := net.ResolveTCPAddr("tcp4", addr)
	if err != nil {
		t.Fatal(err)
	}
	return &unix.SockaddrInet4{Port: a.Port, Addr: [4]byte(a.IP.To4())}
}

// lowerLimit lowers the limit of open files until the returned function runs.
func lowerLimit(t *testing.T, n int) (restore func()) {
	t.Helper()
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(n), Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
			t.Error(err)
		}
	}
}

// fillDescriptors opens files until there are no descriptors.
func fillDescriptors(t *testing.T) (free func()) {
	t.Helper()
	var fds []int
	for {
		fd, err := unix.Open(os.DevNull, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if errors.Is(err, unix.EMFILE) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		fds = append(fds, fd)
	}
	return func() {
		for _, fd := range fds {
			_ = unix.Close(fd)
		}
	}
}

// TestFull: past its bound the server answers 503 with Retry-After, and far
// past it closes at once.
func TestFull(t *testing.T) {
	onPollers(t, func(t *testing.T, open func() (poller, error)) {
		r := newRecorder()
		s := start(t, Options{Handler: r, newPoller: open, Pollers: 1},
			func(s *Server) { s.gate.max, s.gate.courted = 1, 1 })
		first := s.dial(t)
		r.wait(t, "open")
		second := s.connect(t)
		second.send("GET /ws")
		if !eventually(func() bool { return s.core.live.count() == 2 }) {
			t.Fatal("the second connection was not accepted")
		}
		third := s.connect(t)
		if got := third.read(); got != "eof" && got != "cut" {
			t.Errorf("the third connection got %q", got)
		}
		second.send(strings.TrimPrefix(upgradeRequest("/ws"), "GET /ws"))
		if head := second.answer(); !strings.HasPrefix(head, "HTTP/1.1 503 ") || headerOf(head, "Retry-After") == "" {
			t.Errorf("the second connection got %q", head)
		}
		first.frame(text, "x")
		first.expect("81 x")
	})
}

// TestOptions: everything that is wrong is reported at once.
func TestOptions(t *testing.T) {
	_, err := Listen(Options{
		Listen:     []string{"nonsense", "unix:"},
		Origins:    []string{"example.org"},
		Pollers:    -1,
		SendBuffer: -1,
		TLS:        new(tls.Config),
		Limits:     proto.Limits{Outbox: 1},
	})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"Handler", `"nonsense"`, `"unix:"`, `"example.org"`, "Pollers", "SendBuffer", "TLS", "Limits.Replies", "Limits.HandshakeBytes"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not name %s: %v", want, err)
		}
	}
	if _, err := Listen(Options{Handler: newRecorder()}); err == nil || !strings.Contains(err.Error(), "no address") {
		t.Errorf("no addresses: %v", err)
	}
}

// TestRaiseDescriptorLimit: the soft limit becomes the hard one.
func TestRaiseDescriptorLimit(t *testing.T) {
	restore := lowerLimit(t, 512)
	defer restore()
	n, err := RaiseDescriptorLimit()
	if err != nil {
		t.Fatal(err)
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if limit.Cur != limit.Max || n != descriptorCount(limit.Max) {
		t.Errorf("returned %d; the limits are %d of %d", n, limit.Cur, limit.Max)
	}
	if got := descriptorLimit(); got != n {
		t.Errorf("descriptorLimit is %d, want %d", got, n)
	}
}
