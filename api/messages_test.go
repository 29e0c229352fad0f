package api_test

import (
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/thronghq/throng/api"
	"github.com/thronghq/throng/auth"
	"github.com/thronghq/throng/proto"
)

func TestPublishAndHistory(t *testing.T) {
	f := start(t, nil)
	ada, bob := f.token("ada"), f.token("bob")
	a := f.request("POST /rooms/lobby/messages", ada).json(`{"content":{"text":"Hello!"},"key":"k1"}`).do().is(http.StatusCreated)
	if get[float64](a, "offset") != 1 || len(get[string](a, "msgId")) != 36 || get[float64](a, "timestamp") < 1.6e12 || a.fields["duplicate"] != nil {
		t.Errorf("published: %s", a.text)
	}
	again := f.request("POST /rooms/lobby/messages", ada).with("Idempotency-Key", "k1").json(`{"content":{"text":"Hello!"}}`).do().is(http.StatusOK)
	if again.fields["msgId"] != a.fields["msgId"] || again.fields["duplicate"] != true {
		t.Errorf("published again: %s", again.text)
	}
	f.request("POST /rooms/lobby/messages", ada).with("Idempotency-Key", `"k1"`).json(`{"content":{"text":"Hello!"},"key":"k1"}`).do().is(http.StatusOK)
	f.request("POST /rooms/lobby/messages", ada).with("Idempotency-Key", "k2").json(`{"content":1,"key":"k1"}`).do().refused(proto.ErrInvalidField)
	f.request("POST /rooms/lobby/messages", ada).with("Idempotency-Key", "k1").with("Idempotency-Key", "k1").json(`{"content":1}`).do().refused(proto.ErrInvalidField)
	f.request("POST /rooms/lobby/messages", ada).with("Idempotency-Key", strings.Repeat("x", 65)).json(`{"content":1}`).do().refused(proto.ErrInvalidField)
	f.request("POST /rooms/lobby/messages", ada).with("Idempotency-Key", "k\xff").json(`{"content":1}`).do().refused(proto.ErrInvalidField)
	f.request("POST /rooms/lobby/messages", ada).json(`{"content":2,"key":"k1"}`).do().refused(proto.ErrKeyConflict)

	// Content is kept byte for byte.
	for i, content := range []string{`1.10e+2`, `{"b":1,"a":1,"a":2}`, `"\u00e9\/"`, "[1,\n  2]", `null`, `""`, `"<&>"`} {
		f.publish("lobby", ada, content)
		m := f.request(fmt.Sprintf("GET /rooms/lobby/messages/%d", i+2), bob).do().is(http.StatusOK)
		if !strings.Contains(m.text, `"content":`+content+`,"timestamp"`) {
			t.Errorf("content %s came back as %s", content, m.text)
		}
	}
	f.request("POST /rooms/lobby/messages", ada).json(`{"content":"3q2+7w==","encoding":"base64"}`).do().is(http.StatusCreated)
	m := f.request("GET /rooms/lobby/messages/9", bob).do().is(http.StatusOK).says(`"content":"3q2+7w==","encoding":"base64"`)
	f.request("GET /rooms/lobby/messages/9", bob).with("If-None-Match", m.header.Get("ETag")).do().is(http.StatusNotModified)
	for _, offset := range []string{"10", "9007199254740991"} {
		f.request("GET /rooms/lobby/messages/"+offset, bob).do().refused(proto.ErrNotFound)
	}
	for _, offset := range []string{"0", "-1", "x", "1.5", "9007199254740992", "%20"} {
		f.request("GET /rooms/lobby/messages/"+offset, bob).do().refused(proto.ErrInvalidField)
	}
	own := f.request("GET /rooms/lobby/messages/1", ada).do().is(http.StatusOK).says(`"key":"k1"`)
	if other := f.request("GET /rooms/lobby/messages/1", bob).do(); strings.Contains(other.text, "k1") || other.header.Get("ETag") == own.header.Get("ETag") {
		t.Errorf("another user sees %s", other.text)
	}
}

