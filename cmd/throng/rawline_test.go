package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"time"

	"github.com/thronghq/throng/internal/bintest"
	"github.com/thronghq/throng/internal/throngtest"
)

// rawPatience ends a test that waits for bytes that never come.
const rawPatience = 90 * time.Second

// rawLine is a WebSocket that a test drives by hand: thousands fit in a process,
// and what the kernel takes in while the test does not read is small.
type rawLine struct {
	conn   net.Conn
	tables *bintest.Codec // of the binary codec; nil for JSON
	in     *bufio.Reader
	big    []byte // of a frame that does not fit in
}

// closedWith is the end of a line by the server's close frame.
type closedWith int

func (c closedWith) Error() string { return fmt.Sprintf("closed with %d", int(c)) }

// rawOptions says how a rawLine connects.
type rawOptions struct {
	Tables  *bintest.Codec // for the binary codec
	Receive int            // SO_RCVBUF, 0 for the kernel's choice
	Buffer  int            // bytes that are read at once
}

// dialRaw connects as the user. The session frame is the first that is read.
func dialRaw(s *throngtest.Server, user string, o rawOptions) (*rawLine, error) {
	dialer := net.Dialer{Timeout: rawPatience}
	if o.Receive > 0 {
		dialer.Control = func(_, _ string, c syscall.RawConn) error {
			var failed error
			err := c.Control(func(fd uintptr) {
				failed = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, o.Receive)
			})
			return errors.Join(err, failed)
		}
	}
	conn, err := dialer.Dial("tcp", s.Addr())
	if err != nil {
		return nil, err
	}
	protocol := "throng.v1.json"
	if o.Tables != nil {
		protocol = "throng.v1.bin"
	}
	request := "GET /ws?user=" + user + " HTTP/1.1\r\nHost: " + s.Addr() +
		"\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: " + protocol + "\r\n\r\n"
	l := &rawLine{conn: conn, tables: o.Tables, in: bufio.NewReaderSize(conn, max(o.Buffer, 1024))}
	if err := l.upgrade(request); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return l, nil
}

func (l *rawLine) upgrade(request string) error {
	if err := l.conn.SetDeadline(time.Now().Add(rawPatience)); err != nil {
		return err
	}
	if _, err := io.WriteString(l.conn, request); err != nil {
		return err
	}
	status, err := l.in.ReadString('\n')
	if err != nil {
		return err
	}
	if !strings.HasPrefix(status, "HTTP/1.1 101 ") {
		return errors.New(strings.TrimSpace(status))
	}
	for line := status; line != "\r\n"; {
		if line, err = l.in.ReadString('\n'); err != nil {
			return err
		}
	}
	return nil
}

// send sends a command that is given as JSON.
func (l *rawLine) send(command any) error {
	const text, binaryFrame = 1, 2
	payload, err := json.Marshal(command)
	if err != nil {
		return err
	}
	if l.tables == nil {
		return l.write(text, payload)
	}
	if payload, err = l.tables.Encode(payload); err != nil {
		return err
	}
	return l.write(binaryFrame, payload)
}

// write sends a frame, whose mask is of zeros: the payload stays as it is.
func (l *rawLine) write(opcode byte, payload []byte) error {
	const final, masked, long = 0x80, 0x80, 126
	frame := []byte{final | opcode}
	if len(payload) < long {
		frame = append(frame, masked|byte(len(payload)))
	} else {
		frame = binary.BigEndian.AppendUint16(append(frame, masked|long), uint16(len(payload)))
	}
	frame = append(append(frame, 0, 0, 0, 0), payload...)
	if err := l.conn.SetWriteDeadline(time.Now().Add(rawPatience)); err != nil {
		return err
	}
	_, err := l.conn.Write(frame)
	return err
}

