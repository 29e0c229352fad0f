package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/VictoriaMetrics/metrics"

	"github.com/thronghq/throng/api"
	"github.com/thronghq/throng/auth"
	"github.com/thronghq/throng/internal/config"
	"github.com/thronghq/throng/internal/telemetry"
	"github.com/thronghq/throng/proto"
	"github.com/thronghq/throng/room"
	"github.com/thronghq/throng/session"
	"github.com/thronghq/throng/storage"
)

// alone is the REST API over the store of a data directory that no server has
// open: what a subcommand asks for is done in the one way there is.
type alone struct {
	store    *storage.Store
	accounts *auth.Accounts
	hub      *room.Hub
	server   *adminServer
	pipes    *pipeListener
}

// openAlone opens the store. Where there is none it is made if create says so.
func openAlone(cfg *config.Config, o outside, create bool) (a *alone, err error) {
	if err := checkOwner(cfg.DataDir, create); err != nil {
		return nil, err
	}
	log := telemetry.NewLogger(o.err, slog.LevelWarn, true)
	set := metrics.NewSet()
	a = new(alone)
	defer func() {
		if err != nil {
			err = errors.Join(err, a.close())
		}
	}()
	if a.store, err = openStore(cfg, log, set, make(chan error, 1)); err != nil {
		return a, err
	}
	// Nobody logs in here: there is no key to sign with, and no token is good.
	a.accounts, err = newAccounts(cfg, log, set, a.store, auth.NewKeySet(), nil, func(auth.Revocation) {})
	if err != nil {
		return a, err
	}
	authorizer, verifier := auth.NewAuthorizer(nil), auth.NewVerifier(auth.VerifierOptions{Logger: log, Metrics: set})
	a.hub = room.NewHub(room.Options{Namespaces: namespaces(cfg), Limits: cfg.Limits, Log: roomLog{a.store}, Now: a.store.Now, Logger: log, Metrics: set})
	sessions := session.NewManager(session.Options{
		Hub: a.hub, Directory: session.NewDirectory(), Authorizer: authorizer, Verifier: verifier, Codecs: codecs(cfg), Limits: cfg.Limits,
		Heartbeat: cfg.PingInterval, Logger: log, Metrics: set,
	})
	a.pipes = newPipeListener()
	a.server = serveAdmin(a.pipes, api.Handler(api.Options{
		Ready: func() *proto.Error { return nil }, Metrics: set, Page: http.NotFoundHandler(),
		Sessions: sessions, Hub: a.hub, Verifier: verifier, Authorizer: authorizer, Accounts: a.accounts,
		Limits: &cfg.Limits, Timeout: cfg.API.Timeout, Logger: log,
	}), log)
	return a, nil
}

// checkOwner refuses a data directory of another user, in which the files that
// this process makes would keep the server from starting, and one without a
// store unless it may be made.
func checkOwner(dir string, create bool) error {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist) && create:
		return os.MkdirAll(dir, 0o700)
	case err != nil:
		return fmt.Errorf("no server runs there, and there is no data: %w; say where it lies with --data-dir or --config", err)
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); ok && int(owner.Uid) != os.Geteuid() {
		return fmt.Errorf("no server runs there, and %s belongs to the user with id %d; run this as that user", dir, owner.Uid)
	}
	if _, err := os.Stat(filepath.Join(dir, storeFolder)); err != nil && !create {
		return fmt.Errorf("no server runs there, and there is no store: %w; say where it lies with --data-dir or --config", err)
	}
	return nil
}

func (a *alone) dial(ctx context.Context) (net.Conn, error) { return a.pipes.dial(ctx) }

func (a *alone) close() error {
	if a.server != nil {
		a.server.close()
	}
	if a.hub != nil {
		a.hub.Close()
	}
	var err error
	if a.accounts != nil {
		err = a.accounts.Close()
	}
	if a.store != nil {
		err = errors.Join(err, a.store.Close())
	}
	return err
}

// pipeListener takes connections from within the process.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (l *pipeListener) dial(ctx context.Context) (net.Conn, error) {
	mine, theirs := net.Pipe()
	select {
	case l.conns <- theirs:
		return mine, nil
	case <-l.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Accept implements net.Listener.
func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// Addr implements net.Listener.
func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }
