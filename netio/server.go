package netio

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Server is the listeners, the loops and the connections on them.
type Server struct {
	// Static after Listen.
	core      *core
	loops     []*loop
	listeners []*listener
	addrs     []net.Addr
	sockets   []string // paths of Unix sockets, removed at the end
	gate      *gate
	web       *web
	sweeper   *sweeper

	refuseOnce sync.Once
	endOnce    sync.Once
	hurryOnce  sync.Once
	hurry      chan struct{} // closed when Shutdown is to spread nothing any more
	stopSweep  chan struct{}
	done       chan struct{} // closed when everything has ended
	endErr     error         // set before done is closed
	work       sync.WaitGroup
}

// Listen binds all addresses and starts the pollers. Nothing is accepted before
// Serve. An address that is taken is an error that names it.
func Listen(o Options) (*Server, error) {
	o.setDefaults()
	if err := o.validate(); err != nil {
		return nil, fmt.Errorf("netio: %w", err)
	}
	s := newServer(&o)
	if err := s.open(&o); err != nil {
		s.refuse()
		return nil, errors.Join(err, s.release())
	}
	s.work.Go(func() { s.sweeper.run(s.stopSweep) })
	s.work.Go(func() { s.core.admission.run(s.stopSweep) })
	s.work.Go(s.web.serve)
	o.Metrics.RegisterMetricsWriter(s.writeMetrics)
	return s, nil
}

func newServer(o *Options) *Server {
	tick := tickFor(o.PingInterval, o.PingTimeout, o.Limits.HandshakeTimeout, o.Limits.MessageTimeout)
	co := &core{
		handler:    o.Handler,
		limits:     o.Limits,
		upgrade:    o.UpgradePath,
		origins:    newOriginPolicy(o.Origins),
		sendBuffer: o.SendBuffer,
		proxies:    newProxies(o.TrustedProxies),
		proxied:    o.ProxyProtocol,
		admission:  newAdmission(o.Admission, time.Now()),
		logger:     o.Logger,
		stats:      newCoreStats(o.Metrics),
	}
	co.counter, _ = o.Handler.(FrameCounter)
	co.clock.tick, co.clock.start = tick, time.Now()
	co.clock.advance()
	co.memory = newMemory(o.Memory)
	o.Memory.Watch(co.slots.holders)
	co.live.init()
	if o.TLS != nil {
		co.handshakes = newHandshakes(o.TLS)
	}
	co.stats.set.GetOrCreateCounter(`throng_deflate_agreed_total{window="standard"}`)
	s := &Server{
		core:      co,
		stopSweep: make(chan struct{}),
		hurry:     make(chan struct{}),
		done:      make(chan struct{}),
	}
	s.web = newWeb(s, o)
	co.handOver = s.web.handOver
	s.sweeper = &sweeper{
		core:     co,
		interval: uint32(max(o.PingInterval/tick, 1)),
		timeout:  uint32(max(o.PingTimeout/tick, 1)),
		onTick:   s.lookAfter,
	}
	co.firstPing = s.sweeper.firstPing
	limit := descriptorLimit()
	kept := reserveOf(limit)
	s.gate = &gate{core: co, max: limit - kept, courted: kept / 4, extra: s.web.connections, reserve: -1}
	return s
}

func descriptorLimit() int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 1024 // what POSIX systems start with
	}
	return descriptorCount(limit.Cur)
}

