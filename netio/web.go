package netio

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cloudwego/netpoll"

	"github.com/thronghq/throng/proto"
)

const (
	headerTimeout = 10 * time.Second  // for a further request's head
	bodyTimeout   = 60 * time.Second  // for a request's body
	idleTimeout   = 120 * time.Second // between two requests
)

// web is the net/http server behind the same port: it gets every connection
// whose first request is not an upgrade, and gives back those on which one
// follows.
type web struct {
	// Static after construction.
	core    *core
	server  *http.Server
	handler http.Handler
	isOpen  func(*http.Request) bool // Options.Streams
	loops   func() []*loop

	ready  chan net.Conn // connections for net/http's Accept
	done   chan struct{} // closed by Close
	once   sync.Once
	next   atomic.Uint32  // loop of the next adopted connection
	open   atomic.Int64   // connections that net/http holds
	givers sync.WaitGroup // goroutines that hand over

	streams streams // requests that are answered without an end
}

func newWeb(s *Server, o *Options) *web {
	w := &web{
		core:    s.core,
		handler: o.HTTP,
		isOpen:  o.Streams,
		loops:   func() []*loop { return s.loops },
		ready:   make(chan net.Conn),
		done:    make(chan struct{}),
	}
	w.server = &http.Server{
		Handler:           w,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    s.core.limits.HandshakeBytes,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, webConnKey{}, c)
		},
		ErrorLog: slog.NewLogLogger(s.core.logger.Handler(), slog.LevelDebug),
	}
	return w
}

// connections returns how many connections net/http holds.
func (w *web) connections() int { return int(w.open.Load()) }

// serve runs net/http until shutdown.
func (w *web) serve() {
	if err := w.server.Serve(w); !errors.Is(err, http.ErrServerClosed) {
		w.core.logger.Error("net/http ended", slog.Any("error", err))
	}
}

// shutdown lets net/http finish its requests, and cuts them off when ctx ends.
func (w *web) shutdown(ctx context.Context) error {
	err := w.server.Shutdown(ctx)
	if err != nil {
		err = errors.Join(err, w.server.Close())
	}
	_ = w.Close() // never fails
	return err
}

// handOver gives what was from's to net/http: its descriptor, its operator, which
// is detached, its TLS, if it has any, and what was read from it, decrypted. All
// of it belongs to net/http now.
func (w *web) handOver(from *Conn, fd int, op *netpoll.FDOperator, stream *tlsStream, read []byte) {
	w.open.Add(1)
	poll, client, proxy := from.loop.poll, from.client.addrPort(), from.origin.is(trusted)
	w.givers.Go(func() {
		poll.Free(op)
		freeSendBuffer(fd)
		conn, err := fileConn(fd)
		if err != nil {
			w.open.Add(-1)
			w.core.logger.Warn("a connection could not be handed to net/http", slog.Any("error", err))
			return
		}
		c := &webConn{Conn: conn, socket: conn, web: w, client: client, trusted: proxy, read: read}
		if stream != nil {
			stream.c, stream.web = nil, conn
			c.Conn, c.tls = stream.conn, stream
		}
		select {
		case w.ready <- c:
		case <-w.done:
			_ = c.Close() // nobody is left to tell
		}
	})
}

// fileConn makes a net.Conn of a descriptor, which it closes.
func fileConn(fd int) (net.Conn, error) {
	f := os.NewFile(uintptr(fd), "connection")
	conn, err := net.FileConn(f)
	return conn, errors.Join(err, f.Close())
}

