package api_test

import (
	"bufio"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/thronghq/throng/auth"
	"github.com/thronghq/throng/proto"
)

// reader reads a stream of server-sent events as an EventSource does.
type reader struct {
	t        testing.TB
	response *http.Response
	lines    *bufio.Reader
	retry    string
}

// event is one of them.
type event struct{ name, id, data string }

// events follows a room; more is added to the request.
func (f *fixture) events(room, token string, more ...func(*http.Request)) *reader {
	f.t.Helper()
	req, err := http.NewRequestWithContext(f.t.Context(), http.MethodGet, f.url+"/rooms/"+url.PathEscape(room)+"/events", nil)
	if err != nil {
		f.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	for _, change := range more {
		change(req)
	}
	response, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { response.Body.Close() })
	if response.StatusCode != http.StatusOK || response.Header.Get("Content-Type") != "text/event-stream" || response.Header.Get("Trace-Id") == "" {
		f.t.Fatalf("a stream of room %q: %s %v", room, response.Status, response.Header)
	}
	return &reader{t: f.t, response: response, lines: bufio.NewReader(response.Body)}
}

// read returns the next event, false at the end of the stream.
func (r *reader) read() (e event, ok bool) {
	r.t.Helper()
	var data []string
	for {
		line, err := r.lines.ReadString('\n')
		if err != nil {
			if line != "" || data != nil {
				r.t.Fatalf("the stream ends within an event: %v, %q", err, line)
			}
			return event{}, false
		}
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch name {
		case "event":
			e.name = value
		case "id":
			e.id = value
		case "data":
			data = append(data, value)
		case "retry":
			r.retry = value
		case "":
			if data != nil {
				e.data = strings.Join(data, "\n")
				return e, true
			}
		default:
			if !strings.HasPrefix(line, ":") {
				r.t.Fatalf("a line that is none of the format: %q", line)
			}
		}
	}
}

// next returns the next event, which must have the name.
func (r *reader) next(name string) event {
	r.t.Helper()
	e, ok := r.read()
	if !ok || e.name != name {
		r.t.Fatalf("got %+v (%v), want %s", e, ok, name)
	}
	if !strings.HasPrefix(e.data, `{"type":"`+name+`"`) {
		r.t.Fatalf("the event %s has the data %s", name, e.data)
	}
	return e
}

func (r *reader) ends() {
	r.t.Helper()
	if e, ok := r.read(); ok {
		r.t.Errorf("the stream goes on with %+v", e)
	}
}

func lastEventID(id string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set("Last-Event-ID", id) }
}

func (f *fixture) publish(room, token, content string) *answer {
	f.t.Helper()
	return f.request("POST /rooms/"+url.PathEscape(room)+"/messages", token).json(`{"content":` + content + `}`).do().is(http.StatusCreated)
}

func TestEvents(t *testing.T) {
	f := start(t, nil)
	ada, bob := f.token("ada"), f.token("bob")
	first := f.events("lobby", ada)
	joined := first.next("joined")
	if first.retry != "1000" || !strings.HasSuffix(joined.id, ":0") {
		t.Errorf("retry %q, joined %+v", first.retry, joined)
	}
	epoch := strings.TrimSuffix(joined.id, ":0")
	for i := range 5 {
		f.publish("lobby", bob, fmt.Sprintf(`{"n":%d}`, i))
		e := first.next("message")
		if e.id != fmt.Sprintf("%s:%d", epoch, i+1) || !strings.Contains(e.data, fmt.Sprintf(`"content":{"n":%d}`, i)) {
			t.Errorf("message %d: %+v", i, e)
		}
	}
	// A reader that comes back gets what it missed, and then the rest.
	second := f.events("lobby", ada, lastEventID(epoch+":2"))
	if joined := second.next("joined"); joined.id != epoch+":2" || !strings.Contains(joined.data, `"recovered":true`) {
		t.Errorf("resumed: %+v", joined)
	}
	for i := 3; i <= 5; i++ {
		if e := second.next("message"); e.id != fmt.Sprintf("%s:%d", epoch, i) {
			t.Errorf("missed message %d: %+v", i, e)
		}
	}
	f.publish("lobby", bob, "6")
	if e := second.next("message"); e.id != epoch+":6" {
		t.Errorf("live: %+v", e)
	}
	// So does one that can only set the query, and its token there.
	third := f.events("lobby", "", func(r *http.Request) {
		r.Header.Del("Authorization")
		r.URL.RawQuery = url.Values{"since": {epoch + ":5"}, "token": {ada}}.Encode()
	})
	third.next("joined")
	if e := third.next("message"); e.id != epoch+":6" {
		t.Errorf("resumed by the query: %+v", e)
	}
	// An unknown epoch is not recovered: the stream begins at the head.
	fourth := f.events("lobby", ada, lastEventID("other:5"))
	if joined := fourth.next("joined"); joined.id != epoch+":6" || !strings.Contains(joined.data, `"recovered":false`) {
		t.Errorf("not resumed: %+v", joined)
	}
}

