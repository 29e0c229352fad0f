package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// opener opens a process's connections, some at a time.
type opener struct {
	target  target
	process int
	request func(c *conn) []byte // the upgrade request
	atOnce  int                  // handshakes under way at most
	started int
	ready   int
	timeout time.Duration // without any progress
}

// newOpener makes the opener of a loop's connections. Where the server speaks
// TLS, the loop has to be closed even if this fails.
func newOpener(l *loop, part share, request func(*conn) []byte) (o opener, err error) {
	o = opener{target: part.target, process: part.process, request: request, atOnce: opensAtOnce, timeout: part.options.Timeout}
	if part.target.secure {
		l.secured, err = newSecured(part)
	}
	return o, err
}

// The key and its answer are the example of RFC 6455, section 1.3.
const (
	upgradeKey    = "dGhlIHNhbXBsZSBub25jZQ=="
	upgradeAccept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
	maxHead       = 16 << 10
	slowBuffer    = 4 << 10 // the receive buffer of a connection that never reads
)

// appendRequest appends an upgrade request. An empty subprotocol is not offered,
// nor is compression without deflate.
func appendRequest(dst []byte, t target, path, subprotocol string, deflate bool) []byte {
	dst = append(dst, "GET "...)
	dst = append(dst, t.dir...)
	dst = append(dst, path...)
	dst = append(dst, " HTTP/1.1\r\nHost: "...)
	dst = append(dst, t.host...)
	dst = append(dst, "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "+upgradeKey+"\r\n"...)
	if subprotocol != "" {
		dst = append(dst, "Sec-WebSocket-Protocol: "...)
		dst = append(dst, subprotocol...)
		dst = append(dst, "\r\n"...)
	}
	if deflate {
		dst = append(dst, "Sec-WebSocket-Extensions: "+deflateOffer+"\r\n"...)
	}
	return append(dst, "\r\n"...)
}

// deflateOffer offers compression, of which the server must not refer from one
// message to another: the generator reads each by itself.
const deflateOffer = "permessage-deflate; server_no_context_takeover"

// readUpgrade reads the server's answer, once all of it is there.
func readUpgrade(b []byte, deflate bool) (rest []byte, done bool, err error) {
	end := bytes.Index(b, []byte("\r\n\r\n"))
	if end < 0 {
		if len(b) > maxHead {
			return nil, false, fmt.Errorf("the answer to the upgrade has more than %d bytes", maxHead)
		}
		return b, false, nil
	}
	head, rest := b[:end], b[end+4:]
	line, _, _ := bytes.Cut(head, []byte("\r\n"))
	if !bytes.HasPrefix(line, []byte("HTTP/1.1 101 ")) {
		return nil, false, &refusedUpgrade{after: retryAfter(head), text: fmt.Sprintf("the upgrade was refused: %s %s", line, bytes.TrimSpace(rest))}
	}
	if !bytes.Contains(head, []byte(upgradeAccept)) {
		return nil, false, errors.New("the answer to the upgrade has the wrong Sec-WebSocket-Accept")
	}
	if deflate != bytes.Contains(head, []byte("\r\nSec-WebSocket-Extensions: permessage-deflate")) {
		return nil, false, fmt.Errorf("compression was offered: %v, and the server agreed to the opposite; compress.enabled and namespace.NAME.compress say what it does", deflate)
	}
	return rest, true, nil
}

// refusedUpgrade is an answer to a handshake other than 101.
type refusedUpgrade struct {
	after time.Duration // that the client should stay away, 0 for unsaid
	text  string
}

func (r *refusedUpgrade) Error() string { return r.text }

// retryAfter reads the header of that name, in seconds; 0 where there is none.
func retryAfter(head []byte) time.Duration {
	_, rest, _ := bytes.Cut(head, []byte("\r\nRetry-After: "))
	line, _, _ := bytes.Cut(rest, []byte("\r\n"))
	seconds, err := strconv.Atoi(string(line))
	if err != nil {
		return 0
	}
	return time.Duration(seconds) * time.Second
}

// opensAtOnce bounds the handshakes under way in a process: fewer than the
// backlog that kernels grant.
const opensAtOnce = 64

// open opens all connections and returns when each is ready.
func (l *loop) open(ctx context.Context, o *opener) error {
	last, deadline := 0, l.clock.now()+int64(o.timeout)
	for o.ready < len(l.conns) {
		for o.started < len(l.conns) && o.started-o.ready < o.atOnce {
			c := &l.conns[o.started]
			o.started++
			if err := l.dial(c, o); err != nil {
				return fmt.Errorf("connection %d: %w", c.index, err)
			}
		}
		if err := l.poll(ctx, deadline); err != nil {
			return err
		}
		if o.ready > last {
			last, deadline = o.ready, l.clock.now()+int64(o.timeout)
		} else if l.clock.now() > deadline {
			return fmt.Errorf("%d of %d connections are open, and none came in %v", o.ready, len(l.conns), o.timeout)
		}
	}
	return nil
}

// dial begins a connection. The request waits in pending for the socket.
func (l *loop) dial(c *conn, o *opener) (err error) {
	var fd int
	if l.secured != nil {
		fd, err = l.secured.dial()
	} else {
		fd, err = o.connect(c.slow, o.process+int(l.slot(c))/maxConns)
	}
	if err != nil {
		return err
	}
	c.fd, c.state, c.writes, c.pending = int32(fd), stateConnecting, true, o.request(c)
	event := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLOUT, Fd: l.slot(c)}
	return unix.EpollCtl(l.ep, unix.EPOLL_CTL_ADD, fd, &event)
}

// connect begins a TCP connection from one of the source addresses, of which each
// has ports for maxConns, and returns its socket.
func (o *opener) connect(slow bool, source int) (fd int, err error) {
	family := unix.AF_INET
	if o.target.addr.Addr().Is6() {
		family = unix.AF_INET6
	}
	fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("socket: %w", err)
	}
	defer func() {
		if err != nil {
			_ = unix.Close(fd)
		}
	}()
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		return fd, fmt.Errorf("TCP_NODELAY: %w", err)
	}
	if err := unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}); err != nil {
		return fd, fmt.Errorf("SO_LINGER: %w", err)
	}
	if slow { // what the kernel takes in for a client that hangs should not matter
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, slowBuffer); err != nil {
			return fd, fmt.Errorf("SO_RCVBUF: %w", err)
		}
	}
	if from := o.target.source(source); from != nil {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1); err != nil {
			return fd, fmt.Errorf("IP_BIND_ADDRESS_NO_PORT: %w", err)
		}
		if err := unix.Bind(fd, from); err != nil {
			return fd, fmt.Errorf("bind: %w", err)
		}
	}
	if err := unix.Connect(fd, o.target.sockaddr()); err != nil && !errors.Is(err, unix.EINPROGRESS) {
		return fd, fmt.Errorf("connect to %s: %w", o.target.addr, err)
	}
	return fd, nil
}

// connected ends the TCP handshake and sends the request.
func (l *loop) connected(c *conn) error {
	errno, err := unix.GetsockoptInt(int(c.fd), unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return fmt.Errorf("SO_ERROR: %w", err)
	}
	if errno != 0 {
		return fmt.Errorf("connect: %w", unix.Errno(errno))
	}
	c.state = stateUpgrading
	return l.flush(c)
}
