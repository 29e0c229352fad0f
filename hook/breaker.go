package hook

import "time"

// breaker is a circuit breaker: after a number of failures in a row it lets
// nothing through for a while, then one probe, whose success closes it and whose
// failure opens it for twice as long. It is not safe for concurrent use.
type breaker struct {
	// Static.
	after          int // failures in a row that open it
	first, longest time.Duration

	failures int
	opens    time.Duration // how long it stays open; 0 while it is closed
	until    time.Time     // no probe before
	probing  bool
}

// wait returns how long nothing may pass, 0 when something may. While a probe is
// under way it returns false: its result will tell.
func (b *breaker) wait(now time.Time) (d time.Duration, ok bool) {
	switch {
	case b.opens == 0:
		return 0, true
	case b.probing:
		return 0, false
	}
	return max(0, b.until.Sub(now)), true
}

// pass notes that something is let through after wait, and reports whether it is
// the probe.
func (b *breaker) pass() (probe bool) {
	b.probing = b.opens > 0
	return b.probing
}

// success reports whether it closed an open breaker.
func (b *breaker) success() (closed bool) {
	closed = b.opens > 0
	b.failures, b.opens, b.probing = 0, 0, false
	return closed
}

// failure counts a failure of something that passed. Those that passed before the
// breaker opened change nothing.
func (b *breaker) failure(now time.Time, probe bool) (opened bool) {
	b.failures++
	switch {
	case b.opens == 0 && b.failures >= b.after:
		b.opens = b.first
	case b.opens > 0 && probe:
		b.opens = min(2*b.opens, b.longest)
	default:
		return false
	}
	b.until, b.probing = now.Add(b.opens), false
	return true
}

// abandon notes that a probe ended without telling anything.
func (b *breaker) abandon(probe bool) {
	if probe {
		b.probing = false
	}
}

// state names the breaker's state: closed, open or half-open.
func (b *breaker) state(now time.Time) string {
	switch {
	case b.opens == 0:
		return "closed"
	case b.probing || !now.Before(b.until):
		return "half-open"
	}
	return "open"
}
