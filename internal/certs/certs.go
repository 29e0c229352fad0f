// Package certs holds the certificates that a server shows: those of a pair of
// files, which it reads again when they change, and those that an ACME authority
// (RFC 8555) issues. What is in force is never replaced by something that does
// not work.
package certs

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/VictoriaMetrics/metrics"
)

const (
	watchEvery  = time.Second
	maxFile     = 1 << 20 // bytes of one file
	httpProto   = "http/1.1"
	gaugeExpiry = "throng_tls_certificate_expiry_timestamp_seconds"
)

// Options say where certificates come from. With neither files nor hosts, there
// are none.
type Options struct {
	Cert, Key string // PEM files: the chain, the server's own certificate first, and its key
	ClientCA  string // PEM file of the authorities that a client's certificate must come from; "" asks for none
	ACME      ACME
	Logger    *slog.Logger
	Metrics   *metrics.Set
}

// Source is the certificates in force. Its methods are safe for concurrent use.
type Source struct {
	// Static after Open.
	opts  Options
	acme  *issuer     // nil without hosts
	outer *tls.Config // nil without certificates

	inner atomic.Pointer[tls.Config] // for a handshake that begins now
	pair  atomic.Pointer[tls.Certificate]

	// Owned by the goroutine that watches.
	content [sha256.Size]byte // what was last read
	failure string            // why it is not in force; "" where it is

	loaded   *metrics.Gauge
	failures *metrics.Counter

	stop context.CancelFunc
	ctx  context.Context // ends with Close
	work sync.WaitGroup
}

// Open reads the files. It fails where one of them cannot be used. Nothing is
// watched and no authority asked before Start.
func Open(o Options) (*Source, error) {
	s := &Source{
		opts:     o,
		loaded:   o.Metrics.NewGauge("throng_tls_loaded_timestamp_seconds", nil),
		failures: o.Metrics.NewCounter("throng_tls_reload_failures_total"),
	}
	s.ctx, s.stop = context.WithCancel(context.Background())
	var err error
	if s.acme, err = newIssuer(s.ctx, &o); err != nil {
		return nil, err
	}
	o.Metrics.NewGauge(gaugeExpiry, s.expiry)
	if o.Cert == "" && s.acme == nil {
		return s, nil
	}
	if _, err := s.load(); err != nil {
		return nil, err
	}
	s.outer = &tls.Config{
		GetConfigForClient: s.configFor,
		GetCertificate:     s.certificate,
		NextProtos:         []string{httpProto},
	}
	return s, nil
}

// Config returns what connections are served with, nil where there are no
// certificates. It stays the same when files change and certificates are
// renewed. Its callbacks do not wait.
func (s *Source) Config() *tls.Config { return s.outer }

// Start watches the files and asks the authority for what is missing. The server
// must be listening, for the authority connects to it. Certificates that are
// kept from before are in force when Start returns, but for a disk that takes
// its time.
func (s *Source) Start() {
	if s.opts.Cert != "" || s.opts.ClientCA != "" {
		s.work.Go(s.watch)
	}
	if s.acme != nil {
		for _, h := range s.acme.hosts {
			s.work.Go(func() { s.acme.obtain(s.ctx, h) })
		}
		s.acme.awaitKept(s.ctx)
	}
}

// Close ends what Start began. What was in force stays in force.
func (s *Source) Close() {
	s.stop()
	s.work.Wait()
}

// configFor implements tls.Config.GetConfigForClient.
func (s *Source) configFor(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	if s.acme != nil && isChallenge(hello) {
		return s.acme.config, nil
	}
	return s.inner.Load(), nil
}

// certificate implements tls.Config.GetCertificate.
func (s *Source) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if s.acme != nil {
		if h := s.acme.host(hello.ServerName); h != nil && h.ready.Load() {
			return s.acme.manager.GetCertificate(h.hello)
		}
	}
	if pair := s.pair.Load(); pair != nil {
		return pair, nil
	}
	return nil, fmt.Errorf("there is no certificate for %q", hello.ServerName)
}

// watch reads the files again and again, for they are small, and there is no
// sign of a change that all file systems give.
func (s *Source) watch() {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-tick.C:
		}
		s.reload()
	}
}

