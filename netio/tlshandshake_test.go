package netio

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/thronghq/throng/proto"
)

// TestTLSPlaintext: who speaks no TLS is told in plain text, and a Unix socket
// stays plain.
func TestTLSPlaintext(t *testing.T) {
	server, _ := tlsSides(t)
	path := t.TempDir() + "/s"
	s := start(t, Options{TLS: server, Listen: []string{"127.0.0.1:0", "unix:" + path}})
	p := s.connect(t)
	p.send(upgradeRequest("/ws"))
	if got := p.rest(); !strings.HasPrefix(got, "HTTP/1.1 400 ") || !strings.Contains(got, plaintextHelp) {
		t.Errorf("got %q", got)
	}
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	newPeer(t, conn).upgrade()
}

// TestTLSToPlain: who speaks TLS where nobody does is told at once, and counted as
// that.
func TestTLSToPlain(t *testing.T) {
	_, client := tlsSides(t)
	onPollers(t, func(t *testing.T, open func() (poller, error)) {
		s := start(t, Options{newPoller: open, ProxyProtocol: true, TrustedProxies: loopback})
		for i, before := range []string{"PROXY UNKNOWN\r\n", "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"} {
			p := s.connect(t)
			p.send(before)
			err := tls.Client(p.Conn, client).Handshake()
			if _, ok := errors.AsType[tls.RecordHeaderError](err); !ok {
				t.Errorf("%q: the client gets %v", before, err)
			}
			if got := s.metric(`throng_tls_handshakes_total{result="plain"}`); got != fmt.Sprint(i+1) {
				t.Errorf("%q: %q are counted, want %d", before, got, i+1)
			}
		}
		p := s.connect(t)
		p.send("PROXY UNKNOWN\r\n\x16")
		if got := p.rest(); !strings.HasPrefix(got, "HTTP/1.1 400 ") || !strings.Contains(got, tlsHelp) {
			t.Errorf("got %q", got)
		}
	})
}

// TestTLSGarbage: what is no handshake is answered with an alert at the most, and
// a record that was tampered with ends the connection.
func TestTLSGarbage(t *testing.T) {
	server, client := tlsSides(t)
	r := newRecorder()
	s := start(t, Options{TLS: server, Handler: r})
	for name, send := range map[string]string{
		"no hello":        "\x16\x03\x01\x00\x05hello",
		"another message": "\x16\x03\x01\x00\x04\x02\x00\x00\x00",
		"too long":        "\x16\x03\x01\xff\xff",
		"version":         "\x16\x10\x01\x00\x05hello",
	} {
		t.Run(name, func(t *testing.T) {
			p := s.connect(t)
			p.send(send)
			if got := p.rest(); got != "" && got[0] != 21 {
				t.Errorf("got %q, want an alert", got)
			}
		})
	}
	p := s.tlsDial(t, client)
	r.wait(t, "open")
	raw := p.Conn.(*tls.Conn).NetConn()
	if _, err := raw.Write([]byte("\x17\x03\x03\x00\x20" + strings.Repeat("x", 32))); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Conn.Read(make([]byte, 1)); err == nil || !strings.Contains(err.Error(), "bad record MAC") {
		t.Errorf("read: %v, want the alert", err)
	}
	if e := r.wait(t, "closed"); e.cause != CauseCut {
		t.Errorf("cause %v, want %v", e.cause, CauseCut)
	}
	if got := s.metric("throng_tls_broken_total"); got != "1" {
		t.Errorf("%s broken connections are counted, want 1", got)
	}
}

