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

	mu    sync.Mutex
	down  bool
	conns map[net.Conn]struct{}

	done sync.WaitGroup
}

func newLink(t *testing.T, target string) *link {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &link{t: t, listener: listener, target: target, conns: map[net.Conn]struct{}{}}
	l.done.Go(l.accept)
	t.Cleanup(func() {
		listener.Close()
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
			l.done.Go(func() { pass(far, near) })
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
