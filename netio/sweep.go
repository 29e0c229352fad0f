package netio

import (
	"math"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobwas/ws"

	"github.com/thronghq/throng/proto"
)

// clock counts ticks since the server's start. One tick is the granularity of
// all timeouts of connections; the sweep moves it.
type clock struct {
	tick  time.Duration // static
	start time.Time     // static
	ticks atomic.Uint32
}

// now returns the current tick, which is at least 1.
func (k *clock) now() uint32 { return k.ticks.Load() }

// in returns the first tick that is at least d away, or the next one.
func (k *clock) in(d time.Duration) uint32 {
	n := int64(max(d, 0)+k.tick-1) / int64(k.tick)
	return uint32(min(int64(k.now())+1+n, math.MaxUint32))
}

// advance moves the clock to the present.
func (k *clock) advance() { k.ticks.Store(uint32(time.Since(k.start)/k.tick) + 1) }

// minTick is the finest granularity of timeouts.
const minTick = time.Millisecond

// tickFor returns the tick for timeouts of at least the given lengths: a
// second, or a fifth of the shortest.
func tickFor(lengths ...time.Duration) time.Duration {
	tick := time.Second
	for _, d := range lengths {
		tick = min(tick, max(d/5, minTick))
	}
	return tick
}

// slotChunk holds the sweep's record of some connections in flat arrays. Chunks
// are never freed.
type slotChunk struct {
	seen [slotsPerChunk]atomic.Uint32 // tick of the last bytes from the peer
	ping [slotsPerChunk]atomic.Uint32 // tick of the next ping, 0 for none
	due  [slotsPerChunk]atomic.Uint32 // tick at which the connection wants to be called, 0 for never
	gain [slotsPerChunk]atomic.Uint32 // tick until which more of a message has to come, 0 while none is on its way
	conn [slotsPerChunk]atomic.Pointer[Conn]
}

const slotsPerChunk = 1024

// slots is the table of all connections.
type slots struct {
	chunks atomic.Pointer[[]*slotChunk] // replaced under mu

	mu   sync.Mutex
	free []uint32
}

// take gives the connection a slot. The sweep does not see it before publish.
func (s *slots) take(c *Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.free) == 0 {
		chunks := append([]*slotChunk(nil), s.all()...)
		for i := range uint32(slotsPerChunk) {
			s.free = append(s.free, uint32(len(chunks)+1)*slotsPerChunk-1-i)
		}
		chunks = append(chunks, new(slotChunk))
		s.chunks.Store(&chunks)
	}
	last := len(s.free) - 1
	c.slot = s.free[last]
	s.free = s.free[:last]
}

// at returns the chunk that has a slot, and the slot's index in it.
func (s *slots) at(slot uint32) (*slotChunk, uint32) {
	return s.all()[slot/slotsPerChunk], slot % slotsPerChunk
}

// publish lets the sweep see the connection.
func (s *slots) publish(c *Conn) {
	chunk, i := s.at(c.slot)
	chunk.conn[i].Store(c)
}

// release takes a slot back.
func (s *slots) release(slot uint32) {
	chunk, i := s.at(slot)
	chunk.conn[i].Store(nil)
	chunk.ping[i].Store(0)
	chunk.due[i].Store(0)
	chunk.gain[i].Store(0)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free = append(s.free, slot)
}

// seenTick, pingTick, dueTick and gainTick are the connection's in its slot.
func (c *Conn) seenTick() *atomic.Uint32 {
	chunk, i := c.loop.core.slots.at(c.slot)
	return &chunk.seen[i]
}

func (c *Conn) pingTick() *atomic.Uint32 {
	chunk, i := c.loop.core.slots.at(c.slot)
	return &chunk.ping[i]
}

func (c *Conn) dueTick() *atomic.Uint32 {
	chunk, i := c.loop.core.slots.at(c.slot)
	return &chunk.due[i]
}

func (c *Conn) gainTick() *atomic.Uint32 {
	chunk, i := c.loop.core.slots.at(c.slot)
	return &chunk.gain[i]
}

func (s *slots) all() []*slotChunk {
	if p := s.chunks.Load(); p != nil {
		return *p
	}
	return nil
}

// each calls f for every connection.
func (s *slots) each(f func(*Conn)) {
	for _, chunk := range s.all() {
		for i := range chunk.conn {
			if c := chunk.conn[i].Load(); c != nil {
				f(c)
			}
		}
	}
}

