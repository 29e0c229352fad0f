package netio

import (
	"fmt"
	"strings"
	"testing"

	"github.com/gobwas/ws"
)

// script is what a client sends, and what the echo must answer.
type script struct {
	name  string
	send  []byte
	want  []string      // frames, before the close
	code  ws.StatusCode // of the server's close frame; 0 where the connection stays open
	cause CloseCause
}

func frames(parts ...[]byte) []byte {
	var b []byte
	for _, p := range parts {
		b = append(b, p...)
	}
	return b
}

func cf(first byte, payload string) []byte { return clientFrame(first, []byte(payload)) }

// scripts are in the order of the sections of the conformance suite.
func scripts() []script {
	all := append(framingScripts(), messageScripts()...)
	return append(all, closeScripts()...)
}

// builder collects scripts.
type builder struct{ all []script }

// ok adds a script that leaves the connection open.
func (b *builder) ok(name string, send []byte, want ...string) {
	b.all = append(b.all, script{name: name, send: send, want: want})
}

// bad adds a script that the server answers, last, with that close code.
func (b *builder) bad(code ws.StatusCode, name string, send []byte, want ...string) {
	b.all = append(b.all, script{name, send, want, code, CauseProtocol})
}

func framingScripts() []script {
	var b builder
	const protocol = ws.StatusProtocolError

	// 1: framing, every form of the length.
	for _, n := range []int{0, 1, 125, 126, 127, 128, 65535, 65536, 70000, 1 << 20} {
		p := strings.Repeat("*", n)
		b.ok(fmt.Sprintf("text of %d", n), cf(text, p), "81 "+p)
		p = strings.Repeat("\xfe", n)
		b.ok(fmt.Sprintf("binary of %d", n), cf(binry, p), "82 "+p)
	}
	b.ok("length not minimal", []byte{binry, 0xfe, 0, 1, 0, 0, 0, 0, 'x'}, "82 x")
	b.bad(protocol, "length with the top bit", []byte{binry, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0})
	b.bad(ws.StatusMessageTooBig, "message too long", []byte{binry, 0xff, 0, 0, 0, 0, 0, 0x10, 0, 1, 0, 0, 0, 0})
	b.bad(ws.StatusMessageTooBig, "fragments too long",
		frames(cf(0x02, strings.Repeat("a", 1<<19)), cf(0x00, strings.Repeat("a", 1<<19)), cf(0x80, "a")))
	b.bad(protocol, "no mask", []byte{text, 0x01, 'a'})

	// 2: pings and pongs.
	b.ok("ping", cf(ping, ""), "8a ")
	b.ok("ping with 125 bytes", cf(ping, strings.Repeat("\xff", 125)), "8a "+strings.Repeat("\xff", 125))
	b.bad(protocol, "ping with 126 bytes", cf(ping, strings.Repeat("a", 126)))
	b.ok("unasked pong", frames(cf(pong, "x"), cf(ping, "y")), "8a y")
	b.ok("pings in order", frames(cf(ping, "1"), cf(ping, "2"), cf(ping, "3")), "8a 1", "8a 2", "8a 3")

	// 3: reserved bits. What came before is answered.
	for _, rsv := range []byte{0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70} {
		b.bad(protocol, fmt.Sprintf("rsv %02x", rsv), frames(cf(text, "a"), cf(text|rsv, "b"), cf(ping, "")), "81 a")
		b.bad(protocol, fmt.Sprintf("rsv %02x on a ping", rsv), cf(ping|rsv, ""))
	}

	// 4: reserved opcodes.
	for _, op := range []byte{3, 4, 5, 6, 7, 11, 12, 13, 14, 15} {
		b.bad(protocol, fmt.Sprintf("opcode %d", op), frames(cf(text, "a"), cf(0x80|op, ""), cf(ping, "")), "81 a")
	}

	return b.all
}

func messageScripts() []script {
	var b builder
	const protocol, data = ws.StatusProtocolError, ws.StatusInvalidFramePayloadData

	// 5: fragmentation.
	b.ok("two fragments", frames(cf(0x01, "ab"), cf(0x80, "cd")), "81 abcd")
	b.ok("empty fragments", frames(cf(0x02, ""), cf(0x00, ""), cf(0x80, "")), "82 ")
	b.ok("ping between fragments", frames(cf(0x01, "a"), cf(ping, "p"), cf(0x80, "b")), "8a p", "81 ab")
	b.ok("messages after one another", frames(cf(0x01, "a"), cf(0x80, "b"), cf(text, "c")), "81 ab", "81 c")
	b.bad(protocol, "fragmented ping", frames(cf(0x09, "a"), cf(0x80, "b")))
	b.bad(protocol, "fragmented pong", cf(0x0a, "a"))
	b.bad(protocol, "fragmented close", cf(0x08, "\x03\xe8"))
	b.bad(protocol, "continuation of nothing", cf(0x80, "a"))
	b.bad(protocol, "unfinished continuation of nothing", cf(0x00, "a"))
	b.bad(protocol, "continuation after the end", frames(cf(0x01, "a"), cf(0x80, "b"), cf(0x80, "c")), "81 ab")
	b.bad(protocol, "message inside a message", frames(cf(0x01, "a"), cf(text, "b")))

	// 6: UTF-8.
	for _, s := range []string{"κόσμε", "\U0010ffff", "\ud7ff\ue000\ufffd", "\x00", "\xf4\x8f\xbf\xbf"} {
		b.ok(fmt.Sprintf("text %+q", s), cf(text, s), "81 "+s)
		b.ok(fmt.Sprintf("text %+q cut", s), frames(cf(0x01, s[:1]), cf(0x80, s[1:])), "81 "+s)
	}
	for _, s := range []string{
		"\x80", "\xc0\xaf", "\xe0\x80\xaf", "\xf0\x80\x80\xaf", "\xed\xa0\x80", "\xed\xbf\xbf",
		"\xf4\x90\x80\x80", "\xf8\x88\x80\x80\x80", "\xfe", "\xff", "\xc1\xbf", "κόσμε\xce",
	} {
		b.bad(data, fmt.Sprintf("bad text %+q", s), cf(text, s))
		b.bad(data, fmt.Sprintf("bad text %+q cut", s), frames(cf(0x01, s[:len(s)-1]), cf(0x80, s[len(s)-1:])))
	}
	b.ok("binary need not be text", cf(binry, "\xff\xfe"), "82 \xff\xfe")

	// 10: many small fragments.
	long := strings.Repeat("ab", 32<<10)
	parts := [][]byte{cf(0x01, long[:1300])}
	for i := 1300; i < len(long); i += 1300 {
		parts = append(parts, cf(0x00, long[i:min(i+1300, len(long))]))
	}
	parts = append(parts, cf(0x80, ""))
	b.ok("fragments of 1300", frames(parts...), "81 "+long)
	return b.all
}

