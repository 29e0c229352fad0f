package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/routers"

	"github.com/thronghq/throng/internal/throngtest"
)

// placeholders stand in for the parameters of paths, where an operation is asked
// for what it would refuse anyway.
var placeholders = strings.NewReplacer("{room}", "lobby", "{userId}", "ada", "{id}", "none", "{name}", "none", "{offset}", "1")

// each visits the operations of the description, in order.
func (d *driver) each(visit func(id string, route *routers.Route, path string)) {
	ids := make([]string, 0, len(d.operations))
	for id := range d.operations {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		visit(id, d.operations[id], placeholders.Replace(d.operations[id].Path))
	}
}

// secured reports whether an operation takes a token in the header, and nothing
// else.
func (d *driver) secured(route *routers.Route) bool {
	return route.Operation.Security == nil // what says something of its own is open, or takes another way, too
}

// forAdmins reports whether an operation is for administrators alone.
func forAdmins(route *routers.Route) bool {
	return slices.Contains([]string{"Users", "Keys", "Server", "Webhooks"}, route.Operation.Tags[0]) && route.Operation.OperationID != "revokeToken"
}

// TestEveryOperationRefuses asks each operation of the description for what it
// must refuse: without a token, with the wrong ones, with unknown parameters,
// with bodies that are none.
func TestEveryOperationRefuses(t *testing.T) {
	d := newDriver(startREST(t, "", throngtest.Options{}))
	ada := d.user("ada")
	d.want(http.StatusCreated, post("/rooms/lobby/messages", ada, fields{"content": "Hello!"}))
	expired := d.token(map[string]any{"sub": "ada", "exp": time.Now().Add(-time.Hour).Unix()})
	foreign := jwt(map[string]any{"alg": "HS256"}, map[string]any{"sub": "ada", "exp": time.Now().Add(time.Hour).Unix()}, []byte("another secret"))
	d.each(func(id string, route *routers.Route, path string) {
		send := func(token string, body any) request {
			if body == nil && route.Operation.RequestBody != nil {
				body = fields{}
			}
			return request{method: route.Method, path: path, token: token, body: body}
		}
		if d.secured(route) || id == "readEvents" {
			d.refused(http.StatusUnauthorized, "unauthenticated", send("", nil))
			d.refused(http.StatusUnauthorized, "token_expired", send(expired, nil))
			d.refused(http.StatusUnauthorized, "invalid_token", send(foreign, nil))
			d.refused(http.StatusUnauthorized, "invalid_token", send("throng_no_such_key", nil))
		}
		if forAdmins(route) {
			d.refused(http.StatusForbidden, "forbidden", send(ada, nil))
		}
		unknown := send(d.admin, nil)
		unknown.path += "?surprise=1"
		if a := d.refused(http.StatusUnprocessableEntity, "invalid_field", unknown); !strings.Contains(a.body.Text("detail"), "surprise") {
			t.Errorf("%s does not name the unknown parameter: %s", id, a.text)
		}
		if route.Operation.RequestBody != nil {
			d.refuseBodies(id, send)
		}
	})
}

// refuseBodies sends bodies that no operation takes.
func (d *driver) refuseBodies(id string, send func(token string, body any) request) {
	d.t.Helper()
	notJSON := send(d.admin, `{"a":1}`)
	notJSON.header = http.Header{"Content-Type": {"text/plain"}}
	d.refused(http.StatusUnsupportedMediaType, "unsupported_media_type", notJSON)
	for _, text := range []string{`{"a":`, `{"a":1}}`, `{'a':1}`, "\xff\xfe", `{"a":"` + "\xff" + `"}`, "null\x00"} {
		d.refused(http.StatusBadRequest, "invalid_json", send(d.admin, text))
	}
	for _, text := range []string{`[]`, `"x"`, `1`, `null`} {
		if a := d.ask(send(d.admin, text)); a.status != http.StatusBadRequest && a.status != http.StatusUnprocessableEntity {
			d.t.Errorf("%s takes the body %s: %d %s", id, text, a.status, a.text)
		}
	}
	if a := d.refused(http.StatusUnprocessableEntity, "invalid_field", send(d.admin, `{"surprise":1}`)); !strings.Contains(a.body.Text("detail"), "surprise") {
		d.t.Errorf("%s does not name the unknown field: %s", id, a.text)
	}
	// A body that is too large, as it says of itself, or not.
	const size = 9 << 20
	large := append(append([]byte(`{"surprise":"`), bytes.Repeat([]byte{'x'}, size)...), `"}`...)
	for _, body := range []any{string(large), io.MultiReader(bytes.NewReader(large))} {
		d.refused(http.StatusRequestEntityTooLarge, "too_large", send(d.admin, body))
	}
}

