package hook

import (
	"container/heap"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/thronghq/throng/proto"
)

// entry is an event in an endpoint's queue. Its number says where: numbers rise
// in the order of the queue, and over restarts.
type entry struct {
	event
	number   uint64
	attempts uint64
	upto     uint64 // message: the end of the run that is being delivered, 0 for none yet
	written  uint64 // message: the end of the run that the outbox has; the rest is not told yet
	gone     bool   // it has left the queue

	lane       *lane
	next       *entry // of its lane
	prev, succ *entry // of all, by number
}

// lane is what must be delivered in order: a room's events, or those of a user's
// connections. At most one delivery of a lane is under way.
type lane struct {
	key        string
	head, tail *entry
	running    bool
	failures   int       // in a row
	due        time.Time // not before
	place      int       // in the heap; -1 while running
}

// endpoint is one endpoint's queue and how it fares. Each has its own, so that
// none waits for another.
type endpoint struct {
	// Static.
	Endpoint
	opts    *Options
	client  *http.Client
	log     *slog.Logger
	meters  *endpointMeters
	changed *changes      // where the queue's changes go to be written
	wake    chan struct{} // of the dispatcher; capacity 1
	most    int64         // bytes of the queue

	coverage coverage // static after load

	// Events that the intake did not take since the writer looked last.
	missed [eventCount]atomic.Uint64

	mu            sync.Mutex
	oldest        *entry
	newest        *entry
	waiting       int
	bytes         int64 // of what waits, see cost
	lanes         map[string]*lane
	due           laneHeap
	running       int
	breaker       breaker
	paused        time.Time // nothing is sent before
	disabled      bool      // the endpoint said that it is gone
	dead          []uint64  // the numbers of the dead letters, rising
	told          gap       // is told, or to be told, as one event
	untold        gap       // what came in while it was being told
	gapRunning    bool
	gapFailures   int
	gapDue        time.Time
	dropped       uint64
	delivered     uint64
	lastSuccess   int64 // Unix ms
	lastFailure   int64 // Unix ms
	lastErrorText string
}

func newEndpoint(cfg Endpoint, o *Options, changed *changes) *endpoint {
	return &endpoint{
		Endpoint: cfg,
		opts:     o,
		client:   newClient(cfg.AllowPrivate, o.Concurrency),
		log:      o.Logger.With(slog.String("endpoint", cfg.Name)),
		changed:  changed,
		wake:     make(chan struct{}, 1),
		most:     o.MaxBytes / int64(len(o.Endpoints)),
		lanes:    make(map[string]*lane),
		breaker:  breaker{after: o.BreakAfter, first: o.MinBreak, longest: o.MaxBreak},
	}
}

// parked reports whether nothing of an event may be told yet: a message is told of
// once the disk has it for certain, and it has all that came before its run.
func (e *entry) parked() bool { return e.kind == Message && e.first > e.written }

func (ep *endpoint) wakeUp() {
	select {
	case ep.wake <- struct{}{}:
	default:
	}
}

// laneOf returns the key of what an event must stay in order with.
func laneOf(e *event) string {
	if e.room != "" {
		return "r" + e.room
	}
	return "u" + e.user
}

// add puts written events at the queue's end. Past a bound the oldest go.
func (ep *endpoint) add(entries []*entry) {
	ep.mu.Lock()
	defer ep.mu.Unlock()
	now := ep.opts.Now()
	for _, e := range entries {
		ep.pushLocked(e, now)
	}
	for (ep.waiting > ep.MaxWaiting || ep.bytes > ep.most) && ep.dropOldestLocked() {
	}
	ep.wakeUp()
}

func (ep *endpoint) pushLocked(e *entry, now time.Time) {
	key := laneOf(&e.event)
	l := ep.lanes[key]
	if l == nil {
		l = &lane{key: key, due: now, place: -1}
		ep.lanes[key] = l
		ep.countLocked(l.cost())
	}
	e.lane, e.written = l, e.last
	if l.head == nil {
		l.head = e
		heap.Push(&ep.due, l)
	} else {
		l.tail.next = e
	}
	l.tail = e
	if e.prev = ep.newest; e.prev != nil {
		e.prev.succ = e
	} else {
		ep.oldest = e
	}
	ep.newest = e
	ep.waiting++
	ep.countLocked(e.cost())
}

// removeLocked takes an event out of the queue: its lane's first, or the second
// where the first is being delivered.
func (ep *endpoint) removeLocked(e *entry) {
	l := e.lane
	before := l.head
	if before == e {
		l.head, before = e.next, nil
	} else {
		before.next = e.next
	}
	if l.tail == e {
		l.tail = before
	}
	switch {
	case l.head == nil:
		delete(ep.lanes, l.key)
		ep.countLocked(-l.cost())
		if l.place >= 0 {
			heap.Remove(&ep.due, l.place)
		}
	case l.place >= 0:
		heap.Fix(&ep.due, l.place)
	}
	if e.prev != nil {
		e.prev.succ = e.succ
	} else {
		ep.oldest = e.succ
	}
	if e.succ != nil {
		e.succ.prev = e.prev
	} else {
		ep.newest = e.prev
	}
	e.gone = true
	ep.waiting--
	ep.countLocked(-e.cost())
	ep.changed.touch(ep, e)
}

