package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"testing"

	"github.com/thronghq/throng/internal/throngtest"
)

// TestOneOrderForAll: messages that are published by REST and by WebSocket reach
// the room's members, by WebSocket and by server-sent events, with the same
// offsets in the same order.
func TestOneOrderForAll(t *testing.T) {
	s := startREST(t, "", throngtest.Options{})
	const room, each = "safe:order", 40
	readers := []*throngtest.Client{s.join(s.user("reader"), room), s.join(s.user("another"), room)}
	stream := s.follow(room, s.user("stream"), "")
	epoch := stream.expect("joined").data.Text("epoch")
	var mu sync.Mutex
	acked := make(map[int64]string) // msgId by offset
	note := func(ack throngtest.Frame) {
		mu.Lock()
		defer mu.Unlock()
		if other, twice := acked[ack.Int("offset")]; twice {
			t.Errorf("the offset %d is that of %s and of %s", ack.Int("offset"), other, ack.Text("msgId"))
		}
		acked[ack.Int("offset")] = ack.Text("msgId")
	}
	var writers sync.WaitGroup
	for w := range 2 {
		token := s.user(fmt.Sprint("poster ", w))
		writers.Go(func() {
			for i := range each {
				note(s.want(http.StatusCreated, post("/rooms/"+room+"/messages", token, fields{"content": i})).body)
			}
		})
		ws := s.dial(s.user(fmt.Sprint("sender ", w)))
		writers.Go(func() {
			for i := range each {
				ws.Send(fields{"type": "message", "id": "m", "to": room, "content": i})
				note(ws.Await("ack"))
			}
		})
	}
	batcher := s.user("batcher")
	writers.Go(func() {
		var messages []fields
		for i := range each {
			messages = append(messages, fields{"content": i})
		}
		last := int64(0)
		for _, result := range s.want(http.StatusOK, post("/rooms/"+room+"/messages/batch", batcher, fields{"messages": messages})).body["results"].([]any) {
			result := throngtest.Frame(result.(map[string]any))
			note(result)
			if result.Int("offset") <= last {
				t.Errorf("the batch's offsets do not rise: %d after %d", result.Int("offset"), last)
			}
			last = result.Int("offset")
		}
	})
	writers.Wait()
	const total = 5 * each
	for _, reader := range readers {
		for offset := int64(1); offset <= total; offset++ {
			if m := reader.Await("message"); m.Int("offset") != offset || m.Text("msgId") != acked[offset] {
				t.Fatalf("a reader got %v at the place of %d, %s", m, offset, acked[offset])
			}
		}
	}
	for offset := int64(1); offset <= total; offset++ {
		if m := stream.await("message"); m.data.Int("offset") != offset || m.data.Text("msgId") != acked[offset] || m.id != fmt.Sprint(epoch, ":", offset) {
			t.Fatalf("the stream got %v at the place of %d, %s", m, offset, acked[offset])
		}
	}
}

// TestIdempotencyKeysOutliveARestart, clean or not, where the namespace loses
// nothing.
func TestIdempotencyKeysOutliveARestart(t *testing.T) {
	s := startREST(t, "", throngtest.Options{})
	ada := s.user("ada")
	publish := func(key string, content any) request {
		r := post("/rooms/safe:keys/messages", ada, fields{"content": content})
		r.header = http.Header{"Idempotency-Key": {key}}
		return r
	}
	again := func(key string, content any, first *answer) {
		t.Helper()
		repeat := s.want(http.StatusOK, publish(key, content))
		if !repeat.body.Bool("duplicate") || repeat.body.Text("msgId") != first.body.Text("msgId") ||
			repeat.body.Int("offset") != first.body.Int("offset") || repeat.body.Int("timestamp") != first.body.Int("timestamp") {
			t.Errorf("the repeat got %s, the first %s", repeat.text, first.text)
		}
		s.refused(http.StatusConflict, "key_conflict", publish(key, "something else"))
	}
	first := s.want(http.StatusCreated, publish("one", "first"))
	again("one", "first", first)
	s.Kill()
	s.Restart()
	again("one", "first", first)
	second := s.want(http.StatusCreated, publish("two", "second"))
	s.Stop()
	s.Restart()
	again("two", "second", second)
	again("one", "first", first)
	// A key is its user's: the same one of another user is another message.
	other := publish("one", "first")
	other.token = s.user("bob")
	if a := s.want(http.StatusCreated, other); a.body.Int("offset") != 3 {
		t.Errorf("bob's message is %s", a.text)
	}
	// The body's key and the header are the same thing, in WebSockets too.
	quoted := publish(`"two"`, "second")
	s.want(http.StatusOK, quoted)
	both := publish("two", "second")
	both.body = fields{"content": "second", "key": "three"}
	s.refused(http.StatusUnprocessableEntity, "invalid_field", both)
	ws := s.dial(ada)
	ws.Send(fields{"type": "message", "id": "m", "to": "safe:keys", "content": "second", "key": "two"})
	if ack := ws.Await("ack"); !ack.Bool("duplicate") || ack.Text("msgId") != second.body.Text("msgId") {
		t.Errorf("the WebSocket's repeat got %v", ack)
	}
	if n := len(offsetsIn(s.want(http.StatusOK, getting("/rooms/safe:keys/messages", ada)))); n != 3 {
		t.Errorf("there are %d messages, want 3", n)
	}
}

