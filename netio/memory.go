package netio

import (
	"sync/atomic"

	"github.com/thronghq/throng/proto"
)

// memory counts what connections hold beside themselves, against a budget.
type memory struct {
	budget int64         // static; 0 for none
	over   chan struct{} // tells the sweep that the budget is passed; capacity 1

	outboxes atomic.Int64 // bytes of outboxes
	partials atomic.Int64 // bytes of partial frames, messages and heads
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

// shed ends connections, those that hold most first, until the rest fits the
// budget.
func (s *sweeper) shed() {
	for excess := s.core.memory.exceeded(); excess > 0; {
		var worst *Conn
		var most int64
		s.core.slots.each(func(c *Conn) {
			if held := c.held.Load(); held > most && c.currentPhase() < phaseDead {
				worst, most = c, held
			}
		})
		if worst == nil {
			return
		}
		worst.shed()
		excess -= most
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
