package netio

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/thronghq/throng/proto"
)

// refusedCase is a request and the error that must answer it.
type refusedCase struct {
	name, send string
	want       *proto.Code
}

// refusedCases break each rule of RFC 6455, section 4.2.1, and each limit,
// alone.
func refusedCases() []refusedCase {
	good := upgradeRequest("/ws")
	without := func(line string) string { return strings.Replace(good, line+"\r\n", "", 1) }
	instead := func(old, with string) string { return strings.Replace(good, old, with, 1) }
	with := func(lines ...string) string { return upgradeRequest("/ws", lines...) }
	const key = "Sec-WebSocket-Key: " + testKey
	many := make([]string, 70)
	for i := range many {
		many[i] = fmt.Sprintf("X-%d: y", i)
	}
	return []refusedCase{
		{"method", instead("GET", "POST"), proto.ErrMethodNotAllowed},
		{"HTTP/1.0", instead("HTTP/1.1", "HTTP/1.0"), proto.ErrBadHandshake},
		{"HTTP/2.0", instead("HTTP/1.1", "HTTP/2.0"), proto.ErrBadHandshake},
		{"no host", without("Host: example.org"), proto.ErrBadHandshake},
		{"empty host", instead("example.org", ""), proto.ErrBadHandshake},
		{"two hosts", with("Host: example.org"), proto.ErrBadHandshake},
		{"no connection", without("Connection: Upgrade"), proto.ErrBadHandshake},
		{"other connection", instead("Connection: Upgrade", "Connection: keep-alive, upgrades"), proto.ErrBadHandshake},
		{"no key", without(key), proto.ErrBadHandshake},
		{"two keys", with(key), proto.ErrBadHandshake},
		{"short key", instead(testKey, basicKey("15 bytes, or so")), proto.ErrBadHandshake},
		{"long key", instead(testKey, basicKey("17 bytes, or so..")), proto.ErrBadHandshake},
		{"key not base64", instead(testKey, "dGhlIHNhbXBsZSBub25jZ!=="), proto.ErrBadHandshake},
		{"key with loose bits", instead(testKey, "dGhlIHNhbXBsZSBub25jZR=="), proto.ErrBadHandshake},
		{"no version", without("Sec-WebSocket-Version: 13"), proto.ErrUpgradeVersion},
		{"old version", instead("Version: 13", "Version: 8"), proto.ErrUpgradeVersion},
		{"two versions", with("Sec-WebSocket-Version: 13"), proto.ErrUpgradeVersion},
		{"body", with("Content-Length: 5"), proto.ErrBadHandshake},
		{"chunked body", with("Transfer-Encoding: chunked"), proto.ErrBadHandshake},
		{"two origins", with("Origin: http://example.org", "Origin: http://example.org"), proto.ErrBadHandshake},
		{"two authorizations", with("Authorization: Bearer a", "Authorization: Bearer b"), proto.ErrBadHandshake},
		{"fragment in the target", instead("/ws", "/ws#a"), proto.ErrBadHandshake},
		{"target without a path", instead("/ws", "*"), proto.ErrBadHandshake},
		{"protocol not a token", with("Sec-WebSocket-Protocol: a b"), proto.ErrBadHandshake},
		{"protocol twice", with("Sec-WebSocket-Protocol: a, b, a"), proto.ErrBadHandshake},
		{"unknown protocol", with("Sec-WebSocket-Protocol: unknown"), proto.ErrSubprotocol},
		{"folded header", with("X-A: b", " c"), proto.ErrBadHandshake},
		{"space before the colon", with("X-A : b"), proto.ErrBadHandshake},
		{"header without a colon", with("X-A"), proto.ErrBadHandshake},
		{"control character", with("X-A: b\x00c"), proto.ErrBadHandshake},
		{"bare line feed", with("X-A: b\nX-C: d"), proto.ErrBadHandshake},
		{"bare carriage return", with("X-A: b\rX-C: d"), proto.ErrBadHandshake},
		{"other path", instead("/ws", "/other"), proto.ErrNotFound},
		{"other origin", with("Origin: http://evil.example"), proto.ErrOrigin},
		{"null origin", with("Origin: null"), proto.ErrOrigin},
		{"other port", with("Origin: http://example.org:8080"), proto.ErrOrigin},
		{"origin with a like name", with("Origin: http://notexample.org"), proto.ErrOrigin},
		{"long line", with("X-A: " + strings.Repeat("b", 2000)), proto.ErrHandshakeLarge},
		{"too many headers", with(many...), proto.ErrHandshakeLarge},
		{"long head", with("X-A: "+strings.Repeat("b", 900), "X-B: "+strings.Repeat("b", 900), "X-C: "+strings.Repeat("b", 900),
			"X-D: "+strings.Repeat("b", 900), "X-E: "+strings.Repeat("b", 900)), proto.ErrHandshakeLarge},
		{"endless head", strings.Repeat("a", 5000), proto.ErrHandshakeLarge},
		{"by the handler", with("Authorization: Bearer wrong"), proto.ErrInvalidToken},
	}
}

