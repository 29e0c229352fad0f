package api_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/thronghq/throng/api"
	"github.com/thronghq/throng/auth"
	"github.com/thronghq/throng/proto"
	"github.com/thronghq/throng/session"
)

// pathOf fills the wildcards of a route's pattern.
func pathOf(r *api.Route) string {
	return strings.NewReplacer("{room}", "lobby", "{userId}", "nobody", "{offset}", "1", "{id}", "none", "{name}", "none", "{file}", "none").Replace(r.Pattern)
}

func line(r *api.Route) string { return r.Method + " " + pathOf(r) }

// takesBody reports whether the route reads a body.
func takesBody(r *api.Route) bool {
	return r.Method == http.MethodPost || r.Method == http.MethodPut || r.Method == http.MethodPatch
}

// takesFields reports whether the route's body must be there.
func takesFields(r *api.Route) bool {
	none := regexp.MustCompile(`/(close|reopen|revoke|drain|logout|replay)$`)
	return takesBody(r) && (!none.MatchString(r.Pattern) || r.Pattern == "/tokens/revoke")
}

// TestEveryRoute tries each operation with what all of them must refuse.
func TestEveryRoute(t *testing.T) {
	f := start(t, func(o *api.Options) { o.Drain, o.Webhooks = func() { t.Error("drained") }, noWebhooks{} })
	admin, ada := f.token("root", asAdmin), f.token("ada")
	routes := api.Routes()
	if len(routes) < 59 {
		t.Errorf("only %d routes", len(routes))
	}
	for i := range routes {
		r := &routes[i]
		t.Run(r.Method+" "+r.Pattern, func(t *testing.T) {
			f.t = t
			refusesStrangers(f, r, ada)
			refusesQueries(f, r, admin)
			if takesBody(r) {
				refusesBodies(f, r, admin)
			}
		})
	}
}

func refusesStrangers(f *fixture, r *api.Route, ada string) {
	if r.Access == api.Anyone && r.Method == http.MethodGet {
		return
	}
	f.ready.Store(proto.ErrShuttingDown.New())
	f.request(line(r), ada).do().refused(proto.ErrShuttingDown)
	f.ready.Store(nil)
	if r.Access == api.Anyone {
		return
	}
	a := f.request(line(r), "").do().refused(proto.ErrUnauthenticated)
	if got := a.header.Get("WWW-Authenticate"); got != "Bearer" {
		f.t.Errorf("the challenge is %q where no token came", got)
	}
	for name, bad := range map[string]string{
		"tampered":       f.token("ada") + "x",
		"no token":       "x",
		"oversized":      strings.Repeat("x", 5000),
		"none":           "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZGEifQ.",
		"an unknown key": "throng_0123456789abcdef_" + strings.Repeat("a", 52),
	} {
		a := f.request(line(r), bad).do()
		if a.status != http.StatusUnauthorized || !strings.HasPrefix(a.header.Get("WWW-Authenticate"), `Bearer error="invalid_token"`) {
			f.t.Errorf("a token that is %s: %d %s %q", name, a.status, a.text, a.header.Get("WWW-Authenticate"))
		}
		if strings.Contains(a.text, bad) && len(bad) > 1 {
			f.t.Errorf("the answer repeats the token: %s", a.text)
		}
	}
	f.request(line(r), f.token("ada", expired)).do().refused(proto.ErrTokenExpired)
	f.request(line(r), "").with("Authorization", "Basic YTpi").do().refused(proto.ErrInvalidToken)
	if r.Access == api.Admin {
		a := f.request(line(r), ada).do().refused(proto.ErrForbidden)
		if got := a.header.Get("WWW-Authenticate"); !strings.HasPrefix(got, `Bearer error="insufficient_scope"`) {
			f.t.Errorf("the challenge is %q", got)
		}
	}
}

func refusesQueries(f *fixture, r *api.Route, admin string) {
	f.request(line(r)+"?nonsense=1", admin).do().refused(proto.ErrInvalidField).says(`query parameter \"nonsense\" is not known`)
	f.request(line(r)+"?%zz=1", admin).do().refused(proto.ErrInvalidField)
	f.request(line(r)+"?user=bob", admin).do().refused(proto.ErrInvalidField) // without --dev
	for _, name := range r.Params {
		f.request(fmt.Sprintf("%s?%s=1&%s=2", line(r), name, name), admin).do().refused(proto.ErrInvalidField).says("comes 2 times")
	}
	for _, name := range r.Params {
		if name == "limit" {
			for _, limit := range []string{"0", "1001", "-1", "x", "1.5", "", "99999999999999999999"} {
				f.request(line(r)+"?limit="+limit, admin).do().refused(proto.ErrInvalidField).says("limit")
			}
		}
	}
}

