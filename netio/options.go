package netio

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"runtime"
	"strings"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"golang.org/x/sys/unix"

	"github.com/thronghq/throng/internal/budget"
	"github.com/thronghq/throng/proto"
)

// Options say how a Server listens and what stands behind it. Listen fills in
// the defaults and reports everything that is wrong at once.
type Options struct {
	// Listen names the addresses: "127.0.0.1:0", ":8080", "unix:/path/sock".
	Listen []string
	// Listeners is how many sockets share each TCP address by SO_REUSEPORT;
	// 0 is one a poller. A Unix socket has one.
	Listeners int
	// Pollers is how many event loops there are; 0 is one a core.
	Pollers int

	// Handler stands behind the upgraded connections. It is required.
	Handler Handler
	// HTTP answers whatever is not an upgrade; nil answers 404.
	HTTP http.Handler
	// Streams says which requests to HTTP are answered without an end, such as
	// server-sent events: Shutdown ends their contexts, in place of waiting for
	// them, with proto.ErrShuttingDown as the cause. It must not use the
	// request's body. nil is those that accept text/event-stream.
	Streams func(r *http.Request) bool
	// UpgradePath says which paths, as sent and without the query, take
	// upgrades; nil is all of them. An upgrade elsewhere is answered 404.
	UpgradePath func(path string) bool
	// Origins lists the origins, such as https://example.org, whose pages
	// may connect. A page of the same host always may, and so may a client
	// that sends no Origin. "*" allows all.
	Origins []string

	// TrustedProxies are the networks of the proxies in front of the server.
	// A connection from there has the client's address in X-Forwarded-For,
	// read from its end up to the first address that is no proxy's; from
	// anywhere else that header means nothing. Whoever can open the file of a
	// Unix socket is trusted as well. Forwarded (RFC 7239) is not read.
	TrustedProxies []netip.Prefix
	// ProxyProtocol says that the trusted proxies, Unix sockets included,
	// begin every connection with a PROXY protocol header, version 1 or 2. A
	// connection of theirs without one is answered 400, and so is one from
	// elsewhere that sends one. The address in the header takes the place of
	// the proxy's: if it is a proxy's, too, X-Forwarded-For goes on from it.
	ProxyProtocol bool

	// TLS has all TCP addresses speak TLS, and nothing else; Unix sockets stay
	// plain. It is a server's configuration, of which nothing may change any
	// more. Its callbacks must not wait: as many handshakes run at once as half
	// the processors. What GetConfigForClient returns is used as it is and
	// should set DynamicRecordSizingDisabled. TLS 1.2 is the oldest version
	// whatever it says, and renegotiation is off. A client that agrees on
	// acme-tls/1 gets a certificate and nothing else. nil is plain TCP.
	TLS *tls.Config

	// Limits bound what a client may send and make grow. Of its fields,
	// Outbox, Replies, MessageTimeout and Handshake… are used here, and Message and Envelope
	// where Accept.MaxMessage is 0. The zero value is proto.DefaultLimits.
	Limits proto.Limits
	// PingInterval is the time between two pings on a connection; the first
	// comes at a random moment of the first interval's second half. 0 is 25 s.
	PingInterval time.Duration
	// PingTimeout is for how long a connection may be silent before it is
	// closed; 0 is two intervals, 60 s at the most.
	PingTimeout time.Duration
	// SendBuffer is SO_SNDBUF of upgraded connections in bytes, which the
	// kernel doubles; 0 is 16 KiB. It bounds what a client that does not
	// read costs in the kernel.
	SendBuffer int
	// Admission is the budget of handshakes. Past it they wait up to 5 s for
	// their turn, and those that would have to wait longer are answered 503
	// with a Retry-After that spreads them over the budget to come. The zero
	// value is no bound.
	Admission proto.Rate
	// Memory is the budget that outboxes and partial frames are counted in.
	// While it is full, new connections are answered 503; those that hold most
	// are offered to it to be ended. nil is one without a bound.
	Memory Memory

	// Logger is told of what an operator should know; nil is silence.
	Logger *slog.Logger
	// Metrics gets this package's metrics; nil is a set of its own.
	Metrics *metrics.Set

	newPoller func() (poller, error) // tests put another poller here
}

const (
	defaultPingInterval = 25 * time.Second
	maxPingTimeout      = 60 * time.Second
	defaultSendBuffer   = 16 << 10
)

