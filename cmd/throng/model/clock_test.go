package model

import (
	"strings"
	"sync/atomic"
	"time"

	"github.com/thronghq/throng/proto"
)

// clock is the machine's, which jumps, and with it the server's time, which only
// moves forward. What is measured rather than dated, such as the grace of a user
// that is cut, goes by the bubble's own time, and does not notice.
type clock struct {
	skew atomic.Int64 // of the machine's clock, ns
	last time.Time    // the server's time, as it was when it was last looked at

	newest time.Time // of all messages in the store, or behind the machine's clock
}

func newClock() *clock { return &clock{last: time.Now()} }

// machine is what the machine's clock shows.
func (c *clock) machine() time.Time { return time.Now().Add(time.Duration(c.skew.Load())) }

// now is the time in the server's rooms.
func (c *clock) now() time.Time {
	if t := c.machine(); t.After(c.last) {
		c.last = t
	}
	return c.last
}

// stored takes note of a message that is stored.
func (c *clock) stored(m *message) {
	if t := time.UnixMicro(m.micros); t.After(c.newest) {
		c.newest = t
	}
}

// maxBehind is how far the machine's clock may be behind the newest stored
// message at a start.
const maxBehind = time.Hour

// jumps of the machine's clock, which add up. The short ones are for what is
// ordered by time, the longer ones for graces, keys and retention, and the
// longest for the start.
var jumps = []time.Duration{
	-time.Millisecond, -time.Second, time.Second, -20 * time.Second, 50 * time.Second,
	-4 * time.Minute, 4 * time.Minute, -time.Hour, 2 * time.Hour,
}

// turnClock has a message stored, so that the server will remember the time of
// this moment, and turns the machine's clock.
func (w *world) turnClock(c *client, r *truth, n, m int) {
	if r.ns.Durability != proto.Sync {
		r = w.rooms["safe:vault"]
	}
	before := r.head()
	w.publish(c, r, "", m)
	w.calm()
	if jump := oneOf(jumps, n); jump > 0 || r.head() > before {
		w.clock.skew.Add(int64(jump))
	}
}

// startAgain is start with a clock that may have jumped: the start is refused
// where the machine's clock is too far behind, and then the clock is set right.
func (w *world) startAgain(crashed bool) {
	// How well the server remembers its time after a crash; it may also remember a
	// moment after the newest message, of a deletion.
	const exact = time.Second
	behind := w.clock.newest.Sub(w.clock.machine())
	store, err := w.open()
	w.store = store
	switch {
	case err != nil && (behind <= maxBehind-exact || !strings.Contains(err.Error(), "set the clock")):
		w.fail("the store does not open, with a clock that is %v behind: %v", behind, err)
	case err == nil && (behind > maxBehind+exact || behind > maxBehind && !crashed):
		w.fail("the store opens with a clock that is %v behind", behind)
	case err != nil:
		w.clock.skew.Add(int64(behind - maxBehind/2))
		if w.store, err = w.open(); err != nil {
			w.fail("the store does not open once the clock is set: %v", err)
		}
	}
	w.serve()
	got, want := w.store.Now(), w.clock.now()
	if w.clock.newest.After(want) {
		want = w.clock.newest // a crash set the time back, and messages follow their room's last one
	}
	low := want.Add(-time.Millisecond)
	if machine := w.clock.machine(); crashed && machine.Before(low) {
		low = want.Add(-exact)
	}
	if got.Before(low) || got.After(want.Add(time.Millisecond)) {
		w.fail("the server's time is %v off after a start", got.Sub(want))
	}
	w.clock.last = got
	if got.Before(w.clock.newest) {
		w.clock.newest = got // what was newer is lost
	}
}