func refusesBodies(f *fixture, r *api.Route, admin string) {
	f.request(line(r), admin).json(`{"nonsense":1}`).do().refused(proto.ErrInvalidField).says(`field \"nonsense\" is not known`)
	f.request(line(r), admin).json(`{"a":1} x`).do().refused(proto.ErrInvalidJSON)
	f.request(line(r), admin).json(`{"a"`).do().refused(proto.ErrInvalidJSON)
	f.request(line(r), admin).json("{\"\xff\":1}").do().refused(proto.ErrInvalidJSON)
	f.request(line(r), admin).json(`[1]`).do().refused(proto.ErrInvalidJSON).says("a JSON object is expected")
	f.request(line(r), admin).json(`null`).do().refused(proto.ErrInvalidJSON)
	text := f.request(line(r), admin).with("Content-Type", "text/plain")
	text.body = `{}`
	text.do().refused(proto.ErrMediaType)
	form := f.request(line(r), admin).with("Content-Type", "application/x-www-form-urlencoded")
	form.body = "a=1"
	form.do().refused(proto.ErrMediaType)
	f.request(line(r), admin).with("Content-Encoding", "gzip").json(`{}`).do().refused(proto.ErrMediaType)
	most := 64 << 10
	if strings.Contains(r.Pattern, "messages") {
		most = api.DefaultBodyBytes
	}
	f.request(line(r), admin).json(`{"x":"` + strings.Repeat("x", most) + `"}`).do().refused(proto.ErrTooLarge)
	if takesFields(r) {
		f.request(line(r), admin).json("").do().refused(proto.ErrInvalidJSON)
		f.request(line(r), admin).json("{}").do().refused(proto.ErrInvalidField)
	}
}

// TestEveryRouteIsRateLimited: whoever has used up a rate is told when to come
// back, and others are served.
func TestEveryRouteIsRateLimited(t *testing.T) {
	once := proto.Rate{PerSecond: 1e-3, Burst: 1}
	f := startLimited(t, session.Rates{User: session.RateSet{Frames: once, Handshakes: once}}, func(o *api.Options) { o.Webhooks = noWebhooks{} })
	routes := api.Routes()
	for i := range routes {
		r := &routes[i]
		if r.Access == api.Anyone {
			continue // those are bounded by address, and logins by account
		}
		token := f.token(fmt.Sprintf("user%d", i), asAdmin)
		ask := func() *answer {
			q := f.request(line(r), token)
			switch {
			case strings.HasSuffix(r.Pattern, "/messages") && r.Method == http.MethodPost:
				q.json(`{"content":1` + map[bool]string{true: `,"rooms":["lobby"]`}[r.Pattern == "/messages"] + `}`)
			case strings.HasSuffix(r.Pattern, "/batch"):
				q.json(`{"messages":[{"content":1}]}`)
			case strings.HasSuffix(r.Pattern, "/events"):
				q.method = http.MethodHead
			}
			return q.do()
		}
		ask()
		a := ask()
		if q := a.fields["results"]; q != nil { // one of several is refused by itself
			a.says(`"code":"rate_limited"`)
			continue
		}
		if a.status != http.StatusTooManyRequests || a.header.Get("Retry-After") == "" {
			t.Errorf("%s %s: %d %s", r.Method, r.Pattern, a.status, a.text)
		}
	}
	f.request("GET /me", f.token("other")).do().is(http.StatusOK)
}

