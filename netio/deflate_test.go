package netio

import (
	"bytes"
	"compress/flate"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/gobwas/ws"

	"github.com/thronghq/throng/proto"
)

// deflates returns a recorder that lets every connection agree on compression.
func deflates() *recorder {
	r := newRecorder()
	r.upgrade = func(*Request) (Accept, *proto.Error) {
		return Accept{MaxMessage: 1 << 20, MaxReplies: 4 << 20, Deflate: true}, nil
	}
	return r
}

// dialDeflate opens a WebSocket with permessage-deflate; params follow the name.
func (s *testServer) dialDeflate(t testing.TB, params string) *peer {
	t.Helper()
	return s.connect(t).upgradeDeflate(params)
}

// upgradeDeflate upgrades a connection, as dialDeflate does.
func (p *peer) upgradeDeflate(params string) *peer {
	p.t.Helper()
	p.send(upgradeRequest("/ws", "Sec-WebSocket-Extensions: permessage-deflate"+params))
	if head := p.answer(); !strings.Contains(head, "\r\nSec-WebSocket-Extensions: permessage-deflate; ") {
		p.t.Fatalf("upgrade: %q", head)
	}
	p.inflate = true
	return p
}

// unpack inflates a frame as peer.read returns it, and leaves others as they are.
func unpack(t testing.TB, frame string) string {
	t.Helper()
	first, payload, _ := strings.Cut(frame, " ")
	if first != "c1" && first != "c2" {
		return frame
	}
	r := flate.NewReader(io.MultiReader(strings.NewReader(payload), strings.NewReader("\x00\x00\xff\xff\x01\x00\x00\xff\xff")))
	message, err := io.ReadAll(r)
	if err != nil {
		t.Fatalf("a frame of the server does not inflate: %v: %x", err, payload)
	}
	return "8" + first[1:] + " " + string(message)
}

// First bytes of compressed frames.
const (
	packedText   = text | rsv1Bit
	packedBinary = binry | rsv1Bit
)

// deflateScripts are like scripts, on a connection that agreed on compression.
func deflateScripts(t testing.TB) []script {
	var b builder
	const protocol, data, size = ws.StatusProtocolError, ws.StatusInvalidFramePayloadData, ws.StatusMessageTooBig
	packed := func(parts ...string) string {
		all := make([][]byte, len(parts))
		for i, p := range parts {
			all[i] = []byte(p)
		}
		return string(pack(t, flate.DefaultCompression, all...))
	}

	// RFC 7692, section 7.2.3.
	for _, ex := range rfcExamples {
		b.ok(ex.name, cf(packedText, ex.packed), "81 "+ex.message)
		b.ok(ex.name+" in two fragments", frames(cf(0x41, ex.packed[:len(ex.packed)/2]), cf(0x80, ex.packed[len(ex.packed)/2:])), "81 "+ex.message)
		b.ok(ex.name+" with empty fragments", frames(cf(0x42, ""), cf(0x00, ex.packed), cf(0x80, "")), "82 "+ex.message)
	}
	b.bad(data, "7.2.3.2 a window that is not shared", frames(cf(packedText, rfcExamples[0].packed), cf(packedText, "\xf2\x00\x11\x00\x00")), "81 Hello")
	b.ok("the same message twice", bytes.Repeat(cf(packedText, rfcExamples[0].packed), 2), "81 Hello", "81 Hello")

	// Compressed and plain messages side by side, and control frames between.
	long := string(prose(20_000))
	cut := packed(long)
	b.ok("plain messages", frames(cf(text, "a"), cf(packedText, packed("b")), cf(0x01, "c"), cf(0x80, "d"), cf(packedBinary, packed("\xff"))),
		"81 a", "81 b", "81 cd", "82 \xff")
	b.ok("pings between fragments", frames(cf(0x41, cut[:100]), cf(ping, "1"), cf(0x00, cut[100:101]), cf(pong, "x"), cf(ping, "2"), cf(0x80, cut[101:])),
		"8a 1", "8a 2", "81 "+long)
	b.ok("a flush after each part", cf(packedText, packed(long[:10], long[10:5000], long[5000:])), "81 "+long)
	b.all = append(b.all, script{"close inside a message", frames(cf(0x41, cut[:100]), cf(closeF, "\x03\xe8"), cf(0x80, cut[100:])), nil, 1000, CausePeer})

	// Reserved bits: RSV1 begins a message, and nothing else.
	b.bad(protocol, "rsv1 on a continuation", frames(cf(0x41, cut[:100]), cf(0xc0, cut[100:])))
	b.bad(protocol, "rsv1 on a continuation of a plain message", frames(cf(0x01, "a"), cf(0xc0, "b")))
	b.bad(protocol, "rsv1 on a continuation of nothing", cf(0xc0, cut))
	for _, first := range []byte{ping, pong, closeF} {
		b.bad(protocol, fmt.Sprintf("rsv1 on %02x", first), cf(first|rsv1Bit, ""))
	}
	for _, rsv := range []byte{0x10, 0x20, 0x30, 0x50, 0x60, 0x70} {
		b.bad(protocol, fmt.Sprintf("rsv %02x", rsv), cf(text|rsv, packed("a")))
	}
	b.bad(protocol, "message inside a message", frames(cf(0x41, cut[:100]), cf(packedText, cut)))
	b.bad(protocol, "reserved opcode", cf(0xc3, cut))

	// Text is judged when it is inflated.
	for _, s := range []string{"κόσμε", "\U0010ffff", "\x00", "\ud7ff\ue000\ufffd"} {
		b.ok(fmt.Sprintf("text %+q", s), cf(packedText, packed(s)), "81 "+s)
		b.ok(fmt.Sprintf("text %+q flushed inside a rune", s), cf(packedText, packed(s[:1], s[1:])), "81 "+s)
	}
	for _, s := range []string{"\x80", "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "κόσμε\xce"} {
		b.bad(data, fmt.Sprintf("bad text %+q", s), frames(cf(packedText, packed(s)), cf(ping, "")))
		b.ok(fmt.Sprintf("binary %+q", s), cf(packedBinary, packed(s)), "82 "+s)
	}

	// What is not DEFLATE, and what inflates too far.
	b.bad(data, "not compressed at all", cf(packedText, "Hello, world"))
	b.bad(data, "cut short", cf(packedText, cut[:len(cut)/2]))
	b.bad(data, "garbage after the end", cf(packedText, rfcExamples[2].packed+"\xff\xff"))
	zeros := strings.Repeat("\x00", 1<<20+1)
	b.bad(size, "a bomb past the bound", cf(packedBinary, packed(zeros)))
	b.bad(size, "a bomb within the bound", cf(packedBinary, packed(zeros[:1<<20])))
	b.bad(size, "a message past the bound", cf(packedBinary, packed(string(noise(1<<20+1)))))
	b.ok("a message at the bound", cf(packedBinary, packed(string(noise(1<<20)))), "82 "+string(noise(1<<20)))
	b.bad(size, "a length past what any message takes", []byte{packedBinary, 0xff, 0, 0, 0, 0, 0, 0x12, 1, 0, 0, 0, 0, 0})
	return b.all
}

