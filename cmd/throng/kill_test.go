package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/thronghq/throng/internal/checker"
	"github.com/thronghq/throng/internal/throngtest"
)

// kills is how often the server is killed; THRONG_KILLS says otherwise, for a run
// that lasts.
const (
	kills     = 24
	killsEnv  = "THRONG_KILLS"
	talkers   = 3 // over WebSocket, in each room; and as many over REST
	listeners = 2 // in each room

	// asyncWindow is how long before a kill an ack of an async room may have
	// come whose message is lost: docs/guarantees.md promises far less, but
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

// String is the message's content as the checker knows it.
func (u utterance) String() string { return fmt.Sprintf("%d-%d", u.Talker, u.N) }

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
// was not acknowledged when the server was killed is sent again to the next one.
type talker struct {
	id   int
	room string
	rest bool
	sent []checker.Sent // the last one may lack its acknowledgement
}

func (k *talker) user() string { return fmt.Sprint("talker", k.id) }

// next returns the message at hand.
func (k *talker) next() (*checker.Sent, utterance) {
	if n := len(k.sent); n == 0 || !k.sent[n-1].Acked.IsZero() {
		u := utterance{k.id, n + 1}
		k.sent = append(k.sent, checker.Sent{Author: k.user(), Number: u.N, Content: u.String()})
	}
	m := &k.sent[len(k.sent)-1]
	return m, utterance{k.id, m.Number}
}

func acked(m *checker.Sent, id string, offset uint64) {
	m.ID, m.Offset, m.Acked = id, offset, time.Now()
}

// readBefore dates acknowledgements that were read after the kill back to it: the
// server had sent them before.
func (k *talker) readBefore(kill time.Time) {
	for i := len(k.sent) - 1; i >= 0; i-- {
		switch m := &k.sent[i]; {
		case m.Acked.IsZero():
		case m.Acked.After(kill):
			m.Acked = kill
		default:
			return
		}
	}
}

// talk sends until the line is cut.
func (k *talker) talk(s *throngtest.Server) {
	if k.rest {
		for k.post(s) {
		}
		return
	}
	l, err := dialLine(s, k.user())
	if err != nil {
		return
	}
	defer l.conn.CloseNow()
	for {
		m, content := k.next()
		err := l.send(map[string]any{
			"type": "message", "id": content.String(), "to": k.room, "key": content.String(), "content": content,
		})
		if err != nil {
			return
		}
		for m.Acked.IsZero() {
			f, err := l.next()
			if err != nil {
				return
			}
			if f.ID == content.String() && f.Type == "ack" {
				acked(m, f.MsgID, f.Offset)
			}
		}
	}
}

// post sends one message over REST, and reports whether it was acknowledged.
func (k *talker) post(s *throngtest.Server) bool {
	m, content := k.next()
	body, err := json.Marshal(map[string]any{"content": content, "key": content.String()})
	if err != nil {
		panic(err) // a map of strings and numbers
	}
	path := fmt.Sprintf("/api/v1/rooms/%s/messages?user=%s", url.PathEscape(k.room), k.user())
	response, err := http.Post(s.URL(path), "application/json", bytes.NewReader(body))
	if err != nil {
		return false
	}
	defer response.Body.Close()
	var ack said
	if json.NewDecoder(response.Body).Decode(&ack) != nil || response.StatusCode/100 != 2 {
		return false
	}
	acked(m, ack.MsgID, ack.Offset)
	return true
}

// listener follows the room and resumes after each cut.
type listener struct {
	t      *testing.T
	name   string
	room   string
	epoch  string
	last   uint64 // offset of the last message
	events []checker.Event
}

// listen follows the room until the line is cut, or with a goal until it has got
// there. It calls joined once it has joined, or cannot.
func (e *listener) listen(s *throngtest.Server, goal uint64, joined func()) {
	defer joined()
	l, err := dialLine(s, e.name)
	if err != nil {
		return
	}
	defer l.conn.CloseNow()
	join := map[string]any{"type": "join", "room": e.room}
	if e.epoch != "" {
		join["since"] = map[string]any{"offset": e.last, "epoch": e.epoch}
	}
	if l.send(join) != nil {
		return
	}
	for there := false; !there || goal == 0 || e.last < goal; {
		f, err := l.next()
		if err != nil {
			if goal > 0 {
				e.t.Errorf("%s came to %d of %d: %v", e.name, e.last, goal, err)
			}
			return
		}
		switch f.Type {
		case "joined":
			if !f.Recovered {
				e.last = f.Offset
			}
			e.epoch, there = f.Epoch, true
			e.events = append(e.events, checker.Event{Joined: true, Recovered: f.Recovered, Epoch: f.Epoch, Offset: f.Offset})
			joined()
		case "message":
			e.last = f.Offset
			e.events = append(e.events, checker.Event{Message: f.delivered()})
		case "error", "gap", "lag":
			e.t.Errorf("%s got %+v", e.name, f)
		}
	}
}

func (f *said) delivered() checker.Delivered {
	return checker.Delivered{ID: f.MsgID, Offset: f.Offset, Content: f.Content.String()}
}

// haunted is one room of the test, with those who talk and listen there.
type haunted struct {
	name      string
	durable   bool
	talkers   []*talker
	listeners []*listener
}

func haunt(t *testing.T, name string, durable bool) *haunted {
	h := &haunted{name: name, durable: durable}
	for i := range 2 * talkers {
		h.talkers = append(h.talkers, &talker{id: i, room: name, rest: i >= talkers})
	}
	for i := range listeners {
		h.listeners = append(h.listeners, &listener{t: t, name: fmt.Sprint("listener", i), room: name})
	}
	return h
}

// TestNothingPromisedIsLostByKill9 kills the server again and again at random
// moments, while clients publish over WebSocket and REST, come back and repeat
// what was not acknowledged, and others follow. internal/checker says what must
// hold: in a sync room every acknowledged message is there, once, and everybody
// resumes; in an async one only the last moment may be lost, and who had seen
// some of it is told.
func TestNothingPromisedIsLostByKill9(t *testing.T) {
	times := kills
	if more := os.Getenv(killsEnv); more != "" {
		var err error
		if times, err = strconv.Atoi(more); err != nil {
			t.Fatal(err)
		}
	} else if testing.Short() {
		times = 4
	}
	config := filepath.Join(t.TempDir(), "throng.toml")
	if err := os.WriteFile(config, []byte("[namespace.safe]\ndurability = \"sync\"\nhistory_size = 1_000_000\n[namespace.default]\nhistory_size = 1_000_000\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := throngtest.Start(t, throngtest.Options{Args: []string{"--config", config, "--limits-replay", "1000000"}})
	rooms := []*haunted{haunt(t, "safe:room", true), haunt(t, "room", false)}
	var killed []time.Time
	for round := range times {
		var all, joined sync.WaitGroup
		for _, r := range rooms {
			for _, e := range r.listeners {
				joined.Add(1)
				all.Go(func() { e.listen(s, 0, sync.OnceFunc(joined.Done)) })
			}
			for _, k := range r.talkers {
				all.Go(func() { k.talk(s) })
			}
		}
		if round%4 != 3 { // else the kill may come while they connect
			joined.Wait()
		}
		// The moment of the kill is what this test varies.
		<-time.After(time.Duration(rand.IntN(200)) * time.Millisecond)
		kill := time.Now()
		killed = append(killed, kill)
		s.Kill()
		all.Wait()
		for _, r := range rooms {
			for _, k := range r.talkers {
				k.readBefore(kill)
			}
		}
		s.Restart()
	}
	for _, r := range rooms {
		r.check(t, s, killed)
	}
	s.Stop()
}

// check has everybody come back once more, and judges what they saw.
func (r *haunted) check(t *testing.T, s *throngtest.Server, killed []time.Time) {
	t.Helper()
	h := &checker.History{Durable: r.durable, Window: asyncWindow, Kills: killed}
	for _, m := range wholeHistory(t, s, r.name) {
		h.Log = append(h.Log, m.delivered())
	}
	heard, again := 0, 0
	for _, e := range r.listeners {
		e.listen(s, uint64(len(h.Log)), func() {})
		h.Readers = append(h.Readers, e.events)
		for _, event := range e.events {
			switch {
			case !event.Joined:
				heard++
			case !event.Recovered:
				again++
			}
		}
	}
	acks := 0
	for _, k := range r.talkers {
		h.Sent = append(h.Sent, k.sent...)
		acks += len(k.sent)
	}
	for _, wrong := range h.Check() {
		t.Errorf("%s: %s", r.name, wrong)
	}
	if acks < len(killed) || heard < len(killed) {
		t.Errorf("%s: only %d messages and %d deliveries in %d rounds", r.name, acks, heard, len(killed))
	}
	lost, earliest := h.Lost()
	t.Logf("%s: %d kills, %d messages, %d acknowledged and lost, up to %v before a kill, %d deliveries, %d joins not taken up",
		r.name, len(killed), len(h.Log), lost, earliest, heard, again-len(r.listeners))
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
