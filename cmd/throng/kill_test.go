package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/thronghq/throng/internal/throngtest"
)

const (
	kills   = 20
	talkers = 4

	// asyncWindow is how long before a kill an ack of an async room may have
	// come whose message is lost: docs/protocol.md promises far less, but
	// this machine's disk may be busy.
	asyncWindow = time.Second
)

// said is one frame from the server, as far as this test looks.
type said struct {
	Type      string    `json:"type"`
	ID        string    `json:"id"`
	Offset    uint64    `json:"offset"`
	Epoch     string    `json:"epoch"`
	MsgID     string    `json:"msgId"`
	From      string    `json:"from"`
	Content   utterance `json:"content"`
	Recovered bool      `json:"recovered"`
	Code      string    `json:"code"`
	Messages  []said    `json:"messages"`
	Next      string    `json:"next"`
}

// utterance is the content of this test's messages.
type utterance struct {
	Talker, N int
}

// line is one connection, until it is cut.
type line struct {
	conn *websocket.Conn
}

func dialLine(s *throngtest.Server, user string) (*line, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	c, _, err := websocket.Dial(ctx, s.WSURL("/ws?user="+user), nil)
	if err != nil {
		return nil, err
	}
	c.SetReadLimit(4 << 20)
	return &line{c}, nil
}

func (l *line) send(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	return l.conn.Write(ctx, websocket.MessageText, b)
}

func (l *line) next() (said, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var s said
	_, b, err := l.conn.Read(ctx)
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(b, &s)
}

// talker sends numbered messages, one after the other, each with a key; what
// was not acknowledged when the line was cut is sent again on the next one.
type talker struct {
	id    int
	room  string
	n     int // the message at hand
	acked []ackedAt
}

type ackedAt struct {
	n  int
	at time.Time
}

// talk sends until the line is cut.
func (k *talker) talk(s *throngtest.Server) {
	l, err := dialLine(s, fmt.Sprint("talker", k.id))
	if err != nil {
		return
	}
	defer l.conn.CloseNow()
	for {
		id := fmt.Sprint(k.n)
		err := l.send(map[string]any{
			"type": "message", "id": id, "to": k.room, "key": fmt.Sprintf("%d-%d", k.id, k.n), "content": utterance{k.id, k.n},
		})
		if err != nil {
			return
		}
		for answered := false; !answered; {
			f, err := l.next()
			if err != nil {
				return
			}
			answered = f.ID == id && f.Type == "ack"
		}
		k.acked = append(k.acked, ackedAt{k.n, time.Now()})
		k.n++
	}
}

// listener follows the room and resumes after each cut.
type listener struct {
	t     *testing.T
	room  string
	epoch string
	last  uint64            // offset of the last message
	seen  map[uint64]string // msgId by offset, since the last break
	lost  int               // joins that did not recover
	heard int
}

func (e *listener) listen(s *throngtest.Server, joined func()) {
	l, err := dialLine(s, "listener")
	if err != nil {
		joined()
		return
	}
	defer l.conn.CloseNow()
	join := map[string]any{"type": "join", "room": e.room}
	if e.epoch != "" {
		join["since"] = map[string]any{"offset": e.last, "epoch": e.epoch}
	}
	if err := l.send(join); err != nil {
		e.t.Error(err)
	}
	for {
		f, err := l.next()
		if err != nil {
			return
		}
		switch f.Type {
		case "joined":
			if e.epoch != "" && !f.Recovered {
				e.lost++
				e.last, e.seen = f.Offset, make(map[uint64]string)
			} else if e.epoch == "" {
				e.last = f.Offset
			}
			e.epoch = f.Epoch
			joined()
		case "message":
			if f.Offset != e.last+1 {
				e.t.Errorf("offset %d came after %d", f.Offset, e.last)
			}
			e.last = f.Offset
			e.seen[f.Offset] = f.MsgID
			e.heard++
		case "error", "gap", "lag":
			e.t.Errorf("the listener got %+v", f)
		}
	}
}

