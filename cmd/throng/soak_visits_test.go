package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/coder/websocket"
)

const (
	visitTime = time.Minute // ends a visit that hangs
	soakRooms = 12
)

// guest is a connection whose frames may have any content.
type guest struct{ line }

// soakEvent is one frame from the server, as far as the soak looks.
type soakEvent struct {
	Type      string `json:"type"`
	ID        string `json:"id"`
	Offset    uint64 `json:"offset"`
	Epoch     string `json:"epoch"`
	Recovered bool   `json:"recovered"`
	Code      string `json:"code"`
}

// next returns the next frame.
func (g *guest) next() (h soakEvent, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), visitTime)
	defer cancel()
	_, b, err := g.conn.Read(ctx)
	if err != nil {
		return h, err
	}
	return h, json.Unmarshal(b, &h)
}

// dial connects a user.
func (k *soak) dial(client *http.Client, user string) (*guest, error) {
	ctx, cancel := context.WithTimeout(k.t.Context(), visitTime)
	defer cancel()
	c, _, err := websocket.Dial(ctx, k.s.WSURL("/ws?user="+user), &websocket.DialOptions{HTTPClient: client})
	if err != nil {
		return nil, err
	}
	c.SetReadLimit(4 << 20)
	return &guest{line{c}}, nil
}

// enter connects a user and joins a room, from a position where there is one.
func (k *soak) enter(client *http.Client, user, room string, since any) (g *guest, joined soakEvent, err error) {
	if g, err = k.dial(client, user); err != nil {
		return nil, joined, err
	}
	join := map[string]any{"type": "join", "id": "j", "room": room}
	if since != nil {
		join["since"] = since
	}
	if joined, err = g.ask(join, "joined"); err != nil {
		_ = g.conn.CloseNow() // what matters has gone wrong before
	}
	return g, joined, err
}

// ask sends a command, and passes over frames until its answer, which must be of
// the type.
func (g *guest) ask(command map[string]any, answer string) (soakEvent, error) {
	if err := g.send(command); err != nil {
		return soakEvent{}, err
	}
	for {
		f, err := g.next()
		if err != nil {
			return f, err
		}
		if f.ID == command["id"] {
			if f.Type != answer {
				return f, fmt.Errorf("%v is answered with %+v", command, f)
			}
			return f, nil
		}
	}
}

// roomOf spreads the visits, whose number ends with the visitor's.
func roomOf(n int) string {
	n = n/10 + n%10
	switch n % 5 {
	case 0:
		return fmt.Sprint("safe:", n%soakRooms)
	case 1:
		return fmt.Sprint("fresh-", n) // nobody has been there before
	}
	return fmt.Sprint("room-", n%soakRooms)
}

// talk publishes and reads, and leaves, or is cut.
func (k *soak) talk(n int) error {
	room := roomOf(n)
	g, _, err := k.enter(k.http, fmt.Sprint("talker-", n%1000), room, nil)
	if err != nil {
		return err
	}
	defer g.conn.CloseNow()
	for i := range 5 {
		message := map[string]any{"type": "message", "id": fmt.Sprint(i), "to": room, "content": utterance{n, i}}
		if i%2 == 0 {
			message["key"] = fmt.Sprint(n, "-", i)
		}
		if _, err := g.ask(message, "ack"); err != nil {
			return err
		}
	}
	if _, err := g.ask(map[string]any{"type": "history", "id": "h", "room": room, "limit": 20}, "history"); err != nil {
		return err
	}
	if n%3 == 0 {
		return nil // cut
	}
	if _, err := g.ask(map[string]any{"type": "leave", "id": "l", "room": room}, "left"); err != nil {
		return err
	}
	return g.conn.Close(websocket.StatusNormalClosure, "")
}

// resume comes, is cut, and comes again for what it has missed.
func (k *soak) resume(n int) error {
	user, room := fmt.Sprint("resumer-", n%1000), fmt.Sprint("room-", n%soakRooms)
	g, joined, err := k.enter(k.http, user, room, map[string]any{"last": 10})
	if err != nil {
		return err
	}
	if err := g.conn.CloseNow(); err != nil {
		return err
	}
	g, again, err := k.enter(k.http, user, room, map[string]any{"offset": joined.Offset, "epoch": joined.Epoch})
	if err != nil {
		return err
	}
	defer g.conn.CloseNow()
	for last := joined.Offset; again.Recovered && last < again.Offset; {
		f, err := g.next()
		if err != nil {
			return err
		}
		if f.Type == "message" {
			last = f.Offset
		}
	}
	return nil
}

// lag does not read while others fill its room, and then reads it all, or is cut.
func (k *soak) lag(n int) error {
	const messages = 100 // several times what the sockets and the outbox take
	room := fmt.Sprint("busy-", n%2)
	if n%3 == 0 {
		room = fmt.Sprint("last:", n%2)
	}
	slow, joined, err := k.enter(k.narrow, "slow", room, nil)
	if err != nil {
		return err
	}
	defer slow.conn.CloseNow()
	author, err := k.dial(k.http, "author")
	if err != nil {
		return err
	}
	defer author.conn.CloseNow()
	content := strings.Repeat("x", 40<<10)
	last := joined.Offset
	for i := range messages {
		ack, err := author.ask(map[string]any{"type": "message", "id": fmt.Sprint(i), "to": room, "content": content}, "ack")
		if err != nil {
			return err
		}
		last = ack.Offset
	}
	if n%2 == 0 {
		return nil // cut with all that waits for it
	}
	for at := joined.Offset; at < last; {
		f, err := slow.next()
		if err != nil {
			return err
		}
		if f.Type == "message" {
			at = f.Offset
		}
	}
	return nil
}

