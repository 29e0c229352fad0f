package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/thronghq/throng/api"
	"github.com/thronghq/throng/api/openapi"
	"github.com/thronghq/throng/auth"
	"github.com/thronghq/throng/internal/budget"
	"github.com/thronghq/throng/internal/buildinfo"
	"github.com/thronghq/throng/internal/certs"
	"github.com/thronghq/throng/internal/config"
	"github.com/thronghq/throng/netio"
	"github.com/thronghq/throng/proto"
	"github.com/thronghq/throng/room"
	"github.com/thronghq/throng/session"
	"github.com/thronghq/throng/storage"
	"github.com/thronghq/throng/web"
)

// A budgetShare of the memory budget bounds the rooms' recent messages, which come
// beside what it counts and get minRings at least, and how much of it the readers
// of event streams, the bodies of requests, and webhooks may each take.
//
// A replayShare bounds what is kept of replays, which nobody waits for.
const (
	budgetShare = 4
	replayShare = 8
	minRings    = 1 << 20
)

// serve builds a server and runs it until it is asked to stop, which drains, or
// until the log fails, which is an error.
func serve(stop *stopSignals, cfg *config.Config, log *slog.Logger) error {
	descriptors, err := netio.RaiseDescriptorLimit()
	if err != nil {
		return err
	}
	memory := limitMemory(cfg)
	n, err := newNode(cfg, log, stop)
	if err != nil {
		return err
	}
	n.certs.Start()
	go func() { n.ended <- n.server.Serve() }()
	announce(os.Stdout, cfg, n.server.Addrs(), n.identity.ownSecret)
	log.LogAttrs(stop.ctx, slog.LevelInfo, "serving", slog.Any("addresses", addresses(n.server.Addrs())),
		slog.Int("descriptors", descriptors), slog.Int("max_connections", n.server.MaxConnections()),
		slog.Int64("memory_limit", memory), slog.Int("memory_budget", cfg.Memory()))
	return n.run()
}

// newNode wires the packages of a server that does not serve yet.
func newNode(cfg *config.Config, log *slog.Logger, stop *stopSignals) (n *node, err error) {
	n = &node{cfg: cfg, log: log, stop: stop, governed: make(chan struct{}), failed: make(chan error, 1), ended: make(chan error, 1), asked: make(chan struct{}, 1)}
	set := metrics.NewSet()
	defer func() {
		if err != nil {
			err = n.close(err)
		}
	}()
	n.memory = budget.New(int64(cfg.Memory()), set)
	n.governing.Go(func() { n.memory.Run(n.governed) })
	if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
		return n, err
	}
	if n.store, err = openStore(cfg, log, set, n.failed); err != nil {
		return n, err
	}
	var sessions *session.Manager
	n.identity, err = openIdentity(cfg, log, set, n.store, func(r auth.Revocation) { sessions.Revoke(r) })
	if err != nil {
		return n, err
	}
	if n.hooks, err = openHooks(cfg, log, set, n.store, n.memory); err != nil {
		return n, err
	}
	people := session.NewDirectory()
	n.hub = room.NewHub(room.Options{
		Namespaces: namespaces(cfg), Limits: cfg.Limits, Log: roomLog{n.store}, Now: n.store.Now, People: people, Observer: n.hooks.roomObserver(), Logger: log, Metrics: set,
		Replays: n.memory.Kind("replays"), ReplayKept: int64(cfg.Memory()) / replayShare, RingBytes: max(int64(cfg.Memory())/budgetShare, minRings),
		Compression: proto.NewCompression(cfg.Compress.Minimum, set),
	})
	sessions = session.NewManager(session.Options{
		Hub: n.hub, Directory: people, Gate: n.hooks.sessionGate(), Observer: n.hooks.sessionObserver(),
		Verifier: n.identity.verifier, Authorizer: n.identity.authorizer, Revoked: n.identity.accounts.Revoked,
		Codecs: codecs(cfg), Limits: cfg.Limits, Rates: rates(cfg), Heartbeat: cfg.PingInterval, Logger: log, Dev: cfg.Dev, Metrics: set,
	})
	handler := api.Handler(api.Options{
		Ready: n.ready, Metrics: set, Page: web.Handler(), Sockets: []string{socketPath, echoPath},
		Sessions: sessions, Hub: n.hub, Verifier: n.identity.verifier, Authorizer: n.identity.authorizer, Accounts: n.identity.accounts,
		Webhooks: n.hooks.api(), Docs: openapi.Handler(api.NotFound()), Stats: n.stats, Drain: n.askDrain,
		Info:   api.Info{Version: buildinfo.Version(), StartedAt: time.Now(), Namespaces: cfg.Namespaces},
		Limits: &cfg.Limits, Origins: cfg.Origins, Dev: cfg.Dev, BodyBytes: int64(cfg.API.Body), Timeout: cfg.API.Timeout, Logger: log,
		StreamBytes: int64(cfg.Memory()) / budgetShare, BodiesBytes: int64(cfg.Memory()) / budgetShare, Memory: n.memory,
	})
	if n.certs, err = openCerts(cfg, log, set); err != nil {
		return n, err
	}
	if n.server, err = listen(cfg, log, set, n.memory, n.certs.Config(), sessions, handler); err != nil {
		return n, err
	}
	socket, err := listenAdmin(cfg.DataDir, log)
	if err != nil {
		return n, err
	}
	n.admin = serveAdmin(socket, handler, log)
	return n, nil
}

