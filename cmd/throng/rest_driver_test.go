package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"

	"github.com/thronghq/throng/api"
	"github.com/thronghq/throng/internal/throngtest"
)

// driver drives the operations of the API's description, as the running server
// gives it, and holds requests and answers to it.
type driver struct {
	*restServer
	doc        *openapi3.T
	operations map[string]*routers.Route // by operationId
	driven     map[string]bool
}

func newDriver(s *restServer) *driver {
	s.t.Helper()
	text := s.want(http.StatusOK, getting("/openapi.json", "")).text
	doc, err := openapi3.NewLoader().LoadFromData(closed(s.t, text))
	if err != nil {
		s.t.Fatal(err)
	}
	// Bodies that are no JSON are strings to the description.
	for _, kind := range []string{"text/html", "text/event-stream"} {
		openapi3filter.RegisterBodyDecoder(kind, openapi3filter.FileBodyDecoder)
	}
	d := &driver{restServer: s, doc: doc, operations: make(map[string]*routers.Route), driven: make(map[string]bool)}
	for path, item := range doc.Paths.Map() {
		for method, operation := range item.Operations() {
			d.operations[operation.OperationID] = &routers.Route{
				Spec: doc, Server: doc.Servers[0], Path: path, PathItem: item, Method: method, Operation: operation,
			}
		}
	}
	return d
}

// closed returns the description with all of its objects closed: clients must
// pass over fields that they do not know, but the server sends none that the
// description lacks.
func closed(t *testing.T, text []byte) []byte {
	t.Helper()
	var doc map[string]any
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	var visit func(v any)
	visit = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			if _, open := v["additionalProperties"]; !open && v["type"] == "object" && v["properties"] != nil {
				v["additionalProperties"] = false
			}
			for _, inner := range v {
				visit(inner)
			}
		case []any:
			for _, inner := range v {
				visit(inner)
			}
		}
	}
	visit(doc["components"].(map[string]any)["schemas"])
	text, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// do carries out an operation, whose answer must have the status. The values go
// where the description says that parameters of these names stand.
func (d *driver) do(id string, status int, token string, values map[string]string, body any) *answer {
	d.t.Helper()
	route := d.operations[id]
	if route == nil {
		d.t.Fatalf("the description has no operation %s", id)
	}
	r, in := d.build(route, token, values, body)
	if err := openapi3filter.ValidateRequest(d.t.Context(), in); (err != nil) != (status == http.StatusUnprocessableEntity) {
		d.t.Errorf("%s, answered %d, against the description: %v", id, status, err)
	}
	a := d.want(status, r)
	d.hold(id, in, a)
	return a
}

// pages reads a list to its end, and returns its entries.
func (d *driver) pages(id, token string, given values, list string) []any {
	d.t.Helper()
	var all []any
	page := maps.Clone(given)
	for range 100 {
		a := d.do(id, http.StatusOK, token, page, nil)
		all = append(all, a.body[list].([]any)...)
		if a.body["next"] == nil {
			return all
		}
		page["cursor"] = a.body.Text("next")
	}
	d.t.Fatalf("%s: after 100 pages there is still another", id)
	return nil
}

// hold holds an answer to the description.
func (d *driver) hold(id string, in *openapi3filter.RequestValidationInput, a *answer) {
	d.t.Helper()
	if slices.Contains([]int{http.StatusNoContent, http.StatusNotModified, http.StatusAccepted}, a.status) && len(a.text) > 0 {
		d.t.Errorf("%s: %d with a body: %.200s", id, a.status, a.text)
	}
	out := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: in, Status: a.status, Header: a.header,
		Options: &openapi3filter.Options{IncludeResponseStatus: true, MultiError: true},
	}
	if err := openapi3filter.ValidateResponse(d.t.Context(), out.SetBodyBytes(a.text)); err != nil {
		d.t.Errorf("%s: %d is not what the description says: %v\n%.1000s", id, a.status, err, a.text)
	}
	if a.status < 400 {
		d.driven[id] = true
	}
}