// TestPathsAndMethods: what is not there is a problem, never a page or a
// redirect.
func TestPathsAndMethods(t *testing.T) {
	f := start(t, nil)
	ada := f.token("ada")
	for _, path := range []string{
		"", "/", "/nothing", "/rooms/", "/rooms//messages", "//rooms", "/rooms/../me", "/rooms/./x", "/rooms/a/b/c/d", "/me/", "/Me",
		"/rooms/lobby/messages/", "/rooms/a%2Fb/nothing", "/%6De/x",
	} {
		f.request("GET "+path, ada).do().refused(proto.ErrNotFound)
	}
	a := f.request("PUT /rooms/lobby", ada).do().refused(proto.ErrMethodNotAllowed)
	if got := a.header.Get("Allow"); got != "DELETE, GET, HEAD, OPTIONS, PATCH" {
		t.Errorf("Allow is %q", got)
	}
	a = f.request("OPTIONS /rooms/lobby", "").do().is(http.StatusNoContent)
	if got := a.header.Get("Allow"); got != "DELETE, GET, HEAD, OPTIONS, PATCH" || a.header.Get("Trace-Id") == "" {
		t.Errorf("Allow is %q in %v", got, a.header)
	}
	f.request("BREW /me", ada).do().refused(proto.ErrMethodNotAllowed)
	a = f.request("HEAD /me", ada).do().is(http.StatusOK)
	if a.text != "" || a.header.Get("Content-Length") == "" {
		t.Errorf("HEAD: %q %v", a.text, a.header)
	}
	f.request("GET /rooms/"+strings.Repeat("x", 7000), ada).do().refused(proto.ErrInvalidField)
}

// TestRoomNamesInPaths: each name reaches the room that it names, and no other.
func TestRoomNamesInPaths(t *testing.T) {
	f := start(t, nil)
	ada := f.token("ada")
	long := strings.Repeat("ü", 64)
	for escaped, name := range map[string]string{
		"a%2Fb": "a/b", "%2E%2E": "..", "%2e": ".", "a%20b": "a b", "%F0%9F%90%98": "🐘", "chat:x": "chat:x", "chat%3Ax": "chat:x",
		"a%3Fb%23c": "a?b#c", "100%25": "100%", "+": "+", "a%5Cb": `a\b`, "%2Fetc%2Fpasswd": "/etc/passwd", long: long, "batch": "batch",
	} {
		a := f.request("GET /rooms/"+escaped+"/messages", ada).do().is(http.StatusOK)
		if got := get[string](a, "room"); got != name {
			t.Errorf("%s is the room %q, want %q", escaped, got, name)
		}
	}
	for _, escaped := range []string{"%00", "a%0Ab", "%FF", long + "x", "%C2%85"} {
		f.request("GET /rooms/"+escaped+"/messages", ada).do().refused(proto.ErrInvalidField).says(`field \"room\"`)
	}
	f.request("GET /rooms/nowhere:x/messages", ada).do().refused(proto.ErrUnknownNamespace)
}

func TestTraceIDs(t *testing.T) {
	f := start(t, nil)
	const id = "4bf92f3577b34da6a3ce929d0e0e4736"
	for parent, taken := range map[string]bool{
		"00-" + id + "-00f067aa0ba902b7-01":                      true,
		"01-" + id + "-00f067aa0ba902b7-01-more":                 true,
		"00-" + id + "-00f067aa0ba902b7-01-more":                 false,
		"ff-" + id + "-00f067aa0ba902b7-01":                      false,
		"00-" + strings.ToUpper(id) + "-00f067aa0ba902b7-01":     false,
		"00-" + strings.Repeat("0", 32) + "-00f067aa0ba902b7-01": false,
		"00-" + id + "-0000000000000000-01":                      false,
		"00-" + id:                                               false,
		"":                                                       false,
		"00-" + id[1:] + "--00f067aa0ba902b7-01":                 false,
	} {
		a := f.request("GET /nothing", "").with("Traceparent", parent).do().refused(proto.ErrNotFound)
		if got := a.header.Get("Trace-Id"); (got == id) != taken {
			t.Errorf("traceparent %q: the trace id is %q", parent, got)
		}
	}
}