// TestTLSALPN: http/1.1 is agreed on where it is offered; a client that offers
// nothing is let in, and one that offers only others is refused.
func TestTLSALPN(t *testing.T) {
	server, client := tlsSides(t)
	server.NextProtos = []string{"http/1.1", acmeTLSALPN}
	s := start(t, Options{TLS: server})
	for _, tc := range []struct {
		offer []string
		want  string
	}{{nil, ""}, {[]string{"h2", "http/1.1"}, "http/1.1"}} {
		client := client.Clone()
		client.NextProtos = tc.offer
		p := s.tlsDial(t, client)
		if got := p.Conn.(*tls.Conn).ConnectionState().NegotiatedProtocol; got != tc.want {
			t.Errorf("offering %q: got %q, want %q", tc.offer, got, tc.want)
		}
	}
	client = client.Clone()
	client.NextProtos = []string{"h2"}
	err := tls.Client(s.connect(t).Conn, client).Handshake()
	if err == nil || !strings.Contains(err.Error(), "no application protocol") {
		t.Errorf("offering h2: %v, want no application protocol", err)
	}
	client.NextProtos = []string{acmeTLSALPN}
	p := s.tlsConnect(t, client)
	if got := p.rest(); got != "" {
		t.Errorf("a connection for a certificate alone got %q", got)
	}
}

// TestTLSClientCertificates: who has a certificate gets in; those with none, an
// old one or a stranger's stay out.
func TestTLSClientCertificates(t *testing.T) {
	a, stranger := newAuthority(t), newAuthority(t)
	server := &tls.Config{
		Certificates: []tls.Certificate{a.issue(t, time.Now().Add(time.Hour))},
		ClientCAs:    a.pool, ClientAuth: tls.RequireAndVerifyClientCert,
	}
	s := start(t, Options{TLS: server})
	for _, v := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		client := &tls.Config{RootCAs: a.pool, ServerName: "example.org", MinVersion: v, MaxVersion: v}
		with := func(c tls.Certificate) *tls.Config {
			client := client.Clone()
			client.Certificates = []tls.Certificate{c}
			return client
		}
		s.tlsDial(t, with(a.issue(t, time.Now().Add(time.Hour))))
		for name, client := range map[string]*tls.Config{
			"none":     client,
			"expired":  with(a.issue(t, time.Now().Add(-time.Hour))),
			"stranger": with(stranger.issue(t, time.Now().Add(time.Hour))),
		} {
			c := tls.Client(s.connect(t).Conn, client)
			err := c.Handshake()
			if err == nil { // a client of TLS 1.3 is done before the server has looked
				_, err = c.Read(make([]byte, 1))
			}
			if _, ok := errors.AsType[*net.OpError](err); !ok || !strings.Contains(err.Error(), "remote error: tls") {
				t.Errorf("%s, %s: %v, want an alert", tls.VersionName(v), name, err)
			}
		}
	}
}

// TestTLSSlowHandshake: handshakes that stall end in time, wherever each of them
// stalls, and hold up nobody else meanwhile.
func TestTLSSlowHandshake(t *testing.T) {
	server, client := tlsSides(t)
	limits := proto.DefaultLimits()
	limits.HandshakeTimeout = 2 * time.Second // those who do not stall are done in time, also on a busy machine
	s := start(t, Options{TLS: server, Limits: limits})
	var slow []*peer
	for _, send := range []string{"", "\x16", "\x16\x03\x01\x02\x00\x01", "\x16\x03\x01\x40\x00\x01\x00\x3f\xfc\x03\x03"} {
		for range 8 {
			p := s.connect(t)
			p.send(send)
			slow = append(slow, p)
		}
	}
	s.tlsDial(t, client)
	half := s.tlsConnect(t, client)
	for _, p := range slow {
		if got := p.rest(); got != "" {
			t.Errorf("got %q", got)
		}
	}
	if got := half.rest(); got != "" {
		t.Errorf("a connection without a request got %q", got)
	}
	if !eventually(func() bool { return s.metric("throng_tls_handshakes_running") == "0" }) {
		t.Error("handshakes are left")
	}
}

