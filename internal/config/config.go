package config

import (
	"log/slog"
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

	Auth    Auth
	Echo    Echo
	Log     Log
	Net     Net
	Storage Storage
	Limits  proto.Limits

	// Namespaces are the configured ones, sorted by name; the default one
	// is always among them.
	Namespaces []proto.Namespace

	file string            // that was read, "" for none
	from map[string]string // where a key's value came from; absent means the default
}

// Auth is how tokens are verified.
type Auth struct {
	HS256Secret     string
	HS256SecretFile string // whose content is the secret

	fromFile []byte // what HS256SecretFile held
}

// Secret returns the configured secret, nil for none. It belongs to the
// configuration and must not be changed.
func (a *Auth) Secret() []byte {
	switch {
	case a.HS256SecretFile != "":
		return a.fromFile
	case a.HS256Secret != "":
		return []byte(a.HS256Secret)
	}
	return nil
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
	Pollers    int // 0 for one a core
	Listeners  int // accepting sockets per address, 0 for one per poller
	SendBuffer int // bytes of a WebSocket's SO_SNDBUF
}

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
		Log:          Log{Level: slog.LevelInfo, Format: FormatAuto},
		Net:          Net{SendBuffer: 16 << 10},
		Storage: Storage{
			SyncInterval: 5 * time.Millisecond,
			Cache:        128 << 20,
		},
		Limits:     proto.DefaultLimits(),
		Namespaces: []proto.Namespace{proto.NewNamespace(proto.DefaultNamespace)},
		from:       map[string]string{},
	}
}

// File returns the path of the file that was read, or "".
func (c *Config) File() string { return c.file }

// given reports whether the key was set anywhere.
func (c *Config) given(key string) bool { return c.from[key] != "" }

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
}
