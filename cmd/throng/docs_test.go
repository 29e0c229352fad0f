package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/thronghq/throng/internal/bintest"
	"github.com/thronghq/throng/internal/doctest"
	"github.com/thronghq/throng/internal/throngtest"
)

// The examples of docs/protocol.md are what the server does.
func TestTheProtocolsExamples(t *testing.T) { playExamples(t, nil) }

func readReference(t *testing.T) []byte {
	t.Helper()
	page, err := os.ReadFile("../../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	return page
}

// playExamples plays all examples of the page against a server of their own. The
// clients speak JSON, or with tables the binary form.
func playExamples(t *testing.T, tables *bintest.Codec) {
	page := readReference(t)
	sequences, err := doctest.Sequences(page)
	if err != nil {
		t.Fatal(err)
	}
	if len(sequences) < 8 {
		t.Fatalf("the page has only %d examples", len(sequences))
	}
	s := throngtest.Start(t, throngtest.Options{})
	values := map[string]json.RawMessage{"token": docToken(t, s, "1h")}
	for _, q := range sequences {
		t.Run(q.Name, func(t *testing.T) {
			if tables != nil && q.Name == "errors" {
				t.Skip("its frames are wrong as JSON alone can be")
			}
			if tables != nil && q.Name == "token_expiring" {
				t.Skip("it waits for a token's end, once is enough")
			}
			server := s
			if args := docArgs[q.Name]; args != nil {
				server = throngtest.Start(t, throngtest.Options{Args: args})
			}
			values["brief"] = docToken(t, s, "9s")
			clients := &docClients{server: server, tables: tables, conns: make(map[string]*websocket.Conn)}
			defer clients.close()
			if err := q.Run(clients, maps.Clone(values)); err != nil {
				t.Error(err)
			}
		})
	}
}

// docArgs are the flags of the servers that examples have to themselves.
var docArgs = map[string][]string{
	"rates": {"--rate-connection-publishes", "6/m burst 2"},
}

// docToken returns a token of ann's in JSON.
func docToken(t *testing.T, s *throngtest.Server, ttl string) json.RawMessage {
	t.Helper()
	var out bytes.Buffer
	if code := runToken([]string{"--user", "ann", "--ttl", ttl, "--data-dir", s.DataDir}, outside{out: &out, err: os.Stderr}); code != exitOK {
		t.Fatalf("throng token exits with %d", code)
	}
	token, err := json.Marshal(strings.TrimSpace(out.String()))
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// docClients connects the clients of one example.
type docClients struct {
	server *throngtest.Server
	tables *bintest.Codec // nil where they speak JSON
	conns  map[string]*websocket.Conn
}

func (d *docClients) connect(client, query string) (*websocket.Conn, error) {
	if c := d.conns[client]; c != nil {
		return c, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	subprotocol := "throng.v1.json"
	if d.tables != nil {
		subprotocol = "throng.v1.bin"
	}
	c, _, err := websocket.Dial(ctx, d.server.WSURL("/ws"+query), &websocket.DialOptions{Subprotocols: []string{subprotocol}})
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
	if d.tables == nil {
		return c.Write(ctx, websocket.MessageText, frame)
	}
	if frame, err = d.tables.Encode(frame); err != nil {
		return err
	}
	return c.Write(ctx, websocket.MessageBinary, frame)
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
	if d.tables == nil {
		return frame, nil
	}
	decoded, err := d.tables.Decode(frame)
	if err != nil {
		return nil, fmt.Errorf("%s: %w in %x", client, err, frame)
	}
	return json.Marshal(decoded)
}

func (d *docClients) close() {
	for _, c := range d.conns {
		_ = c.CloseNow() // the example is over
	}
}
