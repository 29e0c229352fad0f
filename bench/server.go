package bench

import (
	"context"
	"fmt"
	"time"
)

// server watches the process that is measured.
type server struct {
	pid   int
	cores int
	empty memory // before the first connection
	begin usage
	end   usage
	now   memory
	peak  int64 // PSS
}

// watchServer finds the server's process. A server of another machine has none
// that could be read: then it returns nil.
func watchServer(ctx context.Context, o *options) (*server, error) {
	t, err := parseTarget(ctx, o.URL, o.AllowRemote)
	if err != nil {
		return nil, err
	}
	pid := o.PID
	if pid == 0 {
		if !t.addr.Addr().IsLoopback() {
			return nil, nil
		}
		if pid, err = findServer(t.addr); err != nil {
			return nil, err
		}
	}
	s := &server{pid: pid, cores: max(cores(pid), 1)}
	s.empty, err = readMemory(pid)
	s.peak = s.empty.pss
	if err != nil {
		return nil, fmt.Errorf("the memory of process %d: %w", pid, err)
	}
	return s, nil
}

// start begins the measurement of CPU time.
func (s *server) start() (err error) {
	if s == nil {
		return nil
	}
	s.begin, err = readUsage(s.pid)
	return err
}

// sample notes the memory that is in use.
func (s *server) sample() {
	if s == nil {
		return
	}
	if m, err := readMemory(s.pid); err == nil { // a server that is gone fails its connections
		s.now, s.peak = m, max(s.peak, m.pss)
	}
}

// stop ends the measurement.
func (s *server) stop() (err error) {
	if s == nil {
		return nil
	}
	s.end, err = readUsage(s.pid)
	s.sample()
	return err
}

// stopOrFollow is stop, unless the process has ended: then another that listens
// there by now is watched in its place.
func (s *server) stopOrFollow(ctx context.Context, o *options) error {
	err := s.stop()
	if err == nil || s == nil {
		return err
	}
	other := *o
	other.PID = 0
	now, err := watchServer(ctx, &other)
	if err != nil {
		return err
	}
	s.pid, s.begin = now.pid, usage{}
	return s.stop()
}

// used is the CPU time between start and stop.
func (s *server) used() usage {
	if s == nil {
		return usage{}
	}
	return s.end.since(s.begin)
}

// growth is what a memory size has beyond the empty server's.
func (s *server) growth(m memory) memory {
	if s == nil {
		return memory{}
	}
	return memory{m.pss - s.empty.pss, m.rss - s.empty.rss}
}

func (s *server) result(seconds float64, deliveries uint64) *serverResult {
	used := s.used()
	r := &serverResult{
		PID: s.pid, Cores: s.cores, UserSeconds: used.user.Seconds(), SystemSeconds: used.system.Seconds(),
		Busy: used.total().Seconds() / seconds / float64(s.cores), PSSBefore: s.empty.pss, PSSAfter: s.now.pss, PSSPeak: s.peak,
	}
	if deliveries > 0 {
		r.CPUPerDelivery = float64(used.total()) / float64(time.Microsecond) / float64(deliveries)
	}
	return r
}