func TestOrigins(t *testing.T) {
	f := start(t, nil)
	ada := f.token("ada")
	const friend, foe = "https://friend.example", "https://foe.example"
	a := f.request("OPTIONS /rooms", "").with("Origin", friend).with("Access-Control-Request-Method", "POST").do().is(http.StatusNoContent)
	if a.header.Get("Access-Control-Allow-Origin") != friend || !strings.Contains(a.header.Get("Access-Control-Allow-Methods"), "POST") ||
		!strings.Contains(a.header.Get("Access-Control-Allow-Headers"), "Authorization") || a.header.Get("Access-Control-Allow-Credentials") != "" {
		t.Errorf("the preflight of a friend: %v", a.header)
	}
	a = f.request("OPTIONS /rooms", "").with("Origin", foe).with("Access-Control-Request-Method", "POST").do()
	if a.header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("the preflight of a foe: %v", a.header)
	}
	for i, origin := range []string{friend, f.root, ""} {
		r := f.request("POST /rooms", ada).json(`{"room":"of-` + fmt.Sprint(i) + `"}`)
		if origin != "" {
			r.with("Origin", origin)
		}
		a := r.do().is(http.StatusCreated)
		if a.header.Get("Vary") != "Origin" || (origin == friend) != (a.header.Get("Access-Control-Allow-Origin") == friend) {
			t.Errorf("a page of %q: %v", origin, a.header)
		}
	}
	f.request("POST /rooms", ada).with("Origin", foe).json(`{"room":"x"}`).do().refused(proto.ErrOrigin)
	f.request("POST /login", "").with("Origin", foe).json(`{"username":"x","password":"y"}`).do().refused(proto.ErrOrigin)
	f.request("POST /rooms", ada).with("Sec-Fetch-Site", "cross-site").json(`{"room":"x"}`).do().refused(proto.ErrOrigin)
	f.request("POST /rooms", ada).with("Sec-Fetch-Site", "same-origin").json(`{"room":"y"}`).do().is(http.StatusCreated)
	a = f.request("GET /me", ada).with("Origin", foe).do().is(http.StatusOK)
	if a.header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("a foe may read: %v", a.header)
	}
}

func TestDev(t *testing.T) {
	f := start(t, func(o *api.Options) { o.Dev = true })
	f.request("GET /me?user=b%C3%B6b", "").do().is(http.StatusOK).says(`"userId":"böb"`)
	f.request("GET /me?user=a%0Ab", "").do().refused(proto.ErrInvalidField)
	f.request("GET /me?user=", "").do().refused(proto.ErrUnauthenticated)
	f.request("GET /users?user=ada", "").do().refused(proto.ErrForbidden)
	f.request("GET /me?user=bob", f.token("ada")).do().is(http.StatusOK).says(`"userId":"ada"`)
	f.request("POST /rooms?user=ada", "").with("Origin", "https://foe.example").json(`{"room":"x"}`).do().refused(proto.ErrOrigin)
}

// TestTheAdminSocketsIdentity: whoever serves a request says who asks it.
func TestTheAdminSocketsIdentity(t *testing.T) {
	f := start(t, nil)
	root := auth.NewIdentity("root")
	root.Admin = true
	for path, status := range map[string]int{"/me": http.StatusOK, "/users": http.StatusOK, "/users?user=ada": http.StatusUnprocessableEntity} {
		r := httptest.NewRequestWithContext(auth.WithIdentity(t.Context(), root), http.MethodGet, "/api/v1"+path, nil)
		r.RemoteAddr = "@"
		w := httptest.NewRecorder()
		f.handler.ServeHTTP(w, r)
		if w.Code != status {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
}

// TestWithoutNeighbours: what the server does not have is not found.
func TestWithoutNeighbours(t *testing.T) {
	f := start(t, func(o *api.Options) { o.Accounts = nil })
	f.request("POST /login", "").json(`{"username":"x","password":"y"}`).do().refused(proto.ErrNotFound)
	f.request("GET /users", f.token("root", asAdmin)).do().refused(proto.ErrNotFound)
	f.request("GET /webhooks", f.token("root", asAdmin)).do().refused(proto.ErrNotFound)
	f.request("POST /drain", f.token("root", asAdmin)).do().refused(proto.ErrNotFound)
	f.request("GET /openapi.yaml", "").do().refused(proto.ErrNotFound)
}

// TestAPanicIsAnswered: it ends nothing but its request.
func TestAPanicIsAnswered(t *testing.T) {
	f := start(t, func(o *api.Options) { o.Verifier = panicking{} })
	f.request("GET /me", "x").do().refused(proto.ErrInternal)
	f.request("GET /me", "").do().refused(proto.ErrUnauthenticated)
}

type panicking struct{}

func (panicking) Verify([]byte) (*auth.Identity, *proto.Error) { panic("nobody expects this") }
