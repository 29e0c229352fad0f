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

// counted is how much of something changing a Kind has been told of.
type counted int

// to tells the Kind that it is n by now.
func (c *counted) to(k *budget.Kind, n int) {
	if d := counted(n) - *c; d != 0 {
		*c = counted(n)
		k.Add(int64(d))
	}
}

// holders lists the connections that hold something.
func (s *slots) holders(dst []budget.Holder) []budget.Holder {
	s.each(func(c *Conn) {
		if h := (*holder)(c); h.Held() > 0 && c.currentPhase() < phaseDead {
			dst = append(dst, h)
		}
	})
	return dst
}

// holder is a connection as the budget sees it.
type holder Conn

// Held implements budget.Holder: shared frames count in full.
func (h *holder) Held() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	held := int64(h.inHeld.Load())
	if h.out != nil {
		held += int64(h.out.own + h.out.shared)
	}
	if h.tls != nil {
		held += int64(cap(h.tls.out))
	}
	return held
}

// Shed implements budget.Holder: the connection ends with a close frame where the
// socket still takes one, and with a cut otherwise. One that has ended and has
// nothing left to write is about to give back what it held.
func (h *holder) Shed() bool {
	c := (*Conn)(h)
	c.mu.Lock()
	if c.phase >= phaseDead || c.phase == phaseLinger && c.out == nil {
		c.mu.Unlock()
		return false
	}
	told := c.failLocked(CauseReplies, proto.ErrSlowConsumer.Close, proto.ErrSlowConsumer.Reason, true)
	if c.out != nil || !told {
		c.dieLocked(CauseReplies)
	}
	c.mu.Unlock()
	if told {
		c.loop.post(c, taskClosed)
	}
	return true
}
