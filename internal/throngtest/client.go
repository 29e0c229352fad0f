package throngtest

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// patience ends a test that waits for a frame that never comes.
const patience = 60 * time.Second

// DialOptions says how a client connects. The zero value offers no
// subprotocol and no headers.
type DialOptions struct {
	Header       http.Header
	Subprotocols []string
	TLS          *tls.Config // for wss; nil trusts what the system does
	Compression  websocket.CompressionMode
}

// Client is a WebSocket client of the JSON protocol. Its methods are for one
// goroutine and fail the test where something goes wrong.
type Client struct {
	Conn *websocket.Conn

	t testing.TB
}

// Frame is one frame from the server, decoded.
type Frame map[string]any

// Dial connects to a WebSocket address, such as s.WSURL("/ws?user=ada") gives.
// The connection is cut when the test ends.
func Dial(t testing.TB, url string, opts DialOptions) *Client {
	t.Helper()
	c, response, err := TryDial(t, url, opts)
	if err != nil {
		status := "no answer"
		if response != nil {
			status = response.Status
		}
		t.Fatalf("throngtest: dial %s: %v (%s)", url, err, status)
	}
	return c
}

// TryDial is Dial for handshakes that may be refused.
func TryDial(t testing.TB, url string, opts DialOptions) (*Client, *http.Response, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	dial := &websocket.DialOptions{HTTPHeader: opts.Header, Subprotocols: opts.Subprotocols, CompressionMode: opts.Compression}
	if opts.TLS != nil {
		dial.HTTPClient = HTTPClient(t, opts.TLS)
	}
	conn, response, err := websocket.Dial(ctx, url, dial)
	if err != nil {
		return nil, response, err
	}
	conn.SetReadLimit(64 << 20)
	t.Cleanup(func() { conn.CloseNow() })
	return &Client{Conn: conn, t: t}, response, nil
}

// Send sends a value as one JSON text frame.
func (c *Client) Send(v any) {
	c.t.Helper()
	payload, err := json.Marshal(v)
	if err != nil {
		c.t.Fatalf("throngtest: encode: %v", err)
	}
	c.SendText(string(payload))
}

// SendText sends a text frame as it is.
func (c *Client) SendText(payload string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := c.Conn.Write(ctx, websocket.MessageText, []byte(payload)); err != nil {
		c.t.Fatalf("throngtest: send: %v", err)
	}
}

// Receive returns the next frame.
func (c *Client) Receive() Frame {
	c.t.Helper()
	frame, err := c.TryReceive()
	if err != nil {
		c.t.Fatalf("throngtest: receive: %v", err)
	}
	return frame
}

// TryReceive returns the next frame, or why there is none.
func (c *Client) TryReceive() (Frame, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, payload, err := c.Conn.Read(ctx)
	if err != nil {
		return nil, err
	}
	decoder := json.NewDecoder(strings.NewReader(string(payload)))
	decoder.UseNumber() // offsets and times stay exact
	var frame Frame
	return frame, decoder.Decode(&frame)
}

// Expect returns the next frame, which must have the type.
func (c *Client) Expect(kind string) Frame {
	c.t.Helper()
	frame := c.Receive()
	if frame.Type() != kind {
		c.t.Fatalf("throngtest: got %v, want a frame of type %s", frame, kind)
	}
	return frame
}

// Await returns the next frame of the type and passes over others, which suits
// tests that others' joins or lags may cross.
func (c *Client) Await(kind string) Frame {
	c.t.Helper()
	for {
		if frame := c.Receive(); frame.Type() == kind {
			return frame
		}
	}
}

// ExpectClose reads up to the server's close frame, whose code it checks.
func (c *Client) ExpectClose(code int) {
	c.t.Helper()
	for {
		_, err := c.TryReceive()
		if err == nil {
			continue
		}
		if got := websocket.CloseStatus(err); int(got) != code {
			c.t.Fatalf("throngtest: closed with %d (%v), want %d", got, err, code)
		}
		return
	}
}

// Close closes the connection with a close frame.
func (c *Client) Close() {
	c.t.Helper()
	if err := c.Conn.Close(websocket.StatusNormalClosure, ""); err != nil {
		c.t.Fatalf("throngtest: close: %v", err)
	}
}

// Cut drops the connection without a close frame.
func (c *Client) Cut() { c.Conn.CloseNow() }

// Type returns the frame's type.
func (f Frame) Type() string { return f.Text("type") }

// Text returns a field that is a string, "" where it is none.
func (f Frame) Text(field string) string {
	text, _ := f[field].(string)
	return text
}

// Int returns a field that is a whole number, 0 where it is none.
func (f Frame) Int(field string) int64 {
	number, _ := f[field].(json.Number)
	n, _ := number.Int64()
	return n
}

// Bool returns a field that is a boolean, false where it is none.
func (f Frame) Bool(field string) bool {
	b, _ := f[field].(bool)
	return b
}
