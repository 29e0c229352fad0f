package bench

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"
)

// loginResult is how logins and messages went beside each other.
type loginResult struct {
	Quiet  quantiles `json:"messages_without_logins_ms"`
	Beside quantiles `json:"messages_beside_logins_ms"`
	P50    []float64 `json:"p50_ratios"` // beside logins to without, of each round
	P99    []float64 `json:"p99_ratios"`
	Busy   float64   `json:"cores_busy_with_logins"` // CPU time of the server beyond that without logins, for each second
}

// loginRounds is how often messages without logins and messages beside them take
// turns.
const loginRounds = 3

// loginBackOff is for how long one who was turned away waits.
const loginBackOff = 100 * time.Millisecond

// login measures logins at the full cost of their hashes, and what the messages
// of a room that goes on meanwhile notice of them.
func (r *rest) login(ctx context.Context) (*result, error) {
	o := r.options
	r.progress.stage("registering %d users", o.Requests)
	users := make([]string, o.Requests)
	for i := range users {
		users[i] = r.userOf(i)
		if err := r.register(ctx, users[i]); err != nil {
			return nil, err
		}
	}
	if err := r.measureFloor(ctx); err != nil {
		return nil, err
	}
	r.progress.stage("opening %d members", o.Conns)
	members := *o
	members.Rooms, members.Publishers, members.Messages = 1, 1, 0
	members.Duration = o.Duration / (2 * loginRounds)
	a, err := newAudience(ctx, members, r.target, nil)
	if err != nil {
		return nil, err
	}
	defer a.close()
	if _, err := r.messages(ctx, a, stepWarm, nil); err != nil {
		return nil, err
	}
	return r.rounds(ctx, a, users)
}

// rounds measures in turns, so that what else the machine does meets both.
func (r *rest) rounds(ctx context.Context, a *audience, users []string) (*result, error) {
	all, quiet, beside, logins := newTally(), newTally(), newTally(), newTally()
	found := &loginResult{}
	var phases []phase
	var without, with phase
	for i := range loginRounds {
		r.progress.stage("messages without logins, %d of %d", i+1, loginRounds)
		before, err := r.messages(ctx, a, stepRun, nil)
		if err != nil {
			return nil, err
		}
		r.progress.stage("messages beside logins, %d of %d", i+1, loginRounds)
		after, err := r.messages(ctx, a, stepRun, func(ctx context.Context) error { return r.logins(ctx, users, logins) })
		if err != nil {
			return nil, err
		}
		quiet.add(before.tally)
		beside.add(after.tally)
		found.P50 = append(found.P50, after.tally.Latency.at(50)/before.tally.Latency.at(50))
		found.P99 = append(found.P99, after.tally.Latency.at(99)/before.tally.Latency.at(99))
		without.count(before)
		with.count(after)
		phases = append(phases, before, after)
	}
	if logins.Delivered == 0 {
		return nil, errors.New("no login was let in")
	}
	found.Quiet, found.Beside = quiet.Latency.quantiles(), beside.Latency.quantiles()
	spent := with.used.total() - time.Duration(float64(without.used.total())*with.elapsed.Seconds()/without.elapsed.Seconds())
	found.Busy = spent.Seconds() / with.elapsed.Seconds()
	with.tally, with.used = logins, usage{user: spent}
	one := with.result("POST /login", r.floor)
	one.Requests, one.PerSecond = logins.Delivered, float64(logins.Delivered)/with.elapsed.Seconds()
	one.CPUPerRequest = float64(spent) / float64(time.Microsecond) / float64(logins.Delivered)
	r.found.Requests = append(r.found.Requests, one)
	r.found.Login = found
	all.add(quiet)
	all.add(beside)
	all.BusiestCPU = all.CPU
	return r.overall(all, phases...), nil
}

// count adds what another phase took.
func (p *phase) count(other phase) {
	p.elapsed += other.elapsed
	p.used.user += other.used.user
	p.used.system += other.used.system
}

// messages has the room's author publish at its rate, with something else beside
// it unless that is nil, and returns what the members got.
func (r *rest) messages(ctx context.Context, a *audience, step string, beside func(context.Context) error) (phase, error) {
	if _, err := a.step(ctx, input{Step: stepBegin}); err != nil {
		return phase{}, err
	}
	if err := r.server.start(); err != nil {
		return phase{}, err
	}
	start := time.Now()
	both, cancel := context.WithCancel(ctx)
	defer cancel()
	var other sync.WaitGroup
	var otherErr error
	if beside != nil {
		other.Go(func() { otherErr = beside(both) })
	}
	out, err := a.step(ctx, input{Step: step})
	cancel()
	other.Wait()
	p := phase{elapsed: time.Since(start)}
	if err := errors.Join(err, otherErr, r.server.stop()); err != nil {
		return phase{}, err
	}
	p.used = r.server.used()
	in := input{Step: stepDrain, Heads: out.Heads}
	if _, err := a.step(ctx, in); err != nil {
		return phase{}, err
	}
	in.Step = stepFinish
	out, err = a.step(ctx, in)
	if err == nil {
		p.tally = out.Tally
		p.tally.BusiestCPU = p.tally.CPU
	}
	return p, err
}

// logins has each user log in over and over, each time on a connection and from
// an address of its own, as the logins of many are. What is under way when ctx
// ends is finished, and counts. Delivered are those that were let in.
func (r *rest) logins(ctx context.Context, users []string, t *tally) error {
	clock := newClock()
	tallies, errs := make([]*tally, len(users)), make([]error, len(users))
	var sourcesMu sync.Mutex
	source := func() (c *restConn, err error) {
		sourcesMu.Lock()
		at := r.sources.next()
		sourcesMu.Unlock()
		return dialREST(context.WithoutCancel(ctx), r.target, at, r.options.Timeout)
	}
	var all sync.WaitGroup
	for i, user := range users {
		tallies[i] = newTally()
		all.Go(func() {
			for ctx.Err() == nil && errs[i] == nil {
				errs[i] = logIn(ctx, source, user, clock, tallies[i])
			}
		})
	}
	all.Wait()
	for _, one := range tallies {
		t.add(one)
	}
	return errors.Join(errs...)
}

// logIn logs in once.
func logIn(ctx context.Context, dial func() (*restConn, error), user string, clock clock, t *tally) error {
	due := clock.now()
	c, err := dial()
	if err != nil {
		return err
	}
	defer c.close()
	status, answer, err := c.ask(http.MethodPost, apiPath+"/login", credentials(user))
	if err != nil {
		return fmt.Errorf("a login: %w", err)
	}
	t.Sent++
	switch status {
	case http.StatusOK:
		t.Delivered++
		t.Latency.record(due, clock.now())
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		t.Refused++
		select {
		case <-ctx.Done():
		case <-time.After(loginBackOff):
		}
	default:
		return refusedRequest(http.MethodPost, apiPath+"/login", status, answer)
	}
	return nil
}

// median returns the middle of some ratios, which it leaves in their order.
func median(ratios []float64) float64 {
	sorted := slices.Sorted(slices.Values(ratios))
	return sorted[len(sorted)/2]
}