func TestHistoryPages(t *testing.T) {
	f := start(t, nil)
	ada := f.token("ada")
	var times [10]float64
	for i := range times {
		times[i] = get[float64](f.publish("lobby", ada, fmt.Sprint(i+1)), "timestamp")
	}
	offsets := func(query string) (got []float64) {
		cursor := ""
		for {
			a := f.request("GET /rooms/lobby/messages?"+query+cursor, ada).do().is(http.StatusOK)
			for _, m := range get[[]any](a, "messages") {
				got = append(got, m.(map[string]any)["offset"].(float64))
			}
			next, more := a.fields["next"].(string)
			if !more {
				return got
			}
			cursor = "&cursor=" + next
		}
	}
	for query, want := range map[string]string{
		"":                                 "[1 2 3 4 5 6 7 8 9 10]",
		"limit=3":                          "[1 2 3 4 5 6 7 8 9 10]",
		"limit=3&reverse=true":             "[10 9 8 7 6 5 4 3 2 1]",
		"after=3&before=6":                 "[4 5]",
		"after=0003":                       "[4 5 6 7 8 9 10]",
		"before=3&reverse=true&limit=1":    "[2 1]",
		"after=10":                         "[]",
		"reverse=false&after=8":            "[9 10]",
		fmt.Sprintf("to=%.0f", times[0]):   "[]",
		fmt.Sprintf("from=%.0f", times[0]): "[1 2 3 4 5 6 7 8 9 10]",
	} {
		if got := fmt.Sprint(offsets(query)); got != want {
			t.Errorf("?%s: %s, want %s", query, got, want)
		}
	}
	for _, query := range []string{
		"from=x", "from=1&after=1", "after=-1", "before=0", "limit=0", "limit=1001", "reverse=yes", "reverse=", "after=", "to=0",
		"after=9007199254740992", "from=5&to=4", "after=1e3", "after=%221%22", "cursor=",
	} {
		f.request("GET /rooms/lobby/messages?"+query, ada).do().refused(proto.ErrInvalidField)
	}
	f.request("GET /rooms/lobby/messages?cursor=nonsense", ada).do().refused(proto.ErrBadCursor)
	f.request("GET /rooms/lobby/messages", f.token("eve", withRooms(auth.Rule{Match: "*", Allow: auth.RightsOf(auth.RightJoin)}))).do().refused(proto.ErrForbidden)
}

func TestPublishIsRefused(t *testing.T) {
	f := start(t, nil)
	ada := f.token("ada")
	publish := func(body string) *answer { return f.request("POST /rooms/lobby/messages", ada).json(body).do() }
	publish(`{}`).refused(proto.ErrInvalidField).says(`field \"content\" is missing`)
	publish(`{"content":1,"content":2}`).refused(proto.ErrInvalidField).says("comes twice")
	publish(`{"content":1,"type":"auth"}`).refused(proto.ErrInvalidField)
	publish(`{"content":1,"to":"elsewhere"}`).refused(proto.ErrInvalidField)
	publish(`{"content":1,"key":""}`).refused(proto.ErrInvalidField)
	publish(`{"content":1,"key":"` + strings.Repeat("k", 65) + `"}`).refused(proto.ErrInvalidField)
	publish(`{"content":1,"transient":1}`).refused(proto.ErrInvalidField)
	publish(`{"content":"?","encoding":"base64"}`).refused(proto.ErrInvalidField)
	publish(`{"content":"x","encoding":"hex"}`).refused(proto.ErrInvalidField)
	publish(`{"content":"` + strings.Repeat("x", 64<<10) + `"}`).refused(proto.ErrTooLarge)
	publish(`{"content":` + strings.Repeat("[", 64) + strings.Repeat("]", 64) + `}`).refused(proto.ErrTooDeep)
	publish(`{"content":` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000) + `}`).is(http.StatusBadRequest)
	publish(`{"content":01}`).refused(proto.ErrInvalidJSON)
	publish(`{"content":1}{"content":2}`).refused(proto.ErrInvalidJSON)
	f.request("POST /rooms/lobby/messages", f.token("eve", withRooms(auth.Rule{Match: "*", Allow: auth.RightsOf(auth.RightJoin)}))).json(`{"content":1}`).do().refused(proto.ErrForbidden)
	f.request("POST /rooms/nowhere:x/messages", ada).json(`{"content":1}`).do().refused(proto.ErrUnknownNamespace)
	if a := f.request("GET /rooms/lobby/messages", ada).do(); len(get[[]any](a, "messages")) != 0 {
		t.Errorf("something was published: %s", a.text)
	}
}