// reload takes over what the files hold, where that is new and can be used. A
// failure is told once for each reason.
func (s *Source) reload() {
	changed, err := s.load()
	switch {
	case err == nil && changed:
		s.failure = ""
		s.opts.Logger.LogAttrs(s.ctx, slog.LevelInfo, "the certificate was read again", slog.String("file", s.opts.Cert))
	case err != nil && err.Error() != s.failure:
		s.failure = err.Error()
		s.failures.Inc()
		s.opts.Logger.LogAttrs(s.ctx, slog.LevelError, "the new certificate cannot be used; the old one stays in force", slog.Any("error", err))
	}
}

// load puts in force what the files hold now, all of it or nothing. changed is
// false where they hold what is in force already.
func (s *Source) load() (changed bool, err error) {
	cert, certErr := readFile("tls.cert", s.opts.Cert)
	key, keyErr := readFile("tls.key", s.opts.Key)
	clientCA, caErr := readFile("tls.client_ca", s.opts.ClientCA)
	if err := errors.Join(certErr, keyErr, caErr); err != nil {
		return false, err
	}
	content := digest(cert, key, clientCA)
	if content == s.content && s.inner.Load() != nil {
		s.failure = "" // what failed is gone again
		return false, nil
	}
	inner := &tls.Config{
		MinVersion:                  tls.VersionTLS12,
		NextProtos:                  []string{httpProto},
		GetCertificate:              s.certificate,
		DynamicRecordSizingDisabled: true,
	}
	if s.opts.ClientCA != "" {
		inner.ClientAuth, inner.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
		authorities, err := certificates(clientCA)
		if err != nil {
			return false, fmt.Errorf("tls.client_ca %s: %w", s.opts.ClientCA, err)
		}
		for _, c := range authorities {
			inner.ClientCAs.AddCert(c)
		}
	}
	if s.opts.Cert != "" {
		if _, err := certificates(cert); err != nil {
			return false, fmt.Errorf("tls.cert %s: %w", s.opts.Cert, err)
		}
		pair, err := tls.X509KeyPair(cert, key)
		if err != nil {
			return false, fmt.Errorf("tls.cert %s with tls.key %s: %w", s.opts.Cert, s.opts.Key, err)
		}
		if now := time.Now(); now.After(pair.Leaf.NotAfter) {
			return false, fmt.Errorf("tls.cert %s: it expired at %s", s.opts.Cert, pair.Leaf.NotAfter.Format(time.RFC3339))
		}
		s.pair.Store(&pair)
	}
	s.inner.Store(inner)
	s.content = content
	s.loaded.Set(float64(time.Now().Unix()))
	return true, nil
}

// certificates returns the certificates in a PEM file, of which there must be
// one. What crypto/tls and crypto/x509 pass over in silence, a block that is cut
// off or broken, is an error: the file is half written.
func certificates(data []byte) (certs []*x509.Certificate, err error) {
	begun := bytes.Count(data, []byte("-----BEGIN"))
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		begun--
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		certs = append(certs, c)
	}
	switch {
	case begun > 0:
		return nil, errors.New("it holds a PEM block that is cut off")
	case len(certs) == 0:
		return nil, errors.New("it holds no certificate in PEM")
	}
	return certs, nil
}

// digest tells the contents of files from others.
func digest(files ...[]byte) [sha256.Size]byte {
	var all []byte
	for _, f := range files {
		sum := sha256.Sum256(f)
		all = append(all, sum[:]...)
	}
	return sha256.Sum256(all)
}

// readFile reads the file of a key, nil where none is named.
func readFile(key, path string) ([]byte, error) {
	if path == "" {
		return nil, nil
	}
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe must not hold up the watch
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s %s: it is not a regular file", key, path)
	}
	data, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", key, err)
	case len(data) > maxFile:
		return nil, fmt.Errorf("%s %s: it has more than %d bytes", key, path, maxFile)
	}
	return data, nil
}

// expiry returns when the first of the certificates in force expires, in Unix
// seconds, 0 where there is none.
func (s *Source) expiry() float64 {
	var first time.Time
	soonest := func(c *tls.Certificate) {
		if c != nil && c.Leaf != nil && (first.IsZero() || c.Leaf.NotAfter.Before(first)) {
			first = c.Leaf.NotAfter
		}
	}
	soonest(s.pair.Load())
	if s.acme != nil {
		for _, h := range s.acme.hosts {
			if h.ready.Load() {
				if c, err := s.acme.manager.GetCertificate(h.hello); err == nil {
					soonest(c)
				}
			}
		}
	}
	if first.IsZero() {
		return 0
	}
	return float64(first.Unix())
}
