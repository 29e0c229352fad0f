package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/thronghq/throng/internal/throngtest"
)

// raw sends bytes on a connection of their own and reads one answer, nil where
// the server closes without one.
func (s *restServer) raw(text string) *answer {
	s.t.Helper()
	conn, err := net.Dial("tcp", s.Addr())
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(restPatience)); err != nil {
		s.t.Fatal(err)
	}
	// The server may answer, and close, before it has read all of it.
	go io.Copy(conn, strings.NewReader(text))
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		var late net.Error
		if errors.As(err, &late) && late.Timeout() {
			s.t.Fatalf("%.100q: no answer", text)
		}
		return nil
	}
	defer response.Body.Close()
	a := &answer{status: response.StatusCode, header: response.Header}
	a.text, _ = io.ReadAll(response.Body) // it may be cut off: the status counts
	if strings.Contains(a.header.Get("Content-Type"), "json") {
		a.body = parseFrame(s.t, a.text)
	}
	return a
}

// alive checks that the server still serves.
func (s *restServer) alive() {
	s.t.Helper()
	s.want(http.StatusOK, getting("/me", s.admin))
}

// TestPathTricks sends paths as they are: what is not a path of the API is not
// found, and a room's name is only what it says.
func TestPathTricks(t *testing.T) {
	s := startREST(t, "", throngtest.Options{})
	s.want(http.StatusCreated, post("/rooms", s.admin, fields{"room": "lobby"}))
	for _, name := range []string{"..", ".", "a/b", "a b", "a?b", "a#b", "a%2Fb", "ä", "a;b=c", "me", "messages", "\\", "a..b", "%00"} {
		s.want(http.StatusCreated, post("/rooms", s.admin, fields{"room": name}))
	}
	for path, status := range map[string]int{
		"/api/v1/rooms/lobby":                               http.StatusOK,
		"/api/v1/rooms/%6cobby":                             http.StatusOK,
		"/api/v1/rooms/%2e%2e":                              http.StatusOK,
		"/api/v1/rooms/%2E":                                 http.StatusOK,
		"/api/v1/rooms/a%2fb":                               http.StatusOK,
		"/api/v1/rooms/a%252Fb":                             http.StatusOK,
		"/api/v1/rooms/%2500":                               http.StatusOK,
		"/api/v1/rooms/a%3Fb":                               http.StatusOK,
		"/api/v1/rooms/a;b=c":                               http.StatusOK,
		"/api/v1/rooms/%5c":                                 http.StatusOK,
		"/api/v1/rooms/..":                                  http.StatusNotFound,
		"/api/v1/rooms/.":                                   http.StatusNotFound,
		"/api/v1/rooms/../rooms/lobby":                      http.StatusNotFound,
		"/api/v1/rooms/%2e%2e/rooms/lobby":                  http.StatusNotFound,
		"/api/v1/rooms/%2e%2e%2frooms%2flobby":              http.StatusNotFound,
		"/api/v1/rooms//lobby":                              http.StatusNotFound,
		"/api/v1//rooms/lobby":                              http.StatusNotFound,
		"/api//v1/rooms/lobby":                              http.StatusNotFound,
		"/api/v1/rooms/lobby/":                              http.StatusNotFound,
		"/api/v1/rooms/lobby//messages":                     http.StatusNotFound,
		"/api/v1/rooms/":                                    http.StatusNotFound,
		"/api/v1/rooms/a/b":                                 http.StatusNotFound,
		"/api/v1/Rooms/lobby":                               http.StatusNotFound,
		"/api/v1/rooms%2flobby":                             http.StatusNotFound,
		"/api/v1%2frooms/lobby":                             http.StatusNotFound,
		"/api/v1/me/../me":                                  http.StatusNotFound,
		"/api/v1/docs/../me":                                http.StatusNotFound,
		"/api/v1/docs/%2e%2e%2fopenapi.go":                  http.StatusNotFound,
		"/api/v1/docs/../../../etc/passwd":                  http.StatusNotFound,
		"/api/v1/docs/page%2findex.html":                    http.StatusNotFound,
		"/api/v1/docs/":                                     http.StatusNotFound,
		"/api/v2/me":                                        http.StatusNotFound,
		"/api/":                                             http.StatusNotFound,
		"/api/v1":                                           http.StatusNotFound,
		"/api/v1/":                                          http.StatusNotFound,
		"/api/v1/rooms/%00":                                 http.StatusUnprocessableEntity,
		"/api/v1/rooms/a%0d%0aSet-Cookie:x":                 http.StatusUnprocessableEntity,
		"/api/v1/rooms/a%7fb":                               http.StatusUnprocessableEntity,
		"/api/v1/rooms/%ff%fe":                              http.StatusUnprocessableEntity,
		"/api/v1/rooms/%c0%af":                              http.StatusUnprocessableEntity,
		"/api/v1/rooms/" + strings.Repeat("x", 129):         http.StatusUnprocessableEntity,
		"/api/v1/rooms/" + strings.Repeat("%c3%a4", 65):     http.StatusUnprocessableEntity,
		"/api/v1/rooms/" + strings.Repeat("x", 4000):        http.StatusUnprocessableEntity,
		"/api/v1/rooms/user:" + strings.Repeat("x", 129):    http.StatusUnprocessableEntity,
		"/api/v1/rooms/lobby/messages/0":                    http.StatusUnprocessableEntity,
		"/api/v1/rooms/lobby/messages/-1":                   http.StatusUnprocessableEntity,
		"/api/v1/rooms/lobby/messages/+1":                   http.StatusUnprocessableEntity,
		"/api/v1/rooms/lobby/messages/1e3":                  http.StatusUnprocessableEntity,
		"/api/v1/rooms/lobby/messages/9007199254740992":     http.StatusUnprocessableEntity,
		"/api/v1/rooms/lobby/messages/18446744073709551617": http.StatusUnprocessableEntity,
		"/api/v1/rooms?%zz=1":                               http.StatusUnprocessableEntity,
		"/api/v1/rooms?limit=1;limit=2":                     http.StatusUnprocessableEntity,
		"/api/v1/rooms?Limit=1":                             http.StatusUnprocessableEntity,
		"/api/v1/rooms?limit=1&limit=1":                     http.StatusUnprocessableEntity,
	} {
		a := s.raw("GET " + path + " HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + s.admin + "\r\nConnection: close\r\n\r\n")
		if a == nil || a.status != status {
			t.Errorf("%.100s: %v, want %d", path, a, status)
			continue
		}
		s.checkAnswer(request{method: http.MethodGet, path: path}, a)
	}
	// A name that is another's in another case or form is another name.
	s.refused(http.StatusNotFound, "not_found", getting("/rooms/LOBBY", s.admin))
	s.refused(http.StatusNotFound, "not_found", getting("/rooms/a%CC%88", s.admin))
	// Long requests end at the edge, before the API.
	for _, path := range []string{"/api/v1/rooms/" + strings.Repeat("x", 10_000), "/api/v1/rooms/%zz", "/api/v1/rooms/\x01"} {
		if a := s.raw("GET " + path + " HTTP/1.1\r\nHost: x\r\n\r\n"); a == nil || a.status < 400 || a.status >= 500 {
			t.Errorf("%.60q: %v", path, a)
		}
	}
	s.alive()
}

// TestHeaderBombs end the request, not the server.
func TestHeaderBombs(t *testing.T) {
	s := startREST(t, "", throngtest.Options{})
	head := "GET /api/v1/me HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + s.admin + "\r\n"
	for name, text := range map[string]string{
		"a long header":         head + "X: " + strings.Repeat("x", 64<<10) + "\r\n\r\n",
		"a header without end":  head + "X: " + strings.Repeat("x", 4<<20),
		"many headers":          head + strings.Repeat("X: x\r\n", 10_000) + "\r\n",
		"a header with a NUL":   head + "X: \x00\r\n\r\n",
		"a header without name": head + ": x\r\n\r\n",
		"two lengths":           "POST" + head[3:] + "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
		"a length and chunks":   "POST" + head[3:] + "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"a negative length":     "POST" + head[3:] + "Content-Length: -1\r\n\r\n",
		"no method":             " /api/v1/me HTTP/1.1\r\n\r\n",
		"a long method":         strings.Repeat("A", 10_000) + " /api/v1/me HTTP/1.1\r\n\r\n",
	} {
		if a := s.raw(text); a != nil && (a.status < 400 || a.status >= 500) {
			t.Errorf("%s: %d %.200s", name, a.status, a.text)
		}
	}
	s.alive()
}

// TestHugeBodies are refused by what they say, by what comes, and by how deep
// they are, without the server holding them.
func TestHugeBodies(t *testing.T) {
	s := startREST(t, "", throngtest.Options{})
	ada := s.user("ada")
	head := func(path string) string {
		return "POST /api/v1" + path + " HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + ada + "\r\nContent-Type: application/json\r\n"
	}
	for _, path := range []string{"/login", "/rooms", "/rooms/lobby/messages", "/rooms/lobby/messages/batch", "/messages", "/rooms/lobby/trim"} {
		for name, text := range map[string]string{
			"a terabyte, declared": head(path) + "Content-Length: 1099511627776\r\n\r\n{",
			"chunks without end":   head(path) + "Transfer-Encoding: chunked\r\n\r\n" + strings.Repeat("10000\r\n"+strings.Repeat(" ", 0x10000)+"\r\n", 64),
			"an enormous chunk":    head(path) + "Transfer-Encoding: chunked\r\n\r\n7fffffffffff\r\n" + strings.Repeat(" ", 4<<20),
		} {
			a := s.raw(text)
			if a == nil || a.status != http.StatusRequestEntityTooLarge {
				t.Errorf("%s, %s: %v, want 413", path, name, a)
				continue
			}
			s.checkAnswer(request{method: http.MethodPost, path: path}, a)
		}
		deep := strings.Repeat("[", 30_000)
		for _, body := range []string{deep, `{"content":` + deep, `{"content":` + deep + strings.Repeat("]", 30_000) + "}"} {
			if a := s.ask(post(path, ada, body)); a.status != http.StatusBadRequest && a.status != http.StatusUnprocessableEntity {
				t.Errorf("%s with deep JSON: %d %.300s", path, a.status, a.text)
			}
		}
	}
	// As deep as the protocol lets content be, and one level deeper.
	nested := func(n int) string { return `{"content":` + strings.Repeat("[", n) + strings.Repeat("]", n) + "}" }
	s.want(http.StatusCreated, post("/rooms/lobby/messages", ada, nested(63)))
	s.refused(http.StatusBadRequest, "too_deep", post("/rooms/lobby/messages", ada, nested(64)))
	s.alive()
}

// TestSlowBodies end with the request's time.
func TestSlowBodies(t *testing.T) {
	s := startREST(t, "", throngtest.Options{Args: []string{"--api-timeout=1s"}})
	for _, body := range []string{"Content-Length: 100\r\n\r\n{", "Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"} {
		a := s.raw("POST /api/v1/rooms HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + s.admin + "\r\nContent-Type: application/json\r\n" + body)
		if a == nil {
			t.Errorf("%.30q: the connection was closed without an answer", body)
			continue
		}
		if a.status != http.StatusServiceUnavailable && a.status != http.StatusRequestTimeout {
			t.Errorf("%.30q: %d %s", body, a.status, a.text)
		}
		s.checkAnswer(request{method: http.MethodPost, path: "/rooms"}, a)
	}
	s.alive()
}

// TestTraceIDs: a request that belongs to a trace keeps its id, and one that
// says nonsense of it gets its own.
func TestTraceIDs(t *testing.T) {
	s := startREST(t, "", throngtest.Options{})
	const trace = "4bf92f3577b34da6a3ce929d0e0e4736"
	for header, kept := range map[string]bool{
		"00-" + trace + "-00f067aa0ba902b7-01":                   true,
		"01-" + trace + "-00f067aa0ba902b7-01-more":              true,
		"00-" + strings.ToUpper(trace) + "-00f067aa0ba902b7-01":  false,
		"00-" + strings.Repeat("0", 32) + "-00f067aa0ba902b7-01": false,
		"00-" + trace + "-0000000000000000-01":                   false,
		"00-" + trace + "-00f067aa0ba902b7-01-more":              false,
		"ff-" + trace + "-00f067aa0ba902b7-01":                   false,
		"00-" + trace[:31] + "-00f067aa0ba902b7-01":              false,
		"00-" + trace[:31] + "\"-00f067aa0ba902b7-01":            false,
		"nonsense": false, "": false, strings.Repeat("0", 2000): false,
	} {
		r := getting("/me", s.admin)
		r.header = http.Header{"Traceparent": {header}}
		if got := s.ask(r).header.Get("Trace-Id"); (got == trace) != kept {
			t.Errorf("traceparent %.60q gave the Trace-Id %s", header, got)
		}
	}
	if one, other := s.ask(getting("/me", "")), s.ask(getting("/me", "")); one.header.Get("Trace-Id") == other.header.Get("Trace-Id") {
		t.Error("two requests have one id")
	}
}

// TestOtherOrigins: a page of another origin may read and write only where the
// configuration lists it.
func TestOtherOrigins(t *testing.T) {
	s := startREST(t, "", throngtest.Options{Args: []string{"--origins=https://app.example"}})
	from := func(origin string, r request) request {
		r.header = http.Header{"Origin": {origin}, "Sec-Fetch-Site": {"cross-site"}}
		return r
	}
	listed := s.ask(from("https://app.example", post("/rooms", s.admin, fields{"room": "a"})))
	if listed.status != http.StatusCreated || listed.header.Get("Access-Control-Allow-Origin") != "https://app.example" {
		t.Errorf("a listed origin: %d, %v", listed.status, listed.header)
	}
	if got := listed.header.Get("Access-Control-Expose-Headers"); !strings.Contains(got, "Trace-Id") {
		t.Errorf("its page may read the headers %q", got)
	}
	s.refused(http.StatusForbidden, "origin_refused", from("https://evil.example", post("/rooms", s.admin, fields{"room": "b"})))
	s.refused(http.StatusForbidden, "origin_refused", from("null", post("/login", "", fields{"username": "a", "password": "b"})))
	if read := s.ask(from("https://evil.example", getting("/rooms/a", s.admin))); read.header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("another origin may read: %v", read.header)
	}
	preflight := from("https://app.example", request{method: http.MethodOptions, path: "/rooms/a"})
	preflight.header.Set("Access-Control-Request-Method", "PATCH")
	preflight.header.Set("Access-Control-Request-Headers", "authorization, content-type, if-match")
	a := s.ask(preflight)
	allowed := strings.ToLower(fmt.Sprint(a.header.Values("Access-Control-Allow-Methods"), a.header.Values("Access-Control-Allow-Headers")))
	for _, name := range []string{"patch", "authorization", "content-type", "if-match"} {
		if !strings.Contains(allowed, name) {
			t.Errorf("the preflight of a listed origin lacks %s: %d %v", name, a.status, a.header)
		}
	}
}
