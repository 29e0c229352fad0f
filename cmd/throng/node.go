package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/thronghq/throng/api"
	"github.com/thronghq/throng/internal/budget"
	"github.com/thronghq/throng/internal/certs"
	"github.com/thronghq/throng/internal/config"
	"github.com/thronghq/throng/internal/systemd"
	"github.com/thronghq/throng/netio"
	"github.com/thronghq/throng/proto"
	"github.com/thronghq/throng/room"
	"github.com/thronghq/throng/storage"
)

// fatalGrace is how long clients are told to go when the log has failed.
const fatalGrace = 2 * time.Second

// logShare of the drain's time is kept for the log's last flush.
const logShare = 10

// node is the running server: what ends together, and in which order.
type node struct {
	cfg  *config.Config
	log  *slog.Logger
	stop *stopSignals

	// What newNode has made so far, in this order.
	store    *storage.Store
	identity *identity
	hooks    *hooks
	hub      *room.Hub
	certs    *certs.Source
	server   *netio.Server
	admin    *adminServer

	// memory governs what clients make the server hold, until governed is
	// closed.
	memory    *budget.Budget
	governed  chan struct{}
	governing sync.WaitGroup

	failed   chan error    // the log's end, once
	asked    chan struct{} // a drain was asked for
	ended    chan error    // what Serve returned
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
func (n *node) run() error {
	ctx := n.stop.ctx
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
		if err := n.shutdown(fatalGrace); err != nil {
			n.log.LogAttrs(ctx, slog.LevelWarn, "not all clients could be told", slog.Any("error", err))
		}
		return fmt.Errorf("the log failed, and the process with it: %w", err)
	case err := <-n.ended:
		return n.close(err)
	case <-ctx.Done():
	case <-n.asked:
	}
	n.notify(ctx, systemd.Stopping)
	n.log.LogAttrs(ctx, slog.LevelInfo, "draining",
		slog.Int("connections", n.server.Connections()), slog.Duration("within", n.cfg.DrainTimeout))
	return n.close(n.drain())
}

// askDrain has run drain the server, as a signal does. It does not block.
func (n *node) askDrain() {
	select {
	case n.asked <- struct{}{}:
	default: // it was asked for before
	}
}

// stats counts what the server holds.
func (n *node) stats() api.Stats {
	return api.Stats{Connections: n.server.Connections(), Rooms: n.hub.Rooms()}
}

// drain sends all clients away. Who has not gone in time is cut off: that is a
// drain, too, for no client decides how a stop ends.
func (n *node) drain() error {
	err := n.shutdown(n.cfg.DrainTimeout - n.cfg.DrainTimeout/logShare)
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		n.log.LogAttrs(n.stop.ctx, slog.LevelWarn, "clients that did not go in time were cut off")
		return nil
	}
	return err
}

// shutdown tells all clients to go and waits until they have, within the given
// time, or what a hurry leaves of it.
func (n *node) shutdown(within time.Duration) error {
	n.draining.Store(true)
	ctx, cancel := n.stop.within(within)
	defer cancel()
	calm := context.AfterFunc(n.stop.hurry, func() {
		n.log.LogAttrs(ctx, slog.LevelInfo, "hurrying", slog.Int("connections", n.server.Connections()))
		n.server.Hurry()
	})
	defer calm()
	return n.server.Shutdown(ctx)
}

// close ends what there is, after the last connection. It returns the first
// thing that went wrong, err before all.
func (n *node) close(err error) error {
	ended := func(closeErr error) {
		if err == nil {
			err = closeErr
		}
	}
	close(n.governed)
	n.governing.Wait()
	if n.admin != nil {
		n.admin.close()
	}
	if n.certs != nil {
		n.certs.Close()
	}
	if n.hooks != nil {
		n.hooks.closeGate(n.stop)
	}
	if n.hub != nil {
		n.hub.Close()
	}
	if n.hooks != nil {
		ended(n.hooks.close(n.stop))
	}
	if n.identity != nil {
		ended(n.identity.close())
	}
	if n.store != nil {
		ended(n.store.Close())
	}
	return err
}

func (n *node) notify(ctx context.Context, state string) {
	if err := systemd.Notify(state); err != nil {
		n.log.LogAttrs(ctx, slog.LevelWarn, "the service manager was not told", slog.String("state", state), slog.Any("error", err))
	}
}
