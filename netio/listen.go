package netio

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"unsafe"

	"github.com/cloudwego/netpoll"
	"golang.org/x/sys/unix"
)

const (
	unixPrefix     = "unix:"
	acceptBatch    = 64  // connections taken for one event of a listener
	userTimeout    = 120 // seconds that sent bytes may stay unacknowledged
	keepIdle       = 60  // seconds until the kernel probes a silent peer
	notSentLowat   = 16 << 10
	maxSegment     = 8960 // of Ethernet's jumbo frames; docs/design/0003-segments.md
	bindAttempts   = 8    // for port 0, where the port may be taken between two binds
	reserveDevice  = "/dev/null"
	shedWhenFull   = 64   // connections closed with the reserve descriptor, per back-off
	descriptorsFor = 1024 // at most kept for files, the store and net/http; see reserveOf
)

// listener is one listening descriptor on one loop.
type listener struct {
	// Static after construction.
	core  *core
	loop  *loop   // that accepts
	loops []*loop // that connections are spread over
	gate  *gate
	fd    int
	tls   bool // connections are secured
	op    *netpoll.FDOperator

	next int // owned by the loop's goroutine: index in loops

	mu      sync.Mutex
	watched bool // false before start, and while descriptors have run out
	closed  bool
}

// gate decides whether there is room for one more connection.
type gate struct {
	// Static after construction.
	core    *core
	max     int // connections
	courted int // beyond max, connections that are answered 503 before they are closed
	extra   func() int

	mu      sync.Mutex
	reserve int // a descriptor that can be given up for a moment, -1 for none
}

// reserveOf returns how many descriptors of a limit are kept from connections.
func reserveOf(limit int) int { return min(descriptorsFor, max(limit/8, 16)) }

// bind opens n listening sockets that share the address, or one where sharing
// makes no sense, and returns their descriptors and the address they got.
func bind(address string, n, sendBuffer int) (fds []int, addr net.Addr, err error) {
	if path, ok := strings.CutPrefix(address, unixPrefix); ok {
		return bindUnix(path)
	}
	if n == 1 {
		fd, addr, err := bindTCP(address, false, sendBuffer)
		if err != nil {
			return nil, nil, err
		}
		return []int{fd}, addr, nil
	}
	for attempt := 1; ; attempt++ {
		fds, addr, err = bindShared(address, n, sendBuffer)
		if err == nil || attempt == bindAttempts || !errors.Is(err, errRebind) {
			return fds, addr, err
		}
	}
}

var errRebind = errors.New("the port was taken between two binds")

// bindShared binds once without SO_REUSEPORT, so that a port which another
// server shares is found taken, and then n times with it.
func bindShared(address string, n, sendBuffer int) (fds []int, addr net.Addr, err error) {
	probe, addr, err := bindTCP(address, false, sendBuffer)
	if err != nil {
		return nil, nil, err
	}
	closeDescriptor(probe)
	for range n {
		fd, _, err := bindTCP(addr.String(), true, sendBuffer)
		if err != nil {
			for _, fd := range fds {
				closeDescriptor(fd)
			}
			return nil, nil, errors.Join(errRebind, err)
		}
		fds = append(fds, fd)
	}
	return fds, addr, nil
}

func bindTCP(address string, share bool, sendBuffer int) (fd int, addr net.Addr, err error) {
	lc := net.ListenConfig{
		KeepAlive: -1, // set below, for accept4 takes over what the listener has
		Control: func(_, _ string, raw syscall.RawConn) error {
			var failed error
			err := raw.Control(func(fd uintptr) { failed = setListenerOptions(int(fd), share, sendBuffer) })
			return errors.Join(err, failed)
		},
	}
	lc.SetMultipathTCP(false)
	ln, err := lc.Listen(context.Background(), "tcp", address)
	if err != nil {
		return -1, nil, err // names the address
	}
	return takeDescriptor(ln)
}

