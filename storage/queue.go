package storage

import (
	"sync"

	"github.com/thronghq/throng/proto"
)

// op is one entry of the queue: a publish, or, with pub nil, a room that has
// gone idle.
type op struct {
	room   *Room
	pub    *proto.Publish
	paired bool // with the entry after it: both go into one batch
}

// queue holds what waits for the committer, in order. It is bounded in messages
// and in bytes, from the append until the room's sink has the message; what does
// not fit is refused. Entries of rooms going idle are not counted: there is at
// most one for each open room.
type queue struct {
	maxMessages int
	maxBytes    int

	mu       sync.Mutex
	filled   sync.Cond // pending is not empty, or closed
	pending  []op
	messages int
	bytes    int
	closed   bool
}

func (q *queue) init(maxMessages, maxBytes int) {
	q.maxMessages, q.maxBytes = maxMessages, maxBytes
	q.filled.L = &q.mu
}

// queueBytes is what a publish counts in the queue.
func queueBytes(p *proto.Publish) int {
	return len(p.Content) + len(p.Key) + len(p.Settings) + 64
}

// push adds a publish, or returns the registry's entry for why it does not.
func (q *queue) push(r *Room, p *proto.Publish) *proto.Code {
	q.mu.Lock()
	defer q.mu.Unlock()
	if refused := q.countLocked(1, queueBytes(p), r.idle); refused != nil {
		return refused
	}
	q.addLocked(op{room: r, pub: p})
	return nil
}

// pushPair is push for two publishes that go into one batch.
func (q *queue) pushPair(r *Room, p *proto.Publish, other *Room, twin *proto.Publish) *proto.Code {
	q.mu.Lock()
	defer q.mu.Unlock()
	if refused := q.countLocked(2, queueBytes(p)+queueBytes(twin), r.idle || other.idle); refused != nil {
		return refused
	}
	q.addLocked(op{room: r, pub: p, paired: true})
	q.addLocked(op{room: other, pub: twin})
	return nil
}

// countLocked makes room for publishes, or says why there is none.
func (q *queue) countLocked(messages, size int, idle bool) *proto.Code {
	switch {
	case q.closed:
		return proto.ErrShuttingDown
	case idle:
		return proto.ErrInternal
	case q.messages+messages > q.maxMessages, q.messages > 0 && q.bytes+size > q.maxBytes:
		return proto.ErrOverloaded
	}
	q.messages += messages
	q.bytes += size
	return nil
}

// pushIdle adds a room that goes idle, once, unless the queue is closed: a store
// that stops writes the records of all open rooms.
func (q *queue) pushIdle(r *Room) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed || r.idle {
		return
	}
	r.idle = true
	q.addLocked(op{room: r})
}

func (q *queue) addLocked(o op) {
	q.pending = append(q.pending, o)
	if len(q.pending) == 1 {
		q.filled.Signal()
	}
}

// swap waits until something is pending and takes all of it, giving the empty
// buffer spare in exchange. It returns false when the queue is closed and empty.
func (q *queue) swap(spare []op) ([]op, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.pending) == 0 {
		if q.closed {
			return spare, false
		}
		q.filled.Wait()
	}
	full := q.pending
	q.pending = spare
	return full, true
}

// release gives back the space of publishes that reached their sinks.
func (q *queue) release(messages, bytes int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.messages -= messages
	q.bytes -= bytes
}

func (q *queue) load() (messages, bytes int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.messages, q.bytes
}

// close ends the queue: what is pending is still taken, nothing more comes in.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.filled.Broadcast()
}
