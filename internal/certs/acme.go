package certs

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"
)

// ACME says which certificates an authority issues, by the challenge tls-alpn-01
// (RFC 8737): it connects to port 443 of each host, which must lead here. Its
// terms of service are agreed to.
type ACME struct {
	Hosts     []string // names in lower case; none asks for nothing
	Email     string   // that the authority may write to; "" for none
	Directory string   // URL of the authority
	Cache     string   // folder for the account's key and the certificates, made 0700
}

const (
	firstRetry = time.Minute // authorities count failures, some five an hour
	lastRetry  = time.Hour
	keptWait   = 2 * time.Second // for certificates that are in the cache
)

// issuer keeps the certificates of an authority. Whatever takes time happens on
// goroutines of its own: a handshake gets what is there.
type issuer struct {
	// Static after construction.
	manager *autocert.Manager
	config  *tls.Config // of a handshake in which the authority looks
	hosts   []*host
	logger  *slog.Logger

	failures *metrics.Counter
}

// host is one name with a certificate.
type host struct {
	name  string
	hello *tls.ClientHelloInfo // asks the manager for its certificate, always for one with an ECDSA key
	ready atomic.Bool          // the manager has it, and will renew it by itself
	tried chan struct{}        // closed after the first attempt
}

func newIssuer(ctx context.Context, o *Options) (*issuer, error) {
	failures := o.Metrics.NewCounter("throng_tls_acme_failures_total")
	if len(o.ACME.Hosts) == 0 {
		return nil, nil
	}
	if err := os.MkdirAll(o.ACME.Cache, 0o700); err != nil {
		return nil, fmt.Errorf("tls.acme_hosts: the folder for certificates: %w", err)
	}
	m := &autocert.Manager{
		Prompt:     autocert.AcceptTOS,
		Cache:      autocert.DirCache(o.ACME.Cache),
		HostPolicy: autocert.HostWhitelist(o.ACME.Hosts...),
		Email:      o.ACME.Email,
		Client: &acme.Client{
			DirectoryURL: o.ACME.Directory,
			UserAgent:    "throng",
			HTTPClient:   &http.Client{Transport: until{ctx}, Timeout: time.Minute},
		},
	}
	i := &issuer{manager: m, logger: o.Logger, failures: failures}
	i.config = &tls.Config{
		MinVersion:                  tls.VersionTLS12,
		GetCertificate:              m.GetCertificate,
		NextProtos:                  []string{acme.ALPNProto},
		DynamicRecordSizingDisabled: true,
	}
	for _, name := range o.ACME.Hosts {
		i.hosts = append(i.hosts, &host{name: name, tried: make(chan struct{}), hello: &tls.ClientHelloInfo{
			ServerName: name, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256},
		}})
	}
	return i, nil
}

// until is an http.RoundTripper whose requests end when ctx does.
type until struct{ ctx context.Context }

// RoundTrip implements http.RoundTripper.
func (u until) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := u.ctx.Err(); err != nil {
		return nil, err
	}
	return http.DefaultTransport.RoundTrip(r)
}

// isChallenge reports whether the authority looks whether the host is ours.
func isChallenge(hello *tls.ClientHelloInfo) bool {
	return len(hello.SupportedProtos) == 1 && hello.SupportedProtos[0] == acme.ALPNProto
}

// host returns the host of that name, nil for a stranger.
func (i *issuer) host(name string) *host {
	for _, h := range i.hosts {
		if strings.EqualFold(h.name, strings.TrimSuffix(name, ".")) {
			return h
		}
	}
	return nil
}

// awaitKept waits a little for the hosts whose certificates are in the cache.
func (i *issuer) awaitKept(ctx context.Context) {
	enough := time.After(keptWait)
	for _, h := range i.hosts {
		if _, err := i.manager.Cache.Get(ctx, h.name); err != nil {
			continue
		}
		select {
		case <-h.tried:
		case <-enough:
			return
		case <-ctx.Done():
			return
		}
	}
}

// obtain has the manager take the host's certificate from its cache or get it
// from the authority, and goes on until it has it or ctx ends. The manager
// renews it from then on. What it is doing when ctx ends it gives up by itself,
// within minutes; nobody waits for that.
func (i *issuer) obtain(ctx context.Context, h *host) {
	tried := sync.OnceFunc(func() { close(h.tried) })
	defer tried()
	for retry := firstRetry; ; retry = min(2*retry, lastRetry) {
		got := make(chan error, 1)
		go func() {
			_, err := i.manager.GetCertificate(h.hello)
			got <- err
		}()
		select {
		case <-ctx.Done():
			return
		case err := <-got:
			if err == nil {
				h.ready.Store(true)
				i.logger.LogAttrs(ctx, slog.LevelInfo, "the certificate is there", slog.String("host", h.name))
				return
			}
			i.failures.Inc()
			i.logger.LogAttrs(ctx, slog.LevelError, "the authority issued no certificate",
				slog.String("host", h.name), slog.Any("error", err), slog.Duration("retry", retry))
		}
		tried()
		select {
		case <-ctx.Done():
			return
		case <-time.After(retry):
		}
	}
}