// setListenerOptions sets what accepted connections inherit.
func setListenerOptions(fd int, share bool, sendBuffer int) error {
	options := []struct{ level, name, value int }{
		{unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
		{unix.IPPROTO_TCP, unix.TCP_MAXSEG, maxSegment},
		{unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, userTimeout * 1000},
		{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
		{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, keepIdle},
		{unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, notSentLowat},
		{unix.SOL_SOCKET, unix.SO_SNDBUF, sendBuffer},
	}
	if share {
		options = append(options, struct{ level, name, value int }{unix.SOL_SOCKET, unix.SO_REUSEPORT, 1})
	}
	for _, o := range options {
		if err := unix.SetsockoptInt(fd, o.level, o.name, o.value); err != nil {
			return os.NewSyscallError("setsockopt", err)
		}
	}
	return nil
}

// bindUnix listens on a Unix socket. The file of a server that is gone is
// replaced; that of a running one is an error.
func bindUnix(path string) (fds []int, addr net.Addr, err error) {
	if info, err := os.Lstat(path); err == nil && info.Mode()&fs.ModeSocket != 0 {
		conn, err := net.Dial("unix", path)
		if err == nil {
			_ = conn.Close()
			return nil, nil, fmt.Errorf("listen unix %s: another server listens there", path)
		}
		if errors.Is(err, syscall.ECONNREFUSED) {
			if err := os.Remove(path); err != nil {
				return nil, nil, fmt.Errorf("listen unix %s: %w", path, err)
			}
		}
	}
	ln, err := net.Listen("unix", path)
	if err != nil {
		return nil, nil, err // names the path
	}
	ln.(*net.UnixListener).SetUnlinkOnClose(false)
	fd, addr, err := takeDescriptor(ln)
	if err != nil {
		return nil, nil, err
	}
	return []int{fd}, addr, nil
}

// takeDescriptor takes a listening socket out of Go's hands.
func takeDescriptor(ln net.Listener) (fd int, addr net.Addr, err error) {
	defer func() { err = errors.Join(err, ln.Close()) }()
	fd, err = duplicate(ln.(syscall.Conn))
	return fd, ln.Addr(), err
}

// duplicate returns a second descriptor of a socket.
func duplicate(c syscall.Conn) (fd int, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return -1, err
	}
	var failed error
	err = raw.Control(func(old uintptr) { fd, failed = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0) })
	return fd, errors.Join(err, failed)
}

// start has the loop watch the listener.
func (ln *listener) start() error {
	ln.mu.Lock()
	defer ln.mu.Unlock()
	ln.op = ln.loop.poll.Alloc()
	ln.op.FD = ln.fd
	ln.op.OnRead = ln.onRead
	return ln.watchLocked()
}

// watchLocked has the loop watch the listener. Where onRead has just unwatched
// it, the poller comes out of onRead without this lock.
func (ln *listener) watchLocked() error {
	if ln.watched || ln.closed {
		return nil
	}
	if err := ln.loop.poll.Control(ln.op, netpoll.PollReadable); err != nil {
		return fmt.Errorf("watch a listener: %w", err)
	}
	ln.watched = true
	return nil
}

// unwatchLocked has the loop leave the listener alone.
func (ln *listener) unwatchLocked() {
	if ln.watched {
		ln.watched = false
		_ = ln.loop.poll.Control(ln.op, netpoll.PollDetach) // an open descriptor that is watched can be let go
	}
}

// close stops listening. The kernel refuses connections from then on.
func (ln *listener) close() {
	ln.mu.Lock()
	defer ln.mu.Unlock()
	if ln.closed {
		return
	}
	ln.closed = true
	ln.unwatchLocked()
	closeDescriptor(ln.fd)
}

// onRead is called by the poller when there are connections to accept.
func (ln *listener) onRead(netpoll.Poll) error {
	ln.mu.Lock()
	defer ln.mu.Unlock()
	if !ln.watched {
		return nil
	}
	for range acceptBatch {
		fd, remote, errno := accept(ln.fd)
		switch errno {
		case 0:
			ln.core.stats.accepted.Add(1)
			ln.admit(fd, remote)
		case syscall.EAGAIN:
			return nil
		case syscall.EINTR, syscall.ECONNABORTED:
		case syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM:
			ln.exhausted(errno)
			return nil
		default:
			ln.core.stats.acceptErrors.Add(1)
			return nil
		}
	}
	return nil
}