// TestDeflateConformance sends each script at once and in pieces, as
// TestConformance does.
func TestDeflateConformance(t *testing.T) {
	onPollers(t, func(t *testing.T, open func() (poller, error)) {
		r := deflates()
		s := start(t, Options{Handler: r, newPoller: open})
		for _, sc := range deflateScripts(t) {
			for _, chop := range []int{0, 1, 1021} {
				if chop == 1 && len(sc.send) > 1024 {
					continue // some hundred thousand writes would show nothing more
				}
				t.Run(fmt.Sprintf("%s/%d", sc.name, chop), func(t *testing.T) {
					runScript(t, s.dialDeflate(t, ""), r, &sc, chop)
				})
			}
		}
	})
}

// TestDeflateEcho is what the conformance suite's classes 12 and 13 do: messages of
// many sizes, whole and in fragments, with every combination of parameters.
func TestDeflateEcho(t *testing.T) {
	type exchange struct {
		send []byte
		want string
	}
	var all, some []exchange
	for i, tc := range []struct{ size, fragment int }{
		{0, 0},
		{16, 0},
		{1024, 256},
		{65536, 4096}, // with all parameters
		{64, 0},
		{256, 0},
		{1024, 0},
		{4096, 0},
		{8192, 0},
		{16384, 0},
		{32768, 0},
		{65536, 0},
		{131072, 0},
		{8192, 256},
		{16384, 256},
		{32768, 256},
		{65536, 256},
		{131072, 256},
		{131072, 1024},
		{131072, 4096},
		{131072, 32768},
	} {
		for j, message := range [][]byte{prose(tc.size), noise(tc.size)} {
			opcode := byte(ws.OpText) + byte(j)
			all = append(all, exchange{
				fragmented(opcode|rsv1Bit, pack(t, flate.BestSpeed, message), tc.fragment),
				fmt.Sprintf("8%d %s", opcode, message),
			})
		}
		if i == 3 {
			some = all
		}
	}
	params := []string{
		"", "; client_max_window_bits", "; client_no_context_takeover; client_max_window_bits", "; server_no_context_takeover",
		"; server_no_context_takeover; server_max_window_bits=9", "; server_max_window_bits=15",
		"; server_no_context_takeover; server_max_window_bits=15",
	}
	for bits := 8; bits <= 15; bits++ {
		params = append(params, fmt.Sprintf("; server_max_window_bits=%d; client_max_window_bits=%d", bits, 23-bits))
	}
	onPollers(t, func(t *testing.T, open func() (poller, error)) {
		s := start(t, Options{Handler: deflates(), newPoller: open})
		for i, param := range params {
			exchanges, packed := some, 2
			if i%8 == 0 { // one with each window
				exchanges, packed = all, 18
			}
			p := s.dialDeflate(t, param)
			for _, x := range exchanges {
				p.send(string(x.send))
				p.expect(x.want)
			}
			// Noise stays as it is, and so may what has only some bytes.
			if p.packed < packed {
				t.Errorf("%q: %d of %d messages came back compressed, want %d", param, p.packed, len(exchanges), packed)
			}
			p.frame(closeF, "\x03\xe8")
			p.expectClose(1000)
		}
	})
}

// fragmented returns a message as frames of so many bytes, 0 for one frame.
func fragmented(first byte, payload []byte, fragment int) []byte {
	if fragment == 0 {
		return clientFrame(finBit|first, payload)
	}
	var b []byte
	for len(payload) > fragment {
		b = append(b, clientFrame(first, payload[:fragment])...)
		first, payload = 0, payload[fragment:]
	}
	return append(b, clientFrame(finBit|first, payload)...)
}
