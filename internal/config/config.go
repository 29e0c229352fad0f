package config

import (
	"log/slog"
	"slices"
	"time"

	"github.com/thronghq/throng/proto"
)

// Config is everything that can be set. After Load it does not change; it may
// then be read from any goroutine.
type Config struct {
	Listen       []string // host:port, or unix:PATH
	DataDir      string
	Dev          bool
	Origins      []string // beside the server's own; "*" for any
	PingInterval time.Duration
	DrainTimeout time.Duration
	MemoryBudget int // bytes; 0 derives it from the machine, see Memory

	API      API
	Auth     Auth
	Compress Compress
	Echo     Echo
	Hook     Hook
	Log      Log
	Net      Net
	Rate     Rates
	Storage  Storage
	TLS      TLS
	Limits   proto.Limits

	// Namespaces are the configured ones, sorted by name; the default one
	// is always among them.
	Namespaces []proto.Namespace

	// Issuers and Webhooks are the configured ones, sorted by name.
	Issuers  []Issuer
	Webhooks []Webhook

	file string            // that was read, "" for none
	from map[string]string // where a key's value came from; absent means the default
}

// API is how REST requests are served.
type API struct {
	Body    int           // bytes of a request's body
	Timeout time.Duration // of a request, streams apart
}

// Auth is who may come in: how tokens are verified and made, and how users log
// in.
type Auth struct {
	HS256 Secret

	KeysFile   string   // a JWK Set (RFC 7517), "" for none
	SigningKey string   // the kid of the key in it that signs; "" for the first that can, or the secret
	Issuer     string   // of the server's own tokens; "" for none
	Audience   []string // any of which the server's own tokens must name; none for no matter
	Leeway     time.Duration
	AccessTTL  time.Duration
	RefreshTTL time.Duration

	Registration bool // anyone may register
	Argon2Memory int  // bytes of one hash
	Argon2Time   int  // passes
	Argon2Hashes int  // at once; 0 for one for every two cores
}

// Issuer is another server whose tokens are accepted.
type Issuer struct {
	Name       string
	Issuer     string // the tokens' iss
	JWKSURL    string
	Audience   []string // any of which the tokens must name
	Algorithms []string
	UserClaim  string // that names the user
	UserPrefix string // before it
	Refresh    time.Duration
}

// Rates bounds how often things may be done, by whom or where.
type Rates struct{ Connection, User, Address, Room RateSet }

// RateSet bounds what is done in one scope. The zero value bounds nothing.
type RateSet struct{ Frames, Bytes, Joins, Publishes, Logins, Handshakes proto.Rate }

// Webhook is an address that is told what happens.
type Webhook struct {
	Name         string
	URL          string
	Secret       Secret
	Events       []string
	Namespaces   []string // none for all
	Timeout      time.Duration
	MaxWaiting   int // events
	MaxAge       time.Duration
	AllowPrivate bool // the URL may lead to a loopback, link-local or private address
}

// Hook is an address that decides what may happen.
type Hook struct {
	URL          string // "" for none
	Secret       Secret
	Events       []string
	Timeout      time.Duration
	OnFailure    string // HookAllow or HookRefuse
	AllowPrivate bool
}

// The values of Hook.OnFailure.
const (
	HookAllow  = "allow"
	HookRefuse = "refuse"
)

// Secret is a secret that stands in the configuration itself or in a file.
type Secret struct {
	Text string
	File string // whose content is the secret, a line end at its end apart

	fromFile []byte // what File held
}

// Bytes returns the secret, nil for none. It belongs to the configuration and
// must not be changed.
func (s *Secret) Bytes() []byte {
	switch {
	case s.File != "":
		return s.fromFile
	case s.Text != "":
		return []byte(s.Text)
	}
	return nil
}

// Compress is what is compressed for clients that agree on permessage-deflate
// (RFC 7692), in the namespaces whose Compress says so.
type Compress struct {
	Enabled bool // in namespaces that do not say, and in the users' inboxes
	Minimum int  // bytes of a frame's payload that is compressed
}

// Compresses reports whether anything may be compressed, so that agreeing on it is
// of use.
func (c *Config) Compresses() bool {
	return c.Compress.Enabled || slices.ContainsFunc(c.Namespaces, func(n proto.Namespace) bool { return n.Compress })
}

// Echo is the raw echo at /echo.
type Echo struct {
	Enabled bool
}

// Log is what is logged to standard error, and how.
type Log struct {
	Level  slog.Level
	Format string // auto, json, text
}