// TestOtherMethodsAreRefused asks each path for the methods that it has not.
func TestOtherMethodsAreRefused(t *testing.T) {
	d := newDriver(startREST(t, "", throngtest.Options{}))
	paths := make(map[string][]string)
	d.each(func(_ string, route *routers.Route, path string) {
		paths[path] = append(paths[path], route.Method)
		if route.Method == http.MethodGet {
			paths[path] = append(paths[path], http.MethodHead)
		}
	})
	for path, methods := range paths {
		methods = append(methods, http.MethodOptions)
		slices.Sort(methods)
		for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND"} {
			if slices.Contains(methods, method) {
				continue
			}
			a := d.refused(http.StatusMethodNotAllowed, "method_not_allowed", request{method: method, path: path, token: d.admin})
			if allow := strings.Join(methods, ", "); a.header.Get("Allow") != allow {
				t.Errorf("%s %s: Allow is %q, want %q", method, path, a.header.Get("Allow"), allow)
			}
		}
		if a := d.ask(request{method: http.MethodOptions, path: path}); a.status != http.StatusNoContent || a.header.Get("Allow") != strings.Join(methods, ", ") {
			t.Errorf("OPTIONS %s: %d, Allow %q", path, a.status, a.header.Get("Allow"))
		}
	}
}

// TestMissingThingsAreNotFound asks each operation that names something for what
// is not there.
func TestMissingThingsAreNotFound(t *testing.T) {
	s := startREST(t, "", throngtest.Options{})
	s.register("ada")
	ada := s.login("ada").body.Text("accessToken")
	s.want(http.StatusCreated, post("/rooms/lobby/messages", ada, fields{"content": 1}))
	whom := fields{"userId": "bob"}
	for _, r := range []request{
		getting("/nothing", ada), getting("/rooms/none", ada), del("/rooms/none", s.admin), getting("/rooms/none/members", ada),
		getting("/rooms/lobby/messages/2", ada), del("/rooms/lobby/messages/2", ada), post("/rooms/none/trim", s.admin, fields{"before": 2}),
		{method: http.MethodPatch, path: "/rooms/none", token: s.admin, body: fields{"closed": true}},
		post("/rooms/none/kick", s.admin, whom), post("/rooms/none/ban", s.admin, whom), post("/rooms/none/unban", s.admin, whom),
		post("/rooms/none/mute", s.admin, whom), post("/rooms/none/unmute", s.admin, whom), post("/rooms/none/hand-over", s.admin, whom),
		post("/rooms/none/close", s.admin, nil), post("/rooms/none/reopen", s.admin, nil),
		del("/me/sessions/none", ada), getting("/sessions/none", s.admin), del("/sessions/none", s.admin),
		getting("/users/none", s.admin), del("/users/none", s.admin), del("/users/none/sessions/none", s.admin),
		{method: http.MethodPatch, path: "/users/none", token: s.admin, body: fields{"disabled": true}},
		{method: http.MethodPut, path: "/users/none/password", token: s.admin, body: fields{"password": "something of length"}},
		getting("/keys/none", s.admin), del("/keys/none", s.admin),
		getting("/webhooks/none", s.admin), getting("/webhooks/none/dead", s.admin), post("/webhooks/none/dead/replay", s.admin, nil), del("/webhooks/none/dead/none", s.admin),
	} {
		s.refused(http.StatusNotFound, "not_found", r)
	}
	for _, r := range []request{
		getting("/rooms/nowhere:x", ada), getting("/rooms/nowhere:x/messages", ada), getting("/rooms/nowhere:x/events", ada),
		post("/rooms", ada, fields{"room": "nowhere:x"}), post("/rooms/nowhere:x/messages", ada, fields{"content": 1}),
		post("/rooms/nowhere:x/messages/batch", ada, fields{"messages": []fields{{"content": 1}}}),
	} {
		s.refused(http.StatusNotFound, "unknown_namespace", r)
	}
}

