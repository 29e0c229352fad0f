package bench

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

// restClient connects to a handler.
func restClient(t *testing.T, h http.HandlerFunc) *restConn {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	target, err := parseTarget(t.Context(), server.URL, false)
	if err != nil {
		t.Fatal(err)
	}
	c, err := dialREST(t.Context(), target, netip.Addr{}, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.close)
	return c
}

// TestRESTConn: answers of known and unknown length, one after the other on one
// connection.
func TestRESTConn(t *testing.T) {
	long := strings.Repeat("0123456789", 100_000)
	c := restClient(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		switch r.URL.Path {
		case "/empty":
			w.WriteHeader(http.StatusNoContent)
		case "/echo":
			w.WriteHeader(http.StatusTeapot)
			fmt.Fprintf(w, "%s %s %s %s", r.Method, r.Header.Get("Authorization"), r.Header.Get("Content-Type"), body)
		case "/chunks":
			_ = http.NewResponseController(w).Flush()
			_, _ = io.WriteString(w, long)
		}
	})
	c.token = "secret"
	for range 3 {
		for _, tc := range []struct {
			path   string
			body   []byte
			status int
			want   string
		}{
			{"/empty", nil, http.StatusNoContent, ""},
			{"/echo", []byte("{}"), http.StatusTeapot, "POST Bearer secret application/json {}"},
			{"/echo", nil, http.StatusTeapot, "POST Bearer secret  "},
			{"/chunks", nil, http.StatusOK, long},
		} {
			status, body, err := c.ask(http.MethodPost, tc.path, tc.body)
			if err != nil || status != tc.status || string(body) != tc.want {
				t.Errorf("%s: %d %.100q, %v", tc.path, status, body, err)
			}
		}
	}
	if _, err := c.must(http.StatusOK, http.MethodGet, "/empty", nil); err == nil || !strings.Contains(err.Error(), "204") {
		t.Errorf("another status than the wanted one: %v", err)
	}
}

// TestRESTConnBroken: what is no answer is an error.
func TestRESTConnBroken(t *testing.T) {
	for _, answer := range []string{
		"", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 OK\r\n\r\n", "SSH-2.0-x\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort",
		"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 999999999999\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
	} {
		c := restClient(t, func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = io.WriteString(conn, answer)
			_ = conn.Close()
		})
		if status, body, err := c.ask(http.MethodGet, "/", nil); err == nil {
			t.Errorf("%q is taken for %d %q", answer, status, body)
		}
	}
}

// TestRESTPages: gaps, repetitions and short pages are found.
func TestRESTPages(t *testing.T) {
	page := func(offsets ...int) []byte {
		var b bytes.Buffer
		for _, o := range offsets {
			fmt.Fprintf(&b, `{"timestamp":%d,"offset":%d},`, 1000+o, o)
		}
		return b.Bytes()
	}
	for _, tc := range []struct {
		offsets []int
		want    violations
	}{
		{[]int{4, 5, 6}, violations{}},
		{[]int{4, 6, 7}, violations{Lost: 1}},
		{[]int{5, 6, 7}, violations{Lost: 1}},
		{[]int{4, 4, 5}, violations{Duplicates: 1}},
		{[]int{4, 3, 5}, violations{Order: 1}},
		{[]int{4, 5}, violations{Lost: 4}},
		{nil, violations{Lost: 6}},
	} {
		tally := newTally()
		p := &offsetPager{head: 9, page: 3, last: 3}
		if _, err := p.answered(http.StatusOK, page(tc.offsets...), tally); err != nil || tally.Violations != tc.want {
			t.Errorf("%v: %+v, %v, want %+v", tc.offsets, tally.Violations, err, tc.want)
		}
	}
	late := &timePager{head: 9, page: 3, from: 1005}
	if _, err := late.answered(http.StatusOK, page(4, 5, 6), newTally()); err == nil {
		t.Error("a page that begins before the time asked for is taken")
	}
	if n, err := late.answered(http.StatusOK, page(5, 6, 7), newTally()); err != nil || n != 3 {
		t.Errorf("a good page has %d messages, %v", n, err)
	}
	if _, err := late.answered(http.StatusForbidden, page(5, 6, 7), newTally()); err == nil {
		t.Error("a refusal is taken for a page")
	}
}

// TestTracks: two that saw the same messages at the same offsets agree, in
// whatever order, and no others.
func TestTracks(t *testing.T) {
	saw := func(pairs ...uint64) *tracks { // author's number and offset, in turn
		var seen tracks
		for i := 0; i < len(pairs); i += 2 {
			seen.add(stamp{author: 7, seq: uint32(pairs[i])}, pairs[i+1])
		}
		return &seen
	}
	said := saw(1, 1, 2, 2, 3, 3)
	for _, tc := range []struct {
		heard *tracks
		times int
		want  bool
	}{
		{saw(3, 3, 1, 1, 2, 2), 1, true},
		{saw(1, 1, 1, 1, 2, 2, 3, 3, 2, 2, 3, 3), 2, true},
		{saw(1, 1, 2, 3, 3, 2), 1, false},
		{saw(1, 1, 2, 2), 1, false},
		{saw(1, 1, 2, 2, 3, 3), 2, false},
	} {
		if got := tc.heard.are(said, tc.times); got != tc.want {
			t.Errorf("%+v: %v, want %v", tc, got, tc.want)
		}
	}
}

