package web_test

import (
	"io"
	"net"
	"sync"
	"testing"
)

// link is a network link to the server that can be cut and restored: it passes
// TCP connections on while it is up, and breaks and refuses them while not.
type link struct {
	t        *testing.T
	listener net.Listener
	target   string

	mu     sync.Mutex
	budget int           // bytes that may still go to the server; negative for any number
	freed  chan struct{} // closed when the budget no longer counts
	down   bool
	conns  map[net.Conn]struct{}

	done sync.WaitGroup
}

func newLink(t *testing.T, target string) *link {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &link{t: t, listener: listener, target: target, budget: -1, freed: make(chan struct{}), conns: map[net.Conn]struct{}{}}
	l.done.Go(l.accept)
	t.Cleanup(func() {
		listener.Close()
		l.free()
		l.cut()
		l.done.Wait()
	})
	return l
}

func (l *link) url(path string) string { return "http://" + l.listener.Addr().String() + path }

func (l *link) accept() {
	for {
		near, err := l.listener.Accept()
		if err != nil {
			return // the test is over
		}
		far, err := net.Dial("tcp", l.target)
		if err != nil {
			near.Close()
			continue
		}
		if l.add(near, far) {
			l.done.Go(func() { pass(near, far) })
			l.done.Go(func() { pass(toll{far, l}, near) })
		}
	}
}

// add keeps the two ends for cut, or closes them where the link is down.
func (l *link) add(ends ...net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, end := range ends {
		if l.down {
			end.Close()
			continue
		}
		l.conns[end] = struct{}{}
	}
	return !l.down
}

// pass copies one direction, and ends the other with it.
func pass(to, from net.Conn) {
	io.Copy(to, from) // ends with the link, whatever the reason
	to.Close()
	from.Close()
}

// hold lets n more bytes through to the server, and keeps what comes after
// them waiting until free.
func (l *link) hold(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.budget = n
}

func (l *link) free() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.budget >= 0 {
		l.budget = -1
		close(l.freed)
	}
}

// toll is the server's end of a connection, for bytes that go there.
type toll struct {
	net.Conn
	link *link
}

func (t toll) Write(p []byte) (int, error) {
	t.link.mu.Lock()
	over := t.link.budget >= 0 && len(p) > t.link.budget
	if t.link.budget >= 0 && !over {
		t.link.budget -= len(p)
	}
	t.link.mu.Unlock()
	if over {
		<-t.link.freed
	}
	return t.Conn.Write(p)
}

func (l *link) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = true
	for end := range l.conns {
		end.Close()
	}
	clear(l.conns)
}

func (l *link) restore() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = false
}
