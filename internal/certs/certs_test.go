package certs

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/thronghq/throng/internal/acmetest"
)

// patience ends a test that waits for what never comes.
const patience = 60 * time.Second

// selfSigned returns a certificate for a name and its key, in PEM.
func selfSigned(t *testing.T, name string, until time.Time) (cert, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: until.Add(-24 * time.Hour), NotAfter: until, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// files is a folder with a pair for old.example.
type files struct{ cert, key, ca string }

func newFiles(t *testing.T) files {
	dir := t.TempDir()
	f := files{filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), filepath.Join(dir, "ca.pem")}
	cert, key := selfSigned(t, "old.example", time.Now().Add(12*time.Hour))
	write(t, f.cert, cert)
	write(t, f.key, key)
	return f
}

// shown returns the name of the certificate that a client sees.
func shown(t *testing.T, s *Source, client *tls.Config) (string, error) {
	t.Helper()
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	done := make(chan error, 1)
	go func() {
		c := tls.Server(b, s.Config())
		err := c.Handshake()
		if err == nil {
			_, err = c.Write([]byte("x"))
		}
		done <- err
	}()
	client = client.Clone()
	client.InsecureSkipVerify = true
	if client.ServerName == "" {
		client.ServerName = "any.example"
	}
	c := tls.Client(a, client)
	_, err := c.Read(make([]byte, 1))
	if err = errors.Join(err, <-done); err != nil {
		return "", err
	}
	return c.ConnectionState().PeerCertificates[0].Subject.CommonName, nil
}

