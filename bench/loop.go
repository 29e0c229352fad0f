package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/gobwas/ws"
	"golang.org/x/sys/unix"
)

// conn is one connection: what 18,000 of them have to be small in. It belongs
// to its loop's thread.
type conn struct {
	fd      int32
	state   connState
	writes  bool // waits for the socket to become writable
	slow    bool // never reads once it has joined
	pinged  bool // has answered a ping
	room    int32
	index   int32  // among all connections of the run, those of other processes included
	partial []byte // the beginning of a frame whose rest has not arrived, nil for none
	pending []byte // what the socket did not take, nil for nothing

	stream stream     // the order of its room's messages
	author *publisher // nil where it only listens
}

type connState uint8

const (
	stateNone       connState = iota
	stateConnecting           // TCP
	stateUpgrading            // the request is sent, the 101 has not come
	stateOpening              // frames pass, the scenario's preparations do not end yet
	stateReady
	stateClosed
)

// handler is what a scenario does with connections. Its methods run on the
// loop's thread.
type handler interface {
	// opened is called when the server has accepted the upgrade.
	opened(c *conn) error
	// frame is called for every message, with the time at which the bytes
	// were read. The payload is valid until it returns.
	frame(c *conn, op ws.OpCode, payload []byte, at int64) error
}

// loop drives the connections of one process: one thread, one epoll, one read
// buffer that all of them share.
type loop struct {
	clock    clock
	ep       int
	timer    int // timerfd: epoll's own timeout knows only milliseconds
	armed    int64
	conns    []conn
	buf      []byte
	events   [512]unix.EpollEvent
	handler  handler
	secured  *secured                       // nil where the server speaks no TLS
	inflater *inflater                      // nil where compression is not offered
	lost     func(c *conn, why error) error // takes a connection's failure; nil: it ends the run
	handled  func(c *conn) error            // called when all frames of one read have been handled; may be nil
	progress func()
	nextTick int64
	pings    uint64
}

const (
	idleTime     = 5 * time.Millisecond
	firstBuffer  = 256 << 10
	progressTick = int64(500 * time.Millisecond)
	timerIndex   = -1
	maxPending   = 64 << 20 // bytes that wait for one socket
)

func newLoop(size int, h handler, progress func()) (*loop, error) {
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll_create1: %w", err)
	}
	timer, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("timerfd_create: %w", err), unix.Close(ep))
	}
	l := &loop{clock: newClock(), ep: ep, timer: timer, conns: make([]conn, size), buf: make([]byte, firstBuffer), handler: h, progress: progress}
	event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: timerIndex}
	if err := unix.EpollCtl(ep, unix.EPOLL_CTL_ADD, timer, &event); err != nil {
		return nil, errors.Join(fmt.Errorf("epoll_ctl: %w", err), unix.Close(timer), unix.Close(ep))
	}
	return l, nil
}

// close closes all connections at once. Their sockets do not linger, so no port
// stays behind in TIME_WAIT.
func (l *loop) close() {
	for i := range l.conns {
		l.drop(&l.conns[i])
	}
	l.secured.close()
	_ = unix.Close(l.timer)
	_ = unix.Close(l.ep)
}

func (l *loop) drop(c *conn) {
	if c.state != stateNone && c.state != stateClosed {
		_ = unix.Close(int(c.fd))
		c.state, c.partial, c.pending, c.writes = stateClosed, nil, nil, false
	}
}

// poll waits for events up to the moment until, handles what is there, and
// returns. The first thing that goes wrong on any connection ends the run, unless
// lost takes it.
func (l *loop) poll(ctx context.Context, until int64) error {
	now := l.clock.now()
	if now >= l.nextTick {
		if err := ctx.Err(); err != nil {
			return err
		}
		l.nextTick = now + progressTick
		if l.progress != nil {
			l.progress()
		}
	}
	timeout := 0
	if wake := min(until, l.nextTick); wake > now {
		if err := l.arm(wake); err != nil {
			return err
		}
		timeout = -1
	}
	n, err := unix.EpollWait(l.ep, l.events[:], timeout)
	if err != nil && !errors.Is(err, unix.EINTR) {
		return fmt.Errorf("epoll_wait: %w", err)
	}
	for _, event := range l.events[:max(n, 0)] {
		if event.Fd == timerIndex {
			var count [8]byte
			_, _ = unix.Read(l.timer, count[:]) // the count does not matter
			l.armed = 0
			continue
		}
		c := &l.conns[event.Fd]
		err := l.handle(c, event.Events)
		if err != nil && l.lost != nil {
			err = l.lost(c, err)
		}
		if err != nil {
			return errors.Join(fmt.Errorf("connection %d: %w", c.index, err), l.secured.failure())
		}
	}
	return nil
}

func (l *loop) arm(at int64) error {
	if l.armed == at {
		return nil
	}
	l.armed = at
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(at)}
	if err := unix.TimerfdSettime(l.timer, unix.TFD_TIMER_ABSTIME, &spec, nil); err != nil {
		return fmt.Errorf("timerfd_settime: %w", err)
	}
	return nil
}

func (l *loop) handle(c *conn, events uint32) error {
	if c.state == stateClosed {
		return nil
	}
	if c.state == stateConnecting {
		return l.connected(c)
	}
	if events&unix.EPOLLOUT != 0 {
		if err := l.flush(c); err != nil {
			return err
		}
	}
	if events&^uint32(unix.EPOLLOUT) != 0 {
		return l.read(c)
	}
	return nil
}