func TestEventsAreRefused(t *testing.T) {
	f := start(t, nil)
	ada := f.token("ada")
	deaf := f.token("eve", withRooms(auth.Rule{Match: "*", Allow: auth.RightsOf(auth.RightRead)}))
	listener := f.token("bob", withRooms(auth.Rule{Match: "*", Allow: auth.RightsOf(auth.RightJoin, auth.RightCreate)}))
	f.request("GET /rooms/lobby/events", deaf).do().refused(proto.ErrForbidden)
	f.request("GET /rooms/lobby/events?since=e:1", listener).do().refused(proto.ErrForbidden)
	f.request("GET /rooms/user:ada/events", listener).do().refused(proto.ErrForbidden)
	f.request("GET /rooms/nowhere:x/events", ada).do().refused(proto.ErrUnknownNamespace)
	f.request("GET /rooms/lobby/events?token=nonsense", "").do().refused(proto.ErrInvalidToken)
	f.request("GET /rooms/lobby/messages?token="+ada, "").do().refused(proto.ErrUnauthenticated) // streams alone take it
	for _, id := range []string{"x", ":1", "e:", "e:x", "e:-1", "e:99999999999999999999", strings.Repeat("e", 129) + ":1"} {
		f.request("GET /rooms/lobby/events", ada).with("Last-Event-ID", id).do().refused(proto.ErrInvalidField)
		f.request("GET /rooms/lobby/events?since="+id, ada).do().refused(proto.ErrInvalidField)
	}
	f.request("HEAD /rooms/lobby/events", ada).do().is(http.StatusOK)
	f.request("GET /rooms/lobby", ada).do().refused(proto.ErrNotFound) // and nothing came to life by all that
}

// TestPayloadsOfManyLines: each line on its own, so that none looks like a field.
func TestPayloadsOfManyLines(t *testing.T) {
	f := start(t, nil)
	ada := f.token("ada")
	stream := f.events("lobby", ada)
	stream.next("joined")
	f.publish("lobby", ada, "{\n  \"data\": [1,\r\n\r\n2],\r\"id\":\n\"event: x\\n\"\n}")
	e := stream.next("message")
	if !strings.Contains(e.data, "{\n  \"data\": [1,\n\n2],\n\"id\":\n\"event: x\\n\"\n}") || e.id == "" {
		t.Errorf("got %q", e.data)
	}
}

// TestTransientMessagesHaveNoID: a reader that comes back must not begin there.
func TestTransientMessagesHaveNoID(t *testing.T) {
	f := start(t, nil)
	ada := f.token("ada")
	stream := f.events("lobby", ada)
	stream.next("joined")
	f.request("POST /rooms/lobby/messages", ada).json(`{"content":{"offset":7},"transient":true}`).do().is(http.StatusCreated)
	if e := stream.next("message"); e.id != "" {
		t.Errorf("a transient message: %+v", e)
	}
}

