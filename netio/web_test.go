package netio

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// testPages answers with the method, the path and the body.
func testPages() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		fmt.Fprintf(w, "%s %s %s", r.Method, r.URL.Path, body)
	})
}

// page reads an HTTP answer's body.
func (p *peer) page(r *bufio.Reader) string {
	p.t.Helper()
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return string(body)
}

// TestHTTP: what is not an upgrade reaches net/http, with the bytes that were
// read before; pipelined and kept-alive requests work, and an upgrade on such a
// connection comes back, with frames at its heels.
func TestHTTP(t *testing.T) {
	onPollers(t, func(t *testing.T, open func() (poller, error)) {
		r := newRecorder()
		s := start(t, Options{Handler: r, HTTP: testPages(), newPoller: open})
		p := s.connect(t)
		in := bufio.NewReader(p.Conn)
		p.send("GET /a HTTP/1.1\r\nHost: x\r\n\r\n" + "POST /b HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi")
		for _, want := range []string{"GET /a ", "POST /b hi"} {
			if got := p.page(in); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		}
		p.send(upgradeRequest("/ws?q=1", "Origin: http://example.org") + string(cf(text, "early")))
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			if line == "\r\n" {
				break
			}
			if strings.HasPrefix(line, "HTTP/1.1") && !strings.HasPrefix(line, "HTTP/1.1 101 ") {
				t.Fatalf("upgrade: %q", line)
			}
		}
		e := r.wait(t, "open")
		if e.c.client.addrPort().String() != p.LocalAddr().String() {
			t.Errorf("address %v, want %v", e.c.client.addrPort(), p.LocalAddr())
		}
		rest, err := in.Peek(in.Buffered())
		if err != nil {
			t.Fatal(err)
		}
		p.buf = append(p.buf, rest...)
		p.expect("81 early")
		p.frame(text, "late")
		p.expect("81 late")
		p.frame(closeF, "\x03\xe8")
		p.expectClose(1000)
		r.wait(t, "closed")
		if got := s.metric("throng_http_handovers_total") + s.metric("throng_http_adopted_total"); got != "11" {
			t.Errorf("hand-overs and adoptions are %q, want 1 and 1", got)
		}
	})
}

// TestHTTPKeptAliveRefused: an upgrade that comes back is judged as any other.
func TestHTTPKeptAliveRefused(t *testing.T) {
	s := start(t, Options{HTTP: testPages()})
	p := s.connect(t)
	in := bufio.NewReader(p.Conn)
	p.send("GET /a HTTP/1.1\r\nHost: x\r\n\r\n")
	p.page(in)
	p.send(upgradeRequest("/ws", "Origin: http://evil.example"))
	if got := p.page(in); !strings.Contains(got, `"origin_refused"`) {
		t.Errorf("got %q", got)
	}
}

// TestHTTPMany: many short requests, each on a connection of its own, half of
// them with the end of the stream at the request's heels.
func TestHTTPMany(t *testing.T) {
	onPollers(t, func(t *testing.T, open func() (poller, error)) {
		s := start(t, Options{HTTP: testPages(), newPoller: open})
		for i := range 200 {
			p := s.connect(t)
			p.send(fmt.Sprintf("GET /%d HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", i))
			if i%2 == 0 {
				if err := p.Conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
					t.Fatal(err)
				}
			}
			if got, want := p.rest(), fmt.Sprintf("GET /%d ", i); !strings.HasSuffix(got, want) {
				t.Fatalf("got %q, want %q at its end", got, want)
			}
		}
	})
}

// TestHTTPBroken: bytes that are no request get net/http's 400.
func TestHTTPBroken(t *testing.T) {
	s := start(t, Options{HTTP: testPages()})
	for _, send := range []string{"\x16\x03\x01\r\n\r\n", "nonsense\r\n\r\n", "\r\n\r\n"} {
		p := s.connect(t)
		p.send(send)
		if got := p.rest(); !strings.HasPrefix(got, "HTTP/1.1 400 ") {
			t.Errorf("%q got %q", send, got)
		}
	}
}

// TestUnixSocket: both kinds of requests over a Unix socket. A file that no
// server holds is replaced; that of a running one is not.
func TestUnixSocket(t *testing.T) {
	onPollers(t, func(t *testing.T, open func() (poller, error)) {
		path := filepath.Join(t.TempDir(), "throng.sock")
		o := Options{Listen: []string{"unix:" + path}, HTTP: testPages(), newPoller: open}
		for range 2 {
			o.Handler = newRecorder()
			s := start(t, o)
			p := s.dial(t)
			p.frame(text, "x")
			p.expect("81 x")
			q := s.connect(t)
			q.send("GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
			if got := q.rest(); !strings.HasSuffix(got, "GET /a ") {
				t.Errorf("got %q", got)
			}
			if again, err := Listen(o); err == nil {
				t.Errorf("a second server listens on the same socket: %v", again.Addrs())
			} else if !strings.Contains(err.Error(), path) {
				t.Errorf("the error does not name the socket: %v", err)
			}
			_ = p.Close()
			_ = q.Close()
			s.stop()
			if _, err := os.Stat(path); !os.IsNotExist(err) {
				t.Errorf("the socket's file is left: %v", err)
			}
			leaveStaleSocket(t, path)
		}
	})
}

// TestSendBuffer: the send buffer of a WebSocket is bounded whichever way it came,
// and that of plain HTTP is the kernel's to size.
func TestSendBuffer(t *testing.T) {
	const size = 20 << 10
	option := func(fd, name int) int {
		n, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, name)
		if err != nil {
			t.Error(err)
		}
		return n
	}
	upgraded, plain := make(chan int, 1), make(chan int, 1)
	r := newRecorder()
	r.open = func(c *Conn) { upgraded <- option(c.op.FD, unix.SO_SNDBUF) }
	pages := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		raw, err := r.Context().Value(webConnKey{}).(*webConn).socket.(syscall.Conn).SyscallConn()
		if err == nil {
			err = raw.Control(func(fd uintptr) { plain <- option(int(fd), unix.SO_BUF_LOCK) })
		}
		if err != nil {
			t.Error(err)
		}
	})
	for network, address := range map[string]string{"tcp": "127.0.0.1:0", "unix": "unix:" + filepath.Join(t.TempDir(), "s")} {
		t.Run(network, func(t *testing.T) {
			s := start(t, Options{Handler: r, HTTP: pages, Listen: []string{address}, SendBuffer: size})
			for _, first := range []string{"", "GET / HTTP/1.1\r\nHost: x\r\n\r\n"} {
				p := s.connect(t)
				if p.send(first); first != "" {
					p.answer()
					if lock := <-plain; lock != 0 {
						t.Errorf("the buffers of plain HTTP are locked: %d", lock)
					}
				}
				p.send(upgradeRequest("/ws"))
				p.answer()
				if got := <-upgraded; got != 2*size { // the kernel doubles it
					t.Errorf("after %q: SO_SNDBUF is %d, want %d", first, got, 2*size)
				}
			}
		})
	}
}
