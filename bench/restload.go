package bench

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// restLoad asks on several connections at once, one request after the other on
// each, and counts what came back and what the server spent on it.
type restLoad struct {
	target  target
	options *options
	server  *server // nil where it runs elsewhere
	clock   clock
	token   string
	warm    func() error // called between the warm-up and the measurement, if not nil
}

// asker is one connection's part of a load. Its methods are called by one
// goroutine.
type asker interface {
	// next appends the body of the next request, or returns nil for none.
	// The request is due at that time.
	next(body []byte, due int64) (method, path string, withBody []byte)
	// answered takes the answer. It fails where the benchmark cannot go on,
	// and returns how many messages there are in it.
	answered(status int, body []byte, t *tally) (messages uint64, err error)
}

// phase is what a load did in a while.
type phase struct {
	tally   *tally
	elapsed time.Duration
	used    usage // of the server
}

// run asks for as long as the warm-up and the measurement take, and returns what
// the latter found. The askers go on where they were.
func (l *restLoad) run(ctx context.Context, askers []asker) (phase, error) {
	conns := make([]*restConn, len(askers))
	defer func() {
		for _, c := range conns {
			if c != nil {
				c.close()
			}
		}
	}()
	for i := range conns {
		var err error
		if conns[i], err = dialREST(ctx, l.target, netip.Addr{}, l.options.Timeout); err != nil {
			return phase{}, err
		}
		conns[i].token = l.token
	}
	if _, err := l.round(ctx, conns, askers, l.options.Warmup); err != nil {
		return phase{}, err
	}
	if l.warm != nil {
		if err := l.warm(); err != nil {
			return phase{}, err
		}
	}
	own := ownUsage()
	if err := l.server.start(); err != nil {
		return phase{}, err
	}
	p, err := l.round(ctx, conns, askers, l.options.Duration)
	if err != nil {
		return phase{}, err
	}
	if err := l.server.stop(); err != nil {
		return phase{}, err
	}
	p.used = l.server.used()
	p.tally.CPU = ownUsage().since(own).total().Seconds()
	p.tally.BusiestCPU = p.tally.CPU
	return p, nil
}

// round has every asker ask for a time.
func (l *restLoad) round(ctx context.Context, conns []*restConn, askers []asker, d time.Duration) (phase, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	start := time.Now()
	end := l.clock.now() + int64(d)
	tallies, errs := make([]*tally, len(askers)), make([]error, len(askers))
	var all sync.WaitGroup
	for i, a := range askers {
		tallies[i] = newTally()
		all.Go(func() {
			if errs[i] = l.loop(ctx, conns[i], a, tallies[i], end); errs[i] != nil {
				cancel() // the others need not go on
			}
		})
	}
	all.Wait()
	p := phase{tally: newTally(), elapsed: time.Since(start)}
	for _, t := range tallies {
		p.tally.add(t)
	}
	return p, errors.Join(errs...)
}

func (l *restLoad) loop(ctx context.Context, c *restConn, a asker, t *tally, end int64) error {
	var body []byte
	for due := l.clock.now(); due < end && ctx.Err() == nil; due = l.clock.now() {
		method, path, withBody := a.next(body[:0], due)
		status, answer, err := c.ask(method, path, withBody)
		if err != nil {
			return fmt.Errorf("%s %s: %w", method, path, err)
		}
		if withBody != nil {
			body = withBody
		}
		t.Sent++
		t.Latency.record(due, l.clock.now())
		t.Bytes += uint64(len(answer))
		messages, err := a.answered(status, answer, t)
		if err != nil {
			return fmt.Errorf("%s %s: %w", method, path, err)
		}
		t.Delivered += messages
	}
	return nil
}

// requestResult is what one kind of request cost.
type requestResult struct {
	Name          string    `json:"name"`
	Requests      uint64    `json:"requests"`
	PerSecond     float64   `json:"requests_per_second"`
	CPUPerRequest float64   `json:"cpu_us_per_request,omitempty"` // of the server
	ToFloor       float64   `json:"cpu_to_floor,omitempty"`       // to that of GET /healthz
	Refused       uint64    `json:"refused"`                      // for being too many
	Latency       quantiles `json:"latency_ms"`
}

func (p *phase) result(name string, floor *requestResult) *requestResult {
	r := &requestResult{
		Name: name, Requests: p.tally.Sent, PerSecond: float64(p.tally.Sent) / p.elapsed.Seconds(),
		Refused: p.tally.Refused, Latency: p.tally.Latency.quantiles(),
	}
	if p.tally.Sent > 0 {
		r.CPUPerRequest = float64(p.used.total()) / float64(time.Microsecond) / float64(p.tally.Sent)
	}
	if floor != nil && floor.CPUPerRequest > 0 {
		r.ToFloor = r.CPUPerRequest / floor.CPUPerRequest
	}
	return r
}

// healthz is the floor: a request that does nothing, through the same stack.
type healthz struct{}

func (healthz) next([]byte, int64) (method, path string, body []byte) {
	return http.MethodGet, "/healthz", nil
}

func (healthz) answered(status int, body []byte, _ *tally) (uint64, error) {
	return 0, expectStatus(http.StatusOK, status, body)
}

// expectStatus fails for another status.
func expectStatus(want, status int, body []byte) error {
	if status != want {
		return fmt.Errorf("the answer is %d, not %d: %.300s", status, want, body)
	}
	return nil
}