// TestNothingPromisedIsLostByKill9 kills the server again and again while
// clients talk. In a sync room every acknowledged message is there afterwards,
// once, and everybody resumes; in an async one only the last moment may be lost.
func TestNothingPromisedIsLostByKill9(t *testing.T) {
	config := filepath.Join(t.TempDir(), "throng.toml")
	if err := os.WriteFile(config, []byte("[namespace.safe]\ndurability = \"sync\"\n[namespace.default]\nhistory_size = 1_000_000\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := throngtest.Start(t, throngtest.Options{Args: []string{"--config", config}})
	rooms := []string{"safe:room", "room"}
	var ears []*listener
	var mouths []*talker
	for _, room := range rooms {
		ears = append(ears, &listener{t: t, room: room, seen: make(map[uint64]string)})
		for range talkers {
			mouths = append(mouths, &talker{id: len(mouths), room: room, n: 1})
		}
	}
	var killed []time.Time
	for range kills {
		var all, joined sync.WaitGroup
		for _, e := range ears {
			joined.Add(1)
			all.Go(func() { e.listen(s, sync.OnceFunc(joined.Done)) })
		}
		joined.Wait()
		for _, k := range mouths {
			all.Go(func() { k.talk(s) })
		}
		// The moment of the kill is what this test varies.
		<-time.After(time.Duration(20+rand.IntN(200)) * time.Millisecond)
		killed = append(killed, time.Now())
		s.Kill()
		all.Wait()
		s.Restart()
	}
	for i, room := range rooms {
		checkRoom(t, s, room, ears[i], mouths[i*talkers:(i+1)*talkers], killed)
	}
	s.Stop()
}

func checkRoom(t *testing.T, s *throngtest.Server, room string, ear *listener, mouths []*talker, killed []time.Time) {
	t.Helper()
	log := wholeHistory(t, s, room)
	found := make(map[utterance]int)
	last := make(map[int]int)
	for i, m := range log {
		if m.Offset != uint64(i+1) {
			t.Fatalf("%s: offset %d stands at place %d", room, m.Offset, i+1)
		}
		found[m.Content]++
		if found[m.Content] > 1 {
			t.Errorf("%s: %+v is there %d times", room, m.Content, found[m.Content])
		}
		if m.Content.N <= last[m.Content.Talker] {
			t.Errorf("%s: %+v came after %d", room, m.Content, last[m.Content.Talker])
		}
		last[m.Content.Talker] = m.Content.N
		if id, ok := ear.seen[m.Offset]; ok && id != m.MsgID {
			t.Errorf("%s: offset %d is %s in the log, and was %s", room, m.Offset, m.MsgID, id)
		}
	}
	acked, lost := 0, 0
	for _, k := range mouths {
		for _, a := range k.acked {
			acked++
			if found[utterance{k.id, a.n}] == 1 {
				continue
			}
			lost++
			if room != "room" || !justBefore(a.at, killed) {
				t.Errorf("%s: message %d of talker %d was acknowledged and is lost", room, a.n, k.id)
			}
		}
	}
	if room != "room" && ear.lost > 0 {
		t.Errorf("%s: %d joins did not recover", room, ear.lost)
	}
	if acked < kills || ear.heard < kills {
		t.Errorf("%s: only %d acks and %d deliveries in %d rounds", room, acked, ear.heard, kills)
	}
	t.Logf("%s: %d messages, %d acks of which %d were lost in the last moment, %d deliveries, %d joins not recovered",
		room, len(log), acked, lost, ear.heard, ear.lost)
}

// justBefore reports whether the time lies within the async window of a kill.
func justBefore(at time.Time, killed []time.Time) bool {
	for _, k := range killed {
		if d := k.Sub(at); d > -asyncWindow && d < asyncWindow {
			return true
		}
	}
	return false
}

func wholeHistory(t *testing.T, s *throngtest.Server, room string) (all []said) {
	t.Helper()
	l, err := dialLine(s, "reader")
	if err != nil {
		t.Fatal(err)
	}
	defer l.conn.CloseNow()
	cursor := ""
	for {
		ask := map[string]any{"type": "history", "room": room, "limit": 500}
		if cursor != "" {
			ask["cursor"] = cursor
		}
		if err := l.send(ask); err != nil {
			t.Fatal(err)
		}
		f, err := l.next()
		for err == nil && f.Type == "session" {
			f, err = l.next()
		}
		if err != nil || f.Type != "history" {
			t.Fatalf("%+v, %v", f, err)
		}
		all = append(all, f.Messages...)
		if cursor = f.Next; cursor == "" {
			return all
		}
	}
}
