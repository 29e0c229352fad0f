package main

import (
	"net"
	"net/http"

	"github.com/lesismal/nbio/logging"
	"github.com/lesismal/nbio/nbhttp"
	"github.com/lesismal/nbio/nbhttp/websocket"
)

// serveNBIO reads and handles messages in the poller: the handlers never block,
// since a write that the socket does not take is kept by the library, and another
// goroutine for each message would be a detour.
func serveNBIO(l net.Listener) error {
	logging.SetLevel(logging.LevelNone)
	all := new(rooms[*websocket.Conn])
	engine := nbhttp.NewEngine(nbhttp.Config{
		Network:                 "tcp",
		Addrs:                   []string{l.Addr().String()},
		Listen:                  func(string, string) (net.Listener, error) { return l, nil },
		IOMod:                   nbhttp.IOModNonBlocking,
		ReleaseWebsocketPayload: true,
		ServerExecutor:          func(f func()) { f() },
	})
	upgrader := func() *websocket.Upgrader {
		u := websocket.NewUpgrader()
		u.Engine, u.KeepaliveTime, u.MessageLengthLimit = engine, 0, maxMessage // without a timer for each connection
		u.CheckOrigin = func(*http.Request) bool { return true }
		return u
	}
	floor, echo := upgrader(), upgrader()
	floor.OnMessage(func(c *websocket.Conn, kind websocket.MessageType, payload []byte) {
		c.Session().(*room[*websocket.Conn]).each(func(to *websocket.Conn) { _ = to.WriteMessage(kind, payload) })
	})
	floor.OnClose(func(c *websocket.Conn, _ error) {
		if in, ok := c.Session().(*room[*websocket.Conn]); ok {
			go in.leave(c) // it may be called by a write that fails, and by that from each
		}
	})
	echo.OnMessage(func(c *websocket.Conn, kind websocket.MessageType, payload []byte) { _ = c.WriteMessage(kind, payload) })
	engine.Handler = routes(
		func(w http.ResponseWriter, r *http.Request, name string) {
			in := all.admission(name)
			c, err := floor.Upgrade(w, r, nil)
			if err != nil {
				in.refuse()
				return
			}
			c.SetSession(in)
			in.enter(c)
		},
		func(w http.ResponseWriter, r *http.Request) { _, _ = echo.Upgrade(w, r, nil) }) // it has answered
	if err := engine.Start(); err != nil {
		return err
	}
	select {} // the engine has goroutines of its own
}
