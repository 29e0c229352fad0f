package room

import (
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/thronghq/throng/proto"
)

const (
	ringMessages = 256         // messages that a ring holds
	ringBytes    = 512 << 10   // bytes of them
	scarceBytes  = 8 << 10     // the same while all rings together pass their budget
	scarceLinger = time.Second // how long a quiet durable room then keeps its ring

	// messageCost is what a message takes beside its content.
	messageCost = int(unsafe.Sizeof(outgoing{}))
)

// ringBudget bounds what all rings take together. Past it rings shrink to
// scarceBytes as their rooms get messages, and quiet rooms let go of theirs.
type ringBudget struct {
	max  int64 // static
	used atomic.Int64
}

func (b *ringBudget) scarce() bool { return b.used.Load() > b.max }

// ring holds a room's most recent messages, gapless by offset, so that replay,
// lag and history near the head read no disk. The room's worker writes it,
// cursors and histories read it.
type ring struct {
	limit  int // messages; 0 keeps none
	budget *ringBudget

	mu    sync.Mutex
	slots []*proto.Message // a ring: n messages from first
	first int
	n     int
	bytes int
}

// push appends the next message; the oldest ones make room for it.
func (r *ring) push(m *proto.Message) {
	if r.limit == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.n > 0 && r.at(r.n-1).Offset+1 != m.Offset {
		r.clearLocked()
	}
	before, bound := r.bytes, ringBytes
	if r.budget.scarce() {
		bound = scarceBytes
	}
	size := messageCost + len(m.Content)
	for r.n > 0 && (r.n >= r.limit || r.bytes+size > bound) {
		r.dropLocked()
	}
	if r.n == len(r.slots) {
		grown := make([]*proto.Message, min(max(4, 2*r.n), r.limit))
		for i := range r.n {
			grown[i] = r.at(i)
		}
		r.slots, r.first = grown, 0
	}
	r.slots[(r.first+r.n)%len(r.slots)] = m
	r.n++
	r.bytes += size
	r.budget.used.Add(int64(r.bytes - before))
}

// dropLocked drops the oldest message. The caller counts the bytes.
func (r *ring) dropLocked() {
	r.bytes -= messageCost + len(r.at(0).Content)
	r.slots[r.first] = nil
	r.first = (r.first + 1) % len(r.slots)
	r.n--
}

// trim drops the messages below an offset.
func (r *ring) trim(floor uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	before := r.bytes
	for r.n > 0 && r.at(0).Offset < floor {
		r.dropLocked()
	}
	r.budget.used.Add(int64(r.bytes - before))
}

func (r *ring) at(i int) *proto.Message { return r.slots[(r.first+i)%len(r.slots)] }

// clear drops all messages and the memory that held them.
func (r *ring) clear() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.clearLocked()
}

func (r *ring) clearLocked() {
	r.budget.used.Add(-int64(r.bytes))
	r.slots, r.first, r.n, r.bytes = nil, 0, 0, 0
}

// oldest returns the lowest offset that the ring holds from time cutoff on,
// and that message's time; 0 when it holds none.
func (r *ring) oldest(cutoff int64) (offset uint64, micros int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.n {
		if m := r.at(i); m.Time >= cutoff {
			return m.Offset, m.Time
		}
	}
	return 0, 0
}

// after appends to dst the messages above the given offset, at most limit. It
// reports false, and appends nothing, when the ring does not reach back to the
// one that follows the offset.
func (r *ring) after(dst []*proto.Message, offset uint64, cutoff int64, limit int) ([]*proto.Message, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.n == 0 || r.at(0).Offset > offset+1 {
		return dst, false
	}
	skip := offset + 1 - r.at(0).Offset
	if skip < uint64(r.n) && r.at(int(skip)).Time < cutoff {
		return dst, false
	}
	for i := skip; i < uint64(r.n) && limit > 0; i++ {
		dst = append(dst, r.at(int(i)))
		limit--
	}
	return dst, true
}
