package session

import (
	"net/netip"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/thronghq/throng/proto"
)

// Rates bounds how often things may be done, by whom or where. What is off costs
// nothing. An address of IPv6 stands for all of its /64.
type Rates struct{ Connection, User, Address, Room RateSet }

// RateSet bounds what is done in one scope. In a room, Frames and Bytes are those
// of messages. Logins and Handshakes have no meaning for a connection and a room.
type RateSet struct{ Frames, Bytes, Joins, Publishes, Logins, Handshakes proto.Rate }

// Limited is a kind of thing that rates bound.
type Limited uint8

// The kinds.
const (
	Frames Limited = iota // commands, by a frame or by REST, and frames that bring none
	Bytes                 // of these
	Joins
	Publishes
	Logins
	Handshakes // connections and streams that are opened
	limitedKinds
)

// String returns the name that the metrics have.
func (l Limited) String() string {
	return [...]string{"frames", "bytes", "joins", "publishes", "logins", "handshakes"}[l]
}

// scope says whom or what a rate bounds, in the order in which they are asked.
type scope uint8

const (
	scopeConnection scope = iota
	scopeUser
	scopeAddress
	scopeRoom
	scopeCount
)

func (c scope) String() string { return [...]string{"connection", "user", "address", "room"}[c] }

// buckets are the buckets of one connection, user, address or room.
type buckets [limitedKinds]bucket

// toll is what one step takes of each scope's buckets.
type toll [limitedKinds]int

// limiter bounds rates. A nil limiter bounds nothing. It is safe for concurrent
// use.
type limiter struct {
	now    func() time.Time
	start  time.Time
	speeds [scopeCount][limitedKinds]speed
	alone  bool // something bounds single connections

	users     *table[string]
	addresses *table[netip.Addr]
	rooms     *table[string]

	refused [scopeCount][limitedKinds]*metrics.Counter
}

// newLimiter returns the limiter for the rates, nil where all are off. The
// metrics are there either way.
func newLimiter(r Rates, now func() time.Time, set *metrics.Set) *limiter {
	l := &limiter{
		now: now, start: now(),
		users:     newTable[string](scopeUser, tableEntries, set),
		addresses: newTable[netip.Addr](scopeAddress, tableEntries, set),
		rooms:     newTable[string](scopeRoom, tableEntries, set),
	}
	on := false
	for c, rates := range [scopeCount]RateSet{r.Connection, r.User, r.Address, r.Room} {
		for kind, rate := range [limitedKinds]proto.Rate{
			rates.Frames, rates.Bytes, rates.Joins, rates.Publishes, rates.Logins, rates.Handshakes,
		} {
			l.speeds[c][kind] = newSpeed(rate)
			on = on || !rate.Off()
			l.refused[c][kind] = set.NewCounter(
				`throng_rate_limited_total{scope="` + scope(c).String() + `",kind="` + Limited(kind).String() + `"}`)
		}
	}
	if !on {
		return nil
	}
	l.alone = r.Connection != RateSet{}
	return l
}

// clock is the time on the buckets' clock.
func (l *limiter) clock() int64 { return int64(l.now().Sub(l.start)) }

// payer says whose buckets a toll is taken of: all that are set.
type payer struct {
	connection *buckets
	user       string
	address    netip.Addr
	room       []byte // borrowed
}

// kindsOfToll is how many kinds one toll has at the most.
const kindsOfToll = 3

// receipt remembers what was taken.
type receipt struct {
	taken [int(scopeCount) * kindsOfToll]struct {
		from *bucket
		cost int64
	}
	n int
}

// refund gives back what was taken.
func (r *receipt) refund() {
	for _, t := range r.taken[:r.n] {
		t.from.put(t.cost)
	}
	r.n = 0
}

// pay takes the toll of all the payer's buckets, the connection's first, then
// the user's, the address's and the room's, or of none: then it says which had
// too little, and for how long.
func (l *limiter) pay(p payer, what *toll) *proto.Error {
	var r receipt
	return l.payOn(&r, p, what)
}

