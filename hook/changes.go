package hook

import (
	"sync"
	"sync/atomic"
	"time"
)

// changes gathers what deliveries change in the queues, until the writer takes
// it. Of an event that waits only is noted that it has changed: the writer asks
// what it is by then, so that the last change is the one that stands.
type changes struct {
	wake   chan struct{} // of the writer, which is the intake's, too; capacity 1
	latest atomic.Uint64 // the newest number

	mu      sync.Mutex
	touched []touched
	gaps    map[*endpoint]bool
	keys    [][]byte
	values  [][]byte
	stale   map[string]mark // of rooms that are no more
}

type touched struct {
	ep *endpoint
	e  *entry
}

func (c *changes) touch(ep *endpoint, e *entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.touched = append(c.touched, touched{ep, e})
	c.wakeUp()
}

func (c *changes) touchGap(ep *endpoint) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gaps == nil {
		c.gaps = make(map[*endpoint]bool)
	}
	c.gaps[ep] = true
	c.wakeUp()
}

// set writes a record, or removes it where the value is nil.
func (c *changes) set(key, value []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.keys = append(c.keys, key)
	c.values = append(c.values, value)
	c.wakeUp()
}

// take returns all that has gathered.
func (c *changes) take() (t []touched, gaps map[*endpoint]bool, keys, values [][]byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t, gaps, keys, values = c.touched, c.gaps, c.keys, c.values
	c.touched, c.gaps, c.keys, c.values = nil, nil, nil, nil
	return t, gaps, keys, values
}

// forget has a room's mark removed, unless it is another one by then.
func (c *changes) forget(room string, m mark) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stale == nil {
		c.stale = make(map[string]mark)
	}
	c.stale[room] = m
	c.wakeUp()
}

// takeStale returns the marks that are to be removed.
func (c *changes) takeStale() map[string]mark {
	c.mu.Lock()
	defer c.mu.Unlock()
	stale := c.stale
	c.stale = nil
	return stale
}

// number draws a number above all that were drawn before. It begins with the time,
// so that the number of a dead letter that was deleted is not given again after a
// restart.
func (c *changes) number(now time.Time) uint64 {
	for {
		old := c.latest.Load()
		next := max(old+1, uint64(now.UnixMicro()))
		if c.latest.CompareAndSwap(old, next) {
			return next
		}
	}
}

// atLeast lets the next numbers be above one that was read.
func (c *changes) atLeast(number uint64) {
	if number > c.latest.Load() {
		c.latest.Store(number)
	}
}

func (c *changes) wakeUp() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}