// build makes a request of an operation, as ask sends it and as the description
// judges it.
func (d *driver) build(route *routers.Route, token string, values map[string]string, body any) (request, *openapi3filter.RequestValidationInput) {
	d.t.Helper()
	path, inPath, query, header := route.Path, make(map[string]string), make(url.Values), make(http.Header)
	for name, value := range values {
		switch {
		case d.takes(route, "path", name):
			path = strings.ReplaceAll(path, "{"+name+"}", url.PathEscape(value))
			inPath[name] = value
		case d.takes(route, "query", name):
			query.Set(name, value)
		case d.takes(route, "header", name):
			header.Set(name, value)
		default:
			d.t.Fatalf("%s has no parameter %s", route.Operation.OperationID, name)
		}
	}
	if strings.Contains(path, "{") {
		d.t.Fatalf("%s: not all of its path is given: %s", route.Operation.OperationID, path)
	}
	if len(query) > 0 {
		path += "?" + query.Encode()
	}
	r := request{method: route.Method, path: path, token: token, header: header, body: body}
	judged := httptest.NewRequest(r.method, "/api/v1"+path, nil)
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			d.t.Fatal(err)
		}
		judged = httptest.NewRequest(r.method, "/api/v1"+path, bytes.NewReader(text))
		judged.Header.Set("Content-Type", "application/json")
	}
	for name := range header {
		judged.Header.Set(name, header.Get(name))
	}
	return r, &openapi3filter.RequestValidationInput{
		Request: judged, PathParams: inPath, Route: route,
		Options: &openapi3filter.Options{
			AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, RejectWhenRequestBodyNotSpecified: true, MultiError: true,
		},
	}
}

func (d *driver) takes(route *routers.Route, in, name string) bool {
	for _, parameters := range []openapi3.Parameters{route.PathItem.Parameters, route.Operation.Parameters} {
		if parameters.GetByInAndName(in, name) != nil {
			return true
		}
	}
	return false
}

// finish reports what was not driven.
func (d *driver) finish() {
	d.t.Helper()
	for id := range d.operations {
		if !d.driven[id] {
			d.t.Errorf("the operation %s was not driven with success", id)
		}
	}
}

// TestDescriptionHasEveryRoute holds the description to the server's table of
// routes, and the other way round: paths, methods, parameters, who may ask.
func TestDescriptionHasEveryRoute(t *testing.T) {
	d := newDriver(startREST(t, "", throngtest.Options{}))
	described := make(map[string]bool)
	for _, route := range d.operations {
		described[route.Method+" "+route.Path] = true
	}
	for _, route := range api.Routes() {
		name := route.Method + " " + route.Pattern
		if name == "GET /docs/{file}" {
			continue // the page's own files
		}
		if !described[name] {
			t.Errorf("the description lacks %s", name)
			continue
		}
		delete(described, name)
		d.checkRoute(name, &route)
	}
	for name := range described {
		t.Errorf("the server has no %s", name)
	}
}

func (d *driver) checkRoute(name string, route *api.Route) {
	d.t.Helper()
	for _, r := range d.operations {
		if r.Method+" "+r.Path != name {
			continue
		}
		var params []string
		for _, p := range r.Operation.Parameters {
			if p.Value.In == openapi3.ParameterInQuery {
				params = append(params, p.Value.Name)
			}
		}
		open := false
		security := r.Operation.Security
		if security == nil {
			security = &d.doc.Security
		}
		for _, requirement := range *security {
			open = open || len(requirement) == 0
			for scheme := range requirement {
				if s := d.doc.Components.SecuritySchemes[scheme].Value; s.In == openapi3.ParameterInQuery {
					params = append(params, s.Name)
				}
			}
		}
		slices.Sort(params)
		want := slices.Sorted(slices.Values(route.Params))
		if !slices.Equal(params, want) {
			d.t.Errorf("%s takes the parameters %q, the description says %q", name, want, params)
		}
		if open = open || len(*security) == 0; open != (route.Access == api.Anyone) {
			d.t.Errorf("%s: open to anyone in the description: %t, on the server: %t", name, open, route.Access == api.Anyone)
		}
	}
}

// TestEveryOperation drives all of the description on one server, the drain at
// last.
func TestEveryOperation(t *testing.T) {
	hook := startWebhook(t)
	d := newDriver(startREST(t, hook.config(), throngtest.Options{}))
	d.driveAccounts()
	d.driveRooms()
	d.driveMessages()
	d.driveEvents()
	d.driveSessions()
	d.driveUsers()
	d.driveKeys()
	d.driveWebhooks(hook)
	d.driveDocumentation()
	d.do("getServer", http.StatusOK, d.admin, nil, nil)
	d.do("getStats", http.StatusOK, d.admin, nil, nil)
	d.do("drain", http.StatusAccepted, d.admin, nil, nil)
	if code := d.Wait(); code != 0 {
		t.Errorf("the drained server ended with %d", code)
	}
	d.finish()
}

