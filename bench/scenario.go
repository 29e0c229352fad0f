package bench

import (
	"context"
	"fmt"
	"time"
)

// scenario is a run under way: the processes that load the server, and what is
// known of the server's own.
type scenario struct {
	options  *options
	server   *server // nil where it runs elsewhere
	crew     *crew
	progress *progress
}

func newScenario(ctx context.Context, command string, o *options, p *progress) (*scenario, error) {
	watched, err := watchServer(ctx, o)
	if err != nil {
		return nil, err
	}
	c, err := newCrew(ctx, command, o, func(t *tally) {
		watched.sample()
		p.show(t)
	})
	if err != nil {
		return nil, err
	}
	return &scenario{options: o, server: watched, crew: c, progress: p}, nil
}

// runFanout measures fan-out: see fanout for what the processes do.
func runFanout(ctx context.Context, o *options, p *progress) (*result, error) {
	return runSteps(ctx, "fanout", o, p)
}

// runEcho measures messages that come back: see echo.
func runEcho(ctx context.Context, o *options, p *progress) (*result, error) {
	return runSteps(ctx, "echo", o, p)
}

// runHandshake measures handshakes: see handshake.
func runHandshake(ctx context.Context, o *options, p *progress) (*result, error) {
	return runSteps(ctx, "handshake", o, p)
}

// runHistory measures pages of history: see history.
func runHistory(ctx context.Context, o *options, p *progress) (*result, error) {
	return runSteps(ctx, "history", o, p)
}

// runPages measures pages at random places: see pages.
func runPages(ctx context.Context, o *options, p *progress) (*result, error) {
	return runSteps(ctx, "pages", o, p)
}

// runResume measures members that come back: see resume.
func runResume(ctx context.Context, o *options, p *progress) (*result, error) {
	return runSteps(ctx, "resume", o, p)
}

// runSteps opens the connections, warms up, and measures one run.
func runSteps(ctx context.Context, command string, o *options, p *progress) (*result, error) {
	s, err := newScenario(ctx, command, o, p)
	if err != nil {
		return nil, err
	}
	defer s.crew.close()
	if err := s.open(ctx); err != nil {
		return nil, err
	}
	if o.SlowReaders == 0 {
		return s.warmAndMeasure(ctx)
	}
	t, err := parseTarget(ctx, o.URL, o.AllowRemote)
	if err != nil {
		return nil, err
	}
	g := watchGauges(ctx, t)
	r, err := s.warmAndMeasure(ctx)
	seen := g.end(ctx)
	if err == nil {
		r.Gauges = seen
	}
	return r, err
}

func (s *scenario) warmAndMeasure(ctx context.Context) (*result, error) {
	s.progress.stage("warming up")
	if _, err := s.crew.run(ctx, stepWarm); err != nil {
		return nil, err
	}
	return s.measure(ctx)
}

func (s *scenario) open(ctx context.Context) error {
	s.progress.stage("opening %d connections", s.options.Conns)
	_, err := s.crew.do(ctx, input{Step: stepOpen})
	return err
}

// measure does the run that counts, and reads the server's CPU time around it.
func (s *scenario) measure(ctx context.Context) (*result, error) {
	s.progress.stage("measuring")
	if _, err := s.crew.do(ctx, input{Step: stepBegin}); err != nil {
		return nil, err
	}
	if err := s.server.start(); err != nil {
		return nil, fmt.Errorf("the server's CPU time: %w", err)
	}
	start := time.Now()
	ran, err := s.crew.run(ctx, stepRun)
	if err != nil {
		return nil, err
	}
	elapsed := time.Since(start)
	if err := s.server.stop(); err != nil {
		return nil, fmt.Errorf("the server's CPU time: %w", err)
	}
	finished, err := s.crew.do(ctx, input{Step: stepFinish, Heads: ran.Heads})
	if err != nil {
		return nil, err
	}
	return newResult(finished.Tally, elapsed, s.server), nil
}

// run has the workers send, and then wait until everything has arrived.
func (c *crew) run(ctx context.Context, step string) (output, error) {
	out, err := c.do(ctx, input{Step: step})
	if err != nil {
		return out, err
	}
	_, err = c.do(ctx, input{Step: stepDrain, Heads: out.Heads})
	return out, err
}

// runConn measures the memory of idle connections, before and after a message
// has gone through each room.
func runConn(ctx context.Context, o *options, p *progress) (*result, error) {
	if err := prime(ctx, o, p); err != nil {
		return nil, err
	}
	s, err := newScenario(ctx, "conn", o, p)
	if err != nil {
		return nil, err
	}
	defer s.crew.close()
	if err := s.server.start(); err != nil {
		return nil, err
	}
	start := time.Now()
	if err := s.open(ctx); err != nil {
		return nil, err
	}
	opened := time.Since(start)
	if err := s.server.stop(); err != nil {
		return nil, err
	}
	opening := s.server.used()
	idle, err := s.rest(ctx)
	if err != nil {
		return nil, err
	}
	r, err := s.measure(ctx)
	if err != nil {
		return nil, err
	}
	after, err := s.rest(ctx)
	if err != nil {
		return nil, err
	}
	n := float64(o.Conns)
	r.Connections = &connectionResult{
		OpenedPerSecond: n / opened.Seconds(),
		CPUPerOpen:      float64(opening.total()) / float64(time.Microsecond) / n,
		IdlePSS:         float64(s.server.growth(idle).pss) / n,
		AfterPSS:        float64(s.server.growth(after).pss) / n,
		IdleRSS:         float64(s.server.growth(idle).rss) / n,
		AfterRSS:        float64(s.server.growth(after).rss) / n,
	}
	return r, nil
}

// prime has some connections do what the measured ones will do, and closes
// them: what a server's process needs once, such as the pages of its code, is no
// part of what a connection needs.
func prime(ctx context.Context, o *options, p *progress) error {
	few := *o
	few.Conns, few.Rooms, few.Processes, few.Prefix = min(o.Conns, 100), min(o.Rooms, 10), 1, o.Prefix+"-prime"
	s, err := newScenario(ctx, "conn", &few, p)
	if err != nil {
		return err
	}
	defer s.crew.close()
	if err := s.open(ctx); err != nil {
		return err
	}
	_, err = s.crew.run(ctx, stepRun)
	return err
}

// rest leaves the server alone for the settling time, with the connections
// open, and returns what memory it uses then.
func (s *scenario) rest(ctx context.Context) (m memory, err error) {
	if s.server == nil {
		return m, nil
	}
	s.progress.stage("leaving the server alone")
	if _, err := s.crew.do(ctx, input{Step: stepRest}); err != nil {
		return m, err
	}
	s.server.sample()
	return s.server.now, nil
}