func TestBatches(t *testing.T) {
	f := start(t, nil)
	ada := f.token("ada")
	var list []string
	for i := range 1000 {
		list = append(list, fmt.Sprintf(`{"content":%d}`, i))
	}
	list[500] = `{"content":1,"nonsense":2}`
	list[501] = `7`
	list[502] = `{"content":499,"key":"same"}`
	list[503] = list[502]
	a := f.request("POST /rooms/lobby/messages/batch", ada).json(`{"messages":[` + strings.Join(list, ",") + `]}`).do().is(http.StatusOK)
	results := get[[]any](a, "results")
	if len(results) != 1000 {
		t.Fatalf("%d results", len(results))
	}
	want := 0.0
	for i, r := range results {
		entry := r.(map[string]any)
		switch problem, _ := entry["error"].(map[string]any); {
		case i == 500 || i == 501:
			if problem["code"] != "invalid_field" || problem["trace_id"] != a.header.Get("Trace-Id") || !strings.Contains(problem["detail"].(string), fmt.Sprintf("messages[%d]", i)) {
				t.Errorf("result %d: %v", i, entry)
			}
		case i == 503:
			if entry["duplicate"] != true || entry["offset"] != want {
				t.Errorf("result %d: %v", i, entry)
			}
		default:
			if want++; entry["offset"] != want {
				t.Fatalf("result %d: %v, want offset %v", i, entry, want)
			}
		}
	}
	f.request("POST /rooms/lobby/messages/batch", ada).json(`{"messages":[` + strings.Join(list, ",") + `,{"content":1}]}`).do().refused(proto.ErrInvalidField)
	f.request("POST /rooms/lobby/messages/batch", ada).json(`{"messages":[]}`).do().refused(proto.ErrInvalidField)
	f.request("POST /rooms/lobby/messages/batch", ada).json(`{"messages":{}}`).do().refused(proto.ErrInvalidField)
	history := f.request("GET /rooms/lobby/messages?limit=1000", ada).do().is(http.StatusOK)
	last := -1.0
	for _, m := range get[[]any](history, "messages") {
		if n := m.(map[string]any)["content"].(float64); n <= last && n != 499 {
			t.Fatalf("content %v after %v", n, last)
		} else {
			last = n
		}
	}
}

func TestPublishToRooms(t *testing.T) {
	f := start(t, nil)
	ada := f.token("ada")
	a := f.request("POST /messages", ada).json(`{"rooms":["a","nowhere:x","b\u0000","c"],"content":{"x":1},"key":"k"}`).do().is(http.StatusOK)
	var got []string
	for _, r := range get[[]any](a, "results") {
		entry := r.(map[string]any)
		outcome := "published"
		if problem, failed := entry["error"].(map[string]any); failed {
			outcome = problem["code"].(string)
		} else if entry["msgId"] == nil || entry["timestamp"] == nil {
			t.Errorf("a result without an ack: %v", entry)
		}
		got = append(got, entry["room"].(string)+" "+outcome)
	}
	if fmt.Sprintf("%q", got) != `["a published" "nowhere:x unknown_namespace" "b\x00 invalid_field" "c published"]` {
		t.Errorf("results: %q", got)
	}
	a = f.request("POST /messages", ada).with("Idempotency-Key", "k").json(`{"rooms":["a","d"],"content":{"x":1}}`).do().is(http.StatusOK)
	if results := get[[]any](a, "results"); results[0].(map[string]any)["duplicate"] != true || results[1].(map[string]any)["duplicate"] != nil {
		t.Errorf("published again: %s", a.text)
	}
	for _, bad := range []string{`{"rooms":[],"content":1}`, `{"rooms":"a","content":1}`, `{"rooms":["a"]}`, `{"rooms":["a",1],"content":1}`, `{"rooms":["a"],"content":1,"transient":true}`} {
		f.request("POST /messages", ada).json(bad).do().refused(proto.ErrInvalidField)
	}
}

