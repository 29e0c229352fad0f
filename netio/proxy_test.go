package netio

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/thronghq/throng/proto"
)

// proxy2 returns a header of version 2.
func proxy2(command, family byte, block string) string {
	b := append([]byte(proxyPrefix2), command, family)
	return string(binary.BigEndian.AppendUint16(b, uint16(len(block)))) + block
}

// tlv returns a type, a length and a value, as they stand behind the addresses.
func tlv(kind byte, value string) string {
	return string(binary.BigEndian.AppendUint16([]byte{kind}, uint16(len(value)))) + value
}

// summed puts the checksum into a header whose last TLV is an empty one for it.
func summed(header string) string {
	b := []byte(header)
	binary.BigEndian.PutUint32(b[len(b)-proxySumSize:], crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
	return string(b)
}

// Address blocks of version 2: from 192.0.2.7:1000 and [2001:db8::7]:1000.
const (
	block4      = "\xc0\x00\x02\x07\xc0\x00\x02\x01\x03\xe8\x00\x50"
	block6      = "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x07\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x03\xe8\x00\x50"
	blockMapped = "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\xc0\x00\x02\x07" + "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\xc0\x00\x02\x01" + "\x03\xe8\x00\x50"
)

// proxyCase is a PROXY header and what it says.
type proxyCase struct {
	name, header string
	source       string // "" for none
	local        bool
	err          error
}

func proxyCases() []proxyCase {
	unixBlock := strings.Repeat("\x00", proxyBlockUnix)
	none := "\x03\x00\x04\x00\x00\x00\x00" // the TLV of a checksum
	return []proxyCase{
		{name: "line, IPv4", header: "PROXY TCP4 192.0.2.7 192.0.2.1 1000 80\r\n", source: "192.0.2.7:1000"},
		{name: "line, IPv6", header: "PROXY TCP6 2001:db8::7 2001:db8::1 1000 80\r\n", source: "[2001:db8::7]:1000"},
		{name: "line, mapped", header: "PROXY TCP6 ::ffff:192.0.2.7 ::ffff:192.0.2.1 0 65535\r\n", source: "192.0.2.7:0"},
		{name: "line, longest", header: "PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 " + strings.Repeat("5", 53) + "\r\n"},
		{name: "line, unknown", header: "PROXY UNKNOWN\r\n"},
		{name: "binary, IPv4", header: proxy2(0x21, 0x11, block4), source: "192.0.2.7:1000"},
		{name: "binary, IPv6", header: proxy2(0x21, 0x21, block6), source: "[2001:db8::7]:1000"},
		{name: "binary, mapped", header: proxy2(0x21, 0x21, blockMapped), source: "192.0.2.7:1000"},
		{name: "binary, with more", header: proxy2(0x21, 0x11, block4+tlv(0x04, "\x00\x00")+tlv(0x02, "example.org")), source: "192.0.2.7:1000"},
		{name: "binary, summed", header: summed(proxy2(0x21, 0x11, block4+tlv(0x01, "h2")+none)), source: "192.0.2.7:1000"},
		{name: "binary, UDP", header: proxy2(0x21, 0x12, block4)},
		{name: "binary, Unix", header: proxy2(0x21, 0x31, unixBlock+tlv(0x01, "h2"))},
		{name: "binary, no family", header: proxy2(0x21, 0x00, "whatever")},
		{name: "binary, local", header: proxy2(0x20, 0xff, "whatever"), local: true},
		{name: "binary, longest", header: proxy2(0x21, 0x11, block4+tlv(0x30, strings.Repeat("x", maxProxy2-proxyFixed-proxyBlock4-3))), source: "192.0.2.7:1000"},

		{name: "no header", header: "GET /ws HTTP/1.1\r\n", err: errProxyMissing},
		{name: "lower case", header: "proxy ", err: errProxyMissing},
		{name: "blank line", header: "\r\n\r\nGET", err: errProxyMissing},
		{name: "line too long", header: "PROXY UNKNOWN " + strings.Repeat("x", maxProxy1-15) + "\r\n", err: errProxyLong},
		{name: "line feed alone", header: "PROXY TCP4 192.0.2.7 192.0.2.1 1000 80\n", err: errProxyLine},
		{name: "no family", header: "PROXY \r\n", err: errProxyLine},
		{name: "other family", header: "PROXY UDP4 192.0.2.7 192.0.2.1 1000 80\r\n", err: errProxyLine},
		{name: "family of another address", header: "PROXY TCP4 2001:db8::7 2001:db8::1 1000 80\r\n", err: errProxyLine},
		{name: "address with zeros", header: "PROXY TCP4 192.0.02.7 192.0.2.1 1000 80\r\n", err: errProxyLine},
		{name: "address with a zone", header: "PROXY TCP6 fe80::1%eth0 fe80::2 1000 80\r\n", err: errProxyLine},
		{name: "broken destination", header: "PROXY TCP4 192.0.2.7 192.0.2 1000 80\r\n", err: errProxyLine},
		{name: "port with zeros", header: "PROXY TCP4 192.0.2.7 192.0.2.1 01000 80\r\n", err: errProxyLine},
		{name: "port too high", header: "PROXY TCP4 192.0.2.7 192.0.2.1 1000 65536\r\n", err: errProxyLine},
		{name: "signed port", header: "PROXY TCP4 192.0.2.7 192.0.2.1 +1000 80\r\n", err: errProxyLine},
		{name: "two spaces", header: "PROXY TCP4  192.0.2.7 192.0.2.1 1000 80\r\n", err: errProxyLine},
		{name: "one field more", header: "PROXY TCP4 192.0.2.7 192.0.2.1 1000 80 \r\n", err: errProxyLine},
		{name: "version 3", header: proxy2(0x31, 0x11, block4), err: errProxyBlock},
		{name: "other command", header: proxy2(0x22, 0x11, block4), err: errProxyBlock},
		{name: "other transport", header: proxy2(0x21, 0x13, block4), err: errProxyBlock},
		{name: "family without transport", header: proxy2(0x21, 0x10, block4), err: errProxyBlock},
		{name: "short block", header: proxy2(0x21, 0x21, block4), err: errProxyBlock},
		{name: "piece of a TLV", header: proxy2(0x21, 0x11, block4+"\x04\x00"), err: errProxyBlock},
		{name: "long TLV", header: proxy2(0x21, 0x11, block4+"\x04\x00\x02x"), err: errProxyBlock},
		{name: "too long", header: proxy2(0x21, 0x11, strings.Repeat("x", maxProxy2-proxyFixed+1)), err: errProxyLong},
		{name: "wrong sum", header: proxy2(0x21, 0x11, block4+none), err: errProxySum},
		{name: "short sum", header: proxy2(0x21, 0x11, block4+tlv(proxyTLVSum, "x")), err: errProxySum},
	}
}

// TestProxyHeader: each header says the same whatever follows it, nothing before
// it is whole, and what cannot become one is refused.
func TestProxyHeader(t *testing.T) {
	for _, tc := range proxyCases() {
		t.Run(tc.name, func(t *testing.T) {
			h, err := parseProxyHeader([]byte(tc.header + "GET /ws"))
			if !errors.Is(err, tc.err) || (err == nil) != (tc.err == nil) {
				t.Fatalf("the error is %v, want %v", err, tc.err)
			}
			if err != nil {
				return
			}
			want := proxyHeader{size: len(tc.header), local: tc.local}
			if tc.source != "" {
				want.source = netip.MustParseAddrPort(tc.source)
			}
			if h != want {
				t.Errorf("got %+v, want %+v", h, want)
			}
			for i := range len(tc.header) {
				if h, err := parseProxyHeader([]byte(tc.header[:i])); h != (proxyHeader{}) || err != nil {
					t.Fatalf("the first %d bytes are %+v, %v", i, h, err)
				}
			}
		})
	}
}

// FuzzProxyHeader: a header is the same however much of what follows is there, it
// stays within the bounds, and what was refused once stays refused. A line is
// what its address would be written as.
func FuzzProxyHeader(f *testing.F) {
	for _, tc := range proxyCases() {
		f.Add([]byte(tc.header+"GET /"), uint16(20))
	}
	f.Fuzz(func(t *testing.T, b []byte, cut uint16) {
		h, err := parseProxyHeader(b)
		early, earlyErr := parseProxyHeader(b[:min(int(cut), len(b))])
		switch {
		case earlyErr != nil && err == nil:
			t.Errorf("the first %d bytes of %q are refused (%v), and all of them taken", cut, b, earlyErr)
		case early.size > 0 && early != h:
			t.Errorf("%q is %+v, and its first %d bytes %+v", b, h, cut, early)
		case err != nil && h != (proxyHeader{}) && h.size == 0:
			t.Errorf("%q is %+v with an error", b, h)
		case err == nil && (h.size > len(b) || h.size > maxProxy2 || h.size == 0 && len(b) >= maxProxy2):
			t.Errorf("%q of %d bytes has a header of %d", b, len(b), h.size)
		case h.source.Addr().Is4In6() || h.source.Addr().Zone() != "":
			t.Errorf("%q names %v", b, h.source)
		}
		if err == nil && h.size > 0 && b[0] == 'P' && h.source.IsValid() {
			line := fmt.Sprintf("PROXY %s %s %s %d 1\r\n", map[bool]string{true: "TCP4", false: "TCP6"}[h.source.Addr().Is4()],
				h.source.Addr(), h.source.Addr(), h.source.Port())
			if again, err := parseProxyHeader([]byte(line)); err != nil || again.source != h.source {
				t.Errorf("%q names %v, and %q %v, %v", b[:h.size], h.source, line, again.source, err)
			}
		}
	})
}

// loopback are the networks of the tests' own proxies.
var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8")}

// seen is the client's address that a server has for a connection on which a
// proxy's bytes come first, in pieces of that size: of a WebSocket, of a plain
// request, and of the WebSocket that follows on the same connection.
func (s *testServer) seen(t *testing.T, r *recorder, before string, size int, headers ...string) [3]string {
	t.Helper()
	var got [3]string
	p := s.connect(t)
	p.sendPieces(before+upgradeRequest("/ws", headers...), size)
	if head := p.answer(); !strings.HasPrefix(head, "HTTP/1.1 101 ") {
		t.Fatalf("%q: answer %q", before, head)
	}
	got[0] = fmt.Sprint(r.wait(t, "open").c.Address())
	_ = p.Close()
	r.wait(t, "closed")

	q := s.connect(t)
	request := "GET / HTTP/1.1\r\nHost: x\r\n" + strings.Join(append(headers, ""), "\r\n") + "\r\n"
	q.sendPieces(before+request, size)
	got[1] = q.body()
	q.send(upgradeRequest("/ws", headers...))
	if head := q.answer(); !strings.HasPrefix(head, "HTTP/1.1 101 ") {
		t.Fatalf("%q: answer %q", before, head)
	}
	got[2] = fmt.Sprint(r.wait(t, "open").c.Address())
	_ = q.Close()
	r.wait(t, "closed")
	return got
}

// sendPieces sends a text in pieces of that size.
func (p *peer) sendPieces(s string, size int) {
	p.t.Helper()
	for rest := s; rest != ""; {
		n := min(size, len(rest))
		p.send(rest[:n])
		rest = rest[n:]
	}
}

// body reads an answer of addressPage.
func (p *peer) body() string {
	p.t.Helper()
	head := p.answer()
	for !strings.Contains(string(p.buf), "\n") {
		if err := p.more(); err != nil {
			p.t.Fatalf("no body: %v after %q", err, head)
		}
	}
	line, rest, _ := strings.Cut(string(p.buf), "\n")
	p.buf = []byte(rest)
	return line
}

// TestProxyProtocol: a trusted peer's header names the client, for WebSockets,
// plain requests and WebSockets after those, however its bytes are cut.
func TestProxyProtocol(t *testing.T) {
	onPollers(t, func(t *testing.T, open func() (poller, error)) {
		r := newRecorder()
		s := start(t, Options{Handler: r, HTTP: addressPage(), newPoller: open, TrustedProxies: loopback, ProxyProtocol: true})
		for _, tc := range proxyCases() {
			if tc.err != nil {
				continue
			}
			want := "127.0.0.1" // the proxy's own
			if tc.source != "" {
				want = netip.MustParseAddrPort(tc.source).Addr().String()
			}
			for _, size := range []int{1, 50, 1 << 20} {
				if got := s.seen(t, r, tc.header, size); got != [3]string{want, want, want} {
					t.Errorf("%s in pieces of %d: addresses %v, want %s", tc.name, size, got, want)
				}
			}
		}
	})
}

// TestProxyProtocolSplit cuts both versions in two at each byte.
func TestProxyProtocolSplit(t *testing.T) {
	r := newRecorder()
	s := start(t, Options{Handler: r, TrustedProxies: loopback, ProxyProtocol: true})
	for _, header := range []string{"PROXY TCP4 192.0.2.7 192.0.2.1 1000 80\r\n", proxy2(0x21, 0x11, block4)} {
		for i := 1; i <= len(header); i++ {
			p := s.connect(t)
			p.send(header[:i])
			p.send(header[i:] + upgradeRequest("/ws"))
			if head := p.answer(); !strings.HasPrefix(head, "HTTP/1.1 101 ") {
				t.Fatalf("cut at %d: %q", i, head)
			}
			if a := r.wait(t, "open").c.Address(); a.String() != "192.0.2.7" {
				t.Errorf("cut at %d: address %v", i, a)
			}
			_ = p.Close()
			r.wait(t, "closed")
		}
	}
}

// TestProxyProtocolForwarded: where the PROXY header names a further proxy, its
// X-Forwarded-For counts; where it names a client or nobody, it does not.
func TestProxyProtocolForwarded(t *testing.T) {
	r := newRecorder()
	s := start(t, Options{Handler: r, HTTP: addressPage(), TrustedProxies: loopback, ProxyProtocol: true})
	for _, tc := range []struct{ header, want string }{
		{"PROXY TCP4 10.1.2.3 10.0.0.1 1000 80\r\n", "203.0.113.9"},
		{"PROXY TCP4 192.0.2.7 10.0.0.1 1000 80\r\n", "192.0.2.7"},
		{"PROXY UNKNOWN\r\n", "127.0.0.1"},
		{proxy2(0x21, 0x31, strings.Repeat("\x00", proxyBlockUnix)), "127.0.0.1"},
		{proxy2(0x20, 0x00, ""), "203.0.113.9"},
	} {
		if got := s.seen(t, r, tc.header, 1<<20, "X-Forwarded-For: 203.0.113.9"); got != [3]string{tc.want, tc.want, tc.want} {
			t.Errorf("%q: addresses %v, want %s", tc.header, got, tc.want)
		}
	}
}

// TestProxyProtocolRefused: what is no header of a trusted peer is answered 400
// and goes no further, and neither does a header of anybody else.
func TestProxyProtocolRefused(t *testing.T) {
	onPollers(t, func(t *testing.T, open func() (poller, error)) {
		elsewhere := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
		for _, o := range []Options{
			{TrustedProxies: loopback, ProxyProtocol: true},
			{TrustedProxies: elsewhere, ProxyProtocol: true},
			{TrustedProxies: loopback},
		} {
			o.newPoller, o.HTTP = open, addressPage()
			must := o.ProxyProtocol && o.TrustedProxies[0] == loopback[0]
			s := start(t, o)
			for _, tc := range proxyCases() {
				if must == (tc.err == nil) {
					continue
				}
				p := s.connect(t)
				_, _ = p.Write([]byte(tc.header + upgradeRequest("/ws"))) // the server may have cut it off
				if got := p.untilEnd(); !strings.HasPrefix(got, "HTTP/1.1 400 ") {
					t.Errorf("%s, proxies %v: answered %q", tc.name, o.TrustedProxies, got)
				}
				_ = p.Close()
			}
			s.stop()
		}
	})
}

// untilEnd reads what comes until the end of the stream, be it a reset.
func (p *peer) untilEnd() string {
	for p.more() == nil {
	}
	return string(p.buf)
}

// TestProxyProtocolSlow: the time for the handshake counts from the first byte,
// the PROXY header included.
func TestProxyProtocolSlow(t *testing.T) {
	onPollers(t, func(t *testing.T, open func() (poller, error)) {
		limits := proto.DefaultLimits()
		limits.HandshakeTimeout = 20 * time.Millisecond
		s := start(t, Options{newPoller: open, Limits: limits, TrustedProxies: loopback, ProxyProtocol: true})
		for _, begin := range []string{"PROXY TCP4 192.0.2", proxyPrefix2 + "\x21"} {
			answered := func() bool { // not where the machine is so busy that the bytes come after the end
				p := s.connect(t)
				_, _ = p.Write([]byte(begin))
				return strings.HasPrefix(p.untilEnd(), "HTTP/1.1 408 ")
			}
			if !eventually(answered) {
				t.Errorf("%q alone is not answered 408", begin)
			}
		}
		p := s.connect(t)
		p.send("PROXY UNKNOWN\r\n")
		if got := p.untilEnd(); got != "" {
			t.Errorf("a header alone, as of a proxy that looks whether the server is there, got %q", got)
		}
	})
}