// stopHalfway opens a connection and stops in the middle of its request, or of a
// frame.
func (k *soak) stopHalfway(n int) error {
	var d net.Dialer
	c, err := d.DialContext(k.t.Context(), "tcp", k.s.Addr())
	if err != nil {
		return err
	}
	defer c.Close()
	if k.tls != nil && n%2 == 0 {
		c = tls.Client(c, k.tls)
	}
	const upgrade = "GET /ws?user=halfway HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
	request := upgrade[:rand.IntN(len(upgrade))]
	if n%4 < 2 {
		request = upgrade + "\x81\xfe\xff"
	}
	_, _ = io.WriteString(c, request) // a server that speaks TLS may have closed it by now
	return nil
}

// babble sends what is no command until the server has had enough.
func (k *soak) babble(n int) error {
	g, err := k.dial(k.http, fmt.Sprint("babbler-", n%100))
	if err != nil {
		return err
	}
	defer g.conn.CloseNow()
	for _, junk := range []any{"x", map[string]any{"type": 1}, nil, "y", "z"} {
		if g.send(junk) != nil {
			return nil
		}
	}
	for err == nil {
		_, err = g.next()
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("not closed: %w", err)
	}
	return nil // with a close frame, or a reset because of what the server has not read
}

// post sends JSON to the REST API, and decodes the answer.
func (k *soak) post(path string, body, answer any) (status int, err error) {
	encoded, err := json.Marshal(body)
	if err != nil {
		return 0, err
	}
	response, err := k.http.Post(k.s.URL("/api/v1"+path), "application/json", bytes.NewReader(encoded))
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	return response.StatusCode, json.NewDecoder(response.Body).Decode(answer)
}

// logIn registers where that is the first time, logs in, and connects with the
// token.
func (k *soak) logIn(n int) error {
	credentials := map[string]string{"username": fmt.Sprint("ada", n%3), "password": "ada's password"}
	var answer map[string]any
	if status, err := k.post("/register", credentials, &answer); err != nil || status != http.StatusCreated && status != http.StatusConflict && status != http.StatusTooManyRequests {
		return fmt.Errorf("registering: %d, %v, %w", status, answer, err)
	}
	var tokens struct {
		AccessToken string `json:"accessToken"`
	}
	switch status, err := k.post("/login", credentials, &tokens); {
	case err != nil:
		return err
	case status == http.StatusTooManyRequests:
		return nil
	case status != http.StatusOK:
		return fmt.Errorf("logging in: %d", status)
	}
	ctx, cancel := context.WithTimeout(k.t.Context(), visitTime)
	defer cancel()
	c, _, err := websocket.Dial(ctx, k.s.WSURL("/ws?token="+tokens.AccessToken), &websocket.DialOptions{HTTPClient: k.http})
	if err != nil {
		return err
	}
	return c.Close(websocket.StatusNormalClosure, "")
}

// follow opens an event stream, publishes to its room, and goes once it has seen
// that.
func (k *soak) follow(n int) error {
	room := fmt.Sprint("room-", n%soakRooms)
	ctx, cancel := context.WithTimeout(k.t.Context(), visitTime)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, k.s.URL(fmt.Sprintf("/api/v1/rooms/%s/events?user=follower-%d", room, n%100)), nil)
	if err != nil {
		return err
	}
	stream, err := k.http.Do(request)
	if err != nil {
		return err
	}
	defer stream.Body.Close()
	if stream.StatusCode != http.StatusOK {
		return fmt.Errorf("the events of %s: %s", room, stream.Status)
	}
	mark := fmt.Sprintf("mark-%d.", n)
	var ack soakEvent
	if status, err := k.post(fmt.Sprintf("/rooms/%s/messages?user=follower", room), map[string]any{"content": mark}, &ack); err != nil || status/100 != 2 {
		return fmt.Errorf("publishing: %d, %w", status, err)
	}
	var seen bytes.Buffer
	buffer := make([]byte, 4<<10)
	for !strings.Contains(seen.String(), mark) {
		got, err := stream.Body.Read(buffer)
		if err != nil {
			return fmt.Errorf("the events of %s: %w", room, err)
		}
		seen.Write(buffer[:got])
	}
	return nil
}

// useREST publishes and reads a page of history.
func (k *soak) useREST(n int) error {
	room := fmt.Sprint("room-", n%soakRooms)
	var ack soakEvent
	if status, err := k.post(fmt.Sprintf("/rooms/%s/messages?user=rest", room), map[string]any{"content": n}, &ack); err != nil || status/100 != 2 {
		return fmt.Errorf("publishing: %d, %w", status, err)
	}
	response, err := k.http.Get(k.s.URL(fmt.Sprintf("/api/v1/rooms/%s/messages?user=rest&limit=20", room)))
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil || response.StatusCode != http.StatusOK {
		return fmt.Errorf("history: %s, %w", response.Status, err)
	}
	return nil
}
