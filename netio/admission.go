package netio

import (
	"math/rand/v2"
	"sync"
	"time"

	"github.com/thronghq/throng/proto"
)

const (
	admissionWait  = 5 * time.Second      // how long a handshake may wait for its turn
	admissionQueue = 65_536               // handshakes that may
	admissionStep  = 5 * time.Millisecond // between two looks at those that wait
	admissionGrace = 1 * time.Second      // after admissionWait, for a machine that lags behind
	retryMost      = 60 * time.Second     // that a refused client is asked to stay away, give or take
	retrySoon      = 5 * time.Second      // the same where the budget has no say
)

// admission is the budget of handshakes. All clients of a server that was cut
// off come back in the same moment; each handshake costs a token to check, a
// session to set up and the joins that follow, so that a server that takes them
// all at once answers nobody in time.
//
// While there is budget a handshake is admitted at once. Past it handshakes wait
// for the budget to refill, the addresses that they come from in turn. The queue is
// as long as what refills in admissionWait, so that its length bounds the time as
// well. Who finds it full takes a place of the address that has most of them; where
// that is its own, it is refused. Who is refused is told when to come again: each
// gets the next place in the budget after those that were told before it, so that
// clients that do as they are told find budget.
//
// It is safe for concurrent use. With a rate that is off, all are admitted.
type admission struct {
	// Static after construction.
	perSecond float64 // 0 for no bound
	burst     float64
	places    int           // in the queue
	each      time.Duration // in which one handshake's budget refills
	wake      chan struct{} // handshakes begin to wait; capacity 1

	mu       sync.Mutex
	budget   float64   // handshakes
	refilled time.Time // when it was brought up to date
	promised time.Time // until when the budget to come was promised to refused clients
	line     line

	queued, refused uint64 // since the start
}

// newAdmission returns a full budget.
func newAdmission(r proto.Rate, now time.Time) *admission {
	a := &admission{
		perSecond: r.PerSecond, burst: float64(r.Burst), budget: float64(r.Burst), refilled: now,
		wake: make(chan struct{}, 1), line: newLine(),
	}
	if !r.Off() {
		a.places = int(min(max(r.PerSecond*admissionWait.Seconds(), 1), admissionQueue))
		a.each = time.Duration(float64(time.Second) / r.PerSecond)
	}
	return a
}

// turn is how a handshake stands with the budget.
type turn uint8

const (
	turnNone    turn = iota // it has not got so far
	turnWaiting             // in the queue, its head kept in Conn.in
	turnCome                // it has left the queue
)

// The answers of enter.
const (
	admitted = iota
	toWait
	notAdmitted
)

// enter admits a handshake, has it wait, or refuses it; after is then how long
// the client should stay away. Where it waits in the place of another handshake,
// pushed, that one is to be refused.
func (a *admission) enter(c *Conn, now time.Time) (answer int, after time.Duration, pushed *Conn) {
	if a.perSecond == 0 {
		return admitted, 0, nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.refillLocked(now)
	n := a.line.count()
	if n == 0 && a.budget >= 1 {
		a.budget--
		return admitted, 0, nil
	}
	if n >= a.places {
		if pushed = a.line.pushOut(c); pushed == nil {
			return notAdmitted, a.promiseLocked(now), nil
		}
	}
	a.line.add(c)
	a.queued++
	if n == 0 {
		select {
		case a.wake <- struct{}{}:
		default:
		}
	}
	return toWait, 0, pushed
}

// promise counts a handshake that is refused, and returns how long its client
// should stay away.
func (a *admission) promise(now time.Time) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.promiseLocked(now)
}

func (a *admission) promiseLocked(now time.Time) time.Duration {
	a.refused++
	if least := now.Add(time.Duration(a.line.count()) * a.each); a.promised.Before(least) {
		a.promised = least
	}
	if !a.promised.Before(now.Add(retryMost)) {
		return jitter(a.promised.Sub(now)) // which many are told
	}
	a.promised = a.promised.Add(a.each)
	d := a.promised.Sub(now)
	return d + rand.N(max(d/4, time.Second)) // a header tells whole seconds
}

// next takes the handshakes from the queue that the budget now allows, and
// appends them to dst. It reports whether others still wait.
func (a *admission) next(dst []*Conn, now time.Time) ([]*Conn, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.refillLocked(now)
	for a.line.count() > 0 && a.budget >= 1 {
		a.budget--
		dst = append(dst, a.line.next())
	}
	return dst, a.line.count() > 0
}

// all takes all handshakes from the queue.
func (a *admission) all() []*Conn {
	a.mu.Lock()
	defer a.mu.Unlock()
	var conns []*Conn
	for a.line.count() > 0 {
		conns = append(conns, a.line.next())
	}
	return conns
}

// forget takes a handshake from the queue that has ended while it waited.
func (a *admission) forget(c *Conn) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.line.forget(c)
}

func (a *admission) refillLocked(now time.Time) {
	if d := now.Sub(a.refilled); d > 0 {
		a.budget = min(a.budget+d.Seconds()*a.perSecond, a.burst)
		a.refilled = now
	}
}

// counts returns how many wait, and how many did and were refused since the
// start.
func (a *admission) counts() (waiting int, queued, refused uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.line.count(), a.queued, a.refused
}

// run lets handshakes go on as the budget refills, until stop is closed.
func (a *admission) run(stop <-chan struct{}) {
	tick := time.NewTicker(admissionStep)
	defer tick.Stop()
	tick.Stop()
	var turn []*Conn
	for {
		select {
		case <-stop:
			return
		case <-a.wake:
			tick.Reset(admissionStep)
			continue
		case <-tick.C:
		}
		var more bool
		turn, more = a.next(turn[:0], time.Now())
		for i, c := range turn {
			c.loop.post(c, taskAdmit)
			turn[i] = nil
		}
		if !more {
			tick.Stop()
		}
	}
}

// jitter spreads a time to stay away, so that those who get the same do not come
// back in the same moment: to as much again, half of it on the average.
func jitter(d time.Duration) time.Duration { return d + rand.N(max(d, time.Second)) }

// waitAdmission keeps the handshake, whose head b begins with, until its turn.
func (c *Conn) waitAdmission(b []byte) {
	c.keepHead(b)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.phase == phaseHandshake {
		c.setDueLocked(admissionWait + admissionGrace)
	}
}

// admit goes on with a handshake whose turn has come.
func (c *Conn) admit() {
	if c.turn != turnWaiting || c.currentPhase() != phaseHandshake {
		return
	}
	c.turn = turnCome
	head := c.takeHead()
	c.handshake(head, findHead(head, 0))
	c.loop.core.pool.put(head)
	c.accountIn()
}

// pushedOut refuses a handshake whose place another one has got.
func (c *Conn) pushedOut() {
	if c.turn == turnWaiting {
		c.refuseKept(proto.ErrUnavailable.After(c.loop.core.admission.promise(time.Now())))
	}
}

// leaveQueue gives up the handshake's place in the queue, if it has one.
func (c *Conn) leaveQueue() {
	if c.turn == turnWaiting {
		c.turn = turnCome
		c.loop.core.admission.forget(c)
	}
}