// TestTLSManyAtOnce: many handshakes at once all succeed, and the goroutines of
// handshakes go.
func TestTLSManyAtOnce(t *testing.T) {
	server, client := tlsSides(t)
	limits := proto.DefaultLimits()
	limits.HandshakeTimeout = patience
	s := start(t, Options{TLS: server, Limits: limits})
	var clients sync.WaitGroup
	peers := make([]*peer, 500)
	failed := make(chan error, len(peers))
	for i := range peers {
		p := s.connect(t)
		peers[i] = p
		clients.Go(func() {
			c := tls.Client(p.Conn, client)
			p.Conn = c
			if _, err := io.WriteString(c, upgradeRequest("/ws")); err != nil {
				failed <- err
			}
		})
	}
	clients.Wait()
	close(failed)
	for err := range failed {
		t.Fatal(err)
	}
	for _, p := range peers {
		if status := p.answer(); !strings.HasPrefix(status, "HTTP/1.1 101 ") {
			t.Fatalf("upgrade: %q", status)
		}
	}
	if !eventually(func() bool { return s.metric("throng_tls_handshakes_running") == "0" }) {
		t.Error("goroutines of handshakes are left")
	}
	if got := s.metric(`throng_tls_handshakes_total{result="done"}`); got != "500" {
		t.Errorf("%s handshakes are counted, want 500", got)
	}
	for i, p := range peers {
		p.frame(text, fmt.Sprint(i))
		p.expect("81 " + fmt.Sprint(i))
	}
}

// TestTLSInLine: who comes when as many handshakes run as may waits in line for
// its turn, and gets it.
func TestTLSInLine(t *testing.T) {
	server, client := tlsSides(t)
	limits := proto.DefaultLimits()
	limits.HandshakeTimeout = time.Hour
	s := start(t, Options{TLS: server, Limits: limits}, func(s *Server) { s.core.handshakes.grace = time.Hour })
	stalled := make([]*peer, maxHandshakes)
	for i := range stalled {
		stalled[i] = s.connect(t)
		stalled[i].send("\x16")
	}
	if !eventually(func() bool { return s.metric("throng_tls_handshakes_running") == fmt.Sprint(maxHandshakes) }) {
		t.Fatalf("%s handshakes run, want %d", s.metric("throng_tls_handshakes_running"), maxHandshakes)
	}
	p := s.connect(t)
	done := make(chan error, 1)
	c := tls.Client(p.Conn, client)
	go func() { done <- c.Handshake() }()
	if !eventually(func() bool { return s.metric("throng_tls_handshakes_waiting") == "1" }) {
		t.Fatal("nobody waits")
	}
	gone := s.connect(t)
	gone.send("\x16")
	if !eventually(func() bool { return s.metric("throng_tls_handshakes_waiting") == "2" }) {
		t.Fatal("the second one does not wait")
	}
	_ = gone.Close()
	if !eventually(func() bool { return s.metric("throng_tls_handshakes_waiting") == "1" }) {
		t.Fatal("who has gone stands in line")
	}
	_ = stalled[0].Close()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// TestTLSStalled: where those that stall have taken all places, others that
// come have them go, the slowest first.
func TestTLSStalled(t *testing.T) {
	server, client := tlsSides(t)
	limits := proto.DefaultLimits()
	limits.HandshakeTimeout = time.Hour
	s := start(t, Options{TLS: server, Limits: limits}, func(s *Server) { s.core.handshakes.grace = 0 })
	first := s.connect(t)
	first.send("\x16")
	if !eventually(func() bool { return s.metric("throng_tls_handshakes_running") == "1" }) {
		t.Fatal("no handshake runs")
	}
	for range maxHandshakes - 1 {
		s.connect(t).send("\x16")
	}
	if !eventually(func() bool { return s.metric("throng_tls_handshakes_running") == fmt.Sprint(maxHandshakes) }) {
		t.Fatalf("%s handshakes run, want %d", s.metric("throng_tls_handshakes_running"), maxHandshakes)
	}
	for range 8 {
		s.tlsDial(t, client)
	}
	if got := first.rest(); got != "" {
		t.Errorf("got %q", got)
	}
}

// TestTLSDripped: who sends a byte now and then keeps the server waiting, too.
func TestTLSDripped(t *testing.T) {
	server, client := tlsSides(t)
	limits := proto.DefaultLimits()
	limits.HandshakeTimeout = time.Hour
	s := start(t, Options{TLS: server, Limits: limits}, func(s *Server) { s.core.handshakes.grace = 0 })
	first := s.connect(t)
	first.send("\x16")
	if !eventually(func() bool { return s.metric("throng_tls_handshakes_running") == "1" }) {
		t.Fatal("no handshake runs")
	}
	for range maxHandshakes - 1 {
		s.connect(t).send("\x16")
	}
	if !eventually(func() bool { return s.stalled() == maxHandshakes }) {
		t.Fatalf("%d handshakes wait for their peer, want %d", s.stalled(), maxHandshakes)
	}
	h := s.core.handshakes
	paused := func() (d time.Duration) {
		h.mu.Lock()
		defer h.mu.Unlock()
		for s := range h.stalled {
			d = max(d, s.hs.waited)
		}
		return d
	}
	first.send("\x03")
	if !eventually(func() bool { return paused() > 0 && s.stalled() == maxHandshakes }) {
		t.Fatal("the second byte did not arrive")
	}
	s.tlsDial(t, client)
	if got := first.rest(); got != "" {
		t.Errorf("got %q", got)
	}
}

// stalled returns how many handshakes wait for their peer.
func (s *testServer) stalled() int {
	h := s.core.handshakes
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.stalled)
}

