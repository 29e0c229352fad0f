package main

import (
	"context"
	"net"
	"net/http"

	"github.com/coder/websocket"
)

// coderMember has a goroutine that reads and one that writes, as the library's
// chat example does.
type coderMember struct {
	conn *websocket.Conn
	send chan *coderMessage
}

type coderMessage struct {
	kind    websocket.MessageType
	payload []byte
}

// serveCoder leaves compression off, which is the library's default. It has no
// prepared messages and no choice of buffers.
func serveCoder(l net.Listener) error {
	options := &websocket.AcceptOptions{InsecureSkipVerify: true} // of the origin
	all := new(rooms[*coderMember])
	return serveHTTP(l,
		func(w http.ResponseWriter, r *http.Request, name string) {
			in := all.admission(name)
			conn, err := websocket.Accept(w, r, options)
			if err != nil {
				in.refuse()
				return
			}
			conn.SetReadLimit(maxMessage)
			m := &coderMember{conn: conn, send: make(chan *coderMessage, queued)}
			in.enter(m)
			go m.write()
			go m.read(in) // a new goroutine, for this one keeps the request
		},
		func(w http.ResponseWriter, r *http.Request) {
			if conn, err := websocket.Accept(w, r, options); err == nil {
				conn.SetReadLimit(maxMessage)
				go echoCoder(conn)
			}
		})
}

func (m *coderMember) read(in *room[*coderMember]) {
	defer m.conn.CloseNow()
	defer close(m.send) // nobody sends to who has left
	defer in.leave(m)
	for {
		kind, payload, err := m.conn.Read(context.Background())
		if err != nil {
			return
		}
		message := &coderMessage{kind, payload}
		in.each(func(to *coderMember) {
			select {
			case to.send <- message:
			default:
				go to.conn.CloseNow() // it waits for the reader, which may be in here
			}
		})
	}
}

func (m *coderMember) write() {
	for message := range m.send {
		if m.conn.Write(context.Background(), message.kind, message.payload) != nil {
			_ = m.conn.CloseNow()
		}
	}
}

func echoCoder(conn *websocket.Conn) {
	defer conn.CloseNow()
	for {
		kind, payload, err := conn.Read(context.Background())
		if err != nil || conn.Write(context.Background(), kind, payload) != nil {
			return
		}
	}
}