type values = map[string]string

func (d *driver) driveAccounts() {
	credentials := fields{"username": "ada", "password": passwordOf("ada")}
	if got := d.do("register", http.StatusCreated, "", nil, credentials); got.body.Text("userId") != "ada" {
		d.t.Errorf("registered %s", got.text)
	}
	d.do("register", http.StatusConflict, "", nil, credentials)
	d.do("register", http.StatusUnprocessableEntity, "", nil, fields{"username": "ada", "password": "x", "email": "y"})
	first := d.do("login", http.StatusOK, "", nil, credentials)
	d.do("login", http.StatusUnauthorized, "", nil, fields{"username": "ada", "password": "not it"})
	d.do("login", http.StatusUnprocessableEntity, "", nil, fields{"username": "ada"})
	second := d.do("refresh", http.StatusOK, "", nil, fields{"refreshToken": first.body.Text("refreshToken")})
	d.do("refresh", http.StatusUnauthorized, "", nil, fields{"refreshToken": "made up"})
	access := second.body.Text("accessToken")

	me := d.do("getMe", http.StatusOK, access, nil, nil)
	if me.body.Text("userId") != "ada" || me.body.Text("sessionId") == "" || me.body.Int("expiresAt") == 0 {
		d.t.Errorf("me is %s", me.text)
	}
	d.do("getMe", http.StatusUnauthorized, "", nil, nil)
	other := d.do("login", http.StatusOK, "", nil, credentials).body
	both := d.pages("listMyLogins", access, values{"limit": "1"}, "sessions")
	if len(both) != 2 {
		d.t.Fatalf("the login sessions are %v", both)
	}
	for _, login := range both {
		login := throngtest.Frame(login.(map[string]any))
		if current := login.Text("id") == me.body.Text("sessionId"); login.Bool("current") != current {
			d.t.Errorf("the token of session %s says of another: %v", me.body.Text("sessionId"), login)
		} else if !current {
			d.do("revokeMyLogin", http.StatusNoContent, access, values{"id": login.Text("id")}, nil)
		}
	}
	d.do("revokeMyLogin", http.StatusNotFound, access, values{"id": "none"}, nil)
	d.do("getMe", http.StatusUnauthorized, other.Text("accessToken"), nil, nil)
	change := fields{"oldPassword": passwordOf("ada"), "newPassword": "a new passphrase of ada"}
	d.do("changePassword", http.StatusNoContent, access, nil, change)
	change = fields{"oldPassword": "a new passphrase of ada", "newPassword": passwordOf("ada")}
	d.do("changePassword", http.StatusNoContent, access, nil, change)
	d.do("logout", http.StatusNoContent, access, nil, nil)
	d.do("getMe", http.StatusUnauthorized, access, nil, nil)
	third := d.do("login", http.StatusOK, "", nil, credentials)
	d.do("logout", http.StatusNoContent, "", nil, fields{"refreshToken": third.body.Text("refreshToken")})
	d.do("logout", http.StatusUnauthorized, "", nil, nil)
}