// TestRightsHoldOverREST is the authorizer's table seen from outside.
func TestRightsHoldOverREST(t *testing.T) {
	s := startREST(t, "", throngtest.Options{})
	owner := s.user("ada")
	s.want(http.StatusCreated, post("/rooms", owner, fields{"room": "safe:r"}))
	s.want(http.StatusCreated, post("/rooms/safe:r/messages", owner, fields{"content": 1}))
	s.want(http.StatusCreated, post("/rooms", s.admin, fields{"room": "quiet:r"}))
	with := func(rights ...string) string {
		return s.token(map[string]any{"sub": "bob", "rooms": []fields{{"match": "safe:*", "allow": rights}}})
	}
	whom, content := fields{"userId": "carl"}, fields{"content": 1}
	const ok, created, done, no = http.StatusOK, http.StatusCreated, http.StatusNoContent, http.StatusForbidden
	for _, test := range []struct {
		name   string
		status int
		r      request
	}{
		{"join sees the room", ok, getting("/rooms/safe:r", with("join"))},
		{"read sees the room", ok, getting("/rooms/safe:r", with("read"))},
		{"publish does not", no, getting("/rooms/safe:r", with("publish", "create", "members", "dm"))},
		{"read reads", ok, getting("/rooms/safe:r/messages", with("read"))},
		{"join does not", no, getting("/rooms/safe:r/messages", with("join"))},
		{"nor one message", no, getting("/rooms/safe:r/messages/1", with("join"))},
		{"publish publishes", created, post("/rooms/safe:r/messages", with("publish"), content)},
		{"join does not publish", no, post("/rooms/safe:r/messages", with("join", "read", "create"), content)},
		{"a new room takes create", no, post("/rooms/safe:new/messages", with("publish"), content)},
		{"which creates", created, post("/rooms", with("create", "join"), fields{"room": "safe:new"})},
		{"members sees members", ok, getting("/rooms/safe:r/members", with("members"))},
		{"join does not see them", no, getting("/rooms/safe:r/members", with("join"))},
		{"a rule holds where it matches", no, getting("/rooms/lobby/messages", with("join", "read", "publish"))},
		{"no host, no moderation", no, post("/rooms/safe:r/mute", with("join"), whom)},
		{"manage moderates", done, post("/rooms/safe:r/mute", with("join", "manage"), whom)},
		{"manage deletes others' messages", done, del("/rooms/safe:r/messages/1", with("join", "read", "manage"))},
		{"join does not", no, del("/rooms/safe:r/messages/2", s.user("carl"))},
		{"events take join", no, getting("/rooms/safe:r/events", with("read"))},
		{"and read for the past", no, getting("/rooms/safe:r/events?since=x:1", with("join"))},
		{"a namespace gives less", no, post("/rooms/quiet:r/messages", owner, content)},
		{"and what it gives", ok, getting("/rooms/quiet:r/messages", owner)},
		{"an administrator may all", created, post("/rooms/quiet:r/messages", s.admin, content)},
		{"an inbox is its owner's", no, getting("/rooms/user:ada/messages", s.user("bob"))},
		{"for administrators too", no, getting("/rooms/user:ada/messages", s.admin)},
		{"who reads it", ok, getting("/rooms/user:ada/messages", owner)},
		{"writing to it takes dm", no, post("/rooms/user:ada/messages", with("publish"), content)},
		{"which all have", created, post("/rooms/user:ada/messages", s.user("bob"), content)},
		{"sessions of others", no, getting("/sessions?userId=ada", s.user("bob"))},
	} {
		if a := s.ask(test.r); a.status != test.status {
			t.Errorf("%s: %s %s: %d, want %d: %.300s", test.name, test.r.method, test.r.path, a.status, test.status, a.text)
		}
	}
}

// TestConflicts is what does not go with what there is.
func TestConflicts(t *testing.T) {
	s := startREST(t, "", throngtest.Options{})
	s.register("ada")
	ada, bob := s.user("ada"), s.user("bob")
	s.refused(http.StatusConflict, "user_exists", post("/register", "", fields{"username": "ADA", "password": passwordOf("ada")}))
	s.want(http.StatusCreated, post("/rooms", ada, fields{"room": "one", "maxUsers": 1}))
	s.refused(http.StatusConflict, "room_exists", post("/rooms", bob, fields{"room": "one"}))
	s.want(http.StatusCreated, post("/rooms/one/messages", ada, fields{"content": 1, "key": "k"}))
	s.refused(http.StatusConflict, "key_conflict", post("/rooms/one/messages", ada, fields{"content": 2, "key": "k"}))
	st := s.follow("one", ada, "")
	st.expect("joined")
	s.refused(http.StatusConflict, "room_full", getting("/rooms/one/events", bob))
	s.want(http.StatusNoContent, post("/rooms/one/close", ada, nil))
	s.refused(http.StatusGone, "room_closed", getting("/rooms/one/events", bob))
	s.refused(http.StatusGone, "room_closed", post("/rooms/one/messages", bob, fields{"content": 1}))
	s.want(http.StatusNoContent, post("/rooms/one/reopen", ada, nil))
	s.want(http.StatusNoContent, post("/rooms/one/ban", ada, fields{"userId": "bob"}))
	s.refused(http.StatusForbidden, "banned", getting("/rooms/one/events", bob))
	s.refused(http.StatusForbidden, "banned", post("/rooms/one/messages", bob, fields{"content": 1}))
}