func closeScripts() []script {
	peer := func(name string, send []byte, code ws.StatusCode, want ...string) script {
		return script{name, send, want, code, CausePeer}
	}
	all := []script{
		peer("close with a reason", cf(closeF, "\x03\xe8bye"), 1000),
		peer("close after a message", frames(cf(text, "a"), cf(closeF, "\x03\xe8")), 1000, "81 a"),
		peer("close inside a message", frames(cf(0x01, "a"), cf(closeF, "\x03\xe8"), cf(0x80, "b")), 1000),
		peer("message after close", frames(cf(closeF, "\x03\xe8"), cf(text, "a"), cf(ping, "")), 1000),
		peer("two closes", frames(cf(closeF, "\x03\xe8"), cf(closeF, "\x03\xe9")), 1000),
		peer("reason of 123 bytes", cf(closeF, "\x03\xe8"+strings.Repeat("*", 123)), 1000),
		{"close body of one byte", cf(closeF, "a"), nil, 1002, CauseProtocol},
		{"reason of 124 bytes", cf(closeF, "\x03\xe8"+strings.Repeat("*", 124)), nil, 1002, CauseProtocol},
		{"reason that is not UTF-8", cf(closeF, "\x03\xe8\xce\xba\xed\xa0\x80"), nil, 1007, CauseProtocol},
	}
	for _, code := range []int{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999} {
		all = append(all, peer(fmt.Sprintf("code %d", code), cf(closeF, closing(ws.StatusCode(code))[3:]), ws.StatusCode(code)))
	}
	for _, code := range []int{0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535} {
		all = append(all, script{fmt.Sprintf("code %d", code), cf(closeF, closing(ws.StatusCode(code))[3:]), nil, 1002, CauseProtocol})
	}
	return all
}

// TestConformance sends each script at once, and then cut into single bytes or
// small pieces: the answers must be the same.
func TestConformance(t *testing.T) {
	onPollers(t, func(t *testing.T, open func() (poller, error)) {
		r := newRecorder()
		s := start(t, Options{Handler: r, newPoller: open})
		for _, sc := range scripts() {
			for _, chop := range []int{0, 1, 7, 1021} {
				if chop == 1 && len(sc.send) > 4096 || chop > 0 && chop < 1000 && len(sc.send) > 1<<17 {
					continue // some hundred thousand writes would show nothing more
				}
				t.Run(fmt.Sprintf("%s/%d", sc.name, chop), func(t *testing.T) { runScript(t, s.dial(t), r, &sc, chop) })
			}
		}
	})
}

func runScript(t *testing.T, p *peer, r *recorder, sc *script, chop int) {
	r.wait(t, "open")
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		for rest := sc.send; len(rest) > 0; {
			n := len(rest)
			if chop > 0 {
				n = min(n, chop)
			}
			if _, err := p.Write(rest[:n]); err != nil {
				return // the server has cut the rest off, as it may after a close
			}
			rest = rest[n:]
		}
	}()
	p.expect(sc.want...)
	if sc.code == 0 {
		<-sent
		p.frame(ping, "still here")
		p.expect("8a still here")
		p.frame(closeF, "")
		p.expect("88 ", "eof")
		if e := r.wait(t, "closed"); e.cause != CausePeer {
			t.Errorf("cause %v, want %v", e.cause, CausePeer)
		}
		return
	}
	p.expectClose(sc.code)
	<-sent
	if e := r.wait(t, "closed"); e.cause != sc.cause {
		t.Errorf("cause %v, want %v", e.cause, sc.cause)
	}
}

// TestTextFailsFast: a text that cannot become valid any more ends the
// connection before its frame or message ends.
func TestTextFailsFast(t *testing.T) {
	onPollers(t, func(t *testing.T, open func() (poller, error)) {
		s := start(t, Options{newPoller: open})
		for name, send := range map[string][]byte{
			"between fragments": frames(cf(0x01, "κό\xf4"), cf(0x00, "\x90")),
			"inside a frame":    cf(text, "κόσμε\xf4\x90 and much that never comes")[:18],
			"surrogate":         cf(text, "\xed\xa0 and much that never comes")[:8],
		} {
			t.Run(name, func(t *testing.T) {
				p := s.dial(t)
				p.send(string(send))
				p.expectClose(ws.StatusInvalidFramePayloadData)
			})
		}
	})
}