// acmeFolder is where certificates of an ACME authority lie in the data
// directory.
const acmeFolder = "acme"

func openCerts(cfg *config.Config, log *slog.Logger, set *metrics.Set) (*certs.Source, error) {
	t := &cfg.TLS
	return certs.Open(certs.Options{
		Cert: t.Cert, Key: t.Key, ClientCA: t.ClientCA, Logger: log, Metrics: set,
		ACME: certs.ACME{Hosts: t.ACMEHosts, Email: t.ACMEEmail, Directory: t.ACMEDirectory, Cache: filepath.Join(cfg.DataDir, acmeFolder)},
	})
}

// limitMemory has the garbage collector work harder as the heap comes near to what
// the process may use (GOMEMLIMIT), unless the environment says where that is. It
// returns the limit in bytes.
func limitMemory(cfg *config.Config) int64 {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(int64(cfg.HeapLimit()))
	}
	return debug.SetMemoryLimit(-1) // changes nothing
}

// rates are the configured ones, but for logins, which the accounts count.
func rates(cfg *config.Config) session.Rates {
	set := func(r config.RateSet) session.RateSet {
		r.Logins = proto.Rate{}
		return session.RateSet(r)
	}
	r := &cfg.Rate
	return session.Rates{Connection: set(r.Connection), User: set(r.User), Address: set(r.Address), Room: set(r.Room)}
}

// codecs lists what clients may speak; the first is for those that do not say.
func codecs(cfg *config.Config) []proto.Codec {
	return []proto.Codec{proto.NewJSON(&cfg.Limits), proto.NewBinary(&cfg.Limits)}
}

// storeFolder is where the store lies in the data directory.
const storeFolder = "store"

// openStore opens the store, which sends to failed once it can no longer write.
// That may happen before it is open, and then it never is.
func openStore(cfg *config.Config, log *slog.Logger, set *metrics.Set, failed chan error) (*storage.Store, error) {
	var durable []proto.Namespace
	for _, ns := range namespaces(cfg) {
		if ns.Durability != proto.Memory {
			durable = append(durable, ns)
		}
	}
	type opened struct {
		store *storage.Store
		err   error
	}
	done := make(chan opened, 1)
	go func() {
		store, err := storage.Open(filepath.Join(cfg.DataDir, storeFolder), storage.Options{
			Namespaces: durable, Logger: log, Metrics: set, CacheBytes: int64(cfg.Storage.Cache),
			SyncInterval: cfg.Storage.SyncInterval, MinFree: uint64(cfg.Storage.MinFree),
			Fatal: func(err error) { failed <- err },
		})
		done <- opened{store, err}
	}()
	select {
	case o := <-done:
		return o.store, o.err
	case err := <-failed:
		return nil, err
	}
}

// namespaces are the configured ones and the users' inboxes.
func namespaces(cfg *config.Config) []proto.Namespace {
	inboxes := proto.InboxNamespace()
	inboxes.Compress = cfg.Compress.Enabled
	return append(slices.Clone(cfg.Namespaces), inboxes)
}

// roomLog is the store as the rooms see it.
type roomLog struct{ *storage.Store }

// Room implements room.Log.
func (l roomLog) Room(name string, sink func([]*proto.Publish)) (room.Stream, error) {
	return l.Store.Room(name, sink)
}

// AppendPair implements room.Log: the streams are the store's own.
func (l roomLog) AppendPair(a room.Stream, p *proto.Publish, b room.Stream, q *proto.Publish) *proto.Error {
	return l.Store.AppendPair(a.(*storage.Room), p, b.(*storage.Room), q)
}
