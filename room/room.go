package room

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/thronghq/throng/proto"
)

// Room is one room in memory. See the package's doc for who may touch what.
type Room struct {
	// Static after construction.
	hub  *Hub
	name string
	ns   *proto.Namespace

	// Set once by the wake, before awake.
	stream Stream
	epoch  string
	keys   keyTable
	ring   ring

	// Written by the room's worker, read by anyone.
	awake    atomic.Bool
	head     atomic.Uint64 // offset of the last message that left the queue
	headTime atomic.Int64  // its time, µs
	touched  atomic.Int64  // when something last happened, by Hub.steady
	backlog  atomic.Int64  // bytes of messages between the publish and the fan-out
	held     atomic.Int64  // publishes that the queue or the keys hold back
	settings atomic.Pointer[Settings]
	unsaved  atomic.Bool  // settings that the next publish stores
	users    atomic.Int64 // distinct ones in it

	rewrites atomic.Uint64 // changes of what the log has; raised under Hub.replays.mu

	mu        sync.Mutex
	queue     *opQueue // nil while nothing is queued
	scheduled bool     // with the pool, with a worker, or asleep
	dead      bool     // out of memory: nothing may be queued
	appending int      // publishes on their way through the log

	// Owned by the worker that has the room.
	members   []*Membership
	presence  presence
	forms     []formCount
	directs   []*outgoing          // of an inbox, on their way to others'
	ended     bool                 // deleted: it leaves memory as soon as it can
	farewells []func(*proto.Error) // called when it has
	undone    int                  // operations of the run at hand that come after this one
}

// op is one thing that happens to a room: a publish that the log has
// committed, or something to do.
type op struct {
	pub *proto.Publish
	do  func(r *Room, err *proto.Error)
}

// opQueue is what is queued for a room.
type opQueue struct{ ops []op }

// opQueues lends them: an idle room has none.
var opQueues = sync.Pool{New: func() any { return new(opQueue) }}

// enqueueLocked queues one operation.
func (r *Room) enqueueLocked(o op) {
	if r.queue == nil {
		r.queue = opQueues.Get().(*opQueue)
	}
	r.queue.ops = append(r.queue.ops, o)
}

// dequeueLocked takes all that is queued. It is for release.
func (r *Room) dequeueLocked() *opQueue {
	q := r.queue
	if r.queue = nil; q == nil {
		q = new(opQueue)
	}
	return q
}

// turnLocked takes what is queued, or as much of it as a room's turn allows. It is
// for release.
func (r *Room) turnLocked() *opQueue {
	q := r.dequeueLocked()
	if len(q.ops) > roomTurn {
		r.queue = &opQueue{ops: slices.Clone(q.ops[roomTurn:])}
		q.ops = q.ops[:roomTurn]
	}
	return q
}

// release gives a queue back whose operations are done.
func (q *opQueue) release() {
	const kept = 64 // operations; a burst's larger queue is not kept
	if cap(q.ops) > kept {
		return
	}
	clear(q.ops)
	q.ops = q.ops[:0]
	opQueues.Put(q)
}

// formCount counts the members whose frames look alike.
type formCount struct {
	form    proto.Form
	members int
}

// newRoom makes a room that is asleep: what is queued waits for the wake.
func newRoom(h *Hub, name string, ns *proto.Namespace) *Room {
	r := &Room{hub: h, name: name, ns: ns, scheduled: true}
	r.ring.limit, r.ring.budget = min(ringMessages, ns.HistorySize), &h.rings
	r.keys.total = &h.keys
	r.touch()
	return r
}

// awaken takes over the stream's state.
func (r *Room) awaken(stream Stream) error {
	head := stream.Head()
	stored, err := parseSettings(stream.Settings())
	if err != nil {
		stream.Close()
		return err
	}
	r.stream = stream
	r.epoch = head.Epoch
	r.head.Store(head.Offset)
	r.headTime.Store(head.Time)
	r.settings.Store(stored)
	r.keys.loaded = head.Offset == 0 || r.ns.Durability == proto.Memory
	r.awake.Store(true)
	return nil
}

// fail answers everything that is queued with the error and forgets the room.
func (r *Room) fail(err *proto.Error) {
	for {
		r.mu.Lock()
		q := r.dequeueLocked()
		r.mu.Unlock()
		for _, o := range q.ops {
			o.do(r, err)
		}
		q.release()
		if r.hub.forget(r) {
			return
		}
	}
}

func (r *Room) touch() { r.touched.Store(r.hub.steady()) }

// post queues one operation, and reports false when the room has left memory.
func (r *Room) post(o op) bool {
	r.mu.Lock()
	if r.dead {
		r.mu.Unlock()
		return false
	}
	r.enqueueLocked(o)
	r.scheduleLocked()
	return true
}

// scheduleLocked gives the room to the pool unless it is there, and unlocks.
func (r *Room) scheduleLocked() {
	idle := !r.scheduled
	r.scheduled = true
	r.mu.Unlock()
	if idle {
		r.hub.workers.submit(r)
	}
}

// committed is the log's sink.
func (r *Room) committed(pubs []*proto.Publish) {
	r.mu.Lock()
	for _, p := range pubs {
		if e, ok := p.Origin.(*edit); ok {
			r.enqueueLocked(op{do: e.landed})
		} else {
			r.enqueueLocked(op{pub: p})
		}
	}
	r.appending -= len(pubs)
	r.scheduleLocked()
}

// run does what is queued, or as much of it as a room's turn allows: thousands may
// join one room at once, and others wait for the same workers. Where the workers
// are to end there is no further turn, and it does all. Only the pool calls it, for
// a scheduled room.
func (r *Room) run() {
	for r.turn() && !r.hub.workers.submit(r) {
	}
}

// turn does what is queued up to roomTurn operations, and reports whether the room
// has more to do.
func (r *Room) turn() bool {
	r.mu.Lock()
	q := r.turnLocked()
	r.mu.Unlock()

	for rest := q.ops; len(rest) > 0; {
		if do := rest[0].do; do != nil {
			rest = rest[1:]
			r.undone = len(rest)
			do(r, nil)
			continue
		}
		n := batchLen(rest)
		r.fanOut(rest[:n])
		rest = rest[n:]
	}
	r.undone = 0

	q.release()
	if r.ended && r.leave() {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.queue != nil {
		return true
	}
	r.scheduled = false
	return false
}

// batchLen counts the leading publishes that go out in one write.
func batchLen(ops []op) int {
	size := 0
	for i, o := range ops {
		if o.do != nil {
			return i
		}
		if size += len(o.pub.Content) + frameOverhead; size > batchBytes && i > 0 {
			return i
		}
	}
	return len(ops)
}

// rest lets a quiet room give up its ring, and an empty one its memory.
func (r *Room) rest() {
	quiet := r.hub.steady() - r.touched.Load()
	if quiet >= r.hub.ringLinger().Milliseconds() && r.ns.Durability != proto.Memory {
		r.ring.clear()
	}
	if r.users.Load() == 0 && quiet >= r.hub.linger().Milliseconds() {
		r.leave()
	}
}

// fresh reports that nobody has created the room yet.
func (r *Room) fresh() bool {
	return r.head.Load() == 0 && r.settings.Load() == nil
}