// TestHandshakeRefused: each is answered by its own status and code.
func TestHandshakeRefused(t *testing.T) {
	for _, tc := range refusedCases() {
		t.Run(tc.name, func(t *testing.T) {
			r := newRecorder()
			r.upgrade = func(q *Request) (Accept, *proto.Error) {
				switch {
				case q.Authorization != "":
					return Accept{}, proto.ErrInvalidToken.New()
				case len(q.Protocols) > 0:
					return Accept{Subprotocol: "not offered"}, nil
				}
				return Accept{}, nil
			}
			limits := proto.DefaultLimits()
			limits.HandshakeBytes, limits.HandshakeLine = 4096, 1024
			s := start(t, Options{Handler: r, Limits: limits, UpgradePath: func(p string) bool { return p == "/ws" }})
			p := s.connect(t)
			p.send(tc.send)
			head := p.answer()
			if want := fmt.Sprintf("HTTP/1.1 %d %s\r\n", tc.want.HTTP, http.StatusText(tc.want.HTTP)); !strings.HasPrefix(head, want) {
				t.Errorf("got %q, want %q", head, want)
			}
			if body := p.rest(); !strings.HasPrefix(body, `{"error":{"code":"`+tc.want.Name+`","reason":"`) {
				t.Errorf("body %q, want code %q", body, tc.want.Name)
			}
			if tc.want == proto.ErrUpgradeVersion && !strings.Contains(head, "\r\nSec-WebSocket-Version: 13\r\n") {
				t.Errorf("the answer does not name the version: %q", head)
			}
			if tc.want.HTTP == http.StatusUnauthorized && !strings.Contains(head, "\r\nWWW-Authenticate: Bearer\r\n") {
				t.Errorf("the answer does not say how to authenticate: %q", head)
			}
			if v := s.metric(fmt.Sprintf("throng_handshakes_total{result=%q}", tc.want.Name)); v != "1" {
				t.Errorf("the metric is %q, want 1", v)
			}
		})
	}
}

// TestHandshakeAccepted has what browsers and proxies send, and the odd forms
// that the RFCs allow.
func TestHandshakeAccepted(t *testing.T) {
	onPollers(t, func(t *testing.T, open func() (poller, error)) {
		r := newRecorder()
		r.upgrade = func(q *Request) (Accept, *proto.Error) {
			got := *q
			a := Accept{State: &got}
			if len(q.Protocols) > 1 {
				a.Subprotocol = q.Protocols[1]
			}
			return a, nil
		}
		s := start(t, Options{Handler: r, newPoller: open, Origins: []string{"https://friend.example"}})
		plain := Request{Path: "/ws", Host: "example.org"}
		for _, tc := range []struct {
			name, send, protocol string
			want                 Request
		}{
			{"plain", upgradeRequest("/ws"), "", plain},
			{"lists", strings.NewReplacer("Connection: Upgrade", "Connection: keep-alive\r\nConnection: foo,UPGRADE", "Upgrade: websocket", "upgrade: h2c, WebSocket").
				Replace(upgradeRequest("/ws")), "", plain},
			{"query", upgradeRequest("/ws?token=a%20b?c"), "", Request{Path: "/ws", Query: "token=a%20b?c", Host: "example.org"}},
			{"absolute target", upgradeRequest("http://example.org/ws?x"), "", Request{Path: "/ws", Query: "x", Host: "example.org"}},
			{"same origin", upgradeRequest("/ws", "Origin: http://example.org"), "", Request{Path: "/ws", Host: "example.org", Origin: "http://example.org"}},
			{"same origin by its port", upgradeRequest("/ws", "Origin: https://EXAMPLE.org:443"), "", Request{Path: "/ws", Host: "example.org", Origin: "https://EXAMPLE.org:443"}},
			{"listed origin", upgradeRequest("/ws", "Origin: https://friend.example"), "", Request{Path: "/ws", Host: "example.org", Origin: "https://friend.example"}},
			{"second protocol", upgradeRequest("/ws", "Sec-WebSocket-Protocol: a,b", "sec-websocket-protocol: c"), "b", Request{Path: "/ws", Host: "example.org", Protocols: []string{"a", "b", "c"}}},
			{"authorization", upgradeRequest("/ws", "Authorization:Bearer x "), "", Request{Path: "/ws", Host: "example.org", Authorization: "Bearer x"}},
			{"compression", upgradeRequest("/ws", "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"), "", plain},
			{"malformed compression", upgradeRequest("/ws", "Sec-WebSocket-Extensions: permessage-deflate;;=,\"", "Sec-WebSocket-Extensions: ,"), "", plain},
			{"no body", upgradeRequest("/ws", "Content-Length: 0"), "", plain},
		} {
			t.Run(tc.name, func(t *testing.T) {
				p := s.connect(t)
				p.send(tc.send)
				head := p.answer()
				if !strings.HasPrefix(head, "HTTP/1.1 101 ") || !strings.Contains(head, "\r\nSec-WebSocket-Accept: "+testAccept+"\r\n") {
					t.Fatalf("answer %q", head)
				}
				if strings.Contains(head, "Extensions") {
					t.Errorf("an extension is agreed on: %q", head)
				}
				if has := strings.Contains(head, "\r\nSec-WebSocket-Protocol: "+tc.protocol+"\r\n"); has != (tc.protocol != "") {
					t.Errorf("answer %q, want protocol %q", head, tc.protocol)
				}
				e := r.wait(t, "open")
				got := *e.c.State().(*Request)
				if e.c.client.addrPort().String() != p.LocalAddr().String() || got.Address != e.c.Address() {
					t.Errorf("address %v and %v, want %v", got.Address, e.c.client.addrPort(), p.LocalAddr())
				}
				tc.want.Address = got.Address
				if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", tc.want) {
					t.Errorf("request %q, want %q", got, tc.want)
				}
				_ = p.Close()
				r.wait(t, "closed")
			})
		}
	})
}