// open opens the loops and binds the addresses.
func (s *Server) open(o *Options) error {
	for range o.Pollers {
		l, err := newLoop(s.core, o.newPoller, s.work.Go)
		if l != nil {
			s.loops = append(s.loops, l)
		}
		if err != nil {
			return err
		}
	}
	s.gate.refill()
	for _, address := range o.Listen {
		fds, addr, err := bind(address, o.Listeners, o.SendBuffer)
		if err != nil {
			return err
		}
		s.addrs = append(s.addrs, addr)
		if addr.Network() == "unix" {
			s.sockets = append(s.sockets, addr.String())
		}
		for i, fd := range fds {
			l := s.loops[i%len(s.loops)]
			ln := &listener{core: s.core, loop: l, loops: s.loops, gate: s.gate, fd: fd, next: i % len(s.loops)}
			ln.tls = o.TLS != nil && addr.Network() != "unix"
			if len(fds) == len(s.loops) {
				ln.loops, ln.next = []*loop{l}, 0
			}
			s.listeners = append(s.listeners, ln)
		}
	}
	return nil
}

// Addrs returns the bound addresses, in the order of Options.Listen; a port 0
// has become the real one.
func (s *Server) Addrs() []net.Addr { return append([]net.Addr(nil), s.addrs...) }

// Serve accepts connections until Shutdown has ended everything, and returns
// what went wrong with that.
func (s *Server) Serve() error {
	for _, ln := range s.listeners {
		if err := ln.start(); err != nil {
			return err
		}
	}
	<-s.done
	return s.endErr
}

// Connections returns how many upgraded connections there are.
func (s *Server) Connections() int { return int(s.core.stats.opened.Load()) }

// MaxConnections returns how many connections the process's limit of open files
// allows, as it was at Listen, less a reserve for files and HTTP.
func (s *Server) MaxConnections() int { return s.gate.max }

// Refuse takes no new connections from now on. Those that have not finished
// their handshake are answered 503.
func (s *Server) Refuse() { s.refuse() }

func (s *Server) refuse() {
	s.refuseOnce.Do(func() {
		s.core.refusing.Store(true)
		for _, ln := range s.listeners {
			ln.close()
		}
		for _, path := range s.sockets {
			if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
				s.core.logger.Warn("the socket's file could not be removed", slog.Any("error", err))
			}
		}
		for _, c := range s.core.admission.all() {
			c.loop.post(c, taskAdmit) // it will find the server refusing
		}
	})
}

// lookAfter is called by the sweep at each tick.
func (s *Server) lookAfter() {
	s.retryListeners()
	if s.core.handshakes != nil {
		s.core.handshakes.relieve()
	}
}

// retryListeners has listeners accept again that had to stop.
func (s *Server) retryListeners() {
	if s.core.stats.exhausted.Load() == 0 {
		return
	}
	s.gate.mu.Lock()
	s.gate.refill()
	s.gate.mu.Unlock()
	for _, ln := range s.listeners {
		ln.retry()
	}
}

// release ends the loops and closes what is left, once no connection is.
func (s *Server) release() error {
	close(s.stopSweep)
	var errs []error
	for _, l := range s.loops {
		errs = append(errs, l.stop())
	}
	s.work.Wait()
	for _, l := range s.loops {
		l.release()
	}
	s.gate.mu.Lock()
	defer s.gate.mu.Unlock()
	if s.gate.reserve >= 0 {
		closeDescriptor(s.gate.reserve)
		s.gate.reserve = -1
	}
	return errors.Join(errs...)
}

// liveCount counts sockets on the loops, and tells when the last has gone.
type liveCount struct {
	n    atomic.Int64
	mu   sync.Mutex
	cond *sync.Cond
}

func (l *liveCount) init()      { l.cond = sync.NewCond(&l.mu) }
func (l *liveCount) count() int { return int(l.n.Load()) }
func (l *liveCount) enter()     { l.n.Add(1) }

func (l *liveCount) leave() {
	if l.n.Add(-1) == 0 {
		l.mu.Lock()
		l.cond.Broadcast()
		l.mu.Unlock()
	}
}

// drained returns a channel that is closed once there is no socket.
func (l *liveCount) drained() <-chan struct{} {
	ch := make(chan struct{})
	go func() {
		l.mu.Lock()
		for l.n.Load() > 0 {
			l.cond.Wait()
		}
		l.mu.Unlock()
		close(ch)
	}()
	return ch
}
