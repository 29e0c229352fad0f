package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/thronghq/throng/api"
	"github.com/thronghq/throng/auth"
	"github.com/thronghq/throng/internal/config"
	"github.com/thronghq/throng/internal/systemd"
	"github.com/thronghq/throng/netio"
	"github.com/thronghq/throng/proto"
	"github.com/thronghq/throng/room"
	"github.com/thronghq/throng/session"
	"github.com/thronghq/throng/storage"
	"github.com/thronghq/throng/web"
)

// fatalGrace is how long clients are told to go when the log has failed.
const fatalGrace = 2 * time.Second

// logShare of the drain's time is kept for the log's last flush.
const logShare = 10

// ringShare of the memory budget bounds the rooms' recent messages, which come
// beside what it counts; minRings is what they get at least.
const (
	ringShare = 4
	minRings  = 1 << 20
)

// serve wires the packages and serves until ctx ends, which drains, or until
// the log fails, which is an error.
func serve(ctx context.Context, cfg *config.Config, log *slog.Logger) error {
	descriptors, err := netio.RaiseDescriptorLimit()
	if err != nil {
		return err
	}
	scheduleProcessors(cfg)
	set := metrics.NewSet()
	secret, made, err := serverSecret(cfg)
	if err != nil {
		return err
	}
	authorizer, err := newAuthorizer(cfg)
	if err != nil {
		return err
	}
	failed := make(chan error, 1)
	store, err := openStore(cfg, log, set, failed)
	if err != nil {
		return err
	}
	hub := room.NewHub(room.Options{
		Namespaces: namespaces(cfg), Limits: cfg.Limits, Log: roomLog{store}, Logger: log, Metrics: set,
		RingBytes: max(int64(cfg.Memory())/ringShare, minRings),
	})
	sessions := session.NewManager(session.Options{
		Hub: hub, Authorizer: authorizer, Codecs: codecs(cfg),
		Verifier: auth.NewVerifier(auth.VerifierOptions{
			Keys: auth.NewKeySet(secret), Issuer: cfg.Auth.Issuer, Audience: cfg.Auth.Audience,
			Leeway: cfg.Auth.Leeway, MaxBytes: cfg.Limits.TokenBytes, Logger: log, Metrics: set,
		}),
		Limits: cfg.Limits, Heartbeat: cfg.PingInterval, Logger: log, Dev: cfg.Dev, Metrics: set,
	})
	n := &node{cfg: cfg, log: log, store: store, hub: hub, failed: failed, ended: make(chan error, 1)}
	n.server, err = listen(cfg, log, set, sessions, api.Handler(api.Options{
		Ready: n.ready, Metrics: set, Page: web.Handler(), Sockets: []string{socketPath, echoPath},
	}))
	if err != nil {
		return n.close(err)
	}
	go func() { n.ended <- n.server.Serve() }()
	announce(os.Stdout, cfg, n.server.Addrs(), made)
	log.LogAttrs(ctx, slog.LevelInfo, "serving", slog.Any("addresses", addresses(n.server.Addrs())),
		slog.Int("descriptors", descriptors), slog.Int("max_connections", n.server.MaxConnections()))
	return n.run(ctx)
}

// node is the running server: what ends together, and in which order.
type node struct {
	cfg    *config.Config
	log    *slog.Logger
	store  *storage.Store
	hub    *room.Hub
	server *netio.Server

	failed   chan error // the log's end, once
	ended    chan error // what Serve returned
	draining atomic.Bool
}

// ready says why the server should get no new clients, or nil.
func (n *node) ready() *proto.Error {
	err := n.store.Healthy()
	switch {
	case n.draining.Load():
		return proto.ErrShuttingDown.New()
	case errors.Is(err, proto.ErrStorageFull):
		return proto.ErrStorageFull.New()
	case err != nil:
		return proto.ErrStorage.New()
	}
	return nil
}

