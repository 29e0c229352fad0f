package netio

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/thronghq/throng/proto"
)

// memory counts what connections hold beside themselves, against a budget. A
// shared frame counts once, however many outboxes hold it.
type memory struct {
	budget int64         // static; 0 for none
	over   chan struct{} // tells the sweep that the budget is passed; capacity 1

	outboxes atomic.Int64 // bytes of outboxes, with the shared frames they hold
	partials atomic.Int64 // bytes of partial frames, messages and heads

	shares [shareShards]shareShard
}

const shareShards = 16

// shareShard counts the outboxes that hold each of some shared frames. It has
// an entry only for what waits in an outbox.
type shareShard struct {
	mu   sync.Mutex
	held map[*byte]share // by the frame's first byte
}

type share struct {
	refs int
	size int
}

// shard returns where shared frames, which are not empty, are counted.
func (m *memory) shard(frames []byte) (*shareShard, *byte) {
	first := unsafe.SliceData(frames)
	return &m.shares[uintptr(unsafe.Pointer(first))/64%shareShards], first
}

// hold notes that one more outbox holds shared frames.
func (m *memory) hold(frames []byte) {
	s, first := m.shard(frames)
	s.mu.Lock()
	if s.held == nil {
		s.held = make(map[*byte]share)
	}
	sh := s.held[first]
	added := max(0, len(frames)-sh.size)
	s.held[first] = share{sh.refs + 1, sh.size + added}
	s.mu.Unlock()
	if added > 0 {
		m.outbox(int64(added))
	}
}

// drop notes that one outbox fewer holds them.
func (m *memory) drop(frames []byte) {
	s, first := m.shard(frames)
	s.mu.Lock()
	sh := s.held[first]
	if sh.refs--; sh.refs > 0 {
		s.held[first] = sh
		s.mu.Unlock()
		return
	}
	delete(s.held, first)
	s.mu.Unlock()
	m.outbox(-int64(sh.size))
}

// outbox adds to the bytes of outboxes.
func (m *memory) outbox(d int64) { m.check(m.outboxes.Add(d) + m.partials.Load()) }

// partial adds to the bytes of partial frames.
func (m *memory) partial(d int64) { m.check(m.partials.Add(d) + m.outboxes.Load()) }

func (m *memory) check(total int64) {
	if m.budget > 0 && total > m.budget {
		select {
		case m.over <- struct{}{}:
		default:
		}
	}
}

// exceeded reports by how many bytes the budget is passed, 0 for none.
func (m *memory) exceeded() int64 {
	if m.budget == 0 {
		return 0
	}
	return max(0, m.outboxes.Load()+m.partials.Load()-m.budget)
}

// holder is a connection with what it held when the sweep passed.
type holder struct {
	c    *Conn
	held int64
}

// shed ends connections, those that hold most first, until the rest fits the
// budget.
func (s *sweeper) shed() {
	if s.core.memory.exceeded() == 0 {
		return
	}
	var holders []holder
	s.core.slots.each(func(c *Conn) {
		if held := c.held.Load(); held > 0 && c.currentPhase() < phaseDead {
			holders = append(holders, holder{c, held})
		}
	})
	slices.SortFunc(holders, func(a, b holder) int { return cmp.Compare(b.held, a.held) })
	var going int64 // still held by those that are ended and not yet gone
	for _, h := range holders {
		if s.core.memory.exceeded() <= going {
			return
		}
		h.c.shed()
		going += h.c.held.Load()
	}
}

// shed ends the connection for what it holds: with a close frame where the
// socket still takes one, and with a cut otherwise.
func (c *Conn) shed() {
	c.core.stats.shed.Add(1)
	c.mu.Lock()
	told := c.failLocked(CauseReplies, proto.ErrSlowConsumer.Close, proto.ErrSlowConsumer.Reason, true)
	if c.out != nil || !told {
		c.dieLocked(CauseReplies)
	}
	c.mu.Unlock()
	if told {
		c.loop.post(c, taskClosed)
	}
}