// TestLimitsAnswer429 goes past each rate that a request may meet.
func TestLimitsAnswer429(t *testing.T) {
	s := startREST(t, "", throngtest.Options{Args: []string{
		"--rate-user-publishes=1/m burst 3", "--rate-user-joins=1/m burst 2", "--rate-address-logins=1/m burst 4", "--rate-user-frames=1/m burst 20",
	}})
	ada, bob, carl := s.user("ada"), s.user("bob"), s.user("carl")
	until429 := func(what string, most int, r request) {
		t.Helper()
		for range most {
			a := s.ask(r)
			if a.status == http.StatusTooManyRequests {
				if a.body.Text("code") != "rate_limited" || a.body.Int("retryAfter") <= 0 || !a.body.Bool("retry") {
					t.Errorf("%s: %s", what, a.text)
				}
				return
			}
		}
		t.Errorf("%s: no 429 after %d requests", what, most)
	}
	until429("publishes", 4, post("/rooms/lobby/messages", ada, fields{"content": 1}))
	results := s.want(http.StatusOK, post("/rooms/lobby/messages/batch", bob, fields{"messages": []fields{{"content": 1}, {"content": 2}, {"content": 3}, {"content": 4}}}))
	if last := results.body["results"].([]any)[3].(map[string]any)["error"]; last == nil {
		t.Errorf("a batch goes past the rate: %s", results.text)
	}
	for range 2 {
		s.follow("lobby", carl, "").expect("joined")
	}
	until429("joins", 1, getting("/rooms/lobby/events", carl))
	until429("frames", 21, getting("/rooms/lobby/messages", carl))
	until429("logins", 5, post("/login", "", fields{"username": "nobody", "password": "wrong, of course"}))
}

// TestLoginsAreThrottledByDefault: without any configured rate, guessing one
// account's password ends in 429, and the account's owner is told nothing else.
func TestLoginsAreThrottledByDefault(t *testing.T) {
	s := startREST(t, "", throngtest.Options{})
	s.register("ada")
	guess := post("/login", "", fields{"username": "ada", "password": "a wrong guess"})
	for range 100 {
		a := s.ask(guess)
		switch a.status {
		case http.StatusUnauthorized:
			continue
		case http.StatusTooManyRequests:
			return
		}
		t.Fatalf("a guess: %d %s", a.status, a.text)
	}
	t.Error("a hundred guesses were let through")
}

// TestRequestsOutliveTheBeginOfADrain: what is under way when the drain begins is
// answered, and then the connection ends.
func TestRequestsOutliveTheBeginOfADrain(t *testing.T) {
	s := startREST(t, "", throngtest.Options{})
	ada := s.user("ada")
	conn, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	const body = `{"content":"on its way"}`
	fmt.Fprintf(conn, "POST /api/v1/rooms/safe:drain/messages HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
		ada, len(body), body[:5])
	stream := s.follow("safe:drain", ada, "")
	stream.expect("joined")
	ws := s.join(ada, "safe:drain")
	s.want(http.StatusAccepted, post("/drain", s.admin, nil))
	ws.ExpectClose(1012)
	if last := stream.ended(); last.kind != "error" || last.data.Text("code") != "shutting_down" || !last.data.Bool("retry") {
		t.Errorf("the stream ends with %v", last)
	}
	fmt.Fprint(conn, body[5:])
	in := bufio.NewReader(conn)
	a := readAnswer(t, in)
	switch a.status {
	case http.StatusCreated:
	case http.StatusServiceUnavailable:
		s.checkAnswer(request{method: http.MethodPost, path: "the publish"}, a)
	default:
		t.Errorf("the publish was answered %d %s", a.status, a.text)
	}
	if _, err := in.ReadByte(); err != io.EOF {
		t.Errorf("after the answer: %v", err)
	}
	if code := s.Wait(); code != 0 {
		t.Errorf("the drained server ended with %d", code)
	}
	s.Restart()
	stored := s.ask(getting("/rooms/safe:drain/messages", ada))
	if got := len(offsetsIn(stored)); (got == 1) != (a.status == http.StatusCreated) {
		t.Errorf("it was answered %d, and then there are %d messages", a.status, got)
	}
}