func (d *driver) driveRooms() {
	ada, bob := d.user("ada"), d.user("bob")
	room := values{"room": "tour/ä 100%"}
	made := d.do("createRoom", http.StatusCreated, ada, nil, fields{"room": room["room"], "maxUsers": 3})
	if at := made.header.Get("Location"); at != "/api/v1/rooms/tour%2F%C3%A4%20100%25" {
		d.t.Errorf("the room stands at %s", at)
	}
	d.do("createRoom", http.StatusConflict, bob, nil, fields{"room": room["room"]})
	d.do("createRoom", http.StatusForbidden, bob, nil, fields{"room": "other", "host": "carl"})
	d.do("createRoom", http.StatusNotFound, bob, nil, fields{"room": "nowhere:x"})
	d.do("createRoom", http.StatusUnprocessableEntity, bob, nil, fields{"room": strings.Repeat("x", 200)})

	read := d.do("getRoom", http.StatusOK, ada, room, nil)
	tag := read.header.Get("ETag")
	if read.body.Text("host") != "ada" || read.body.Int("maxUsers") != 3 || read.body["banned"] == nil {
		d.t.Errorf("the room is %s", read.text)
	}
	if asBob := d.do("getRoom", http.StatusOK, bob, room, nil); asBob.body["banned"] != nil {
		d.t.Errorf("bob sees who is banned: %s", asBob.text)
	}
	d.do("getRoom", http.StatusNotModified, ada, values{"room": room["room"], "If-None-Match": tag}, nil)
	d.do("getRoom", http.StatusNotFound, ada, values{"room": "never made"}, nil)

	match := values{"room": room["room"], "If-Match": tag}
	changed := d.do("changeRoom", http.StatusOK, ada, match, fields{"maxUsers": 2})
	if changed.body.Int("maxUsers") != 2 || changed.header.Get("ETag") == tag {
		d.t.Errorf("changed: %s, %s", changed.header.Get("ETag"), changed.text)
	}
	d.do("changeRoom", http.StatusPreconditionFailed, ada, match, fields{"maxUsers": 1})
	d.do("changeRoom", http.StatusForbidden, bob, room, fields{"maxUsers": 1})
	d.do("changeRoom", http.StatusUnprocessableEntity, ada, room, fields{"colour": "red"})
	if unbound := d.do("changeRoom", http.StatusOK, ada, room, fields{"maxUsers": 0}); unbound.body["maxUsers"] != nil {
		d.t.Errorf("without a bound: %s", unbound.text)
	}

	d.join(bob, room["room"])
	members := d.do("listMembers", http.StatusOK, ada, room, nil)
	if members.body.Int("total") != 1 || fmt.Sprint(members.body["members"]) != "[map[status:online userId:bob]]" {
		d.t.Errorf("the members are %s", members.text)
	}
	if listed := d.pages("listRooms", ada, values{"prefix": "tour", "limit": "1"}, "rooms"); len(listed) != 1 {
		d.t.Errorf("the rooms are %v", listed)
	}
	d.driveModeration(ada, bob, room)
	d.do("deleteRoom", http.StatusForbidden, bob, room, nil)
	d.do("deleteRoom", http.StatusNoContent, d.admin, room, nil)
	d.do("deleteRoom", http.StatusNotFound, d.admin, room, nil)
}

func (d *driver) driveModeration(ada, bob string, room values) {
	whom := fields{"userId": "bob"}
	for _, id := range []string{"kickUser", "banUser", "unbanUser", "muteUser"} {
		d.do(id, http.StatusForbidden, bob, room, whom)
		d.do(id, http.StatusNoContent, ada, room, whom)
	}
	if read := d.do("getRoom", http.StatusOK, ada, room, nil); fmt.Sprint(read.body["muted"]) != "[bob]" {
		d.t.Errorf("muted: %s", read.text)
	}
	d.do("publishMessage", http.StatusForbidden, bob, room, fields{"content": "May I?"})
	d.do("unmuteUser", http.StatusNoContent, ada, room, whom)
	d.do("banUser", http.StatusUnprocessableEntity, ada, room, fields{"user": "bob"})
	d.do("closeRoom", http.StatusNoContent, ada, room, nil)
	d.do("publishMessage", http.StatusGone, bob, room, fields{"content": "Hello?"})
	d.do("reopenRoom", http.StatusNoContent, ada, room, nil)
	d.do("handOverRoom", http.StatusNoContent, ada, room, whom)
	d.do("handOverRoom", http.StatusForbidden, ada, room, whom)
	d.do("handOverRoom", http.StatusNoContent, bob, room, fields{"userId": "ada"})
}

