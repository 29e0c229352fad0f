package room

import (
	"sync"

	"github.com/thronghq/throng/proto"
)

const (
	ringMessages = 256       // messages that a ring holds
	ringBytes    = 512 << 10 // bytes of their content
)

// ring holds a room's most recent messages, gapless by offset, so that replay,
// lag and history near the head read no disk. The room's worker writes it,
// cursors and histories read it.
type ring struct {
	limit int // messages; 0 keeps none

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
	for r.n > 0 && (r.n >= r.limit || r.bytes+len(m.Content) > ringBytes) {
		r.bytes -= len(r.at(0).Content)
		r.slots[r.first] = nil
		r.first = (r.first + 1) % len(r.slots)
		r.n--
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
	r.bytes += len(m.Content)
}

func (r *ring) at(i int) *proto.Message { return r.slots[(r.first+i)%len(r.slots)] }

// clear drops all messages and the memory that held them.
func (r *ring) clear() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.clearLocked()
}

func (r *ring) clearLocked() { r.slots, r.first, r.n, r.bytes = nil, 0, 0, 0 }

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
