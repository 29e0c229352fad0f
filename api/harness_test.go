package api_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/thronghq/throng/api"
	"github.com/thronghq/throng/auth"
	"github.com/thronghq/throng/auth/authtest"
	"github.com/thronghq/throng/proto"
	"github.com/thronghq/throng/room"
	"github.com/thronghq/throng/session"
)

var secret = []byte("a secret of at least thirty-two bytes")

// fixture is the API before real rooms, sessions and accounts, all in memory.
type fixture struct {
	t        testing.TB
	url      string // with /api/v1
	root     string
	keys     *auth.KeySet
	store    *authtest.Memory
	accounts *auth.Accounts
	manager  *session.Manager
	hub      *room.Hub
	metrics  *metrics.Set
	handler  http.Handler
	ready    atomic.Pointer[proto.Error]
	end      context.CancelCauseFunc // of all requests
}

// start serves the API until the test's end.
func start(t testing.TB, change func(*api.Options)) *fixture {
	t.Helper()
	return startLimited(t, session.Rates{}, change)
}

// startLimited is start with rates.
func startLimited(t testing.TB, rates session.Rates, change func(*api.Options)) *fixture {
	t.Helper()
	limits := proto.DefaultLimits()
	limits.Outbox = 64 << 10
	f := &fixture{t: t, keys: auth.NewKeySet(secret), store: authtest.NewMemory(), metrics: metrics.NewSet()}
	namespaces := []proto.Namespace{proto.NewNamespace("default"), proto.NewNamespace("chat"), proto.InboxNamespace()}
	people := session.NewDirectory()
	f.hub = room.NewHub(room.Options{
		Namespaces: namespaces, Limits: limits, People: people, Log: room.MemoryLog{}, Logger: slog.New(slog.DiscardHandler),
	})
	var err error
	f.accounts, err = auth.NewAccounts(auth.AccountsOptions{
		Store: f.store, Keys: f.keys, AccessTTL: 15 * time.Minute, RefreshTTL: time.Hour, Registration: true,
		Argon2: auth.Argon2{MemoryKiB: 8, Time: 1}, Hashes: 1,
		LoginRate: proto.Rate{PerSecond: 1e-3, Burst: 5},
		OnRevoke:  func(r auth.Revocation) { f.manager.Revoke(r) },
	})
	if err != nil {
		t.Fatal(err)
	}
	verifier := auth.NewVerifier(auth.VerifierOptions{Keys: f.keys, Leeway: -1, APIKeys: f.accounts.VerifyKey, Revoked: f.accounts.Revoked})
	authorizer := auth.NewAuthorizer(nil)
	f.manager = session.NewManager(session.Options{
		Hub: f.hub, Directory: people, Verifier: verifier, Authorizer: authorizer, Limits: limits, Revoked: f.accounts.Revoked,
		Codecs: []proto.Codec{proto.NewJSON(&limits)}, Heartbeat: time.Minute, Rates: rates, Logger: slog.New(slog.DiscardHandler),
	})
	o := api.Options{
		Ready: func() *proto.Error { return f.ready.Load() }, Metrics: f.metrics, Page: http.NotFoundHandler(), Sockets: []string{"/ws"},
		Sessions: f.manager, Hub: f.hub, Verifier: verifier, Authorizer: authorizer, Accounts: f.accounts,
		Info:   api.Info{Version: "test", StartedAt: time.Now(), Namespaces: namespaces},
		Limits: &limits, Origins: []string{"https://friend.example"},
	}
	if change != nil {
		change(&o)
	}
	var requests context.Context
	requests, f.end = context.WithCancelCause(context.Background())
	f.handler = api.Handler(o)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithCancelCause(r.Context())
		stop := context.AfterFunc(requests, func() { cancel(context.Cause(requests)) })
		defer stop()
		f.handler.ServeHTTP(w, r.WithContext(ctx))
	}))
	f.root, f.url = server.URL, server.URL+"/api/v1"
	t.Cleanup(func() {
		f.end(nil)
		server.Close()
		f.hub.Close()
		if err := f.accounts.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

// token signs a token for the user.
func (f *fixture) token(user string, change ...func(*auth.AccessClaims)) string {
	f.t.Helper()
	claims := auth.AccessClaims{UserID: user, TTL: time.Hour}
	for _, c := range change {
		c(&claims)
	}
	token, err := f.keys.Sign(claims)
	if err != nil {
		f.t.Fatal(err)
	}
	return token
}

func asAdmin(c *auth.AccessClaims) { c.Admin = true }
func expired(c *auth.AccessClaims) { c.Now = time.Now().Add(-2 * time.Hour) }

func withRooms(rules ...auth.Rule) func(*auth.AccessClaims) {
	return func(c *auth.AccessClaims) { c.Rooms = rules }
}

// request is one request: "METHOD path", and what goes with it.
type request struct {
	f      *fixture
	method string
	path   string
	token  string
	header http.Header
	body   string
}

func (f *fixture) request(line, token string) *request {
	method, path, _ := strings.Cut(line, " ")
	return &request{f: f, method: method, path: path, token: token, header: http.Header{}}
}

func (r *request) with(name, value string) *request {
	r.header.Add(name, value)
	return r
}

func (r *request) json(body string) *request {
	r.body = body
	return r.with("Content-Type", "application/json")
}

// answer is what came back.
type answer struct {
	t      testing.TB
	what   string
	status int
	header http.Header
	text   string
	fields map[string]any
}

func (r *request) do() *answer {
	t := r.f.t
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), r.method, r.f.url+r.path, strings.NewReader(r.body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = r.header
	if r.token != "" {
		req.Header.Set("Authorization", "Bearer "+r.token)
	}
	response, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	a := &answer{t: t, what: r.method + " " + r.path, status: response.StatusCode, header: response.Header, text: string(text)}
	if strings.HasSuffix(a.header.Get("Content-Type"), "json") {
		if err := json.Unmarshal(text, &a.fields); err != nil && r.method != http.MethodHead {
			t.Errorf("%s: %v in %s", a.what, err, text)
		}
	}
	return a
}

// is holds the answer to a status.
func (a *answer) is(status int) *answer {
	a.t.Helper()
	if a.status != status {
		a.t.Fatalf("%s: %d %s, want %d", a.what, a.status, a.text, status)
	}
	return a
}

// refused holds the answer to a problem with the code, complete as RFC 9457 and
// the registry have it.
func (a *answer) refused(code *proto.Code) *answer {
	a.t.Helper()
	switch {
	case a.status != code.HTTP || a.fields["code"] != code.Name:
		a.t.Errorf("%s: %d %s, want %d %s", a.what, a.status, a.text, code.HTTP, code.Name)
	case a.header.Get("Content-Type") != "application/problem+json":
		a.t.Errorf("%s: the problem is %s", a.what, a.header.Get("Content-Type"))
	case a.fields["status"] != float64(code.HTTP) || a.fields["title"] != code.Reason || a.fields["retry"] != code.Retry ||
		a.fields["type"] != "/api/v1/docs#error-"+code.Name || a.fields["detail"] == "" || a.fields["instance"] == nil:
		a.t.Errorf("%s: the problem is %s", a.what, a.text)
	case a.header.Get("Trace-Id") != a.fields["trace_id"] || len(a.header.Get("Trace-Id")) != 32:
		a.t.Errorf("%s: the trace id is %q, and %v in the problem", a.what, a.header.Get("Trace-Id"), a.fields["trace_id"])
	case a.header.Get("Cache-Control") != "no-store":
		a.t.Errorf("%s: a problem may be cached: %q", a.what, a.header.Get("Cache-Control"))
	}
	if code.HTTP == http.StatusUnauthorized && !strings.HasPrefix(a.header.Get("WWW-Authenticate"), "Bearer") {
		a.t.Errorf("%s: 401 without a challenge", a.what)
	}
	if (code.HTTP == http.StatusServiceUnavailable || code.HTTP == http.StatusTooManyRequests && code.Retry) && a.header.Get("Retry-After") == "" {
		a.t.Errorf("%s: %d without Retry-After", a.what, code.HTTP)
	}
	return a
}

// says holds the answer's text to a part of it.
func (a *answer) says(part string) *answer {
	a.t.Helper()
	if !strings.Contains(a.text, part) {
		a.t.Errorf("%s: %s, want %q in it", a.what, a.text, part)
	}
	return a
}

// get returns a field of the answer.
func get[T any](a *answer, name string) T {
	a.t.Helper()
	value, ok := a.fields[name].(T)
	if !ok {
		a.t.Fatalf("%s: %q is %v in %s", a.what, name, a.fields[name], a.text)
	}
	return value
}

// user makes an account and returns tokens of a login.
func (f *fixture) user(name string) (access, refresh string) {
	f.t.Helper()
	f.request("POST /register", "").json(`{"username":"` + name + `","password":"correct horse"}`).do().is(http.StatusCreated)
	return f.login(name, password)
}

func (f *fixture) login(name, password string) (access, refresh string) {
	f.t.Helper()
	a := f.request("POST /login", "").json(`{"username":"` + name + `","password":"` + password + `"}`).do().is(http.StatusOK)
	return get[string](a, "accessToken"), get[string](a, "refreshToken")
}
