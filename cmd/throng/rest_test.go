package main

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/thronghq/throng/internal/throngtest"
)

// restConfig is the configuration of the tests of the REST API: accounts whose
// hashes cost little, and a namespace that loses nothing.
const restConfig = `
[auth]
hs256_secret = "` + restSecret + `"
registration = true
argon2_memory = "8MiB"
argon2_time = 1

[namespace.safe]
durability = "sync"

[namespace.quiet]
hosts = false
allow = ["join", "read"]
`

const restSecret = "a secret that is long enough for HS256, of course"

// restServer is a running server as the tests of the REST API use it. Its
// methods fail the test where something goes wrong.
type restServer struct {
	*throngtest.Server
	t      *testing.T
	secret []byte // that signs its tokens
	admin  string // an administrator's token
}

// startREST starts a server with restConfig and what is added to it.
func startREST(t *testing.T, added string, opts throngtest.Options) *restServer {
	t.Helper()
	file := filepath.Join(t.TempDir(), "throng.toml")
	if err := os.WriteFile(file, []byte(restConfig+added), 0o600); err != nil {
		t.Fatal(err)
	}
	opts.NoDev = true
	opts.Args = append([]string{"--config=" + file}, opts.Args...)
	s := &restServer{Server: throngtest.Start(t, opts), t: t}
	s.secret = []byte(restSecret)
	s.admin = s.token(map[string]any{"sub": "root", "admin": true})
	return s
}

// jwt makes a token of any header and claims: the algorithm is what the header
// says, the signature always HMAC with SHA-256.
func jwt(header, claims map[string]any, secret []byte) string {
	part := func(v map[string]any) string {
		text, err := json.Marshal(v)
		if err != nil {
			panic(err)
		}
		return base64.RawURLEncoding.EncodeToString(text)
	}
	return signed(part(header)+"."+part(claims), secret)
}

// signed adds a token's signature to its other pieces.
func signed(pieces string, secret []byte) string {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(pieces))
	return pieces + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// token signs claims as the server does; without exp they hold for an hour.
func (s *restServer) token(claims map[string]any) string {
	if claims["exp"] == nil {
		claims["exp"] = time.Now().Add(time.Hour).Unix()
	}
	return jwt(map[string]any{"alg": "HS256", "typ": "JWT"}, claims, s.secret)
}

// user makes a token for a user without an account.
func (s *restServer) user(id string) string { return s.token(map[string]any{"sub": id}) }

// restPatience ends a test that waits for an answer that never ends.
const restPatience = 60 * time.Second

// answer is one answer, read to its end.
type answer struct {
	status int
	header http.Header
	text   []byte
	body   throngtest.Frame // where the text is a JSON object
}

// request describes one request; the zero value of a field is none.
type request struct {
	method string
	path   string // below /api/v1, with its query
	token  string
	header http.Header
	body   any // JSON, but a string is sent as it is and an io.Reader in chunks
}

// ask sends a request and reads the answer, which must have what every answer
// has.
func (s *restServer) ask(r request) *answer {
	s.t.Helper()
	var body io.Reader
	switch b := r.body.(type) {
	case nil:
	case string:
		body = strings.NewReader(b)
	case io.Reader:
		body = b
	default:
		text, err := json.Marshal(b)
		if err != nil {
			s.t.Fatal(err)
		}
		body = bytes.NewReader(text)
	}
	ctx, cancel := context.WithTimeout(s.t.Context(), restPatience)
	defer cancel()
	out, err := http.NewRequestWithContext(ctx, r.method, s.URL("/api/v1"+r.path), body)
	if err != nil {
		s.t.Fatal(err)
	}
	if body != nil {
		out.Header.Set("Content-Type", "application/json")
	}
	if r.token != "" {
		out.Header.Set("Authorization", "Bearer "+r.token)
	}
	for name, values := range r.header {
		out.Header[name] = values
	}
	response, err := http.DefaultClient.Do(out)
	if err != nil {
		s.t.Fatalf("%s %.200s: %v", r.method, r.path, err)
	}
	defer response.Body.Close()
	a := &answer{status: response.StatusCode, header: response.Header}
	if a.text, err = io.ReadAll(response.Body); err != nil {
		s.t.Fatalf("%s %.200s: %v", r.method, r.path, err)
	}
	if kind := a.header.Get("Content-Type"); strings.Contains(kind, "json") {
		a.body = parseFrame(s.t, a.text)
	}
	s.checkAnswer(r, a)
	return a
}