// metric returns a metric's value.
func metric(set *metrics.Set, name string) string {
	var b bytes.Buffer
	set.WritePrometheus(&b)
	for line := range strings.Lines(b.String()) {
		if v, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// TestReload: a new pair is taken over while it is whole, and what is broken
// leaves the old one in force, told and counted once.
func TestReload(t *testing.T) {
	f, set := newFiles(t), metrics.NewSet()
	var log bytes.Buffer
	s, err := Open(Options{Cert: f.cert, Key: f.key, Logger: slog.New(slog.NewTextHandler(&log, nil)), Metrics: set})
	if err != nil {
		t.Fatal(err)
	}
	config := s.Config()
	cert, key := selfSigned(t, "new.example", time.Now().Add(12*time.Hour))
	expired, expiredKey := selfSigned(t, "expired.example", time.Now().Add(-time.Hour))
	oldCert, err := os.ReadFile(f.cert)
	if err != nil {
		t.Fatal(err)
	}
	for i, step := range []struct {
		name     string
		do       func()
		want     string
		failures string
	}{
		{"nothing", func() {}, "old.example", "0"},
		{"the certificate without its key", func() { write(t, f.cert, cert) }, "old.example", "1"},
		{"nothing more", func() {}, "old.example", "1"},
		{"half a key", func() { write(t, f.key, key[:len(key)/2]) }, "old.example", "2"},
		{"no key", func() { _ = os.Remove(f.key) }, "old.example", "3"},
		{"the key", func() { write(t, f.key, key) }, "new.example", "3"},
		{"nothing after", func() {}, "new.example", "3"},
		{"an expired one", func() { write(t, f.cert, expired); write(t, f.key, expiredKey) }, "new.example", "4"},
		{"no PEM", func() { write(t, f.cert, []byte("x")) }, "new.example", "5"},
		{"what is in force", func() { write(t, f.cert, cert); write(t, f.key, key) }, "new.example", "5"},
		{"the old certificate", func() { write(t, f.cert, oldCert) }, "new.example", "6"},
	} {
		step.do()
		s.reload()
		if got, err := shown(t, s, &tls.Config{}); err != nil || got != step.want {
			t.Errorf("%d, %s: %q is shown, %v, want %q", i, step.name, got, err, step.want)
		}
		if got := metric(set, "throng_tls_reload_failures_total"); got != step.failures {
			t.Errorf("%d, %s: %s failures, want %s", i, step.name, got, step.failures)
		}
	}
	if s.Config() != config {
		t.Error("the configuration is another after a reload")
	}
	if n := strings.Count(log.String(), "stays in force"); n != 6 {
		t.Errorf("failures were told %d times, want 6:\n%s", n, &log)
	}
	if got, want := metric(set, gaugeExpiry), ""; got == want || got == "0" {
		t.Errorf("expiry %q", got)
	}
}

// TestHalfAChain: a file that was read while it was written, or that a full disk
// cut off, is not taken for a whole one because what it begins with is.
func TestHalfAChain(t *testing.T) {
	f := newFiles(t)
	leaf, err := os.ReadFile(f.cert)
	if err != nil {
		t.Fatal(err)
	}
	more, _ := selfSigned(t, "between.example", time.Now().Add(time.Hour))
	whole := append(bytes.Clone(leaf), more...)
	write(t, f.cert, whole)
	write(t, f.ca, whole)
	o := Options{Cert: f.cert, Key: f.key, ClientCA: f.ca, Logger: slog.New(slog.DiscardHandler), Metrics: metrics.NewSet()}
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	half := whole[:len(leaf)+len(more)/2]
	broken := append(bytes.Clone(leaf), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")})...)
	for name, data := range map[string][]byte{
		"half": half, "half, and more": append(bytes.Clone(half), leaf...), "broken": broken, "begun": append(bytes.Clone(leaf), "-----BEGIN "...),
	} {
		for _, path := range []string{f.cert, f.ca} {
			write(t, path, data)
			if changed, err := s.load(); changed || err == nil {
				t.Errorf("%s of %s was taken over: %v", name, filepath.Base(path), err)
			}
			o.Metrics = metrics.NewSet()
			if _, err := Open(o); err == nil {
				t.Errorf("%s of %s is good enough for a start", name, filepath.Base(path))
			}
			write(t, path, whole)
		}
	}
	if n := len(s.pair.Load().Certificate); n != 2 {
		t.Errorf("%d certificates are in force, want 2", n)
	}
}

// TestWatch: what changes is seen within seconds.
func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFiles(t)
		s, err := Open(Options{Cert: f.cert, Key: f.key, Logger: slog.New(slog.DiscardHandler), Metrics: metrics.NewSet()})
		if err != nil {
			t.Fatal(err)
		}
		s.Start()
		defer s.Close()
		cert, key := selfSigned(t, "new.example", time.Now().Add(12*time.Hour))
		write(t, f.cert, cert)
		write(t, f.key, key)
		time.Sleep(2 * watchEvery) // in the bubble's time
		synctest.Wait()
		if leaf := s.pair.Load().Leaf; leaf.Subject.CommonName != "new.example" {
			t.Errorf("%s is in force", leaf.Subject.CommonName)
		}
	})
}

// TestOpenRefuses: a start with files that cannot be used is an error that names
// the key.
func TestOpenRefuses(t *testing.T) {
	f := newFiles(t)
	_, otherKey := selfSigned(t, "x.example", time.Now().Add(time.Hour))
	other := filepath.Join(t.TempDir(), "key.pem")
	write(t, other, otherKey)
	write(t, f.ca, []byte("no certificate"))
	expired, expiredKey := selfSigned(t, "x.example", time.Now().Add(-time.Hour))
	old, oldKey := f.cert+".old", f.key+".old"
	write(t, old, expired)
	write(t, oldKey, expiredKey)
	for _, tc := range []struct {
		o    Options
		want string
	}{
		{Options{Cert: f.cert, Key: other}, "tls.cert"},
		{Options{Cert: f.cert, Key: filepath.Dir(f.key)}, "tls.key"},
		{Options{Cert: f.cert + ".not", Key: f.key}, "tls.cert"},
		{Options{Cert: f.cert, Key: f.key, ClientCA: f.ca}, "tls.client_ca"},
		{Options{Cert: old, Key: oldKey}, "expired"},
	} {
		tc.o.Logger, tc.o.Metrics = slog.New(slog.DiscardHandler), metrics.NewSet()
		if _, err := Open(tc.o); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%+v: %v, want an error with %q", tc.o, err, tc.want)
		}
	}
	s, err := Open(Options{Logger: slog.New(slog.DiscardHandler), Metrics: metrics.NewSet()})
	if err != nil || s.Config() != nil {
		t.Errorf("nothing configured: %v, %v", s.Config(), err)
	}
}

