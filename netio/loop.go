package netio

import (
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/cloudwego/netpoll"
	"golang.org/x/sys/unix"

	"github.com/thronghq/throng/proto"
)

// core is what all connections of a server share.
type core struct {
	// Static after construction.
	handler    Handler
	counter    FrameCounter // the handler, nil where it does not count
	limits     proto.Limits
	upgrade    func(path string) bool
	origins    originPolicy
	sendBuffer int
	logger     *slog.Logger
	proxies    proxies
	proxied    bool                                                                          // proxies send a PROXY header
	handshakes *handshakes                                                                   // nil where no address speaks TLS
	handOver   func(c *Conn, fd int, op *netpoll.FDOperator, stream *tlsStream, read []byte) // gives a connection to net/http
	firstPing  func() uint32                                                                 // tick of a new connection's first ping

	admission *admission

	refusing atomic.Bool // the server is going

	clock   clock
	slots   slots
	pool    buffers
	readers sync.Pool // of *frameReader
	queues  sync.Pool // of *outbox
	memory  memory
	stats   coreStats
	live    liveCount
}

// newReader returns an idle reader.
func (co *core) newReader() *frameReader {
	if r, ok := co.readers.Get().(*frameReader); ok {
		return r
	}
	return &frameReader{pool: &co.pool}
}

// newOutbox returns an empty outbox.
func (co *core) newOutbox() *outbox {
	if o, ok := co.queues.Get().(*outbox); ok {
		return o
	}
	return new(outbox)
}

// freeOutbox takes an outbox back, with whatever waits in it.
func (co *core) freeOutbox(o *outbox) {
	o.counted.to(co.memory.outboxes, 0)
	o.discard(&co.pool, &co.memory)
	co.queues.Put(o)
}

// leave forgets a connection whose descriptor is closed or has been given away.
func (co *core) leave(c *Conn) {
	co.slots.release(c.slot)
	co.live.leave()
}

// taskKind is what a loop has to do for a connection.
type taskKind uint8

const (
	taskAdopt   taskKind = iota // take up a connection that net/http held
	taskEnd                     // the poller has reported the hang-up
	taskPause                   // stop reading
	taskResume                  // read again
	taskClosed                  // it was ended from elsewhere: call Handler.Closed
	taskDue                     // the time in the connection's slot has come
	taskAdmit                   // its handshake's turn has come
	taskPushed                  // another handshake has got its place in the queue
	taskSecured                 // the TLS handshake is done
)

type task struct {
	c    *Conn
	kind taskKind
}

// loop is one poller with the connections that live on it. Everything that
// belongs to "the loop's goroutine" happens in functions that its poller calls:
// those of the connections, of the listeners, and runTasks.
type loop struct {
	// Static after construction.
	core *core
	poll poller
	wake int // eventfd that has the poller run the tasks

	// Owned by the loop's goroutine.
	buf    []byte       // what every read of this loop goes into
	plain  []byte       // what it is decrypted into; nil where no address speaks TLS
	lines  []header     // empty: a request's are appended to it
	reader *frameReader // for a connection that holds none
	unpack *inflater    // for compressed messages; nil until a connection agrees on them
	spare  []task       // the other half of tasks
	wakeOp *netpoll.FDOperator

	control [2 + maxControl]byte // an answer to a control frame is made here

	// Guarded by the lock of the connection that is corked, of which there
	// is one at a time.
	cork []byte

	stats loopStats

	mu    sync.Mutex
	tasks []task // bounded by some a connection: each kind is queued when its cause comes up
}

// newLoop opens a poller, has start run it on a goroutine, tests it and has it
// watch for tasks. A loop that it returns, even with an error, is the caller's
// to stop and release.
func newLoop(co *core, open func() (poller, error), start func(func())) (*loop, error) {
	p, err := open()
	if err != nil {
		return nil, err
	}
	l := &loop{
		core: co, poll: p, wake: -1,
		buf:    make([]byte, readBufferSize),
		reader: co.newReader(),
		cork:   make([]byte, 0, corkSize),
	}
	if co.handshakes != nil {
		l.plain = make([]byte, plainBuffer)
	}
	start(func() {
		if err := p.Wait(); err != nil {
			co.logger.Error("poller failed", slog.Any("error", err))
		}
	})
	if err := checkPoller(p); err != nil {
		return l, err
	}
	if l.wake, err = unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC); err != nil {
		return l, fmt.Errorf("eventfd: %w", err)
	}
	l.wakeOp = p.Alloc()
	l.wakeOp.FD = l.wake
	l.wakeOp.OnRead = l.runTasks
	if err := p.Control(l.wakeOp, netpoll.PollReadable); err != nil {
		return l, fmt.Errorf("watch an eventfd: %w", err)
	}
	return l, nil
}

// keepLines takes the head's lines for the next one.
func (l *loop) keepLines(h *head) {
	const kept = 64
	if cap(h.lines) <= kept {
		clear(h.lines)
		l.lines = h.lines[:0]
	}
}

// stop ends the poller. No connection may be left, and nothing is posted after.
func (l *loop) stop() error { return l.poll.Close() }

// release closes what is left once the poller has ended.
func (l *loop) release() {
	if l.wake >= 0 {
		closeDescriptor(l.wake)
	}
}

// post has the loop's goroutine do something for a connection.
func (l *loop) post(c *Conn, kind taskKind) {
	l.mu.Lock()
	l.tasks = append(l.tasks, task{c, kind})
	first := len(l.tasks) == 1
	l.mu.Unlock()
	if first {
		signal(l.wake)
	}
}

// runTasks is called by the poller after post.
func (l *loop) runTasks(netpoll.Poll) error {
	settle(l.wake)
	l.mu.Lock()
	tasks := l.tasks
	l.tasks = l.spare[:0]
	l.mu.Unlock()
	for i, t := range tasks {
		tasks[i] = task{}
		t.c.run(t.kind)
	}
	l.spare = tasks[:0]
	return nil
}

// run does one task.
func (c *Conn) run(kind taskKind) {
	switch kind {
	case taskAdopt:
		c.adopt()
	case taskEnd:
		c.end()
	case taskPause:
		c.pause()
	case taskResume:
		c.resume()
	case taskClosed:
		c.forgetPartial()
		c.tellClosed()
	case taskDue:
		c.due()
	case taskAdmit:
		c.admit()
	case taskPushed:
		c.pushedOut()
	case taskSecured:
		c.secured()
	}
}