// setDefaults fills in what was left out.
func (o *Options) setDefaults() {
	if o.Pollers == 0 {
		o.Pollers = min(runtime.NumCPU(), runtime.GOMAXPROCS(0))
	}
	if o.Listeners == 0 {
		o.Listeners = o.Pollers
	}
	if o.Limits == (proto.Limits{}) {
		o.Limits = proto.DefaultLimits()
	}
	if o.PingInterval == 0 {
		o.PingInterval = defaultPingInterval
	}
	if o.PingTimeout == 0 {
		o.PingTimeout = min(2*o.PingInterval, maxPingTimeout)
	}
	if o.SendBuffer == 0 {
		o.SendBuffer = defaultSendBuffer
	}
	if o.HTTP == nil {
		o.HTTP = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { writeError(w, proto.ErrNotFound.New()) })
	}
	if o.UpgradePath == nil {
		o.UpgradePath = func(string) bool { return true }
	}
	if o.Streams == nil {
		o.Streams = acceptsEvents
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Metrics == nil {
		o.Metrics = metrics.NewSet()
	}
	if o.Memory == nil {
		o.Memory = budget.New(0, o.Metrics)
	}
	if o.newPoller == nil {
		o.newPoller = newNetpoll
	}
}

// validate reports everything that is wrong with options that have their
// defaults.
func (o *Options) validate() error {
	var errs []error
	add := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if o.Handler == nil {
		add("Handler is nil")
	}
	if len(o.Listen) == 0 {
		add("Listen names no address")
	}
	for _, a := range o.Listen {
		if err := checkAddress(a); err != nil {
			add("Listen: %w", err)
		}
	}
	for _, a := range o.Origins {
		if err := checkOrigin(a); err != nil {
			add("Origins: %w", err)
		}
	}
	if t := o.TLS; t != nil && len(t.Certificates) == 0 && t.GetCertificate == nil && t.GetConfigForClient == nil {
		add("TLS has no certificate")
	}
	for _, n := range o.TrustedProxies {
		if !n.IsValid() {
			add("TrustedProxies: a network is not valid")
		}
	}
	for _, v := range []struct {
		name  string
		value int64
	}{
		{"Pollers", int64(o.Pollers)},
		{"Listeners", int64(o.Listeners)},
		{"SendBuffer", int64(o.SendBuffer)},
		{"PingInterval", int64(o.PingInterval)},
		{"PingTimeout", int64(o.PingTimeout)},
		{"Limits.Message", int64(o.Limits.Message)},
		{"Limits.Outbox", int64(o.Limits.Outbox)},
		{"Limits.Replies", int64(o.Limits.Replies)},
		{"Limits.MessageTimeout", int64(o.Limits.MessageTimeout)},
		{"Limits.HandshakeTimeout", int64(o.Limits.HandshakeTimeout)},
		{"Limits.HandshakeBytes", int64(o.Limits.HandshakeBytes)},
		{"Limits.HandshakeLine", int64(o.Limits.HandshakeLine)},
		{"Limits.HandshakeHeaders", int64(o.Limits.HandshakeHeaders)},
	} {
		if v.value <= 0 {
			add("%s is %d; it must be above 0", v.name, v.value)
		}
	}
	if o.Limits.HandshakeBytes > readBufferSize {
		add("Limits.HandshakeBytes is %d; it may be %d at the most", o.Limits.HandshakeBytes, readBufferSize)
	}
	return errors.Join(errs...)
}

func checkAddress(a string) error {
	if path, ok := strings.CutPrefix(a, unixPrefix); ok {
		if path == "" || len(path) > 107 {
			return fmt.Errorf("%q: the path of a Unix socket has 1 to 107 bytes", a)
		}
		return nil
	}
	if _, _, err := net.SplitHostPort(a); err != nil {
		return fmt.Errorf("%q is neither host:port nor unix:/path: %w", a, err)
	}
	return nil
}

func checkOrigin(a string) error {
	if a == "*" {
		return nil
	}
	u, err := url.Parse(a)
	if err != nil || u.Scheme == "" || u.Host == "" || u.Path != "" || u.RawQuery != "" || u.User != nil {
		return fmt.Errorf(`%q is neither "*" nor an origin such as https://example.org`, a)
	}
	return nil
}

// RaiseDescriptorLimit raises the process's soft limit of open files to its
// hard limit and returns it.
func RaiseDescriptorLimit() (int, error) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0, fmt.Errorf("read the limit of open files: %w", err)
	}
	if limit.Cur < limit.Max {
		soft := limit.Cur
		limit.Cur = limit.Max
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
			return int(soft), fmt.Errorf("raise the limit of open files from %d to %d: %w", soft, limit.Max, err)
		}
	}
	return descriptorCount(limit.Cur), nil
}

// descriptorCount converts a limit, which may be infinite, to an int.
func descriptorCount(limit uint64) int { return int(min(limit, 1<<30)) }