func parseFrame(t *testing.T, text []byte) throngtest.Frame {
	t.Helper()
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber() // offsets and times stay exact
	var frame throngtest.Frame
	if err := decoder.Decode(&frame); err != nil {
		t.Fatalf("%v in %.300q", err, text)
	}
	return frame
}

var traceID = regexp.MustCompile(`^[0-9a-f]{32}$`)

// checkAnswer holds an answer to what all of them promise: a trace id, and
// errors as RFC 9457 has them.
func (s *restServer) checkAnswer(r request, a *answer) {
	s.t.Helper()
	trace := a.header.Get("Trace-Id")
	if !traceID.MatchString(trace) {
		s.t.Errorf("%s %.200s: the Trace-Id is %q", r.method, r.path, trace)
	}
	if a.status < 400 || r.method == http.MethodHead {
		return
	}
	if got := a.header.Get("Content-Type"); got != "application/problem+json" {
		s.t.Errorf("%s %.200s: %d with the type %q: %.300s", r.method, r.path, a.status, got, a.text)
		return
	}
	if a.body.Int("status") != int64(a.status) || a.body.Text("trace_id") != trace ||
		a.body.Text("type") != "/api/v1/docs#error-"+a.body.Text("code") || a.body.Text("title") == "" || a.body.Text("detail") == "" {
		s.t.Errorf("%s %.200s: %d with the problem %s", r.method, r.path, a.status, a.text)
	}
	if _, ok := a.body["retry"].(bool); !ok {
		s.t.Errorf("%s %.200s: the problem does not say whether to try again: %s", r.method, r.path, a.text)
	}
	switch {
	case a.status == http.StatusUnauthorized && !strings.HasPrefix(a.header.Get("WWW-Authenticate"), "Bearer"):
		s.t.Errorf("%s %.200s: 401 with WWW-Authenticate %q", r.method, r.path, a.header.Get("WWW-Authenticate"))
	case a.status == http.StatusMethodNotAllowed && a.header.Get("Allow") == "":
		s.t.Errorf("%s %.200s: 405 without Allow", r.method, r.path)
	case (a.status == http.StatusTooManyRequests || a.status == http.StatusServiceUnavailable) && a.header.Get("Retry-After") == "":
		s.t.Errorf("%s %.200s: %d without Retry-After", r.method, r.path, a.status)
	}
}

// want sends a request whose answer must have the status, and returns it.
func (s *restServer) want(status int, r request) *answer {
	s.t.Helper()
	a := s.ask(r)
	if a.status != status {
		s.t.Fatalf("%s %.200s: %d, want %d: %.500s", r.method, r.path, a.status, status, a.text)
	}
	return a
}

// refused sends a request whose answer must be an error, without ending the
// test where it is not.
func (s *restServer) refused(status int, code string, r request) *answer {
	s.t.Helper()
	a := s.ask(r)
	if a.status != status || a.body.Text("code") != code {
		s.t.Errorf("%s %.200s: %d %s, want %d %s: %.300s", r.method, r.path, a.status, a.body.Text("code"), status, code, a.text)
	}
	return a
}

func getting(path, token string) request {
	return request{method: http.MethodGet, path: path, token: token}
}

func post(path, token string, body any) request {
	return request{method: http.MethodPost, path: path, token: token, body: body}
}

func del(path, token string) request {
	return request{method: http.MethodDelete, path: path, token: token}
}

// fields is a JSON object.
type fields = map[string]any

// register makes an account; login begins a login session of it.
func (s *restServer) register(name string) {
	s.t.Helper()
	s.want(http.StatusCreated, post("/register", "", fields{"username": name, "password": passwordOf(name)}))
}

func (s *restServer) login(name string) *answer {
	s.t.Helper()
	return s.want(http.StatusOK, post("/login", "", fields{"username": name, "password": passwordOf(name)}))
}

func passwordOf(name string) string { return "the passphrase of " + name }

// dial opens a WebSocket with a token.
func (s *restServer) dial(token string) *throngtest.Client {
	s.t.Helper()
	c := throngtest.Dial(s.t, s.WSURL("/ws"), throngtest.DialOptions{Header: http.Header{"Authorization": {"Bearer " + token}}})
	c.Expect("session")
	return c
}

// join opens a WebSocket that is in a room.
func (s *restServer) join(token, room string) *throngtest.Client {
	s.t.Helper()
	c := s.dial(token)
	c.Send(fields{"type": "join", "id": "join", "room": room})
	c.Expect("joined")
	return c
}