// TestHandshakeInPieces sends the head byte by byte, with frames at its heels.
func TestHandshakeInPieces(t *testing.T) {
	onPollers(t, func(t *testing.T, open func() (poller, error)) {
		s := start(t, Options{newPoller: open})
		send := upgradeRequest("/ws") + string(cf(text, "early")) + string(cf(0x01, "in two "))
		for _, size := range []int{1, 17, len(send)} {
			p := s.connect(t)
			for rest := send; rest != ""; {
				n := min(size, len(rest))
				p.send(rest[:n])
				rest = rest[n:]
			}
			p.frame(0x80, "parts")
			if head := p.answer(); !strings.HasPrefix(head, "HTTP/1.1 101 ") {
				t.Fatalf("answer %q", head)
			}
			p.expect("81 early", "81 in two parts")
		}
	})
}

// TestHandshakeTimeout: a head that is not complete in time is answered 408,
// and a connection that says nothing is closed.
func TestHandshakeTimeout(t *testing.T) {
	onPollers(t, func(t *testing.T, open func() (poller, error)) {
		limits := proto.DefaultLimits()
		limits.HandshakeTimeout = 20 * time.Millisecond
		s := start(t, Options{newPoller: open, Limits: limits})
		answered := func() bool { // not where the machine is so busy that the bytes come after the end
			p := s.connect(t)
			_, _ = p.Write([]byte("GET /ws HTTP/1.1\r\nHost: exam"))
			for p.more() == nil {
			}
			return strings.HasPrefix(string(p.buf), "HTTP/1.1 408 ")
		}
		if !eventually(answered) {
			t.Error("an unfinished head is not answered 408")
		}
		quiet := s.connect(t)
		if got := quiet.rest(); got != "" {
			t.Errorf("a connection that said nothing got %q", got)
		}
	})
}

// TestOriginAny: "*" lets every page in.
func TestOriginAny(t *testing.T) {
	s := start(t, Options{Origins: []string{"*"}})
	s.dial(t, "Origin: http://evil.example").frame(closeF, "")
}

// TestOpenReplies: what Open sends leaves with the answer, in front of the rest.
func TestOpenReplies(t *testing.T) {
	r := newRecorder()
	r.open = func(c *Conn) {
		c.Reply(AppendFrame(nil, ws.OpText, []byte("welcome")))
		c.Deliver(AppendFrame(nil, ws.OpText, []byte("news")))
	}
	s := start(t, Options{Handler: r})
	p := s.dial(t)
	p.frame(text, "x")
	p.expect("81 welcome", "81 news", "81 x")
}
