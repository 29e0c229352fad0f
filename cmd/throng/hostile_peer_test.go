package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

// The first byte of a client's frame, whole or not.
const (
	opContinuation = 0x00
	opBegin        = 0x01 // of a text
	opText         = 0x81
	opBinary       = 0x82
	opEnd          = 0x80
	opClose        = 0x88
	opPing         = 0x89
	opPong         = 0x8a
	rsv1           = 0x40 // of a compressed message
)

// peerPatience bounds each wait of an attacker for the server.
const peerPatience = 60 * time.Second

// rawPeer is one connection of an attacker, who sends what it likes.
type rawPeer struct {
	*net.TCPConn
	t  *testing.T
	in *bufio.Reader
}

// connect opens a connection, which the attack's end closes.
func (a *assault) connect() *rawPeer {
	a.t.Helper()
	conn, err := net.Dial("tcp", a.server.Addr())
	if err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(peerPatience)); err != nil {
		a.t.Fatal(err)
	}
	r := &rawPeer{TCPConn: conn.(*net.TCPConn), t: a.t, in: bufio.NewReader(conn)}
	a.peers = append(a.peers, r)
	return r
}

// end closes what the attack has left open.
func (a *assault) end() {
	for _, r := range a.peers {
		_ = r.Close()
	}
}

// upgradeHead is a request for a WebSocket, with further headers.
func upgradeHead(path string, headers ...string) string {
	return "GET " + path + " HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" +
		strings.Join(append(headers, "\r\n"), "\r\n")
}

// open asks for a WebSocket and returns the peer with the answer's status, 0
// where the connection was cut.
func (a *assault) open(path string) (*rawPeer, int) {
	a.t.Helper()
	r := a.connect()
	r.send([]byte(upgradeHead(path)))
	return r, r.status()
}

// dial opens a WebSocket.
func (a *assault) dial(path string) *rawPeer {
	a.t.Helper()
	r, status := a.open(path)
	if status != http.StatusSwitchingProtocols {
		a.t.Fatalf("%s was answered with %d", path, status)
	}
	return r
}

// enter opens a WebSocket as a user, and reads its greeting.
func (a *assault) enter(user string) *rawPeer {
	a.t.Helper()
	r := a.dial("/ws?user=" + user)
	r.awaitFrames(1, `{"type":"session"`)
	return r
}

// status reads the head of an answer and returns its status, 0 where there is
// none. An error's body stays unread.
func (r *rawPeer) status() int {
	r.t.Helper()
	response, err := http.ReadResponse(r.in, nil)
	if err != nil {
		return 0
	}
	return response.StatusCode
}

// send sends bytes. It returns false where the server has closed.
func (r *rawPeer) send(b []byte) bool {
	_, err := r.Write(b)
	return err == nil
}

func (r *rawPeer) sendFrame(first byte, payload string) bool {
	return r.send(clientFrame(first, payload))
}

// flood sends n frames in large writes, while another goroutine, if any, reads.
// It returns how many were sent before the server closed.
func (r *rawPeer) flood(n int, frame func(i int) []byte) {
	go func() {
		batch := make([]byte, 0, 64<<10)
		for i := range n {
			batch = append(batch, frame(i)...)
			if len(batch) > 48<<10 || i == n-1 {
				if !r.send(batch) {
					return // whoever reads finds out
				}
				batch = batch[:0]
			}
		}
	}()
}

// clientFrame is a masked frame. Its mask is 0, so that the payload is seen.
func clientFrame(first byte, payload string) []byte {
	b := []byte{first}
	switch n := len(payload); {
	case n <= 125:
		b = append(b, 0x80|byte(n))
	case n <= 0xffff:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), uint64(n))
	}
	return append(append(b, 0, 0, 0, 0), payload...)
}

// next reads a frame.
func (r *rawPeer) next() (first byte, payload []byte, err error) {
	h, err := ws.ReadHeader(r.in)
	if err != nil {
		return 0, nil, err
	}
	payload = make([]byte, h.Length)
	_, err = io.ReadFull(r.in, payload)
	return 0x80 | byte(h.OpCode), payload, err
}

// awaitFrames reads until n frames that begin with the text have come, and passes
// over others. A close frame is a failure.
func (r *rawPeer) awaitFrames(n int, text string) {
	r.t.Helper()
	for got := 0; got < n; {
		first, payload, err := r.next()
		if err != nil || first == opClose {
			r.t.Fatalf("%d of %d frames %s came: %.60q, %v", got, n, text, payload, err)
		}
		if strings.HasPrefix(string(payload), text) {
			got++
		}
	}
}

// closedWith reads to the server's close frame and returns its code, or an error
// where the connection was cut.
func (r *rawPeer) closedWith() (code int, reason string, err error) {
	for {
		first, payload, err := r.next()
		switch {
		case err != nil:
			return 0, "", err
		case first != opClose:
		case len(payload) < 2:
			return 1005, "", nil
		default:
			return int(binary.BigEndian.Uint16(payload)), string(payload[2:]), nil
		}
	}
}

// expectClose reads to the server's close frame, checks its code, and closes.
func (r *rawPeer) expectClose(code int) {
	r.t.Helper()
	got, reason, err := r.closedWith()
	if err != nil || got != code {
		r.t.Errorf("closed with %d %s (%v), want %d", got, reason, err, code)
	}
	_ = r.Close()
}

// expectEnd reads until the server has ended the connection, and returns what
// came before.
func (r *rawPeer) expectEnd() string {
	r.t.Helper()
	b, err := io.ReadAll(r.in)
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		r.t.Errorf("the connection goes on after %.60q", b)
	}
	return string(b)
}

// user names an attacker.
func user(kind string, i int) string { return fmt.Sprintf("%s%d", kind, i) }