// run waits for the end and brings it about.
func (n *node) run(ctx context.Context) error {
	n.notify(ctx, systemd.Ready)
	trimCtx, stopTrim := context.WithCancel(ctx)
	var trim sync.WaitGroup
	defer trim.Wait()
	defer stopTrim()
	trim.Go(func() { trimHeap(trimCtx) })
	select {
	case err := <-n.failed:
		// Nothing can be acknowledged any more, and the store cannot be
		// closed: the process ends, and its next start recovers.
		if err := n.shutdown(ctx, fatalGrace); err != nil {
			n.log.LogAttrs(ctx, slog.LevelWarn, "not all clients could be told", slog.Any("error", err))
		}
		return fmt.Errorf("the log failed, and the process with it: %w", err)
	case err := <-n.ended:
		return n.close(err)
	case <-ctx.Done():
	}
	n.notify(ctx, systemd.Stopping)
	n.log.LogAttrs(ctx, slog.LevelInfo, "draining",
		slog.Int("connections", n.server.Connections()), slog.Duration("within", n.cfg.DrainTimeout))
	return n.close(n.drain(ctx))
}

// drain sends all clients away. Who has not gone in time is cut off: that is a
// drain, too, for no client decides how a stop ends.
func (n *node) drain(ctx context.Context) error {
	err := n.shutdown(ctx, n.cfg.DrainTimeout-n.cfg.DrainTimeout/logShare)
	if errors.Is(err, context.DeadlineExceeded) {
		n.log.LogAttrs(ctx, slog.LevelWarn, "clients that did not go in time were cut off")
		return nil
	}
	return err
}

// shutdown tells all clients to go and waits until they have, within the given
// time. The end of ctx, which brought it here, does not cut that short.
func (n *node) shutdown(ctx context.Context, within time.Duration) error {
	n.draining.Store(true)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), within)
	defer cancel()
	return n.server.Shutdown(ctx)
}

// close ends the rooms and the store after the last connection. It returns the
// first thing that went wrong, err before all.
func (n *node) close(err error) error {
	n.hub.Close()
	if closeErr := n.store.Close(); err == nil {
		err = closeErr
	}
	return err
}

func (n *node) notify(ctx context.Context, state string) {
	if err := systemd.Notify(state); err != nil {
		n.log.LogAttrs(ctx, slog.LevelWarn, "the service manager was not told", slog.String("state", state), slog.Any("error", err))
	}
}

// scheduleProcessors gives Go's scheduler a processor for each poller beside the
// cores, unless the environment says how many.
func scheduleProcessors(cfg *config.Config) {
	if os.Getenv("GOMAXPROCS") != "" {
		return
	}
	cores := runtime.GOMAXPROCS(0)
	pollers := cfg.Net.Pollers
	if pollers == 0 {
		pollers = cores
	}
	runtime.GOMAXPROCS(netio.Processors(cores, pollers))
}

// serverSecret returns the key that tokens are verified with: the configured
// one, or the data directory's own, which is made where there is none.
func serverSecret(cfg *config.Config) (secret []byte, made bool, err error) {
	if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
		return nil, false, err
	}
	if secret := cfg.Auth.HS256.Bytes(); secret != nil {
		return secret, false, nil
	}
	secret, _, err = auth.LoadOrCreateSecret(cfg.DataDir)
	return secret, true, err
}

// newAuthorizer gives everyone the rights that the namespaces say.
func newAuthorizer(cfg *config.Config) (*auth.Authorizer, error) {
	rights := make(map[string]auth.Rights)
	for _, ns := range namespaces(cfg) {
		set, err := auth.ParseRights(ns.Allow)
		if err != nil {
			return nil, fmt.Errorf("namespace.%s.allow: %w", ns.Name, err)
		}
		rights[ns.Name] = set
	}
	return auth.NewAuthorizer(rights), nil
}

// codecs lists what clients may speak; the first is for those that do not say.
func codecs(cfg *config.Config) []proto.Codec {
	return []proto.Codec{proto.NewJSON(&cfg.Limits), proto.NewBinary(&cfg.Limits)}
}

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
		store, err := storage.Open(filepath.Join(cfg.DataDir, "store"), storage.Options{
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
	return append(slices.Clone(cfg.Namespaces), proto.InboxNamespace())
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