// admit gives a new connection to a loop, or refuses it.
func (ln *listener) admit(fd int, remote netip.AddrPort) {
	room := ln.gate.room()
	if room == roomNone {
		ln.core.stats.refused.Add(1)
		closeDescriptor(fd)
		return
	}
	l := ln.loops[ln.next]
	ln.next = (ln.next + 1) % len(ln.loops)
	proxy := !remote.IsValid() || ln.core.proxies.trust(remote.Addr()) // a Unix socket has no address
	var from origin
	from.set(trusted, proxy)
	from.set(naked, proxy && ln.core.proxied)
	from.set(secure, ln.tls)
	from.set(full, room == roomForAnswer)
	from.set(roomy, !remote.IsValid()) // Unix sockets inherit nothing
	newConn(l, fd, remote, from).start()
}

// exhausted answers a lack of descriptors: some of those that wait are closed
// with the help of the reserve descriptor, then the listener is left alone
// until the sweep looks after it.
func (ln *listener) exhausted(errno syscall.Errno) {
	if ln.core.stats.exhausted.Add(1) == 1 {
		ln.core.logger.Warn("out of descriptors or memory for connections; raise LimitNOFILE or lower the load",
			slog.Any("error", errno))
	}
	ln.gate.shed(ln.fd)
	ln.unwatchLocked()
}

// retry watches the listener again after exhausted.
func (ln *listener) retry() {
	ln.mu.Lock()
	defer ln.mu.Unlock()
	if ln.op == nil {
		return // not started
	}
	if err := ln.watchLocked(); err != nil {
		ln.core.stats.acceptErrors.Add(1)
	}
}

// How much room there is for a connection.
const (
	roomNone = iota
	roomForAnswer
	roomForAll
)

// room says whether one more connection fits.
func (g *gate) room() int {
	n := g.core.live.count() + g.extra()
	switch {
	case n >= g.max+g.courted:
		return roomNone
	case n >= g.max:
		return roomForAnswer
	}
	return roomForAll
}

// shed closes some of the connections that wait on a listener.
func (g *gate) shed(listener int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.reserve >= 0 {
		closeDescriptor(g.reserve)
		g.reserve = -1
		for range shedWhenFull {
			fd, _, errno := accept(listener)
			if errno != 0 {
				break
			}
			g.core.stats.refused.Add(1)
			closeDescriptor(fd)
		}
	}
	g.refill()
}

// refill opens the reserve descriptor again, where that is possible now.
func (g *gate) refill() {
	if g.reserve >= 0 {
		return
	}
	if fd, err := unix.Open(reserveDevice, unix.O_RDONLY|unix.O_CLOEXEC, 0); err == nil {
		g.reserve = fd
	}
}

// accept takes one connection, non-blocking, from a listening descriptor.
func accept(listener int) (int, netip.AddrPort, syscall.Errno) {
	var sa syscall.RawSockaddrAny
	size := uint32(unsafe.Sizeof(sa))
	fd, _, errno := syscall.RawSyscall6(syscall.SYS_ACCEPT4, uintptr(listener), uintptr(unsafe.Pointer(&sa)),
		uintptr(unsafe.Pointer(&size)), syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0, 0)
	if errno != 0 {
		return -1, netip.AddrPort{}, errno
	}
	return int(fd), addrPort(&sa), 0
}

// addrPort reads a socket address; that of a Unix socket is not valid.
func addrPort(sa *syscall.RawSockaddrAny) netip.AddrPort {
	port := func(p *uint16) uint16 {
		b := (*[2]byte)(unsafe.Pointer(p))
		return uint16(b[0])<<8 | uint16(b[1])
	}
	switch sa.Addr.Family {
	case syscall.AF_INET:
		a := (*syscall.RawSockaddrInet4)(unsafe.Pointer(sa))
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), port(&a.Port))
	case syscall.AF_INET6:
		a := (*syscall.RawSockaddrInet6)(unsafe.Pointer(sa))
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr).Unmap(), port(&a.Port))
	}
	return netip.AddrPort{}
}