// TestSources: addresses on the loopback, each another; elsewhere the kernel's
// choice.
func TestSources(t *testing.T) {
	s := sources{local: true, at: netip.MustParseAddr("127.255.255.253")}
	seen := make(map[netip.Addr]bool)
	for range 1000 {
		a := s.next()
		if !a.IsLoopback() || seen[a] {
			t.Fatalf("address %v", a)
		}
		seen[a] = true
	}
	s = newSources(target{addr: netip.MustParseAddrPort("192.0.2.1:80")})
	if a := s.next(); a.IsValid() {
		t.Errorf("address %v for a server elsewhere", a)
	}
}

// faultyREST is a room with one member, and a REST API that does to it what
// servers must not do.
type faultyREST struct {
	t     *testing.T
	fault func(offset uint64) (said uint64, sent []uint64)

	mu     sync.Mutex
	member net.Conn
	offset uint64
}

func (f *faultyREST) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/ws":
		f.join(w, r)
	case "/healthz":
	case apiPath + "/register":
		w.WriteHeader(http.StatusCreated)
	case apiPath + "/login":
		_, _ = io.WriteString(w, `{"accessToken":"x"}`)
	default:
		body, err := io.ReadAll(r.Body)
		if err != nil {
			f.t.Error(err)
		}
		w.WriteHeader(http.StatusCreated)
		fmt.Fprintf(w, `{"msgId":"m","offset":%d,"timestamp":1}`, f.publish(string(body)))
	}
}

func (f *faultyREST) join(w http.ResponseWriter, r *http.Request) {
	conn, _, _, err := ws.HTTPUpgrader{Protocol: func(string) bool { return true }}.Upgrade(r, w)
	if err != nil {
		f.t.Error(err)
		return
	}
	f.t.Cleanup(func() { _ = conn.Close() })
	if _, err := wsutil.ReadClientText(conn); err != nil {
		f.t.Error(err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.member = conn
	_ = wsutil.WriteServerText(conn, []byte(`{"type":"joined","id":"j","room":"r","epoch":"e","offset":0,"members":1}`))
}

var contentOf = regexp.MustCompile(`"content":"[^"]*"`)

func (f *faultyREST) publish(body string) (said uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.offset++
	said, sent := f.fault(f.offset)
	for _, offset := range sent {
		_ = wsutil.WriteServerText(f.member, []byte(`{"type":"message",`+contentOf.FindString(body)+`,"timestamp":1,"offset":`+strconv.FormatUint(offset, 10)+`}`))
	}
	return said
}

// TestRESTViolationsAreFound holds throng bench rest to finding what it is there
// for. The generator publishes on one connection until the time is over.
func TestRESTViolationsAreFound(t *testing.T) {
	for _, tc := range []struct {
		name  string
		fault func(offset uint64) (said uint64, sent []uint64)
		found func(v violations) bool
	}{
		{"none", func(n uint64) (uint64, []uint64) { return n, []uint64{n} }, func(v violations) bool { return v == violations{} }},
		{"loses the third", func(n uint64) (uint64, []uint64) {
			if n == 3 {
				return n, nil
			}
			return n, []uint64{n}
		}, func(v violations) bool { return v.Lost == 1 }},
		{"sends the third twice", func(n uint64) (uint64, []uint64) {
			if n == 3 {
				return n, []uint64{n, n}
			}
			return n, []uint64{n}
		}, func(v violations) bool { return v.Duplicates == 1 }},
		{"tells the author the second's and the third's offset the wrong way round", func(n uint64) (uint64, []uint64) {
			if n == 2 || n == 3 {
				return 5 - n, []uint64{n}
			}
			return n, []uint64{n}
		}, func(v violations) bool { return v.Order > 0 }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			server := httptest.NewServer(&faultyREST{t: t, fault: tc.fault})
			t.Cleanup(server.Close)
			var out, table bytes.Buffer
			err := Run(t.Context(), []string{
				"rest", "--requests", "1", "--members", "1", "--duration", "100ms", "--warmup", "10ms", "--timeout", "1s",
				"--url", server.URL, "--pid", strconv.Itoa(os.Getpid()),
			}, Streams{Out: &out, Err: &table})
			var r result
			if failed := json.Unmarshal(out.Bytes(), &r); failed != nil {
				t.Fatalf("%q: %v, %v", out.String(), failed, err)
			}
			if !tc.found(r.Violations) || errors.Is(err, ErrViolated) != r.Violations.any() || !r.Violations.any() && err != nil {
				t.Errorf("%+v, %v\n%s", r.Violations, err, table.String())
			}
		})
	}
}
