package bench

import (
	"context"
	"fmt"
	"time"
)

// stormTally is what one process has counted of a storm.
type stormTally struct {
	Cut          uint64   `json:"cut"`           // clients that were
	Attempts     uint64   `json:"attempts"`      // of theirs to come back
	Refused      uint64   `json:"refused"`       // attempts answered with an error
	Broken       uint64   `json:"broken"`        // attempts and connections that ended without
	TimedOut     uint64   `json:"timed_out"`     // attempts that had no answer in time
	NotRecovered uint64   `json:"not_recovered"` // joins that did not go on where the client had been
	Back         *latency `json:"back"`          // time until each client was
	All          float64  `json:"all_back"`      // seconds until the last one was
	Caught       float64  `json:"all_caught_up"` // seconds until all had all messages
}

func (t *stormTally) add(other *stormTally) {
	t.Cut += other.Cut
	t.Attempts += other.Attempts
	t.Refused += other.Refused
	t.Broken += other.Broken
	t.TimedOut += other.TimedOut
	t.NotRecovered += other.NotRecovered
	t.Back.merge(other.Back)
	t.All, t.Caught = max(t.All, other.All), max(t.Caught, other.Caught)
}

// stormResult is how a server and its clients came through a storm.
type stormResult struct {
	Cut          uint64    `json:"cut"`
	Attempts     uint64    `json:"attempts"`
	Refused      uint64    `json:"refused_attempts"`
	Broken       uint64    `json:"broken_attempts"`
	TimedOut     uint64    `json:"timed_out_attempts"`
	NotRecovered uint64    `json:"not_recovered"`
	Back         quantiles `json:"back_ms"` // each client
	AllBack      float64   `json:"all_back_seconds"`
	CaughtUp     float64   `json:"all_caught_up_seconds"`
	Implied      float64   `json:"implied_seconds"` // that the budget of handshakes takes for as many
	ToImplied    float64   `json:"back_to_implied"` // 0 where the budget holds all at once
	CPUPerClient float64   `json:"cpu_us_per_client"`
}

// admissionPerCore is net.admission's default.
const admissionPerCore = 2000

// runStorm cuts all clients off and measures how they come back: see storm.
func runStorm(ctx context.Context, o *options, p *progress) (*result, error) {
	s, err := newScenario(ctx, "storm", o, p)
	if err != nil {
		return nil, err
	}
	defer s.crew.close()
	if err := s.open(ctx); err != nil {
		return nil, err
	}
	p.stage("filling the rooms")
	if _, err := s.crew.run(ctx, stepWarm); err != nil {
		return nil, err
	}
	t, err := parseTarget(ctx, o.URL, o.AllowRemote)
	if err != nil {
		return nil, err
	}
	p.stage("cutting all off")
	if _, err := s.crew.do(ctx, input{Step: stepBegin}); err != nil {
		return nil, err
	}
	g := watchGauges(ctx, t)
	r, err := s.cutAndMeasure(ctx)
	seen := g.end(ctx)
	if err == nil {
		r.Gauges = seen
	}
	return r, err
}

func (s *scenario) cutAndMeasure(ctx context.Context) (*result, error) {
	if err := s.server.start(); err != nil {
		return nil, err
	}
	start := time.Now()
	if _, err := s.crew.do(ctx, input{Step: stepCut}); err != nil {
		return nil, err
	}
	s.progress.stage("all come back")
	ran, err := s.crew.run(ctx, stepRun)
	if err != nil {
		return nil, err
	}
	elapsed := time.Since(start)
	if err := s.server.stopOrFollow(ctx, s.options); err != nil {
		return nil, err
	}
	finished, err := s.crew.do(ctx, input{Step: stepFinish, Heads: ran.Heads})
	if err != nil {
		return nil, err
	}
	r := newResult(finished.Tally, elapsed, s.server)
	r.Storm = s.stormResult(finished.Tally.Storm)
	return r, nil
}

func (s *scenario) stormResult(t *stormTally) *stormResult {
	r := &stormResult{
		Cut: t.Cut, Attempts: t.Attempts, Refused: t.Refused, Broken: t.Broken, TimedOut: t.TimedOut, NotRecovered: t.NotRecovered,
		Back: t.Back.quantiles(), AllBack: t.All, CaughtUp: t.Caught,
	}
	rate := s.options.Admission
	if rate == 0 && s.server != nil {
		rate = admissionPerCore * float64(s.server.cores)
	}
	if over := float64(t.Cut) - rate; rate > 0 && over > 0 { // the rate is also what comes at once
		r.Implied = over / rate
		r.ToImplied = r.AllBack / r.Implied
	}
	if t.Cut > 0 {
		r.CPUPerClient = float64(s.server.used().total()) / float64(time.Microsecond) / float64(t.Cut)
	}
	return r
}

func (r *stormResult) rows(row func(name, format string, args ...any)) {
	implied := "their budget takes all at once"
	if r.Implied > 0 {
		implied = fmt.Sprintf("%.2f times the %.2f s of their budget", r.ToImplied, r.Implied)
	}
	row("back", "all %d after %.2f s, %s; half of them after %.2f s", r.Cut, r.AllBack, implied, r.Back.P50/1000)
	row("caught up", "after %.2f s; %d could not go on where they had been", r.CaughtUp, r.NotRecovered)
	row("attempts", "%d: %d refused, %d broken, %d without an answer; %.0f µs of server CPU for each client", r.Attempts, r.Refused, r.Broken, r.TimedOut, r.CPUPerClient)
}
