package main

import (
	"net"
	"net/http"
	"sync"

	"github.com/gorilla/websocket"
)

// gorillaMember has a goroutine that reads and one that writes, as the library's
// chat example does.
type gorillaMember struct {
	conn *websocket.Conn
	send chan *websocket.PreparedMessage
}

// serveGorilla prepares each message once for all members. Write buffers are
// pooled: they are in use during a write only.
func serveGorilla(l net.Listener) error {
	upgrader := websocket.Upgrader{
		ReadBufferSize:  readBuffer,
		WriteBufferSize: readBuffer,
		WriteBufferPool: new(sync.Pool),
		CheckOrigin:     func(*http.Request) bool { return true },
	}
	all := new(rooms[*gorillaMember])
	return serveHTTP(l,
		func(w http.ResponseWriter, r *http.Request, name string) {
			in := all.admission(name)
			conn, err := upgrader.Upgrade(w, r, nil)
			if err != nil {
				in.refuse()
				return
			}
			conn.SetReadLimit(maxMessage)
			m := &gorillaMember{conn: conn, send: make(chan *websocket.PreparedMessage, queued)}
			in.enter(m)
			go m.write()
			go m.read(in) // a new goroutine, for this one keeps the request and net/http's buffers
		},
		func(w http.ResponseWriter, r *http.Request) {
			if conn, err := upgrader.Upgrade(w, r, nil); err == nil {
				conn.SetReadLimit(maxMessage)
				go echoGorilla(conn)
			}
		})
}

// read returns when the connection is over.
func (m *gorillaMember) read(in *room[*gorillaMember]) {
	defer m.conn.Close()
	defer close(m.send) // nobody sends to who has left
	defer in.leave(m)
	for {
		op, payload, err := m.conn.ReadMessage()
		if err != nil {
			return
		}
		message, err := websocket.NewPreparedMessage(op, payload)
		if err != nil {
			return
		}
		in.each(func(to *gorillaMember) {
			select {
			case to.send <- message:
			default:
				_ = to.conn.Close()
			}
		})
	}
}

func (m *gorillaMember) write() {
	for message := range m.send {
		if m.conn.WritePreparedMessage(message) != nil {
			_ = m.conn.Close() // which ends the reader; what still comes fails the same way
		}
	}
}

func echoGorilla(conn *websocket.Conn) {
	defer conn.Close()
	for {
		op, payload, err := conn.ReadMessage()
		if err != nil || conn.WriteMessage(op, payload) != nil {
			return
		}
	}
}
