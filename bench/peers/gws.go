package main

import (
	"bufio"
	"log"
	"net"
	"net/http"

	"github.com/lxzan/gws"
)

// serveGWS uses the library's own server, which reads a request with the pooled
// buffer that the connection keeps, and its Broadcaster, which encodes a message
// once and writes it to each member from the member's own queue.
func serveGWS(l net.Listener) error {
	all := new(rooms[*gws.Conn])
	server := gws.NewServer(gwsEvents{}, &gws.ServerOption{
		ReadBufferSize:     readBuffer,
		ReadMaxPayloadSize: maxMessage,
		ParallelEnabled:    false, // messages of a connection are handled in their order
		ParallelGolimit:    1,     // each connection has a channel of this size in any case
		CheckUtf8Enabled:   false, // the library's advice; the floor does not check either
		NewSession:         func() gws.SessionStorage { return new(gwsSession) },
		Logger:             quiet{},
	})
	server.OnError = func(conn net.Conn, err error) {
		if conn == nil {
			log.Fatalf("gws: accept: %v", err) // it would try again at once
		}
		_ = conn.Close()
	}
	server.OnRequest = func(conn net.Conn, br *bufio.Reader, r *http.Request) {
		name := r.URL.Query().Get("room")
		if r.URL.Path != "/echo" && (r.URL.Path != "/floor" || name == "") {
			_ = conn.Close()
			return
		}
		if c := upgradeGWS(server.GetUpgrader(), all, name, conn, br, r); c != nil {
			c.ReadLoop()
		}
	}
	return server.RunListener(l)
}

// upgradeGWS returns nil where the upgrade failed, which the library has
// answered. An echo has no room: its name is "".
func upgradeGWS(u *gws.Upgrader, all *rooms[*gws.Conn], name string, conn net.Conn, br *bufio.Reader, r *http.Request) *gws.Conn {
	if name == "" {
		c, _ := u.UpgradeFromConn(conn, br, r)
		return c
	}
	in := all.admission(name)
	c, err := u.UpgradeFromConn(conn, br, r)
	if err != nil {
		in.refuse()
		return nil
	}
	c.Session().(*gwsSession).in = in
	in.enter(c)
	return c
}

// gwsSession is where a connection belongs. The library's own storage is a map
// with a lock.
type gwsSession struct {
	gws.SessionStorage // nil: nothing is stored

	in *room[*gws.Conn] // nil for an echo
}

type gwsEvents struct{ gws.BuiltinEventHandler }

func (gwsEvents) OnClose(c *gws.Conn, _ error) {
	if s := c.Session().(*gwsSession); s.in != nil {
		s.in.leave(c)
	}
}

func (gwsEvents) OnPing(c *gws.Conn, payload []byte) { _ = c.WritePong(payload) }

func (gwsEvents) OnMessage(c *gws.Conn, message *gws.Message) {
	defer message.Close()
	s := c.Session().(*gwsSession)
	if s.in == nil {
		_ = c.WriteMessage(message.Opcode, message.Bytes())
		return
	}
	to := gws.NewBroadcaster(message.Opcode, message.Bytes())
	defer to.Close()
	s.in.each(func(m *gws.Conn) { _ = to.Broadcast(m) })
}

// quiet drops what the library logs about connections that end.
type quiet struct{}

func (quiet) Error(...any) {}
