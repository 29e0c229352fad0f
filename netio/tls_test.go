package netio

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/thronghq/throng/proto"
)

// authority signs certificates for tests.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"},
		NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{key: key, pool: x509.NewCertPool()}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.pool.AddCert(a.cert)
	return a
}

// issue returns a certificate for 127.0.0.1 and example.org that is valid until
// then.
func (a *authority) issue(t testing.TB, until time.Time) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "example.org"},
		NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: until,
		DNSNames: []string{"example.org"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// tlsSides returns a server's configuration and one of a client that trusts it.
func tlsSides(t testing.TB) (server, client *tls.Config) {
	a := newAuthority(t)
	return &tls.Config{Certificates: []tls.Certificate{a.issue(t, time.Now().Add(time.Hour))}},
		&tls.Config{RootCAs: a.pool, ServerName: "example.org"}
}

// tlsConnect opens a TLS connection, without an upgrade.
func (s *testServer) tlsConnect(t testing.TB, client *tls.Config) *peer {
	t.Helper()
	p := s.connect(t)
	p.Conn = tls.Client(p.Conn, client)
	if err := p.Conn.(*tls.Conn).Handshake(); err != nil {
		t.Fatalf("TLS handshake: %v", err)
	}
	return p
}

// tlsDial opens a WebSocket over TLS.
func (s *testServer) tlsDial(t testing.TB, client *tls.Config) *peer {
	t.Helper()
	p := s.tlsConnect(t, client)
	p.upgrade()
	return p
}

// upgrade makes a WebSocket of the connection.
func (p *peer) upgrade() {
	p.t.Helper()
	p.send(upgradeRequest("/ws"))
	if status := p.answer(); !strings.HasPrefix(status, "HTTP/1.1 101 ") {
		p.t.Fatalf("upgrade: %q", status)
	}
}

// TestTLSConformance: the conformance scripts have the same answers over TLS,
// in both versions, and the stream ends with close_notify.
func TestTLSConformance(t *testing.T) {
	server, client := tlsSides(t)
	for _, v := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(v), func(t *testing.T) {
			client := client.Clone()
			client.MinVersion, client.MaxVersion = v, v
			client.ClientSessionCache = tls.NewLRUClientSessionCache(1) // handshakes are not what is tried
			onPollers(t, func(t *testing.T, open func() (poller, error)) {
				r := newRecorder()
				s := start(t, Options{Handler: r, TLS: server, newPoller: open})
				for _, sc := range scripts() {
					for _, chop := range []int{0, 7} {
						if chop > 0 && len(sc.send) > 1<<12 {
							continue
						}
						t.Run(fmt.Sprintf("%s/%d", sc.name, chop), func(t *testing.T) {
							runScript(t, s.tlsDial(t, client), r, &sc, chop)
						})
					}
				}
			})
		})
	}
}

// cutter is a net.Conn whose writes leave as they are told to.
type cutter struct {
	net.Conn
	write func(c net.Conn, b []byte) error
}

func (c *cutter) Write(b []byte) (int, error) {
	if err := c.write(c.Conn, b); err != nil {
		return 0, err
	}
	return len(b), nil
}

// TestTLSCutRecords: records that arrive cut at any byte, and byte by byte, are
// put together, those of the handshake as well.
func TestTLSCutRecords(t *testing.T) {
	server, client := tlsSides(t)
	client.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	s := start(t, Options{TLS: server})
	talk := func(t *testing.T, write func(net.Conn, []byte) error) {
		p := s.connect(t)
		p.Conn = tls.Client(&cutter{p.Conn, write}, client)
		p.upgrade()
		p.frame(text, "hello")
		p.frame(ping, "x")
		p.expect("81 hello", "8a x")
	}
	t.Run("every byte alone", func(t *testing.T) {
		talk(t, func(c net.Conn, b []byte) error {
			for i := range b {
				if _, err := c.Write(b[i : i+1]); err != nil {
					return err
				}
			}
			return nil
		})
	})
	t.Run("any byte", func(t *testing.T) {
		// What stands before the cut has arrived when what stands after it is
		// sent, for a whole record before it is answered.
		for at, size := 0, 1; at <= size; at++ {
			p := s.connect(t)
			var records []byte
			cut := &cutter{p.Conn, func(c net.Conn, b []byte) error { _, err := c.Write(b); return err }}
			p.Conn = tls.Client(cut, client)
			p.upgrade()
			cut.write = func(_ net.Conn, b []byte) error { records = append(records, b...); return nil }
			p.frame(ping, "here")
			first := len(records)
			p.frame(text, "hello")
			size = len(records) - first
			for i, part := range [][]byte{records[:first+at], records[first+at:]} {
				if _, err := cut.Conn.Write(part); err != nil {
					t.Fatal(err)
				}
				p.expect([]string{"8a here", "81 hello"}[i])
			}
			_ = p.Close()
		}
	})
}