// TestClientCA: with authorities for clients, who has no certificate of theirs
// stays out, and a change of the file counts for sessions that are resumed, too.
func TestClientCA(t *testing.T) {
	f := newFiles(t)
	cert, key := selfSigned(t, "client.example", time.Now().Add(time.Hour))
	write(t, f.ca, cert)
	s, err := Open(Options{Cert: f.cert, Key: f.key, ClientCA: f.ca, Logger: slog.New(slog.DiscardHandler), Metrics: metrics.NewSet()})
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	with := &tls.Config{Certificates: []tls.Certificate{pair}, ClientSessionCache: tls.NewLRUClientSessionCache(1), ServerName: "old.example"}
	if _, err := shown(t, s, with); err != nil {
		t.Error(err)
	}
	if _, err := shown(t, s, &tls.Config{}); err == nil {
		t.Error("a client without a certificate was let in")
	}
	another, _ := selfSigned(t, "another.example", time.Now().Add(time.Hour))
	write(t, f.ca, another)
	s.reload()
	if _, err := shown(t, s, with); err == nil {
		t.Error("a client of an authority that is gone was let in")
	}
}

// TestACME: certificates are ordered by tls-alpn-01 on the server's own port,
// without a client certificate even where one is asked for; kept in a folder of
// the process's own; and taken from there the next time.
func TestACME(t *testing.T) {
	authority := acmetest.New(t)
	f := newFiles(t)
	ca, _ := selfSigned(t, "client.example", time.Now().Add(time.Hour))
	write(t, f.ca, ca)
	cache := filepath.Join(t.TempDir(), "acme")
	for round, hosts := range [][]string{{"a.example", "b.example"}, {"a.example", "b.example"}} {
		set := metrics.NewSet()
		s, err := Open(Options{
			ACME:     ACME{Hosts: hosts, Email: "ops@example.org", Directory: authority.Directory(), Cache: cache},
			ClientCA: f.ca, Logger: slog.New(slog.DiscardHandler), Metrics: set,
		})
		if err != nil {
			t.Fatal(err)
		}
		serve(t, s, authority)
		s.Start()
		for _, h := range s.acme.hosts {
			select {
			case <-h.tried:
			case <-time.After(patience):
			}
			if !h.ready.Load() {
				t.Fatalf("no certificate for %s; %s failures", h.name, metric(set, "throng_tls_acme_failures_total"))
			}
			c, err := s.certificate(&tls.ClientHelloInfo{ServerName: strings.ToUpper(h.name)})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.Leaf.Verify(x509.VerifyOptions{Roots: authority.Roots(), DNSName: h.name}); err != nil {
				t.Error(err)
			}
		}
		if _, err := s.certificate(&tls.ClientHelloInfo{ServerName: "c.example"}); err == nil {
			t.Error("there is a certificate for a stranger")
		}
		if got := authority.Orders(); got != 2 {
			t.Errorf("round %d: %d orders, want 2", round, got)
		}
		s.Close()
	}
	info, err := os.Stat(cache)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the folder: %v, %v", info.Mode(), err)
	}
}

// serve accepts connections for a source until the test ends.
func serve(t *testing.T, s *Source, authority *acmetest.Authority) {
	t.Helper()
	ln, err := tls.Listen("tcp", "127.0.0.1:0", s.Config())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	authority.Lead(ln.Addr().String())
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				_ = c.(*tls.Conn).Handshake()
				_ = c.Close()
			}()
		}
	}()
}
