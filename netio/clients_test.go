package netio

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"math/rand/v2"
	"net"
	"runtime"
	"sync"
	"testing"

	coder "github.com/coder/websocket"
	"github.com/gobwas/ws"
	"github.com/gorilla/websocket"

	"github.com/thronghq/throng/proto"
)

// TestOtherClients: two clients that others have written talk to the echo. They
// offer compression, which is agreed on or not.
func TestOtherClients(t *testing.T) {
	t.Run("plain", func(t *testing.T) { otherClients(t, false) })
	t.Run("deflate", func(t *testing.T) { otherClients(t, true) })
}

func otherClients(t *testing.T, deflate bool) {
	onPollers(t, func(t *testing.T, open func() (poller, error)) {
		r := newRecorder()
		r.upgrade = func(q *Request) (Accept, *proto.Error) {
			return Accept{Subprotocol: q.Protocols[0], MaxMessage: 1 << 20, Deflate: deflate}, nil
		}
		s := start(t, Options{newPoller: open, Handler: r})
		payloads := [][]byte{nil, []byte("héllo"), bytes.Repeat([]byte("x"), 70_000), prose(300_000), {}}

		t.Run("gorilla", func(t *testing.T) {
			d := websocket.Dialer{Subprotocols: []string{"p"}, EnableCompression: true}
			c, _, err := d.Dial("ws://"+s.addr+"/ws", nil)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			for _, want := range payloads {
				if err := c.WriteMessage(websocket.TextMessage, want); err != nil {
					t.Fatal(err)
				}
				if _, got, err := c.ReadMessage(); err != nil || !bytes.Equal(got, want) {
					t.Fatalf("got %d bytes, %v, want %d", len(got), err, len(want))
				}
			}
			if c.Subprotocol() != "p" {
				t.Errorf("subprotocol %q", c.Subprotocol())
			}
			if got := s.metric("throng_inflate_messages_total"); (got != "0") != deflate {
				t.Errorf("%s compressed messages came", got)
			}
		})
		t.Run("coder", func(t *testing.T) {
			ctx := t.Context()
			c, _, err := coder.Dial(ctx, "ws://"+s.addr+"/ws", &coder.DialOptions{
				Subprotocols: []string{"p"}, CompressionMode: coder.CompressionContextTakeover,
			})
			if err != nil {
				t.Fatal(err)
			}
			c.SetReadLimit(1 << 20)
			for _, want := range payloads {
				if err := c.Write(ctx, coder.MessageBinary, want); err != nil {
					t.Fatal(err)
				}
				if _, got, err := c.Read(ctx); err != nil || !bytes.Equal(got, want) {
					t.Fatalf("got %d bytes, %v, want %d", len(got), err, len(want))
				}
			}
			reading := c.CloseRead(ctx)
			if err := c.Ping(reading); err != nil {
				t.Error(err)
			}
			if err := c.Close(coder.StatusNormalClosure, "bye"); err != nil {
				t.Error(err)
			}
		})
	})
}

// TestChurn: thousands of connections come, talk while others broadcast to
// them, and go in every way; nothing is left, and every Open has its Closed.
func TestChurn(t *testing.T) {
	churn(t, Options{}, newRecorder, 150, func(p *peer) *peer { return p })
}

// TestTLSChurn is TestChurn over TLS, in which clients go inside the TLS
// handshake as well.
func TestTLSChurn(t *testing.T) {
	server, client := tlsSides(t)
	client.ClientSessionCache = tls.NewLRUClientSessionCache(4)
	churn(t, Options{TLS: server}, newRecorder, 60, func(p *peer) *peer {
		if rand.IntN(10) == 0 {
			left := rand.IntN(600) // bytes of what the client would send
			p.Conn = &cutter{p.Conn, func(c net.Conn, b []byte) error {
				n, err := c.Write(b[:min(left, len(b))])
				if left -= n; err == nil && left == 0 {
					return errors.Join(c.Close(), net.ErrClosed)
				}
				return err
			}}
		}
		p.Conn = tls.Client(p.Conn, client)
		return p
	})
}

// churn has clients come and go on a server with these options. begin is what
// they do first on a new connection.
func churn(t *testing.T, o Options, handler func() *recorder, rounds int, begin func(*peer) *peer) {
	onPollers(t, func(t *testing.T, open func() (poller, error)) {
		var (
			mu             sync.Mutex
			live           = make(map[*Conn]bool)
			opened, closed int
		)
		r := handler()
		r.open = func(c *Conn) {
			mu.Lock()
			defer mu.Unlock()
			live[c] = true
			opened++
		}
		o := o
		o.newPoller, o.PingInterval, o.PingTimeout = open, 5*minTick, patience
		o.Handler = churnHandler{r, func(c *Conn) {
			mu.Lock()
			defer mu.Unlock()
			if !live[c] {
				t.Error("closed without open")
			}
			delete(live, c)
			closed++
		}}
		s := start(t, o)
		ctx, cancel := context.WithCancel(t.Context())
		var work sync.WaitGroup
		work.Go(func() { // a room's worker
			for ctx.Err() == nil {
				mu.Lock()
				targets := make([]*Conn, 0, len(live))
				for c := range live {
					targets = append(targets, c)
				}
				mu.Unlock()
				runtime.Gosched() // as every worker that sends in a loop must
				for _, c := range targets {
					c.Deliver(small(1))
					switch rand.IntN(200) {
					case 0:
						c.Abort()
					case 1:
						c.Close(ws.StatusGoingAway, "churn")
					}
				}
			}
		})
		var clients sync.WaitGroup
		const workers = 8
		for range workers {
			clients.Go(func() {
				for i := range rounds {
					churnOnce(begin(s.connect(t)), i)
				}
			})
		}
		clients.Wait()
		cancel()
		work.Wait()
		s.stop()
		if opened != closed || len(live) != 0 || opened == 0 {
			t.Errorf("%d opened, %d closed", opened, closed)
		}
	})
}

// churnHandler calls closed for every Closed.
type churnHandler struct {
	*recorder
	closed func(*Conn)
}

// Closed implements Handler.
func (h churnHandler) Closed(c *Conn, _ CloseCause) { h.closed(c) }

// churnOnce is one client's life. The server may cut it short at any point.
func churnOnce(p *peer, i int) {
	defer p.Close()
	send := []byte(upgradeRequest("/ws") + string(cf(text, "hello")) + string(cf(0x01, "unfinished")))
	switch i % 5 {
	case 0: // gone inside the handshake
		send = send[:i%len(upgradeRequest("/ws"))]
	case 1: // gone at once
	case 2: // a proper close
		send = append(send, cf(closeF, "\x03\xe8")...)
	case 3: // a broken frame
		send = append(send, 0xff, 0xff)
	case 4: // plain HTTP
		send = []byte("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	}
	if _, err := p.Write(send); err != nil || i%5 < 2 {
		return
	}
	for p.more() == nil {
		p.buf = nil
	}
}
