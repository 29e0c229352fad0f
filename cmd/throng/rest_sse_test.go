package main

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/thronghq/throng/internal/throngtest"
)

// stream reads server-sent events as the HTML standard says.
type stream struct {
	t      *testing.T
	cancel context.CancelFunc
	header http.Header
	lines  *bufio.Scanner
	lastID string // what an EventSource would send as Last-Event-ID
	retry  int
}

// event is one of them.
type event struct {
	kind string
	id   string
	data throngtest.Frame
}

// follow opens a room's events, after the given id where there is one.
func (s *restServer) follow(room, token, lastID string) *stream {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), restPatience)
	s.t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL("/api/v1/rooms/"+room+"/events"), nil)
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Accept", "text/event-stream")
	if lastID != "" {
		r.Header.Set("Last-Event-ID", lastID)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { response.Body.Close() })
	if kind := response.Header.Get("Content-Type"); response.StatusCode != http.StatusOK || !strings.HasPrefix(kind, "text/event-stream") {
		s.t.Fatalf("the events of %s: %s, %s", room, response.Status, kind)
	}
	if !traceID.MatchString(response.Header.Get("Trace-Id")) {
		s.t.Errorf("the events of %s have the Trace-Id %q", room, response.Header.Get("Trace-Id"))
	}
	return &stream{t: s.t, cancel: cancel, header: response.Header, lines: bufio.NewScanner(response.Body), lastID: lastID}
}

// next returns the next event, or why there is none.
func (st *stream) next() (event, error) {
	st.t.Helper()
	e := event{kind: "message"}
	var data []string
	for st.lines.Scan() {
		line := st.lines.Text()
		if line == "" {
			if data == nil {
				e = event{kind: "message"}
				continue
			}
			e.data = parseFrame(st.t, []byte(strings.Join(data, "\n")))
			if e.data.Type() != e.kind {
				st.t.Errorf("an event %q holds a %q", e.kind, e.data.Type())
			}
			return e, nil
		}
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch name {
		case "": // a comment
		case "event":
			e.kind = value
		case "data":
			data = append(data, value)
		case "id":
			e.id, st.lastID = value, value
		case "retry":
			n, err := strconv.Atoi(value)
			if err != nil {
				st.t.Errorf("retry: %q", value)
			}
			st.retry = n
		default:
			st.t.Errorf("the stream has the line %q", line)
		}
	}
	if err := st.lines.Err(); err != nil {
		return e, err
	}
	return e, fmt.Errorf("the stream has ended")
}

// expect returns the next event, which must be of the kind.
func (st *stream) expect(kind string) event {
	st.t.Helper()
	e, err := st.next()
	if err != nil {
		st.t.Fatalf("waiting for %s: %v", kind, err)
	}
	if e.kind != kind {
		st.t.Fatalf("got %v, want an event %s", e, kind)
	}
	return e
}

// await returns the next event of the kind and passes over others.
func (st *stream) await(kind string) event {
	st.t.Helper()
	for {
		e, err := st.next()
		if err != nil {
			st.t.Fatalf("waiting for %s: %v", kind, err)
		}
		if e.kind == kind {
			return e
		}
	}
}

// ended reads the stream to its end and returns the last event before it.
func (st *stream) ended() event {
	st.t.Helper()
	var last event
	for {
		e, err := st.next()
		if err != nil {
			return last
		}
		last = e
	}
}

// TestEventsLookAsTheStandardSays reads the stream's own bytes.
func TestEventsLookAsTheStandardSays(t *testing.T) {
	s := startREST(t, "", throngtest.Options{})
	ada, bob := s.user("ada"), s.user("bob")
	st := s.follow("lines", ada, "")
	joined := st.expect("joined")
	if st.retry == 0 {
		t.Error("the stream does not begin with retry")
	}
	epoch := joined.data.Text("epoch")
	if want := epoch + ":0"; joined.id != want {
		t.Errorf("the id of joined is %q, want %q", joined.id, want)
	}
	// Content keeps its bytes, line ends included; each line is a data line.
	s.want(http.StatusCreated, post("/rooms/lines/messages", bob, `{"content":{"a":1,`+"\n"+`"b":[1,`+"\r\n\r"+`2]}}`))
	m := st.await("message")
	if m.id != epoch+":1" || m.data.Int("offset") != 1 || fmt.Sprint(m.data["content"]) != "map[a:1 b:[1 2]]" {
		t.Errorf("the message is %v", m)
	}
	// An event that is no place in the log has no id.
	s.want(http.StatusCreated, post("/rooms/lines/messages", bob, fields{"content": "typing", "transient": true}))
	if m := st.await("message"); m.id != "" || m.data["offset"] != nil {
		t.Errorf("the transient message is %v", m)
	}
	s.want(http.StatusNoContent, del("/rooms/lines/messages/1", bob))
	if d := st.await("deleted"); d.id != "" || d.data.Int("offset") != 1 || d.data.Text("userId") != "bob" {
		t.Errorf("the deletion is %v", d)
	}
	s.want(http.StatusNoContent, post("/rooms/lines/ban", ada, fields{"userId": "carl"}))
	s.want(http.StatusNoContent, del("/rooms/lines", ada))
	if last := st.ended(); last.kind != "room_closed" {
		t.Errorf("the stream ends with %v", last)
	}
}