func (d *driver) driveMessages() {
	ada, bob := d.user("ada"), d.user("bob")
	room := values{"room": "talk"}
	first := d.do("publishMessage", http.StatusCreated, ada, room, fields{"content": fields{"text": "Hello!"}, "key": "k1"})
	keyed := values{"room": "talk", "Idempotency-Key": "k1"}
	again := d.do("publishMessage", http.StatusOK, ada, keyed, fields{"content": fields{"text": "Hello!"}})
	if again.body.Text("msgId") != first.body.Text("msgId") || !again.body.Bool("duplicate") {
		d.t.Errorf("the repeat got %s", again.text)
	}
	d.do("publishMessage", http.StatusConflict, ada, keyed, fields{"content": "other"})
	d.do("publishMessage", http.StatusCreated, bob, room, fields{"content": "3q2+7w==", "encoding": "base64"})
	transient := d.do("publishMessage", http.StatusCreated, bob, room, fields{"content": nil, "transient": true})
	if transient.body["offset"] != nil {
		d.t.Errorf("the transient message has a place: %s", transient.text)
	}
	d.do("publishMessage", http.StatusUnprocessableEntity, bob, room, fields{"content": 1, "encoding": "hex"})
	d.do("publishMessage", http.StatusUnprocessableEntity, bob, room, fields{"text": "no content"})
	d.do("publishMessage", http.StatusRequestEntityTooLarge, bob, room, fields{"content": strings.Repeat("x", 70<<10)})

	batch := fields{"messages": []fields{{"content": 1}, {"content": strings.Repeat("x", 70<<10)}, {"content": 2}}}
	results := d.do("publishBatch", http.StatusOK, ada, room, batch).body["results"].([]any)
	if len(results) != 3 || offsetOf(results[0]) != 3 || offsetOf(results[1]) != 0 || offsetOf(results[2]) != 4 {
		d.t.Errorf("the batch became %v", results)
	}
	d.do("publishBatch", http.StatusUnprocessableEntity, ada, room, fields{"messages": []fields{}})
	many := fields{"rooms": []string{"talk", "nowhere:x", "talk too"}, "content": "to all"}
	results = d.do("publishToRooms", http.StatusOK, ada, nil, many).body["results"].([]any)
	if len(results) != 3 || offsetOf(results[0]) != 5 || offsetOf(results[1]) != 0 || offsetOf(results[2]) != 1 {
		d.t.Errorf("the message to many rooms became %v", results)
	}

	page := d.do("listMessages", http.StatusOK, ada, values{"room": "talk", "limit": "2", "reverse": "true"}, nil)
	older := d.do("listMessages", http.StatusOK, ada, values{"room": "talk", "reverse": "true", "cursor": page.body.Text("next"), "limit": "1000"}, nil)
	if got := fmt.Sprint(offsetsIn(page), offsetsIn(older)); got != "[5 4] [3 2 1]" {
		d.t.Errorf("the pages hold %s", got)
	}
	d.do("listMessages", http.StatusBadRequest, ada, values{"room": "talk", "cursor": "made up"}, nil)
	d.do("listMessages", http.StatusUnprocessableEntity, ada, values{"room": "talk", "limit": "1001"}, nil)

	one := values{"room": "talk", "offset": "1"}
	read := d.do("getMessage", http.StatusOK, ada, one, nil)
	d.do("getMessage", http.StatusNotModified, ada, values{"room": "talk", "offset": "1", "If-None-Match": read.header.Get("ETag")}, nil)
	d.do("getMessage", http.StatusNotFound, ada, values{"room": "talk", "offset": "99"}, nil)
	d.do("deleteMessage", http.StatusForbidden, bob, one, nil)
	d.do("deleteMessage", http.StatusNoContent, ada, one, nil)
	gone := d.do("getMessage", http.StatusOK, ada, one, nil)
	if !gone.body.Bool("deleted") || gone.body["content"] != nil || gone.header.Get("ETag") == read.header.Get("ETag") {
		d.t.Errorf("the deleted message is %s", gone.text)
	}
	d.do("trimRoom", http.StatusForbidden, bob, room, fields{"before": 3})
	if trimmed := d.do("trimRoom", http.StatusOK, ada, room, fields{"before": 3}); trimmed.body.Int("oldest") != 3 {
		d.t.Errorf("trimmed: %s", trimmed.text)
	}
	d.do("trimRoom", http.StatusOK, ada, room, fields{"olderThan": time.Now().Add(time.Hour).UnixMilli()})
	d.do("trimRoom", http.StatusUnprocessableEntity, ada, room, fields{"before": 3, "olderThan": 1})
	if left := d.do("listMessages", http.StatusOK, ada, room, nil); len(offsetsIn(left)) != 0 {
		d.t.Errorf("after the trim there is %s", left.text)
	}
}

// offsetOf reads the offset of a result or message, 0 where it has none.
func offsetOf(v any) int64 { return throngtest.Frame(v.(map[string]any)).Int("offset") }

// offsetsIn lists the offsets of a page of history.
func offsetsIn(a *answer) []int64 {
	offsets := []int64{}
	for _, m := range a.body["messages"].([]any) {
		offsets = append(offsets, offsetOf(m))
	}
	return offsets
}

