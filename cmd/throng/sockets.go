package main

import (
	"crypto/tls"
	"log/slog"
	"net/http"
	"net/netip"
	"runtime"
	"strings"

	"github.com/VictoriaMetrics/metrics"
	"github.com/gobwas/ws"

	"github.com/thronghq/throng/internal/config"
	"github.com/thronghq/throng/netio"
	"github.com/thronghq/throng/proto"
	"github.com/thronghq/throng/session"
)

// The paths that take WebSocket upgrades.
const (
	socketPath = "/ws"
	echoPath   = "/echo"
)

func listen(cfg *config.Config, log *slog.Logger, set *metrics.Set, memory netio.Memory, certificates *tls.Config, sessions *session.Manager, web http.Handler) (*netio.Server, error) {
	h := sockets{sessions: sessions, limits: &cfg.Limits, echo: cfg.Echo.Enabled, compress: cfg.Compresses()}
	return netio.Listen(netio.Options{
		Listen: cfg.Listen, Listeners: cfg.Net.Listeners, Pollers: cfg.Net.Pollers, Handler: h, HTTP: web,
		TrustedProxies: trustedProxies(cfg), ProxyProtocol: cfg.Net.ProxyProtocol,
		UpgradePath: h.upgrades, Streams: isStream, Origins: cfg.Origins, Limits: cfg.Limits, TLS: certificates,
		PingInterval: cfg.PingInterval, SendBuffer: cfg.Net.SendBuffer,
		Admission: cfg.Net.Handshakes(runtime.NumCPU()),
		Logger:    log, Metrics: set, Memory: memory,
	})
}

// trustedProxies are the networks of the configuration, which has checked them.
func trustedProxies(cfg *config.Config) []netip.Prefix {
	networks := make([]netip.Prefix, len(cfg.Net.TrustedProxies))
	for i, text := range cfg.Net.TrustedProxies {
		networks[i] = netip.MustParsePrefix(text)
	}
	return networks
}

// isStream reports whether a request is for a room's events, which have no end.
func isStream(r *http.Request) bool {
	return r.Method == http.MethodGet && strings.HasPrefix(r.URL.Path, "/api/v1/rooms/") && strings.HasSuffix(r.URL.Path, "/events")
}

// sockets joins netio's connections to sessions, and serves the raw echo.
type sockets struct {
	sessions *session.Manager
	limits   *proto.Limits
	echo     bool
	compress bool // there is something to compress for clients that can read it
}

// echoState is what an echo connection has in place of a session.
type echoState struct{}

func (h sockets) upgrades(path string) bool {
	return path == socketPath || h.echo && path == echoPath
}

// Upgrade implements netio.Handler.
func (h sockets) Upgrade(r *netio.Request) (netio.Accept, *proto.Error) {
	if r.Path == echoPath {
		return netio.Accept{MaxMessage: h.limits.EchoMessage, MaxReplies: 2 * h.limits.EchoMessage, Deflate: true, State: echoState{}}, nil
	}
	s, protocol, err := h.sessions.Accept(session.Handshake{
		Query: r.Query, Authorization: r.Authorization, Protocols: r.Protocols, Address: r.Address,
	})
	if err != nil {
		return netio.Accept{}, err
	}
	return netio.Accept{Subprotocol: protocol, MaxMessage: h.limits.Message + h.limits.Envelope, Deflate: h.compress, State: s}, nil
}

// Open implements netio.Handler.
func (sockets) Open(c *netio.Conn) {
	if s, ok := c.State().(*session.Session); ok {
		s.Agreed(c.Window())
		s.Open(c)
	}
}

// Message implements netio.Handler.
func (sockets) Message(c *netio.Conn, op ws.OpCode, payload []byte) {
	if s, ok := c.State().(*session.Session); ok {
		s.Message(op, payload)
		return
	}
	c.ReplyMessage(op, payload)
}

// Frames implements netio.FrameCounter.
func (sockets) Frames(c *netio.Conn, n int) {
	if s, ok := c.State().(*session.Session); ok {
		s.Frames(n)
	}
}

// Drained implements netio.Handler.
func (sockets) Drained(c *netio.Conn) {
	if s, ok := c.State().(*session.Session); ok {
		s.Drained()
	}
}

// Expired implements netio.Handler.
func (sockets) Expired(c *netio.Conn) {
	if s, ok := c.State().(*session.Session); ok {
		s.Expired()
	}
}

// Closed implements netio.Handler.
func (sockets) Closed(c *netio.Conn, cause netio.CloseCause) {
	if s, ok := c.State().(*session.Session); ok {
		s.Closed(cause.String())
	}
}