// Accept implements net.Listener.
func (w *web) Accept() (net.Conn, error) {
	select {
	case c := <-w.ready:
		return c, nil
	case <-w.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (w *web) Close() error {
	w.once.Do(func() { close(w.done) })
	return nil
}

// Addr implements net.Listener.
func (w *web) Addr() net.Addr { return webAddr{} }

// webAddr is the address of the listener that hands connections over.
type webAddr struct{}

// Network implements net.Addr.
func (webAddr) Network() string { return "handover" }

// String implements net.Addr.
func (webAddr) String() string { return "handover" }

// webConn is a connection that net/http holds, with what was read before.
type webConn struct {
	net.Conn            // a *tls.Conn where tls is there, or socket
	socket   net.Conn   // what the kernel knows
	tls      *tlsStream // nil for plain TCP
	web      *web
	client   netip.AddrPort // as Conn has it, X-Forwarded-For left out
	trusted  bool           // client is a trusted proxy
	read     []byte         // owned by whoever reads
	once     sync.Once
}

// webConnKey is the key of a request's *webConn in its context.
type webConnKey struct{}

// RemoteAddr implements net.Conn: it is the client's address.
func (c *webConn) RemoteAddr() net.Addr {
	if !c.client.IsValid() {
		return c.Conn.RemoteAddr()
	}
	return net.TCPAddrFromAddrPort(c.client)
}

// Read implements net.Conn.
func (c *webConn) Read(b []byte) (int, error) {
	if len(c.read) > 0 {
		n := copy(b, c.read)
		c.read = c.read[n:]
		return n, nil
	}
	return c.Conn.Read(b)
}

// Close implements net.Conn.
func (c *webConn) Close() error {
	c.once.Do(func() { c.web.open.Add(-1) })
	return c.Conn.Close()
}

// giveBack closes net/http's descriptor of a connection that goes on on another,
// and tells the peer nothing.
func (c *webConn) giveBack() error {
	c.once.Do(func() { c.web.open.Add(-1) })
	return c.socket.Close()
}

// ServeHTTP implements http.Handler: upgrades go back to a loop, all else to
// Options.HTTP.
func (w *web) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	h := head{lines: []header{}}
	for _, v := range r.Header.Values("Upgrade") {
		h.lines = append(h.lines, header{"Upgrade", v})
	}
	if h.isUpgrade() {
		if err := w.adopt(rw, r); err != nil {
			w.core.logger.Warn("an upgrade could not be taken over from net/http", slog.Any("error", err))
			writeError(rw, proto.ErrInternal.New())
		}
		return
	}
	c := r.Context().Value(webConnKey{}).(*webConn)
	if c.tls != nil {
		state := c.tls.conn.ConnectionState()
		r.TLS = &state
	}
	if r.ContentLength != 0 {
		// Answers may stream for ever, requests may not.
		_ = http.NewResponseController(rw).SetReadDeadline(time.Now().Add(bodyTimeout)) // every webConn has deadlines
	}
	if c.trusted {
		if a := w.core.proxies.client(c.client, r.Header.Values(forwardedHeader)); a != c.client {
			r.RemoteAddr = a.String()
		}
	}
	if w.isOpen(r) {
		ctx, done := w.streams.enter(r.Context())
		defer done()
		r = r.WithContext(ctx)
	}
	w.handler.ServeHTTP(rw, r)
}

// adopt gives a connection back to a loop. The request is written anew, so that
// it takes the same way as one that never saw net/http.
func (w *web) adopt(rw http.ResponseWriter, r *http.Request) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s %s\r\nHost: %s\r\n", r.Method, r.RequestURI, r.Proto, r.Host)
	if err := r.Header.Write(&b); err != nil {
		return err
	}
	if r.ContentLength != 0 {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", r.ContentLength)
	}
	b.WriteString("\r\n")
	conn, buffered, err := http.NewResponseController(rw).Hijack()
	if err != nil {
		return err
	}
	rest, err := buffered.Reader.Peek(buffered.Reader.Buffered())
	if err != nil {
		return errors.Join(err, conn.Close())
	}
	b.Write(rest)
	held, ok := conn.(*webConn)
	if !ok {
		return errors.Join(fmt.Errorf("net/http returned a %T", conn), conn.Close())
	}
	b.Write(held.read)
	fd, err := duplicate(held.socket.(syscall.Conn))
	if err = errors.Join(err, held.giveBack()); err != nil {
		if fd >= 0 {
			closeDescriptor(fd)
		}
		return err
	}
	loops := w.loops()
	var from origin
	from.set(trusted, held.trusted)
	from.set(secure, held.tls != nil)
	from.set(roomy, true)
	c := newConn(loops[int(w.next.Add(1))%len(loops)], fd, held.client, from)
	c.in = w.core.newReader()
	c.in.stash(b.Bytes())
	if s := held.tls; s != nil {
		s.c, s.web = c, nil
		c.tls = s
	}
	w.core.stats.adopted.Add(1)
	c.loop.post(c, taskAdopt)
	return nil
}