// TestTLSHTTP: requests that are no upgrade go to net/http, which knows that
// they came by TLS; an upgrade on the same connection comes back.
func TestTLSHTTP(t *testing.T) {
	server, client := tlsSides(t)
	o := Options{TLS: server, HTTP: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.TLS == nil || !r.TLS.HandshakeComplete {
			t.Error("net/http does not know of TLS")
			return
		}
		fmt.Fprintf(w, "%s %s %d", r.TLS.NegotiatedProtocol, r.URL.Path, len(body))
	})}
	onPollers(t, func(t *testing.T, open func() (poller, error)) {
		o.newPoller = open
		s := start(t, o)
		transport := &http.Transport{TLSClientConfig: client.Clone()}
		defer transport.CloseIdleConnections()
		web := http.Client{Transport: transport}
		for range 3 {
			big := strings.Repeat("x", 300<<10)
			response, err := web.Post("https://"+s.addr+"/a", "text/plain", strings.NewReader(big))
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(response.Body)
			_ = response.Body.Close()
			if err != nil || string(body) != "http/1.1 /a 307200" && string(body) != " /a 307200" {
				t.Fatalf("got %q, %v", body, err)
			}
		}
		for range 20 { // what follows the upgrade's head may be anywhere by then
			p := s.tlsConnect(t, client)
			p.send("GET /b HTTP/1.1\r\nHost: x\r\n\r\n")
			if !strings.HasPrefix(p.answer(), "HTTP/1.1 200") {
				t.Fatal("no answer")
			}
			for !strings.HasSuffix(string(p.buf), " /b 0") {
				if err := p.more(); err != nil {
					t.Fatal(err)
				}
			}
			p.buf = nil
			p.send(upgradeRequest("/ws") + string(cf(text, "early")))
			p.frame(text, "late")
			if status := p.answer(); !strings.HasPrefix(status, "HTTP/1.1 101 ") {
				t.Fatalf("upgrade: %q", status)
			}
			p.expect("81 early", "81 late")
			p.frame(closeF, "\x03\xe8")
			p.expectClose(1000)
		}
		if got := s.metric("throng_http_adopted_total"); got != "20" {
			t.Errorf("%s connections were adopted", got)
		}
	})
}

// TestTLSPlaintext: who does not speak TLS is told so in plain words, and a
// TestTLSGarbage: what looks like TLS and is not ends with an alert, and a
// TestTLSEnds: a client that ends the stream without a close frame, with
// close_notify or without, has gone without a code.
func TestTLSEnds(t *testing.T) {
	server, client := tlsSides(t)
	r := newRecorder()
	s := start(t, Options{TLS: server, Handler: r})
	for name, end := range map[string]func(*tls.Conn) error{
		"close_notify alone": (*tls.Conn).CloseWrite,
		"truncated":          func(c *tls.Conn) error { return c.NetConn().(*net.TCPConn).CloseWrite() },
		"reset": func(c *tls.Conn) error {
			_ = c.NetConn().(*net.TCPConn).SetLinger(0)
			return c.NetConn().Close()
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := s.tlsDial(t, client)
			r.wait(t, "open")
			if err := end(p.Conn.(*tls.Conn)); err != nil {
				t.Fatal(err)
			}
			if e := r.wait(t, "closed"); e.cause != CauseCut {
				t.Errorf("cause %v, want %v", e.cause, CauseCut)
			}
		})
	}
}

// TestTLSALPN: a client that offers http/1.1 among others gets it, one that
// TestTLSClientCertificates: with client certificates asked for, those who have
// TestTLSSlowHandshake: handshakes that stall are cut off in time, whatever
// TestTLSManyAtOnce: 500 clients at once come in, and the goroutines of their
// TestTLSInLine: where all places for handshakes are taken, the next one waits
// TestTLSStalled: where all places are taken by handshakes that stall, those who
// TestTLSBackpressure: a client that does not read holds up neither the server
// nor its memory; when it reads, it gets all of it in order, ciphertext that was
// cut off by a full socket included.
func TestTLSBackpressure(t *testing.T) {
	server, client := tlsSides(t)
	onPollers(t, func(t *testing.T, open func() (poller, error)) {
		r := newRecorder()
		s := start(t, Options{TLS: server, Handler: r, newPoller: open, SendBuffer: 4 << 10})
		p := s.tlsDial(t, client)
		c := r.wait(t, "open").c
		frame := func(i int) []byte {
			return AppendFrame(nil, ws.OpText, fmt.Appendf(nil, "%06d%s", i, strings.Repeat("x", 1+i*997%40_000)))
		}
		sent := 0
		for c.Deliver(frame(sent)) {
			sent++
		}
		c.Reply(AppendFrame(nil, ws.OpText, []byte("reply")))
		for i := range sent {
			if got, want := p.read(), "81 "+string(frame(i)[len(frame(i))-6-(1+i*997%40_000):]); got != want {
				t.Fatalf("frame %d: got %.20q of %d bytes, want %.20q of %d", i, got, len(got), want, len(want))
			}
		}
		p.expect("81 reply")
		r.wait(t, "drained")
		c.Close(1000, "")
		p.expect("88 \x03\xe8")
		p.frame(closeF, "\x03\xe8")
		p.expect("eof")
	})
}