// TestStreamsEndWithTheirReason: the token, its revocation, a drain.
func TestStreamsEndWithTheirReason(t *testing.T) {
	f := start(t, nil)
	short := f.events("lobby", f.token("ada", func(c *auth.AccessClaims) { c.TTL = time.Second }))
	short.next("joined")
	short.next("token_expiring")
	if e := short.next("error"); !strings.Contains(e.data, `"code":"token_expired"`) {
		t.Errorf("expired: %+v", e)
	}
	short.ends()

	closed := f.events("lobby", f.token("bob"))
	closed.next("joined")
	a := f.request("GET /sessions?userId=bob", f.token("root", asAdmin)).do().is(http.StatusOK)
	info := get[[]any](a, "sessions")[0].(map[string]any)
	if info["via"] != "sse" || info["address"] != "127.0.0.1" || fmt.Sprint(info["rooms"]) != "[lobby]" {
		t.Errorf("the stream's session: %v", info)
	}
	id := info["sessionId"].(string)
	f.request("DELETE /sessions/"+id, f.token("eve")).do().refused(proto.ErrNotFound)
	f.request("GET /sessions/"+id, f.token("bob")).do().is(http.StatusOK)
	f.request("GET /sessions?userId=bob", f.token("eve")).do().refused(proto.ErrForbidden)
	f.request("DELETE /sessions/"+id, f.token("root", asAdmin)).do().is(http.StatusNoContent)
	if e := closed.next("error"); !strings.Contains(e.data, `"code":"disconnected"`) {
		t.Errorf("disconnected: %+v", e)
	}
	closed.ends()
	f.request("GET /sessions/"+id, f.token("bob")).do().refused(proto.ErrNotFound)

	revoked := f.events("lobby", f.token("dora"))
	revoked.next("joined")
	f.request("POST /users/dora/revoke", f.token("root", asAdmin)).do().is(http.StatusNoContent)
	if e := revoked.next("error"); !strings.Contains(e.data, `"code":"revoked"`) {
		t.Errorf("revoked: %+v", e)
	}
	revoked.ends()

	drained := f.events("lobby", f.token("cleo"))
	drained.next("joined")
	f.end(proto.ErrShuttingDown.New())
	if e := drained.next("error"); !strings.Contains(e.data, `"code":"shutting_down"`) || !strings.Contains(e.data, `"retryAfter":`) || drained.retry == "1000" {
		t.Errorf("drained: %+v, retry %s", e, drained.retry)
	}
	drained.ends()
}

// TestASlowReaderLags: it holds nobody up, and gets everything in the end.
func TestASlowReaderLags(t *testing.T) {
	f := start(t, nil)
	ada := f.token("ada")
	slow, quick := f.events("lobby", ada), f.events("lobby", ada)
	slow.next("joined")
	quick.next("joined")
	const messages = 300
	content := `"` + strings.Repeat("x", 60<<10) + `"` // 18 MB: more than sockets and the outbox take
	for i := range messages {
		f.publish("lobby", ada, content)
		for {
			e, ok := quick.read()
			if !ok {
				t.Fatal("the quick reader's stream ended")
			}
			if e.name == "message" {
				if !strings.HasSuffix(e.id, fmt.Sprintf(":%d", i+1)) {
					t.Fatalf("message %d has the id %s", i+1, e.id)
				}
				break
			}
		}
	}
	// The log in memory keeps only the last messages: of others it says so.
	lagged := false
	for i := 1; i <= messages; {
		e, ok := slow.read()
		switch {
		case !ok:
			t.Fatalf("the slow reader's stream ended after %d messages", i-1)
		case e.name == "lag":
			lagged = true
		case e.name == "gap":
			if !strings.Contains(e.data, fmt.Sprintf(`"after":%d,`, i-1)) {
				t.Fatalf("a gap %s where message %d is next", e.data, i)
			}
			_, offset, _ := strings.Cut(e.id, ":")
			last, err := strconv.Atoi(offset)
			if err != nil {
				t.Fatal(err)
			}
			i = last + 1
		case e.name != "message" || !strings.HasSuffix(e.id, fmt.Sprintf(":%d", i)):
			t.Fatalf("got %s %s, want message %d", e.name, e.id, i)
		default:
			i++
		}
	}
	if !lagged {
		t.Error("the slow reader was not told that it lags")
	}
}