// sweeper is the one goroutine that keeps time for all connections: pings,
// silence, deadlines.
type sweeper struct {
	// Static after construction.
	core     *core
	interval uint32 // between two pings, in ticks
	timeout  uint32 // of silence, in ticks
	onTick   func() // what else wants to be looked after

	sent int // writes since the last yield
}

// run sweeps every tick until stop is closed.
func (s *sweeper) run(stop <-chan struct{}) {
	ticker := time.NewTicker(s.core.clock.tick)
	defer ticker.Stop()
	for {
		select {
		case <-stop:
			return
		case <-ticker.C:
			s.core.clock.advance()
			s.sweep()
			s.onTick()
		}
	}
}

// sweep looks at every slot once.
func (s *sweeper) sweep() {
	now := s.core.clock.now()
	for _, chunk := range s.core.slots.all() {
		for i := range chunk.conn {
			due, ping, gain := chunk.due[i].Load(), chunk.ping[i].Load(), chunk.gain[i].Load()
			if (due == 0 || due > now) && (ping == 0 || ping > now) && (gain == 0 || gain > now) && now-min(now, chunk.seen[i].Load()) < s.timeout {
				continue
			}
			if c := chunk.conn[i].Load(); c != nil {
				s.visit(c, now, due, ping, gain)
			}
		}
	}
}

// visit does what has come due for one connection.
func (s *sweeper) visit(c *Conn, now, due, ping, gain uint32) {
	if due != 0 && due <= now {
		c.loop.post(c, taskDue)
	}
	if ping == 0 {
		return // not open yet
	}
	if seen := c.seenTick().Load(); now-min(now, seen) >= s.timeout {
		c.silent()
		return
	}
	if gain != 0 && gain <= now {
		c.unfinished()
		return
	}
	if ping <= now {
		// The interval counts from when the ping was due, or from now where
		// the sweep is more than one behind.
		c.pingTick().CompareAndSwap(ping, max(ping+s.interval, now+1))
		c.sendPing()
		if s.sent++; s.sent%32 == 0 {
			runtime.Gosched() // raw system calls have no preemption point
		}
	}
}

// firstPing returns the tick of a connection's first ping, at random in the
// second half of the first interval: pings spread out whenever clients come, and
// one that is only here for a moment gets none.
func (s *sweeper) firstPing() uint32 {
	half := s.interval / 2
	return s.core.clock.now() + 1 + half + rand.Uint32N(s.interval-half)
}

// pingFrame has no payload: any bytes that come back will do.
var pingFrame = []byte{finBit | byte(ws.OpPing), 0}

// sendPing sends a ping, ahead of what waits.
func (c *Conn) sendPing() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.phase != phaseOpen {
		return
	}
	c.loop.stats.pings.Add(1)
	if c.out == nil {
		c.replyLocked(pingFrame)
	} else {
		c.out.ping()
	}
	c.accountOutLocked()
}

// silent closes a connection that has not been heard of.
func (c *Conn) silent() {
	c.mu.Lock()
	told := c.failLocked(CauseHeartbeat, proto.ErrSilent.Close, proto.ErrSilent.Reason, true)
	c.mu.Unlock()
	if told {
		c.loop.post(c, taskClosed)
	}
}

// unfinished closes a connection whose message came too slowly to its end.
func (c *Conn) unfinished() {
	c.gainTick().Store(0)
	c.mu.Lock()
	told := c.failLocked(CauseUnfinished, proto.ErrUnfinished.Close, proto.ErrUnfinished.Reason, false)
	c.mu.Unlock()
	if told {
		c.loop.post(c, taskClosed)
	}
}

// due is called on the loop's goroutine when the tick in the slot has come.
func (c *Conn) due() {
	c.mu.Lock()
	if c.phase == phaseEnded {
		c.mu.Unlock()
		return
	}
	if due := c.dueTick().Load(); due == 0 || due > c.loop.core.clock.now() {
		c.mu.Unlock()
		return // it was set anew meanwhile
	}
	c.dueTick().Store(0)
	p := c.phase
	if p == phaseClosing || p == phaseLinger {
		c.dieLocked(CauseServer)
	}
	c.mu.Unlock()
	switch p {
	case phaseHandshake:
		c.handshakeLate()
	case phaseOpen:
		c.loop.core.handler.Expired(c)
	}
}