// Net is how sockets are served.
type Net struct {
	Pollers    int        // 0 for one a core
	Listeners  int        // accepting sockets per address, 0 for one per poller
	SendBuffer int        // bytes of a WebSocket's SO_SNDBUF
	Admission  proto.Rate // of handshakes; the zero value derives it from the cores, see Handshakes

	TrustedProxies []string // networks, as netip.ParsePrefix reads them, whose word on a client's address counts
	ProxyProtocol  bool     // trusted proxies begin a connection with a PROXY header
}

// handshakesPerCore is the default budget of handshakes. One that joins a room
// takes some 350 µs of a core, so that a storm of them leaves a part of each
// core for the clients that are in.
const handshakesPerCore = 2000

// Handshakes returns the budget of handshakes on a machine of so many cores: the
// configured one, or handshakesPerCore a second and at once for each.
func (n *Net) Handshakes(cores int) proto.Rate {
	if !n.Admission.Off() {
		return n.Admission
	}
	return proto.Rate{PerSecond: float64(handshakesPerCore * cores), Burst: handshakesPerCore * cores}
}

// TLS is how connections are encrypted. With neither files nor hosts, none are.
type TLS struct {
	Cert, Key string // PEM files
	ClientCA  string // a PEM file, "" where clients need no certificate

	ACMEHosts     []string // for which an authority issues certificates
	ACMEEmail     string
	ACMEDirectory string // the authority's URL
}

// Enabled reports whether TCP addresses speak TLS.
func (t *TLS) Enabled() bool { return t.Cert != "" || len(t.ACMEHosts) > 0 }

// letsEncrypt is the authority where none is named.
const letsEncrypt = "https://acme-v02.api.letsencrypt.org/directory"

// Storage is how the history is kept on disk.
type Storage struct {
	SyncInterval time.Duration // between the syncs of async rooms
	Cache        int           // bytes
	MinFree      int           // bytes of free space below which publishing is refused; 0 for the store's own bound
}

// The formats of Log.Format.
const (
	FormatAuto = "auto"
	FormatJSON = "json"
	FormatText = "text"
)

// devListen is the address of --dev, which admits anyone.
const devListen = "127.0.0.1:8080"

// Default returns the configuration that holds where nothing is set.
func Default() *Config {
	return &Config{
		Listen:       []string{":8080"},
		DataDir:      "./throng-data",
		PingInterval: 25 * time.Second,
		DrainTimeout: 20 * time.Second,
		API:          API{Body: 1 << 20, Timeout: 30 * time.Second},
		Auth: Auth{
			Leeway:       5 * time.Second,
			AccessTTL:    15 * time.Minute,
			RefreshTTL:   30 * 24 * time.Hour,
			Argon2Memory: 64 << 20,
			Argon2Time:   3,
		},
		Compress: Compress{Minimum: 256},
		Hook:     Hook{Timeout: 2 * time.Second, OnFailure: HookRefuse},
		Log:      Log{Level: slog.LevelInfo, Format: FormatAuto},
		Net:      Net{SendBuffer: 16 << 10},
		Rate: Rates{
			User:    RateSet{Logins: proto.Rate{PerSecond: 0.1, Burst: 10}},
			Address: RateSet{Logins: proto.Rate{PerSecond: 1, Burst: 30}},
		},
		Storage: Storage{
			SyncInterval: 5 * time.Millisecond,
			Cache:        128 << 20,
		},
		TLS:        TLS{ACMEDirectory: letsEncrypt},
		Limits:     proto.DefaultLimits(),
		Namespaces: []proto.Namespace{proto.NewNamespace(proto.DefaultNamespace)},
		from:       map[string]string{},
	}
}

// File returns the path of the file that was read, or "".
func (c *Config) File() string { return c.file }

// given reports whether the key was set anywhere.
func (c *Config) given(key string) bool { return c.from[key] != "" }

// applyCompress decides for the namespaces that do not say themselves whether they
// compress.
func (c *Config) applyCompress() {
	for i := range c.Namespaces {
		n := &c.Namespaces[i]
		if !c.given(namespaceTable + "." + n.Name + "." + compressKey) {
			n.Compress = c.Compress.Enabled
		}
	}
}

// applyDev sets what --dev changes unless it is given.
func (c *Config) applyDev() {
	if !c.Dev {
		return
	}
	if !c.given("listen") {
		c.Listen = []string{devListen}
	}
	if !c.given("echo.enabled") {
		c.Echo.Enabled = true
	}
	if !c.given("auth.registration") {
		c.Auth.Registration = true
	}
}