// read takes what the socket holds. A read that does not fill the buffer has
// emptied the socket.
func (l *loop) read(c *conn) error {
	for {
		kept := copy(l.buf, c.partial)
		n, err := recv(int(c.fd), l.buf[kept:])
		switch {
		case errors.Is(err, unix.EAGAIN):
			return nil
		case err != nil:
			return fmt.Errorf("read: %w", err)
		case n == 0:
			return fmt.Errorf("the server closed it: %w", io.ErrUnexpectedEOF)
		}
		full := n == len(l.buf)-kept
		rest, need, err := l.consume(c, l.buf[:kept+n])
		if err == nil && l.handled != nil {
			err = l.handled(c)
		}
		if err != nil {
			return err
		}
		c.partial = keep(c.partial, rest)
		if need > len(l.buf) {
			l.buf = make([]byte, need+firstBuffer)
		}
		if !full || c.state == stateClosed || c.slow && c.state == stateReady {
			return nil
		}
	}
}

// keep stores the beginning of a frame until its rest arrives.
func keep(partial, rest []byte) []byte {
	if len(rest) == 0 {
		return nil
	}
	return append(partial[:0], rest...)
}

// consume hands on the complete frames in b, and returns what follows them and
// how many bytes the next frame has, as far as it says.
func (l *loop) consume(c *conn, b []byte) (rest []byte, need int, err error) {
	at := l.clock.now()
	if c.state == stateUpgrading {
		rest, done, err := readUpgrade(b, l.inflater != nil)
		if err != nil || !done {
			return rest, 0, err
		}
		b = rest
		c.state = stateOpening
		if err := l.handler.opened(c); err != nil {
			return nil, 0, err
		}
	}
	for {
		op, payload, size, need, err := nextFrame(b, l.inflater != nil)
		if err != nil || size == 0 {
			return b, need, err
		}
		if b[0]&rsv1 != 0 {
			if payload, err = l.inflater.inflate(payload); err != nil {
				return nil, 0, err
			}
		}
		b = b[size:]
		switch op {
		case ws.OpPing:
			l.pings++
			c.pinged = true
			frame := beginFrame(nil)
			frame = endFrame(append(frame, payload...), 0, ws.OpPong)
			err = l.send(c, frame)
		case ws.OpPong:
		case ws.OpClose:
			code, reason := ws.ParseCloseFrameData(payload)
			err = fmt.Errorf("the server closed it: %d %s", code, reason)
		default:
			err = l.handler.frame(c, op, payload, at)
		}
		if err != nil {
			return nil, 0, err
		}
	}
}

// send writes bytes, which stay the caller's, or keeps what the socket does not
// take until it does.
func (l *loop) send(c *conn, b []byte) error {
	if len(c.pending) == 0 {
		n, err := write(int(c.fd), b)
		if err != nil && !errors.Is(err, unix.EAGAIN) {
			return fmt.Errorf("write: %w", err)
		}
		if b = b[max(n, 0):]; len(b) == 0 {
			return nil
		}
	}
	if len(c.pending)+len(b) > maxPending {
		return fmt.Errorf("the server does not read: %d bytes wait for it", len(c.pending))
	}
	c.pending = append(c.pending, b...)
	return l.interest(c, true)
}

func (l *loop) flush(c *conn) error {
	n, err := write(int(c.fd), c.pending)
	if err != nil && !errors.Is(err, unix.EAGAIN) {
		return fmt.Errorf("write: %w", err)
	}
	c.pending = c.pending[:copy(c.pending, c.pending[max(n, 0):])]
	if len(c.pending) > 0 {
		return nil
	}
	c.pending = nil
	return l.interest(c, false)
}

// interest says whether epoll reports the socket writable.
func (l *loop) interest(c *conn, writes bool) error {
	if c.writes == writes {
		return nil
	}
	c.writes = writes
	event := unix.EpollEvent{Fd: l.slot(c)}
	if !c.slow || c.state != stateReady {
		event.Events = unix.EPOLLIN
	}
	if writes {
		event.Events |= unix.EPOLLOUT
	}
	return unix.EpollCtl(l.ep, unix.EPOLL_CTL_MOD, int(c.fd), &event)
}

// ignore ends all reading of a connection, which stays open: it plays a client
// that hangs.
func (l *loop) ignore(c *conn) error {
	return unix.EpollCtl(l.ep, unix.EPOLL_CTL_DEL, int(c.fd), nil)
}

// idle serves the connections for a moment.
func (l *loop) idle(ctx context.Context) error {
	return l.poll(ctx, l.clock.now()+int64(idleTime))
}

// serve does so for a time.
func (l *loop) serve(ctx context.Context, d time.Duration) error {
	for end := l.clock.now() + int64(d); l.clock.now() < end; {
		if err := l.poll(ctx, end); err != nil {
			return err
		}
	}
	return nil
}

// pace calls send at a rate a second, from start until the end or until send
// has no more. A call that comes late, because the one before took its time or
// so much arrived, does not move the ones after it.
func (l *loop) pace(ctx context.Context, start, end int64, rate float64, send func(n int, due int64) (more bool, err error)) error {
	for n := 0; ; n++ {
		due := start + int64(float64(n)*float64(time.Second)/rate)
		for now := l.clock.now(); now < due && now < end; now = l.clock.now() {
			if err := l.poll(ctx, min(due, end)); err != nil {
				return err
			}
		}
		if due >= end {
			return nil
		}
		if more, err := send(n, due); err != nil || !more {
			return err
		}
	}
}

// slot is the connection's place in the loop.
func (l *loop) slot(c *conn) int32 { return c.index - l.conns[0].index }