// TestHistoryIsTheProtocols: each question gets the same messages by REST and by
// WebSocket.
func TestHistoryIsTheProtocols(t *testing.T) {
	s := startREST(t, "", throngtest.Options{})
	ada, bob := s.user("ada"), s.user("bob")
	const room = "history"
	ws := s.dial(bob)
	var times []int64
	for i := range 12 {
		var ack throngtest.Frame
		switch i % 3 {
		case 0:
			ack = s.want(http.StatusCreated, post("/rooms/"+room+"/messages", ada, fields{"content": fields{"n": i}, "key": fmt.Sprint(i)})).body
		case 1:
			ack = s.want(http.StatusCreated, post("/rooms/"+room+"/messages", bob, fields{"content": "AAEC", "encoding": "base64"})).body
		default:
			ws.Send(fields{"type": "message", "id": "m", "to": room, "content": []any{i, nil, "ä"}})
			ack = ws.Await("ack")
		}
		times = append(times, ack.Int("timestamp"))
	}
	s.want(http.StatusNoContent, del("/rooms/"+room+"/messages/4", ada))
	for _, query := range []fields{
		{},
		{"limit": 5},
		{"limit": 5, "reverse": true},
		{"after": 3},
		{"before": 9, "reverse": true},
		{"after": 3, "before": 9},
		{"after": 12},
		{"from": times[4]},
		{"to": times[8]},
		{"from": times[2], "to": times[10]},
		{"from": times[2], "to": times[10], "limit": 3, "reverse": true},
		{"from": times[11] + 1},
		{"to": 1},
		{"from": 0, "to": times[0] + 1},
	} {
		compareHistory(s, ws, room, bob, query)
	}
	for _, wrong := range []string{
		"from=1&after=1", "to=5&before=3", "from=5&to=4", "after=5&before=4", "limit=0", "limit=1001", "limit=x", "reverse=maybe", "from=-1", "to=0", "before=0",
		"after=9007199254740992", "from=1.5", "from=1e3", "limit=5&limit=6", "cursor=", "after=%2B1",
	} {
		s.refused(http.StatusUnprocessableEntity, "invalid_field", getting("/rooms/"+room+"/messages?"+wrong, bob))
	}
	s.refused(http.StatusBadRequest, "invalid_cursor", getting("/rooms/"+room+"/messages?cursor=made+up", bob))
}

// compareHistory reads all pages of a query both ways.
func compareHistory(s *restServer, ws *throngtest.Client, room, token string, query fields) {
	s.t.Helper()
	frame, params := fields{"type": "history", "id": "h", "room": room, "limit": 100}, url.Values{}
	for name, value := range query {
		frame[name] = value
		params.Set(name, fmt.Sprint(value))
	}
	for range 20 {
		ws.Send(frame)
		page := ws.Await("history")
		rest := s.want(http.StatusOK, getting("/rooms/"+room+"/messages?"+params.Encode(), token))
		delete(page, "type")
		delete(page, "id")
		if want, got := canonical(s.t, page), canonical(s.t, rest.body); !bytes.Equal(want, got) {
			s.t.Fatalf("%v: the WebSocket has\n%s, REST has\n%s", query, want, got)
		}
		if page["next"] == nil {
			return
		}
		frame["cursor"] = page.Text("next")
		params.Set("cursor", page.Text("next"))
	}
	s.t.Errorf("%v: there is no end", query)
}

// canonical writes a value with its members in order.
func canonical(t *testing.T, v any) []byte {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestContentKeepsItsBytes, and large answers are compressed where the client
// takes that.
func TestContentKeepsItsBytes(t *testing.T) {
	s := startREST(t, "", throngtest.Options{})
	ada := s.user("ada")
	contents := []string{`{"b" : 1,"a":[1.0, 1e2,"\u00e4","ä"], "b":2 }`, `1.000000000000000000001`, `"</script>"`, `null`, ` [ ] `, `"` + string(bytes.Repeat([]byte("long "), 10_000)) + `"`}
	for i, content := range contents {
		s.want(http.StatusCreated, post("/rooms/bytes/messages", ada, `{"content":`+content+`}`))
		one := s.want(http.StatusOK, getting(fmt.Sprintf("/rooms/bytes/messages/%d", i+1), ada))
		if want := `"content":` + string(bytes.TrimSpace([]byte(content))); !bytes.Contains(one.text, []byte(want)) {
			t.Errorf("the content %.60s came back in %.300s", content, one.text)
		}
	}
	plain := getting("/rooms/bytes/messages", ada)
	plain.header = http.Header{"Accept-Encoding": {"identity"}}
	if a := s.ask(plain); a.header.Get("Content-Encoding") != "" {
		t.Errorf("compressed for who does not take that: %v", a.header)
	}
	out, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL("/api/v1/rooms/bytes/messages"), nil)
	if err != nil {
		t.Fatal(err)
	}
	out.Header.Set("Authorization", "Bearer "+ada)
	out.Header.Set("Accept-Encoding", "gzip") // set by hand, so that the client leaves the answer as it is
	response, err := http.DefaultClient.Do(out)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.Header.Get("Content-Encoding") != "gzip" || !slices.Contains(response.Header.Values("Vary"), "Accept-Encoding") {
		t.Errorf("a large answer is not compressed: %v", response.Header)
	}
}