// driveEvents holds the head of a stream, and what its events hold, to the
// description.
func (d *driver) driveEvents() {
	ada := d.user("ada")
	st := d.follow("stream", ada, "")
	st.expect("joined")
	d.want(http.StatusCreated, post("/rooms/stream/messages", ada, fields{"content": []int{1}}))
	m := st.await("message")
	if err := d.doc.Components.Schemas["Message"].Value.VisitJSON(plain(d.t, m.data), openapi3.EnableJSONSchema2020()); err != nil {
		d.t.Errorf("the stream's message is not what the description says: %v", err)
	}
	_, in := d.build(d.operations["readEvents"], ada, values{"room": "stream", "Last-Event-ID": st.lastID}, nil)
	if err := openapi3filter.ValidateRequest(d.t.Context(), in); err != nil {
		d.t.Error(err)
	}
	d.hold("readEvents", in, &answer{status: http.StatusOK, header: st.header, text: []byte("retry: 1000\n\n")})
	d.do("readEvents", http.StatusUnprocessableEntity, ada, values{"room": "stream", "since": "nonsense"}, nil)
	d.do("readEvents", http.StatusNotFound, ada, values{"room": "nowhere:x"}, nil)
}

// plain turns a frame into what encoding/json makes of it.
func plain(t *testing.T, f throngtest.Frame) (v any) {
	t.Helper()
	text, err := json.Marshal(f)
	if err == nil {
		err = json.Unmarshal(text, &v)
	}
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func (d *driver) driveSessions() {
	ada, bob := d.user("eve"), d.user("finn")
	c := d.join(ada, "live")
	d.dial(bob)
	st := d.follow("live", ada, "")
	st.expect("joined")
	list := d.do("listSessions", http.StatusOK, d.admin, values{"room": "live"}, nil).body["sessions"].([]any)
	if len(list) != 2 {
		d.t.Fatalf("in the room are %v", list)
	}
	vias := make(map[string]string)
	for _, s := range list {
		s := throngtest.Frame(s.(map[string]any))
		vias[s.Text("via")] = s.Text("sessionId")
	}
	own := d.do("listSessions", http.StatusOK, bob, nil, nil).body["sessions"].([]any)
	if len(own) != 1 {
		d.t.Errorf("finn sees %v", own)
	}
	d.do("listSessions", http.StatusForbidden, bob, values{"userId": "eve"}, nil)
	one := values{"id": vias["websocket"]}
	d.do("getSession", http.StatusOK, ada, one, nil)
	d.do("getSession", http.StatusNotFound, bob, one, nil)
	d.do("disconnectSession", http.StatusNotFound, bob, one, nil)
	d.do("disconnectSession", http.StatusNoContent, d.admin, one, nil)
	c.ExpectClose(4405)
	d.do("disconnectSession", http.StatusNoContent, ada, values{"id": vias["sse"]}, nil)
	if last := st.ended(); last.kind != "error" || last.data.Text("code") != "disconnected" {
		d.t.Errorf("the disconnected stream ends with %v", last)
	}
	d.do("getSession", http.StatusNotFound, d.admin, values{"id": "none"}, nil)
}

func (d *driver) driveUsers() {
	gus := values{"userId": "gus"}
	d.do("createUser", http.StatusForbidden, d.user("ada"), nil, fields{"username": "gus", "password": passwordOf("gus")})
	d.do("createUser", http.StatusCreated, d.admin, nil, fields{"username": "gus", "password": passwordOf("gus"), "admin": true})
	d.do("createUser", http.StatusConflict, d.admin, nil, fields{"username": "gus", "password": passwordOf("gus")})
	d.do("getUser", http.StatusOK, d.admin, gus, nil)
	d.do("getUser", http.StatusNotFound, d.admin, values{"userId": "nobody"}, nil)
	if users := d.pages("listUsers", d.admin, values{"limit": "1"}, "users"); len(users) != 2 {
		d.t.Errorf("the accounts are %v", users)
	}
	d.do("listUsers", http.StatusForbidden, d.user("ada"), nil, nil)
	changed := d.do("changeUser", http.StatusOK, d.admin, gus, fields{"admin": false})
	if changed.body.Bool("admin") {
		d.t.Errorf("changed: %s", changed.text)
	}
	d.do("changeUser", http.StatusUnprocessableEntity, d.admin, gus, fields{})
	d.do("setPassword", http.StatusNoContent, d.admin, gus, fields{"password": "set by an administrator"})
	login := func() *answer {
		return d.do("login", http.StatusOK, "", nil, fields{"username": "gus", "password": "set by an administrator"})
	}
	first := login().body
	if after := d.do("getUser", http.StatusOK, d.admin, gus, nil); after.body.Int("lastLoginAt") == 0 {
		d.t.Errorf("after a login: %s", after.text)
	}
	logins := d.do("listLogins", http.StatusOK, d.admin, gus, nil).body["sessions"].([]any)
	if len(logins) != 1 {
		d.t.Fatalf("the logins are %v", logins)
	}
	id := throngtest.Frame(logins[0].(map[string]any)).Text("id")
	d.do("revokeLogin", http.StatusNoContent, d.admin, values{"userId": "gus", "id": id}, nil)
	d.do("getMe", http.StatusUnauthorized, first.Text("accessToken"), nil, nil)
	second := login().body
	d.do("revokeUser", http.StatusNoContent, d.admin, gus, nil)
	d.do("getMe", http.StatusUnauthorized, second.Text("accessToken"), nil, nil)
	third := login().body
	d.do("revokeToken", http.StatusNoContent, third.Text("accessToken"), nil, fields{"token": third.Text("accessToken")})
	d.do("getMe", http.StatusUnauthorized, third.Text("accessToken"), nil, nil)
	byID := fields{"tokenId": "some-id", "expiresAt": time.Now().Add(time.Hour).UnixMilli()}
	d.do("revokeToken", http.StatusForbidden, d.user("ada"), nil, byID)
	d.do("revokeToken", http.StatusNoContent, d.admin, nil, byID)
	d.do("getMe", http.StatusUnauthorized, d.token(map[string]any{"sub": "ada", "jti": "some-id"}), nil, nil)
	d.do("changeUser", http.StatusOK, d.admin, gus, fields{"disabled": true})
	d.do("login", http.StatusForbidden, "", nil, fields{"username": "gus", "password": "set by an administrator"})
	d.do("deleteUser", http.StatusNoContent, d.admin, gus, nil)
	d.do("deleteUser", http.StatusNotFound, d.admin, gus, nil)
}

func (d *driver) driveKeys() {
	made := d.do("createKey", http.StatusCreated, d.admin, nil, fields{
		"name": "billing", "rooms": []fields{{"match": "orders:*", "allow": []string{"publish"}}, {"match": "orders", "allow": []string{"publish", "create"}}},
		"expiresAt": time.Now().Add(time.Hour).UnixMilli(),
	})
	key, id := made.body.Text("key"), values{"id": made.body.Text("id")}
	d.do("createKey", http.StatusForbidden, key, nil, fields{"name": "another"})
	d.do("createKey", http.StatusUnprocessableEntity, d.admin, nil, fields{"name": "another", "rooms": []fields{{"match": "x", "allow": []string{"fly"}}}})
	if me := d.do("getMe", http.StatusOK, key, nil, nil); me.body.Text("userId") != "key:"+id["id"] {
		d.t.Errorf("the key is %s", me.text)
	}
	d.do("publishMessage", http.StatusCreated, key, values{"room": "orders"}, fields{"content": "paid"})
	d.do("publishMessage", http.StatusForbidden, key, values{"room": "lobby"}, fields{"content": "paid"})
	d.do("listMessages", http.StatusForbidden, key, values{"room": "orders"}, nil)
	d.do("getKey", http.StatusOK, d.admin, id, nil)
	d.do("listKeys", http.StatusOK, d.admin, values{"limit": "10"}, nil)
	d.do("revokeKey", http.StatusNoContent, d.admin, id, nil)
	d.do("getMe", http.StatusUnauthorized, key, nil, nil)
	d.do("getKey", http.StatusNotFound, d.admin, values{"id": "none"}, nil)
}

func (d *driver) driveDocumentation() {
	for _, id := range []string{"getOpenAPIAsYAML", "getOpenAPI", "getDocs"} {
		a := d.do(id, http.StatusOK, "", nil, nil)
		d.do(id, http.StatusNotModified, "", values{"If-None-Match": a.header.Get("ETag")}, nil)
	}
}