func TestDeleteAndTrim(t *testing.T) {
	f := start(t, nil)
	ada, bob, eve := f.token("ada"), f.token("bob"), f.token("eve")
	f.request("POST /rooms", ada).json(`{"room":"lobby"}`).do().is(http.StatusCreated)
	for i := range 6 {
		f.publish("lobby", bob, fmt.Sprint(i+1))
	}
	stream := f.events("lobby", ada)
	stream.next("joined")
	f.request("DELETE /rooms/lobby/messages/2", eve).do().is(http.StatusForbidden)
	f.request("DELETE /rooms/lobby/messages/2", bob).do().is(http.StatusNoContent) // its author
	if e := stream.next("deleted"); !strings.Contains(e.data, `"offset":2`) || e.id != "" {
		t.Errorf("deleted: %+v", e)
	}
	f.request("DELETE /rooms/lobby/messages/3", ada).do().is(http.StatusNoContent) // the host
	f.request("DELETE /rooms/lobby/messages/3", ada).do().is(http.StatusNoContent) // again
	f.request("DELETE /rooms/lobby/messages/9", ada).do().refused(proto.ErrNotFound)
	f.request("DELETE /rooms/lobby/messages/x", ada).do().refused(proto.ErrInvalidField)
	f.request("DELETE /rooms/nothing/messages/1", ada).do().refused(proto.ErrNotFound)
	f.request("GET /rooms/lobby/messages/2", bob).do().is(http.StatusOK).says(`"deleted":true`)

	f.request("POST /rooms/lobby/trim", bob).json(`{"before":5}`).do().refused(proto.ErrNotHost)
	f.request("POST /rooms/lobby/trim", ada).json(`{"before":5,"olderThan":1}`).do().refused(proto.ErrInvalidField)
	f.request("POST /rooms/lobby/trim", ada).json(`{"before":0}`).do().refused(proto.ErrInvalidField)
	a := f.request("POST /rooms/lobby/trim", ada).json(`{"before":5}`).do().is(http.StatusOK)
	if get[float64](a, "oldest") != 5 {
		t.Errorf("trimmed: %s", a.text)
	}
	f.request("GET /rooms/lobby/messages/4", bob).do().refused(proto.ErrNotFound)
	f.request("GET /rooms/lobby/messages/5", bob).do().is(http.StatusOK)
}

func TestLargeAnswersAreCompressed(t *testing.T) {
	f := start(t, nil)
	ada := f.token("ada")
	f.publish("lobby", ada, `"`+strings.Repeat("abc ", 4000)+`"`)
	for accept, compressed := range map[string]bool{"gzip": true, "": false, "gzip;q=0": false, "br, *": true, "identity": false, "br, gzip;q=0.5": true, "*;q=0": false} {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, f.url+"/rooms/lobby/messages", nil)
		req.Header.Set("Authorization", "Bearer "+ada)
		req.Header.Set("Accept-Encoding", accept)
		response, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		body := io.Reader(response.Body)
		if got := response.Header.Get("Content-Encoding") == "gzip"; got != compressed {
			t.Fatalf("Accept-Encoding %q: %v", accept, response.Header)
		} else if got {
			if body, err = gzip.NewReader(body); err != nil {
				t.Fatal(err)
			}
		}
		text, err := io.ReadAll(body)
		if err != nil || !strings.Contains(string(text), "abc abc abc") || !strings.Contains(strings.Join(response.Header.Values("Vary"), ","), "Accept-Encoding") {
			t.Errorf("Accept-Encoding %q: %v, %d bytes, %v", accept, err, len(text), response.Header)
		}
		response.Body.Close()
	}
}

// TestBodiesAreBounded: by api.body, whatever length the client declares.
func TestBodiesAreBounded(t *testing.T) {
	f := start(t, func(o *api.Options) { o.BodyBytes = 1000 })
	ada := f.token("ada")
	f.request("POST /rooms/lobby/messages", ada).json(`{"content":"` + strings.Repeat("x", 900) + `"}`).do().is(http.StatusCreated)
	f.request("POST /rooms/lobby/messages", ada).json(`{"content":"` + strings.Repeat("x", 1000) + `"}`).do().refused(proto.ErrTooLarge)
	chunked := io.MultiReader(strings.NewReader(`{"content":"`), strings.NewReader(strings.Repeat("x", 5000)), strings.NewReader(`"}`))
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, f.url+"/rooms/lobby/messages", chunked)
	req.Header.Set("Authorization", "Bearer "+ada)
	req.Header.Set("Content-Type", "application/json; charset=UTF-8")
	response, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("a body of unknown length: %s", response.Status)
	}
}
