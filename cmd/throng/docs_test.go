package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/thronghq/throng/internal/doctest"
	"github.com/thronghq/throng/internal/throngtest"
)

// The examples of docs/protocol.md are what the server does.
func TestTheProtocolsExamples(t *testing.T) {
	page, err := os.ReadFile("../../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	sequences, err := doctest.Sequences(page)
	if err != nil {
		t.Fatal(err)
	}
	if len(sequences) < 8 {
		t.Fatalf("the page has only %d examples", len(sequences))
	}
	s := throngtest.Start(t, throngtest.Options{})
	var out bytes.Buffer
	if code := runToken([]string{"--user", "ann", "--data-dir", s.DataDir}, outside{out: &out, err: os.Stderr}); code != exitOK {
		t.Fatalf("throng token exits with %d", code)
	}
	token, err := json.Marshal(strings.TrimSpace(out.String()))
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range sequences {
		t.Run(q.Name, func(t *testing.T) {
			clients := &docClients{server: s, conns: make(map[string]*websocket.Conn)}
			defer clients.close()
			if err := q.Run(clients, map[string]json.RawMessage{"token": token}); err != nil {
				t.Error(err)
			}
		})
	}
}

// docClients connects the clients of one example.
type docClients struct {
	server *throngtest.Server
	conns  map[string]*websocket.Conn
}

func (d *docClients) connect(client, query string) (*websocket.Conn, error) {
	if c := d.conns[client]; c != nil {
		return c, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	c, _, err := websocket.Dial(ctx, d.server.WSURL("/ws"+query), &websocket.DialOptions{Subprotocols: []string{"throng.v1.json"}})
	if err != nil {
		return nil, err
	}
	c.SetReadLimit(1 << 20)
	d.conns[client] = c
	return c, nil
}

func (d *docClients) Send(client string, frame []byte) error {
	c, err := d.connect(client, "")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return c.Write(ctx, websocket.MessageText, frame)
}

func (d *docClients) Receive(client string) ([]byte, error) {
	c, err := d.connect(client, "?user="+doctest.User(client))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_, frame, err := c.Read(ctx)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", client, err)
	}
	return frame, nil
}

func (d *docClients) close() {
	for _, c := range d.conns {
		_ = c.CloseNow() // the example is over
	}
}