// TestTLSStalledLater: who comes when nobody has stalled for long enough to have
// to go gets its turn as soon as somebody has.
func TestTLSStalledLater(t *testing.T) {
	server, client := tlsSides(t)
	limits := proto.DefaultLimits()
	limits.HandshakeTimeout = time.Hour
	s := start(t, Options{TLS: server, Limits: limits}, func(s *Server) { s.core.handshakes.grace = time.Hour })
	for range maxHandshakes {
		s.connect(t).send("\x16")
	}
	if !eventually(func() bool { return s.stalled() == maxHandshakes }) {
		t.Fatalf("%d handshakes wait for their peer, want %d", s.stalled(), maxHandshakes)
	}
	p := s.connect(t)
	done := make(chan error, 1)
	go func() { done <- tls.Client(p.Conn, client).Handshake() }()
	if !eventually(func() bool { return s.metric("throng_tls_handshakes_waiting") == "1" }) {
		t.Fatal("nobody waits")
	}
	h := s.core.handshakes
	h.mu.Lock()
	h.grace = 0
	h.mu.Unlock()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// TestTLSBehindProxy: the PROXY header comes first, in plain text, and the
// ClientHello after it, in the same segment or a later one.
func TestTLSBehindProxy(t *testing.T) {
	server, client := tlsSides(t)
	r := newRecorder()
	s := start(t, Options{
		TLS: server, Handler: r, ProxyProtocol: true, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
	})
	const header = "PROXY TCP4 192.0.2.7 192.0.2.8 1024 443\r\n"
	for name, write := range map[string]func(c net.Conn, b []byte) error{
		"together": func(c net.Conn, b []byte) error { _, err := c.Write(append([]byte(header), b...)); return err },
		"byte by byte": func(c net.Conn, b []byte) error {
			for _, one := range append([]byte(header), b...) {
				if _, err := c.Write([]byte{one}); err != nil {
					return err
				}
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := s.connect(t)
			first := true
			p.Conn = tls.Client(&cutter{p.Conn, func(c net.Conn, b []byte) error {
				if first {
					first = false
					return write(c, b)
				}
				_, err := c.Write(b)
				return err
			}}, client)
			p.upgrade()
			if got := r.wait(t, "open").c.Address().String(); got != "192.0.2.7" {
				t.Errorf("address %s, want the header's", got)
			}
			_ = p.Close()
			r.wait(t, "closed")
		})
	}
	t.Run("inside", func(t *testing.T) {
		p := s.connect(t)
		if err := tls.Client(p.Conn, client).Handshake(); err == nil {
			t.Error("a ClientHello without a header before it was let in")
		}
	})
}