// TestHashingIsBounded: more logins at once than may wait get 503, and messages
// go on meanwhile.
func TestHashingIsBounded(t *testing.T) {
	s := startREST(t, "", throngtest.Options{Args: []string{"--auth-argon2-memory=64MiB", "--auth-argon2-time=1", "--auth-argon2-hashes=1", "--rate-user-logins=", "--rate-address-logins="}})
	s.register("ada")
	const most = 2000
	answers := make(chan *answer, most)
	stop := make(chan struct{})
	var clients sync.WaitGroup
	for range 200 {
		clients.Go(func() {
			for i := range most / 200 {
				select {
				case <-stop:
					return
				case answers <- s.ask(post("/login", "", fields{"username": fmt.Sprint("user ", i), "password": "x"})):
				}
			}
		})
	}
	overloaded := false
	for range most {
		a := <-answers
		if a.status == http.StatusServiceUnavailable {
			if a.body.Text("code") != "overloaded" || !a.body.Bool("retry") {
				t.Errorf("a login too many: %s", a.text)
			}
			overloaded = true
			break
		}
		if a.status != http.StatusUnauthorized && a.status != http.StatusTooManyRequests {
			t.Fatalf("a login: %d %s", a.status, a.text)
		}
	}
	if !overloaded {
		t.Error("all logins were taken")
	}
	s.want(http.StatusCreated, post("/rooms/lobby/messages", s.user("bob"), fields{"content": "meanwhile"}))
	close(stop)
	clients.Wait()
}

// TestAnAbsentHookRefuses: where the application that decides does not answer,
// and the policy is to refuse, what it decides on is 503.
func TestAnAbsentHookRefuses(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener.Close() // nobody answers there
	s := startREST(t, fmt.Sprintf(`
[hook]
url = "http://%s/"
secret = "a secret of twenty-four bytes or more"
events = ["join", "publish"]
on_failure = "refuse"
allow_private = true
`, listener.Addr()), throngtest.Options{})
	ada := s.user("ada")
	s.refused(http.StatusServiceUnavailable, "hook_unavailable", post("/rooms/lobby/messages", ada, fields{"content": 1}))
	s.refused(http.StatusServiceUnavailable, "hook_unavailable", getting("/rooms/lobby/events", ada))
	results := s.want(http.StatusOK, post("/rooms/lobby/messages/batch", ada, fields{"messages": []fields{{"content": 1}, {"content": 2}}}))
	for _, result := range results.body["results"].([]any) {
		problem, _ := result.(map[string]any)["error"].(map[string]any)
		if throngtest.Frame(problem).Text("code") != "hook_unavailable" {
			t.Errorf("a result is %v", result)
		}
	}
	s.want(http.StatusOK, getting("/rooms?prefix=x", ada)) // what it does not decide on goes on
}

// TestAFullDiskAnswers507 where something is to be stored, and serves readers.
func TestAFullDiskAnswers507(t *testing.T) {
	s := startREST(t, "", throngtest.Options{})
	ada := s.user("ada")
	s.want(http.StatusCreated, post("/rooms/lobby/messages", ada, fields{"content": 1}))
	s.Stop()
	full := startREST(t, "", throngtest.Options{DataDir: s.DataDir, Args: []string{"--storage-min-free=1000TiB"}})
	for _, r := range []request{
		post("/rooms/lobby/messages", ada, fields{"content": 1}), post("/rooms", ada, fields{"room": "new"}),
	} {
		if a := full.refused(http.StatusInsufficientStorage, "storage_full", r); !a.body.Bool("retry") {
			t.Errorf("%s: %s", r.path, a.text)
		}
	}
	results := full.want(http.StatusOK, post("/messages", ada, fields{"rooms": []string{"lobby"}, "content": 1}))
	if !strings.Contains(string(results.text), "storage_full") {
		t.Errorf("the message to many rooms became %s", results.text)
	}
	if n := len(offsetsIn(full.want(http.StatusOK, getting("/rooms/lobby/messages", ada)))); n != 1 {
		t.Errorf("there are %d messages, want 1", n)
	}
	full.follow("lobby", ada, "").expect("joined")
	full.Stop() // with exit code 0
}

// readAnswer reads one answer from a connection.
func readAnswer(t *testing.T, in *bufio.Reader) *answer {
	t.Helper()
	response, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	a := &answer{status: response.StatusCode, header: response.Header}
	if a.text, err = io.ReadAll(response.Body); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(a.header.Get("Content-Type"), "json") {
		a.body = parseFrame(t, a.text)
	}
	return a
}
