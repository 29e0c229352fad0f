package main

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/url"
	"sync"

	"github.com/gobwas/ws"
)

// gobwasMember has a goroutine that reads, and another one while something
// waits to be written: what waits goes out in one system call.
type gobwasMember struct {
	conn net.Conn

	mu      sync.Mutex
	waits   net.Buffers // frames, shared by all members
	writing bool
}

// serveGobwas upgrades raw connections, without net/http, as the library
// recommends, and encodes each message once for all members.
func serveGobwas(l net.Listener) error {
	all := new(rooms[*gobwasMember])
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer conn.Close()
			_ = gobwasConnection(conn, all) // it has ended; nobody asks how
		}()
	}
}

var errNoSuchPath = ws.RejectConnectionError(ws.RejectionStatus(404))

func gobwasConnection(conn net.Conn, all *rooms[*gobwasMember]) error {
	var name string
	var in *room[*gobwasMember] // nil for an echo
	upgrader := ws.Upgrader{
		ReadBufferSize: readBuffer,
		OnRequest: func(uri []byte) error {
			u, err := url.ParseRequestURI(string(uri))
			if err != nil {
				return err
			}
			name = u.Query().Get("room")
			if u.Path == "/echo" || u.Path == "/floor" && name != "" {
				return nil
			}
			return errNoSuchPath
		},
		OnBeforeUpgrade: func() (ws.HandshakeHeader, error) {
			if name != "" {
				in = all.admission(name)
			}
			return nil, nil
		},
	}
	_, err := upgrader.Upgrade(conn)
	m := &gobwasMember{conn: conn}
	switch {
	case err != nil && in != nil:
		in.refuse()
		return err
	case err != nil:
		return err
	case in == nil:
		return m.read(m.push)
	}
	in.enter(m)
	defer in.leave(m)
	return m.read(func(frame []byte) { in.each(func(to *gobwasMember) { to.push(frame) }) })
}

var errInvalid = errors.New("an unmasked frame, or a message that is too long")

// read calls handle with each message, as the frame that goes out.
func (m *gobwasMember) read(handle func(frame []byte)) error {
	from := bufio.NewReaderSize(m.conn, readBuffer)
	var kind ws.OpCode
	var message []byte // its fragments so far
	for {
		header, err := ws.ReadHeader(from)
		if err != nil {
			return err
		}
		if !header.Masked || header.Length > maxMessage-int64(len(message)) {
			return errInvalid
		}
		payload := make([]byte, header.Length)
		if _, err := io.ReadFull(from, payload); err != nil {
			return err
		}
		ws.Cipher(payload, header.Mask, 0)
		switch header.OpCode {
		case ws.OpClose:
			return nil
		case ws.OpPing:
			m.push(ws.MustCompileFrame(ws.NewPongFrame(payload)))
			continue
		case ws.OpPong:
			continue
		case ws.OpContinuation:
			message = append(message, payload...)
		default:
			kind, message = header.OpCode, payload
		}
		if header.Fin {
			handle(ws.MustCompileFrame(ws.NewFrame(kind, true, message)))
			message = nil
		}
	}
}

// push queues a frame, and starts the writer where none is at work.
func (m *gobwasMember) push(frame []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.waits) == queued {
		_ = m.conn.Close()
		return
	}
	m.waits = append(m.waits, frame)
	if !m.writing {
		m.writing = true
		go m.write()
	}
}

func (m *gobwasMember) write() {
	for {
		m.mu.Lock()
		frames := m.waits
		m.waits = nil
		m.writing = len(frames) > 0
		m.mu.Unlock()
		if len(frames) == 0 {
			return
		}
		if _, err := frames.WriteTo(m.conn); err != nil {
			_ = m.conn.Close() // which ends the reader; what still comes fails the same way
		}
	}
}
