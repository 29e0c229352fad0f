package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/thronghq/throng/internal/checker"
	"github.com/thronghq/throng/internal/throngtest"
)

// TestManyRoomsOnOneSlowConnection has one connection in two hundred rooms, all of
// which get messages as fast as their authors are acknowledged, while it reads
// slowly, stops and goes on. In each room it gets every message in order, after a
// lag where it is behind, up to the last one; its own commands are all answered
// meanwhile; and what waits for it is bounded.
func TestManyRoomsOnOneSlowConnection(t *testing.T) {
	const rooms, publishers, each = 200, 4, 40
	config := filepath.Join(t.TempDir(), "throng.toml")
	if err := os.WriteFile(config, []byte("[limits]\nmessage = \"4KiB\"\noutbox = \"8KiB\"\n[net]\nsend_buffer = \"4KiB\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := throngtest.Start(t, throngtest.Options{Args: []string{"--config", config}})
	m := &manyRooms{t: t, each: each, seats: make(map[string]*checker.Seat), audiences: make(map[string]*checker.Audience)}
	var err error
	if m.line, err = dialRaw(s, "slow", rawOptions{Receive: 4 << 10}); err != nil {
		t.Fatal(err)
	}
	defer m.line.close()
	for i := range rooms {
		m.join(fmt.Sprint("r", i))
	}
	stop := make(chan struct{})
	held := watchMemory(t, s, `throng_memory_bytes{kind="outboxes"}`, stop)
	var publishing sync.WaitGroup
	progress := make(chan struct{}, rooms*each)
	for p := range publishers {
		publishing.Go(func() {
			if err := publishToMany(s, p, publishers, rooms, each, progress); err != nil {
				t.Error(err)
			}
		})
	}
	go func() {
		publishing.Wait()
		close(progress)
	}()
	random := rand.New(rand.NewPCG(1, uint64(rooms)))
	for read := 0; m.full < rooms; read++ {
		if read%50 == 0 {
			m.ping()
		}
		if read%100 == 0 { // stop until others have had their turn, or there are none
			for range 50 + random.IntN(1000) {
				if _, more := <-progress; !more {
					break
				}
			}
		}
		m.read()
		if t.Failed() {
			t.FailNow()
		}
	}
	for m.pings > m.pongs {
		m.read()
	}
	close(stop)
	most := <-held
	lags := 0
	for room, a := range m.audiences {
		for _, wrong := range a.Check(each) {
			t.Errorf("%s: %s", room, wrong)
		}
		lags += m.seats[room].Lags
	}
	t.Logf("%d rooms, %d messages, %d lags, %d pings; at most %.0f bytes waited for it", rooms, rooms*each, lags, m.pings, most)
	if lags < rooms/2 {
		t.Errorf("only %d lags in %d rooms", lags, rooms)
	}
	// The outbox with one delivery beyond it, and an answer and a lag for each room.
	if bound := 8<<10 + 48<<10 + rooms*512; most > float64(bound) {
		t.Errorf("%.0f bytes waited for one connection, want %d at the most", most, bound)
	}
	s.Stop()
}

// manyRooms is one connection in many rooms.
type manyRooms struct {
	t     *testing.T
	line  *rawLine
	pings int
	pongs int
	each  uint64 // messages in a room
	full  int    // rooms of which it has everything

	audiences map[string]*checker.Audience
	seats     map[string]*checker.Seat // its own
}

func (m *manyRooms) join(room string) {
	m.t.Helper()
	a := new(checker.Audience)
	seat := a.Seat("the slow one")
	m.audiences[room], m.seats[room] = a, seat
	if err := m.line.send(map[string]any{"type": "join", "room": room}); err != nil {
		m.t.Fatal(err)
	}
	for h, err := m.line.hear(); ; h, err = m.line.hear() {
		if err != nil {
			m.t.Fatal(err)
		}
		if h.Type == "joined" {
			seat.Joined(0, h.Recovered, h.Offset)
			return
		}
	}
}

// publishToMany sends to the rooms that are this publisher's share, with some
// messages under way, and tells of each that is acknowledged.
func publishToMany(s *throngtest.Server, publisher, publishers, rooms, each int, progress chan<- struct{}) error {
	const window = 32
	l, err := dialRaw(s, fmt.Sprint("author", publisher), rawOptions{})
	if err != nil {
		return err
	}
	defer l.close()
	underWay := 0
	ack := func() error {
		for {
			h, err := l.hear()
			if err != nil || h.Type == "error" {
				return fmt.Errorf("%+v: %w", h, err)
			}
			if h.Type == "ack" {
				underWay--
				progress <- struct{}{}
				return nil
			}
		}
	}
	filler := strings.Repeat("x", 200)
	for n := range each {
		for room := publisher; room < rooms; room += publishers {
			name := fmt.Sprint("r", room)
			if err := l.send(map[string]any{"type": "message", "id": "1", "to": name, "content": fmt.Sprint(n, filler)}); err != nil {
				return err
			}
			if underWay++; underWay == window {
				if err := ack(); err != nil {
					return err
				}
			}
		}
	}
	for underWay > 0 {
		if err := ack(); err != nil {
			return err
		}
	}
	return nil
}

func (m *manyRooms) ping() {
	m.t.Helper()
	m.pings++
	if err := m.line.send(map[string]any{"type": "PING", "timestamp": m.pings}); err != nil {
		m.t.Fatal(err)
	}
}

// read takes one event.
func (m *manyRooms) read() {
	m.t.Helper()
	h, err := m.line.hear()
	if err != nil {
		m.t.Fatalf("with %d of %d rooms complete: %v", m.full, len(m.seats), err)
	}
	switch h.Type {
	case "message":
		m.seats[h.To].Message(h.Offset, h.Content)
		if h.Offset == m.each {
			m.full++
		}
	case "lag":
		m.seats[h.Room].Lag(h.Offset)
	case "PONG":
		m.pongs++
	case "member_joined", "member_left", "session":
	default:
		m.t.Fatalf("%+v", h)
	}
}