// TestEventsResume: a reader that comes back with the last id gets what it
// missed, and nothing twice; one whose position is unknown is told so.
func TestEventsResume(t *testing.T) {
	s := startREST(t, "", throngtest.Options{})
	ada, bob := s.user("ada"), s.user("bob")
	publish := func(from, to int) {
		for i := from; i <= to; i++ {
			s.want(http.StatusCreated, post("/rooms/resume/messages", bob, fields{"content": i}))
		}
	}
	st := s.follow("resume", ada, "")
	st.expect("joined")
	publish(1, 3)
	for i := int64(1); i <= 3; i++ {
		if m := st.await("message"); m.data.Int("offset") != i || m.data.Int("content") != i {
			t.Fatalf("got %v, want %d", m, i)
		}
	}
	st.cancel()
	publish(4, 6)
	again := s.follow("resume", ada, st.lastID)
	if joined := again.expect("joined"); !joined.data.Bool("recovered") || joined.data.Int("offset") != 6 {
		t.Errorf("joined again with %v", joined)
	}
	for i := int64(4); i <= 6; i++ {
		if m := again.await("message"); m.data.Int("offset") != i {
			t.Fatalf("got %v, want %d", m, i)
		}
	}
	// The id of joined says what the reader has: where everything before it
	// still follows, that is the position it came with.
	if resumed := s.follow("resume", ada, st.lastID); true {
		joined := resumed.expect("joined")
		resumed.cancel()
		if joined.id != st.lastID {
			t.Errorf("a reader that came with %s got joined with the id %s: should it break here, it would lose what followed", st.lastID, joined.id)
		}
	}
	lost := s.follow("resume", ada, "another-epoch:2")
	if joined := lost.expect("joined"); joined.data.Bool("recovered") {
		t.Errorf("an unknown epoch was recovered: %v", joined)
	}
	for _, wrong := range []string{"nonsense", ":", "a:", "a:-1", "a:x", strings.Repeat("e", 300) + ":1"} {
		s.refused(http.StatusUnprocessableEntity, "invalid_field",
			request{method: http.MethodGet, path: "/rooms/resume/events", token: ada, header: http.Header{"Last-Event-Id": {wrong}}})
	}
}

// TestEventsOutliveAKill: in a namespace that loses nothing, a reader and a
// writer go through kill -9 without a loss and without a duplicate.
func TestEventsOutliveAKill(t *testing.T) {
	s := startREST(t, "", throngtest.Options{})
	ada, bob := s.user("ada"), s.user("bob")
	const room, total, kills = "safe:kill", 60, 3
	var seen []int64
	lastID := ""
	read := func(st *stream, until int64) {
		for len(seen) == 0 || seen[len(seen)-1] < until {
			m := st.await("message")
			seen = append(seen, m.data.Int("offset"))
			if m.data.Int("content") != m.data.Int("offset") {
				t.Fatalf("at offset %d stands %v", m.data.Int("offset"), m.data)
			}
		}
		lastID = st.lastID
	}
	for life := range kills + 1 {
		from, to := life*total/(kills+1), (life+1)*total/(kills+1)
		st := s.follow(room, ada, lastID)
		joined := st.expect("joined")
		if life > 0 && !joined.data.Bool("recovered") {
			t.Fatalf("life %d: not recovered: %v", life, joined)
		}
		for i := from + 1; i <= to; i++ {
			a := s.want(http.StatusCreated, post("/rooms/"+room+"/messages", bob, fields{"content": i}))
			if a.body.Int("offset") != int64(i) {
				t.Fatalf("message %d is at offset %d", i, a.body.Int("offset"))
			}
		}
		// The reader is behind when the server is killed, by half.
		read(st, int64((from+to)/2))
		st.cancel()
		s.Kill()
		s.Restart()
	}
	st := s.follow(room, ada, lastID)
	st.expect("joined")
	read(st, total)
	for i, offset := range seen {
		if offset != int64(i+1) {
			t.Fatalf("the reader saw %v", seen)
		}
	}
}