// extend lengthens the run of messages at the end of a room's lane, where it is
// one and young enough. It returns nil where it did not. What is new is told when
// wrote was called.
func (ep *endpoint) extend(e *event) *entry {
	ep.mu.Lock()
	defer ep.mu.Unlock()
	l := ep.lanes[laneOf(e)]
	if l == nil {
		return nil
	}
	// A run that grew without end would be too old as a whole one day.
	young := e.queued - ep.MaxAge.Milliseconds()/16
	if t := l.tail; t.kind == Message && t.epoch == e.epoch && t.last+1 == e.first && t.queued >= young {
		t.last = e.last
		return t
	}
	return nil
}

// wrote notes that the outbox has an event's run up to an offset.
func (ep *endpoint) wrote(e *entry, upto uint64) {
	ep.mu.Lock()
	defer ep.mu.Unlock()
	parked := e.parked()
	e.written = max(e.written, upto)
	if l := e.lane; parked && l.head == e && l.place >= 0 {
		l.due = ep.opts.Now()
		heap.Fix(&ep.due, l.place)
		ep.wakeUp()
	}
}

// record returns what is to be written of an event: nil where it has gone.
func (ep *endpoint) record(e *entry) []byte {
	ep.mu.Lock()
	defer ep.mu.Unlock()
	if e.gone {
		return nil
	}
	return appendEvent(nil, &e.event)
}

// idleOldestLocked returns the oldest event that is not being delivered.
func (ep *endpoint) idleOldestLocked() *entry {
	for e := ep.oldest; e != nil; e = e.succ {
		if !e.lane.running || e.lane.head != e {
			return e
		}
	}
	return nil
}

// dropOldestLocked gives up the oldest event for good.
func (ep *endpoint) dropOldestLocked() bool {
	e := ep.idleOldestLocked()
	if e == nil {
		return false
	}
	ep.removeLocked(e)
	n := e.size()
	ep.untold.addEvent(&e.event)
	ep.dropped += n
	ep.meters.droppedFull.Add(int(n))
	ep.changed.touchGap(ep)
	return true
}

// miss adds what the intake did not take to the gap.
func (ep *endpoint) miss(now int64) {
	ep.mu.Lock()
	defer ep.mu.Unlock()
	for kind := Connect; kind < eventCount; kind++ {
		if n := ep.missed[kind].Swap(0); n > 0 {
			ep.untold.add(kind, n, now)
			ep.dropped += n
			ep.changed.touchGap(ep)
			ep.wakeUp()
		}
	}
}

// gapRecord returns what is to be written of what is missing: nil for nothing.
func (ep *endpoint) gapRecord() []byte {
	ep.mu.Lock()
	defer ep.mu.Unlock()
	all := gap{id: ep.told.id}
	all.merge(&ep.told)
	all.merge(&ep.untold)
	if all.empty() {
		return nil
	}
	return appendGap(nil, &all)
}

// buryLocked makes a dead letter of an event, which the caller has taken out of
// the queue. Past the bound the oldest letters go.
func (ep *endpoint) buryLocked(e *event, attempts uint64, o outcome, now time.Time) {
	number := ep.changed.number(now)
	l := letter{event: e, at: now.UnixMilli(), attempts: attempts, status: uint64(o.status), reason: o.err}
	ep.changed.set(queueKey(keyDead, ep.Name, number), appendLetter(nil, &l))
	ep.dead = append(ep.dead, number)
	ep.meters.buried.Inc()
	for len(ep.dead) > ep.opts.MaxDead {
		ep.changed.set(queueKey(keyDead, ep.Name, ep.dead[0]), nil)
		ep.dead = ep.dead[1:]
		ep.meters.droppedDead.Inc()
	}
}

// backoff returns how long to wait after so many failures in a row: twice as long
// each time, and at random between half of that and all of it.
func (ep *endpoint) backoff(failures int) time.Duration {
	d := ep.opts.MaxBackoff
	if shift := failures - 1; shift < 32 && ep.opts.MinBackoff<<shift < d {
		d = ep.opts.MinBackoff << shift
	}
	return d/2 + rand.N(d/2+1)
}

// newMsgID draws an event's id.
func newMsgID(now time.Time) proto.MsgID { return proto.NewMsgID(now.UnixMicro(), rand.Uint64()) }

// laneHeap orders the lanes that are not running by when they are due.
type laneHeap []*lane

func (h laneHeap) Len() int { return len(h) }

func (h laneHeap) Less(i, j int) bool {
	if !h[i].due.Equal(h[j].due) {
		return h[i].due.Before(h[j].due)
	}
	return h[i].head.number < h[j].head.number
}

func (h laneHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i, j
}

// Push implements heap.Interface.
func (h *laneHeap) Push(x any) {
	l := x.(*lane)
	l.place = len(*h)
	*h = append(*h, l)
}

// Pop implements heap.Interface.
func (h *laneHeap) Pop() any {
	n := len(*h) - 1
	l := (*h)[n]
	(*h)[n] = nil
	*h = (*h)[:n]
	l.place = -1
	return l
}
