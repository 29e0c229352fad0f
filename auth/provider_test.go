package auth_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/thronghq/throng/auth"
	"github.com/thronghq/throng/proto"
)

// pipes is a listener within the process, so that a real HTTP server and its
// clients can live on the time of a synctest bubble.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80} }

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case p.conns <- server:
		return client, nil
	case <-p.closed:
		return nil, errors.New("connection refused")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// provider is another issuer: an HTTP server that publishes keys, in a synctest
// bubble.
type provider struct {
	t      *testing.T
	server *httptest.Server
	asked  atomic.Int64
	answer atomic.Pointer[http.HandlerFunc]

	issuer   *auth.Issuer
	verifier *auth.Verifier
	metrics  *metrics.Set
	log      bytes.Buffer
}

// inProvider runs with a provider that publishes the keys, and a verifier that
// knows it and has a secret of its own.
func inProvider(t *testing.T, change func(*auth.IssuerOptions), keys string, run func(t *testing.T, p *provider)) {
	material() // made outside of the bubble
	synctest.Test(t, func(t *testing.T) {
		p := &provider{t: t, metrics: metrics.NewSet()}
		p.publish(keys)
		listener := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
		p.server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			p.asked.Add(1)
			(*p.answer.Load())(w, r)
		}))
		p.server.Listener.Close()
		p.server.Listener = listener
		p.server.Start()
		defer p.server.Close()
		o := auth.IssuerOptions{
			Name: "idp", Issuer: "https://id.example", URL: p.server.URL, Audience: []string{"throng"}, UserPrefix: "idp:",
			Refresh: time.Hour, Transport: &http.Transport{DialContext: listener.dial, DisableKeepAlives: true},
			Logger: slog.New(slog.NewTextHandler(&p.log, nil)), Metrics: p.metrics,
		}
		if change != nil {
			change(&o)
		}
		var err error
		if p.issuer, err = auth.OpenIssuer(o); err != nil {
			t.Fatal(err)
		}
		defer p.issuer.Close()
		p.verifier = auth.NewVerifier(auth.VerifierOptions{Keys: auth.NewKeySet(key), Issuer: "us", Issuers: []*auth.Issuer{p.issuer}})
		synctest.Wait()
		run(t, p)
	})
}

func (p *provider) serve(answer http.HandlerFunc) { p.answer.Store(&answer) }

func (p *provider) publish(keys string) {
	p.serve(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, keys) })
}

// token is one of the provider's, issued now, unless the changes say otherwise.
func (p *provider) token(alg, kid string, changes map[string]any) string {
	p.t.Helper()
	now := time.Now().Unix()
	claims := map[string]any{"iss": "https://id.example", "aud": "throng", "sub": "ada", "iat": now, "exp": now + 24*3600}
	for name, value := range changes {
		if value == nil {
			delete(claims, name)
		} else {
			claims[name] = value
		}
	}
	header := map[string]any{}
	if kid != "" {
		header["kid"] = kid
	}
	return minted(p.t, material()[alg], header, claims)
}

func (p *provider) takes(step, token string) *auth.Identity {
	p.t.Helper()
	id, err := p.verifier.Verify([]byte(token))
	if err != nil {
		p.t.Fatalf("%s: refused: %v", step, err)
	}
	return id
}

func (p *provider) refuses(step, token string, code *proto.Code) *proto.Error {
	p.t.Helper()
	id, err := p.verifier.Verify([]byte(token))
	if err == nil {
		p.t.Fatalf("%s: accepted as %+v", step, id)
	}
	if !errors.Is(err, code) {
		p.t.Fatalf("%s: %v, want %s", step, err, code.Name)
	}
	if code == proto.ErrUnavailable && (err.RetryAfter <= 0 || err.RetryAfter > 10*time.Second) {
		p.t.Fatalf("%s: come again in %v", step, err.RetryAfter)
	}
	return err
}

func (p *provider) fetches(result string) string {
	return exported(p.metrics, `throng_auth_issuer_fetches_total{issuer="idp",result="`+result+`"}`)
}

func (p *provider) keys() string { return exported(p.metrics, `throng_auth_issuer_keys{issuer="idp"}`) }

// published is what a provider publishes: the public part of one key.
func published(t *testing.T, alg, kid string, changes map[string]any) string {
	return jwks(t, entry(t, public(material()[alg]), kid, alg, changes))
}