// TestTLSPausedReading: a client that floods and does not read is not read from
// any more, and goes on when it reads.
func TestTLSPausedReading(t *testing.T) {
	server, client := tlsSides(t)
	onPollers(t, func(t *testing.T, open func() (poller, error)) {
		r := newRecorder()
		r.upgrade = func(*Request) (Accept, *proto.Error) { return Accept{MaxMessage: 1 << 20}, nil }
		limits := proto.DefaultLimits()
		limits.Replies = 64 << 10
		s := start(t, Options{TLS: server, Handler: r, newPoller: open, Limits: limits, SendBuffer: 4 << 10})
		p := s.tlsDial(t, client)
		const n = 2000
		sent := make(chan error, 1)
		go func() {
			for i := range n {
				if _, err := p.Write(cf(text, fmt.Sprintf("%06d%s", i, strings.Repeat("x", 3000)))); err != nil {
					sent <- err
					return
				}
			}
			sent <- nil
		}()
		for i := range n {
			if got, want := p.read(), fmt.Sprintf("81 %06d", i); !strings.HasPrefix(got, want) {
				t.Fatalf("got %.20q, want %q", got, want)
			}
		}
		if err := <-sent; err != nil {
			t.Fatal(err)
		}
	})
}

// TestTLSBehindProxy: the PROXY header comes first, in plain text, and the
// TestTLSShutdown: the server's going is told over TLS, and handshakes under way
// do not hold it up.
func TestTLSShutdown(t *testing.T) {
	server, client := tlsSides(t)
	s := start(t, Options{TLS: server})
	p := s.tlsDial(t, client)
	stalled := s.connect(t)
	stalled.send("\x16\x03\x01")
	if !eventually(func() bool { return s.metric("throng_tls_handshakes_running") == "1" }) {
		t.Fatal("no handshake runs")
	}
	stopped := make(chan error, 1)
	go func() { stopped <- s.Shutdown(t.Context()) }()
	if got := p.read(); !strings.HasPrefix(got, closing(1012)) {
		t.Errorf("got %.20q, want a close frame with 1012", got)
	}
	p.frame(closeF, "\x03\xf4")
	p.expect("eof")
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	_, _ = p.Close(), stalled.Close()
}

// TestTLSBuffers: what crypto/tls buffers is in the books while it waits for the
// rest of a record, and gone when the record is read.
func TestTLSBuffers(t *testing.T) {
	if !tlsLayout.known {
		t.Fatal("crypto/tls has other buffers than this package knows: see tlsbuffers.go")
	}
	server, client := tlsSides(t)
	r := newRecorder()
	s := start(t, Options{TLS: server, Handler: r})
	p := s.connect(t)
	var record []byte
	cut := &cutter{p.Conn, func(c net.Conn, b []byte) error { _, err := c.Write(b); return err }}
	p.Conn = tls.Client(cut, client)
	p.upgrade()
	c := r.wait(t, "open").c
	payload := strings.Repeat("x", 15_000)
	p.frame(text, payload) // so that records are as long as they can be from here on
	p.expect("81 " + payload)
	cut.write = func(_ net.Conn, b []byte) error { record = append(record, b...); return nil }
	for len(record) < 100_000 {
		p.frame(text, payload)
	}
	last := len(record) - 5000
	if _, err := cut.Conn.Write(record[:last]); err != nil {
		t.Fatal(err)
	}
	if !eventually(func() bool { return s.core.memory.partials.Held() > 8<<10 }) {
		t.Errorf("%d bytes are in the books", s.core.memory.partials.Held())
	}
	if _, err := cut.Conn.Write(record[last:]); err != nil {
		t.Fatal(err)
	}
	for range (len(record) + 14_999) / 15_100 {
		p.expect("81 " + payload)
	}
	if !eventually(func() bool { return (*holder)(c).Held() == 0 }) {
		t.Errorf("%d bytes are held by an idle connection", (*holder)(c).Held())
	}
	c.mu.Lock() // under which the connection lets go of its stream in the end
	defer c.mu.Unlock()
	raw, hand, _ := tlsLayout.of(c.tls.conn)
	if raw.Cap() > keptRaw || hand.Cap() > 0 {
		t.Errorf("an idle connection keeps %d and %d bytes", raw.Cap(), hand.Cap())
	}
}