// next returns the payload of the next frame that holds an event, valid until the
// one after it is asked for. It answers pings. A close frame is a closedWith.
func (l *rawLine) next() ([]byte, error) {
	const closing, ping, pong = 8, 9, 10
	for {
		opcode, payload, err := l.frame()
		switch {
		case err != nil:
			return nil, err
		case opcode == closing && len(payload) >= 2:
			return nil, closedWith(binary.BigEndian.Uint16(payload))
		case opcode == closing:
			return nil, closedWith(1005)
		case opcode == ping:
			if err := l.write(pong, payload); err != nil {
				return nil, err
			}
		default:
			return payload, nil
		}
	}
}

func (l *rawLine) frame() (opcode byte, payload []byte, err error) {
	if l.in.Buffered() < 4 {
		if err := l.conn.SetReadDeadline(time.Now().Add(rawPatience)); err != nil {
			return 0, nil, err
		}
	}
	head, err := l.in.Peek(2)
	if err != nil {
		return 0, nil, err
	}
	opcode = head[0] & 15
	size, skip := int(head[1]), 2
	switch size {
	case 126:
		if head, err = l.in.Peek(4); err != nil {
			return 0, nil, err
		}
		size, skip = int(binary.BigEndian.Uint16(head[2:])), 4
	case 127:
		if head, err = l.in.Peek(10); err != nil {
			return 0, nil, err
		}
		size, skip = int(binary.BigEndian.Uint64(head[2:])), 10
	}
	if _, err := l.in.Discard(skip); err != nil {
		return 0, nil, err
	}
	if size > l.in.Size() {
		l.big = append(l.big[:0], make([]byte, size)...)
		_, err = io.ReadFull(l.in, l.big)
		return opcode, l.big, err
	}
	payload, err = l.in.Peek(size)
	if err != nil {
		return 0, nil, err
	}
	_, err = l.in.Discard(size)
	return opcode, payload, err
}

// heard is one event, as far as tests of catching up look.
type heard struct {
	Type      string `json:"type"`
	ID        string `json:"id"`
	Room      string `json:"room"`
	To        string `json:"to"`
	Epoch     string `json:"epoch"`
	Offset    uint64 `json:"offset"`
	After     uint64 `json:"after"`
	Recovered bool   `json:"recovered"`
	Duplicate bool   `json:"duplicate"`
	Content   string `json:"content"`
	Code      string `json:"code"`
	Reason    string `json:"reason"`

	Next json.RawMessage `json:"next"`
}

// hear reads one event.
func (l *rawLine) hear() (h heard, err error) {
	payload, err := l.next()
	if err != nil {
		return h, err
	}
	if l.tables != nil {
		object, err := l.tables.Decode(payload)
		if err != nil {
			return h, err
		}
		if payload, err = json.Marshal(object); err != nil {
			return h, err
		}
	}
	if h.readMessage(payload) {
		return h, nil
	}
	if err := json.Unmarshal(payload, &h); err != nil {
		return h, fmt.Errorf("%w in %.300q", err, payload)
	}
	return h, nil
}

// readMessage reads a message whose content is a string without escapes, as these
// tests send them, much faster than a parser of JSON. It reports false, and has
// read nothing, where the payload is anything else.
func (h *heard) readMessage(payload []byte) bool {
	if !bytes.HasPrefix(payload, []byte(`{"type":"message",`)) {
		return false
	}
	_, to, found1 := bytes.Cut(payload, []byte(`,"to":"`))
	to, rest, found2 := bytes.Cut(to, []byte(`","content":"`))
	content, _, found3 := bytes.Cut(rest, []byte(`"`))
	offset, found4 := offsetIn(payload)
	if !found1 || !found2 || !found3 || !found4 {
		return false
	}
	h.Type, h.To, h.Content, h.Offset = "message", string(to), string(content), offset
	return true
}

// offsetIn finds an event's offset.
func offsetIn(payload []byte) (offset uint64, found bool) {
	_, digits, found := bytes.Cut(payload, []byte(`,"offset":`))
	for _, digit := range digits {
		if digit < '0' || digit > '9' {
			break
		}
		offset = offset*10 + uint64(digit-'0')
	}
	return offset, found
}

func (h *heard) next() uint64 {
	var next uint64
	_ = json.Unmarshal(h.Next, &next) // 0 where it is none
	return next
}

func (l *rawLine) close() { _ = l.conn.Close() }
