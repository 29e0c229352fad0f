package netio

import (
	"github.com/thronghq/throng/internal/budget"
	"github.com/thronghq/throng/proto"
)

// Memory is the budget that all parts of a server share, as this package sees
// it; a *budget.Budget is one.
type Memory interface {
	// Kind returns the account of what is held for one purpose.
	Kind(name string) *budget.Kind
	// Watch takes a function that lists those who can be ended for what they
	// hold.
	Watch(list func(dst []budget.Holder) []budget.Holder)
	// Full reports that nobody new should come in.
	Full() bool
}

// memory is what connections hold beside themselves.
type memory struct {
	outboxes *budget.Kind // outboxes, with the shared frames they hold
	partials *budget.Kind // partial frames, messages and heads
	inflated *budget.Kind // messages inflated and being handled, one a loop at the most
	full     func() bool
}

func newMemory(m Memory) memory {
	return memory{outboxes: m.Kind("outboxes"), partials: m.Kind("partials"), inflated: m.Kind("inflated"), full: m.Full}
}

// holders lists the connections that hold something.
func (s *slots) holders(dst []budget.Holder) []budget.Holder {
	s.each(func(c *Conn) {
		if c.held.Load() > 0 && c.currentPhase() < phaseDead {
			dst = append(dst, (*holder)(c))
		}
	})
	return dst
}

// holder is a connection as the budget sees it.
type holder Conn

// Held implements budget.Holder.
func (h *holder) Held() int64 { return h.held.Load() }

// Shed implements budget.Holder: the connection ends with a close frame where the
// socket still takes one, and with a cut otherwise.
func (h *holder) Shed() {
	c := (*Conn)(h)
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
