package netio

import (
	"errors"
	"sync"

	"github.com/cloudwego/netpoll"
	"golang.org/x/sys/unix"
)

// epollPoller is a second poller, on epoll itself. The suite runs on both, so
// that what this package builds on is the poller interface and nothing more.
type epollPoller struct {
	epfd, wake int

	mu     sync.Mutex
	last   int32
	ids    map[*netpoll.FDOperator]int32
	active map[int32]*netpoll.FDOperator
}

func newEpoll() (poller, error) {
	epfd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	wake, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		return nil, errors.Join(err, unix.Close(epfd))
	}
	p := &epollPoller{
		epfd: epfd, wake: wake,
		ids:    make(map[*netpoll.FDOperator]int32),
		active: make(map[int32]*netpoll.FDOperator),
	}
	return p, unix.EpollCtl(epfd, unix.EPOLL_CTL_ADD, wake, &unix.EpollEvent{Events: unix.EPOLLIN})
}

// Close implements poller.
func (p *epollPoller) Close() error {
	_, err := unix.Write(p.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	return err
}

// Wait implements poller.
func (p *epollPoller) Wait() error {
	defer func() { _, _ = unix.Close(p.wake), unix.Close(p.epfd) }()
	events := make([]unix.EpollEvent, 64)
	for {
		n, err := unix.EpollWait(p.epfd, events, -1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		for _, e := range events[:max(n, 0)] {
			if e.Pad == 0 {
				return nil
			}
			p.handle(e)
		}
	}
}

func (p *epollPoller) handle(e unix.EpollEvent) {
	op := p.lookup(e.Pad)
	if op == nil {
		return
	}
	if e.Events&unix.EPOLLIN != 0 && op.OnRead != nil {
		_ = op.OnRead(nil)
	}
	if e.Events&(unix.EPOLLHUP|unix.EPOLLRDHUP|unix.EPOLLERR) != 0 {
		if p.lookup(e.Pad) == op && p.Control(op, netpoll.PollDetach) == nil && op.OnHup != nil {
			hup := op.OnHup
			go func() { _ = hup(nil) }()
		}
		return
	}
	if e.Events&unix.EPOLLOUT != 0 && op.OnWrite != nil && p.lookup(e.Pad) == op {
		_ = op.OnWrite(nil)
	}
}

func (p *epollPoller) lookup(id int32) *netpoll.FDOperator {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.active[id]
}

// Control implements poller.
func (p *epollPoller) Control(op *netpoll.FDOperator, event netpoll.PollEvent) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	const in, out, hup = unix.EPOLLIN, unix.EPOLLOUT, unix.EPOLLRDHUP | unix.EPOLLERR
	do, events := unix.EPOLL_CTL_MOD, uint32(in|hup)
	switch event {
	case netpoll.PollReadable:
		do = unix.EPOLL_CTL_ADD
	case netpoll.PollWritable:
		do, events = unix.EPOLL_CTL_ADD, out|hup|unix.EPOLLET
	case netpoll.PollR2RW:
		events = in | out | hup
	case netpoll.PollDetach:
		do = unix.EPOLL_CTL_DEL
	}
	id, known := p.ids[op]
	if do == unix.EPOLL_CTL_ADD {
		p.last++
		id = p.last
	} else if !known {
		return unix.ENOENT
	}
	if err := unix.EpollCtl(p.epfd, do, op.FD, &unix.EpollEvent{Events: events, Fd: int32(op.FD), Pad: id}); err != nil {
		return err
	}
	switch do {
	case unix.EPOLL_CTL_ADD:
		p.ids[op], p.active[id] = id, op
	case unix.EPOLL_CTL_DEL:
		delete(p.ids, op)
		delete(p.active, id)
	}
	return nil
}

// Alloc implements poller.
func (p *epollPoller) Alloc() *netpoll.FDOperator { return new(netpoll.FDOperator) }

// Free implements poller.
func (p *epollPoller) Free(*netpoll.FDOperator) {}

// deaf is a poller that fails to watch.
type deaf struct{ poller }

// Control implements poller.
func (deaf) Control(*netpoll.FDOperator, netpoll.PollEvent) error { return unix.EBADF }