// payOn is pay for what can still be refunded. Where it fails, all that the
// receipt lists is refunded.
func (l *limiter) payOn(r *receipt, p payer, what *toll) *proto.Error {
	c, kind, wait := l.take(r, p, what)
	if wait == 0 {
		return nil
	}
	l.refused[c][kind].Inc()
	return limitedBy(c, kind, time.Duration(wait))
}

// payFrames takes what as many of n frames cost as can be paid, and returns how
// many cannot.
func (l *limiter) payFrames(p payer, n int) int {
	for part := n; n > 0; part = min(part, n) {
		var r receipt
		c, kind, wait := l.take(&r, p, &toll{Frames: part})
		switch {
		case wait == 0:
			n -= part
		case part == 1:
			l.refused[c][kind].Add(n)
			return n
		default:
			part /= 2
		}
	}
	return 0
}

// take takes the toll, or nothing: then it says of whose buckets which had too
// little, and for how many nanoseconds.
func (l *limiter) take(r *receipt, p payer, what *toll) (c scope, kind Limited, wait int64) {
	now := l.clock()
	for c := range scopeCount {
		if !l.asks(c, what) {
			continue
		}
		from := l.buckets(c, p, now)
		if from == nil {
			continue
		}
		for kind, n := range what {
			speed := l.speed(c, Limited(kind), what)
			if n == 0 || speed.off() {
				continue
			}
			cost := speed.span(n)
			if wait := from[kind].take(now, cost, speed.burst); wait > 0 {
				r.refund()
				return c, Limited(kind), wait
			}
			r.taken[r.n].from, r.taken[r.n].cost = &from[kind], cost
			r.n++
		}
	}
	return 0, 0, 0
}

// asks reports whether the scope bounds anything of the toll.
func (l *limiter) asks(c scope, what *toll) bool {
	for kind, n := range what {
		if n > 0 && !l.speed(c, Limited(kind), what).off() {
			return true
		}
	}
	return false
}

// speed is what bounds one kind of a toll in a scope.
func (l *limiter) speed(c scope, kind Limited, what *toll) speed {
	if c == scopeRoom && kind <= Bytes && what[Publishes] == 0 {
		return speed{}
	}
	return l.speeds[c][kind]
}

// buckets returns the payer's buckets of one scope, nil where it has none.
func (l *limiter) buckets(c scope, p payer, now int64) *buckets {
	switch {
	case c == scopeConnection:
		return p.connection
	case c == scopeUser && p.user != "":
		return l.users.get(p.user, now)
	case c == scopeAddress && p.address.IsValid():
		return l.addresses.get(network(p.address), now)
	case c == scopeRoom && len(p.room) > 0:
		return l.rooms.get(string(p.room), now)
	}
	return nil
}

// network is what stands for an address: of IPv6, its /64, for who has one
// address of it has all.
func network(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if a.Is4() {
		return a
	}
	const bits = 64
	prefix, err := a.Prefix(bits)
	if err != nil {
		panic("session: an IPv6 address has a /64: " + err.Error())
	}
	return prefix.Addr()
}

// limitedBy is the error of who goes beyond a rate.
func limitedBy(c scope, kind Limited, wait time.Duration) *proto.Error {
	err := proto.ErrRateLimited.With("the %s's rate of %s is used up", c, kind)
	err.RetryAfter = max(wait.Truncate(time.Millisecond)+time.Millisecond, time.Millisecond)
	return err
}

// Limit takes n of what a caller does that is no command, such as logins and the
// handshakes of event streams, of the caller's user and address. The error is
// ErrRateLimited and says when to come back; nothing was taken then. It does not
// block.
func (m *Manager) Limit(c Caller, what Limited, n int) *proto.Error {
	if m.limiter == nil {
		return nil
	}
	p := payer{address: c.Address}
	if c.Identity != nil {
		p.user = c.Identity.UserID
	}
	var t toll
	t[what] = n
	return m.limiter.pay(p, &t)
}
