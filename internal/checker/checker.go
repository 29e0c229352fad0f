// Package checker judges what clients of a server saw, while it was killed and
// started again, by what docs/guarantees.md promises: nothing acknowledged that
// had to last is lost, nothing is there twice, nobody saw another order, and who
// saw something that was lost has been told.
//
// It knows no protocol and opens no connection: a test records what it was told
// (History), reads the log in the end, and asks for the violations.
package checker

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// History is what happened in one room.
type History struct {
	// Durable says that an acknowledgement lasts. Where it does not, one may
	// be lost that came within Window of a kill.
	Durable bool
	Window  time.Duration
	Kills   []time.Time // in their order

	Sent    []Sent      // what the publishers sent
	Readers [][]Event   // what each reader saw, in its order
	Log     []Delivered // what can be read in the end, all of it, in its order
}

// Sent is a message, published under a key of its own until it was acknowledged.
type Sent struct {
	Author  string
	Number  int       // from 1 for each author, each sent after the one before was acknowledged
	Acked   time.Time // zero where no acknowledgement came; not after the kill that the server had sent it before
	ID      string    // as acknowledged
	Offset  uint64
	Epoch   string // left empty where the publisher does not know it
	Content string
}

// Delivered is a message as a reader or the log has it.
type Delivered struct {
	ID      string
	Offset  uint64
	Content string
}

// Event is one thing that a reader saw: that it joined, or a message.
type Event struct {
	Joined    bool
	Recovered bool   // of a join: everything after the reader's place follows
	Epoch     string // of a join
	Offset    uint64 // of a join: where it stands when it has not recovered
	Message   Delivered
}

// Check returns all violations, each as a sentence.
func (h *History) Check() []string {
	c := &check{History: h, at: make(map[uint64]Delivered), of: make(map[string]Delivered)}
	c.log()
	c.sent()
	for i, events := range h.Readers {
		c.reader(i, events)
	}
	return c.wrong
}

// Lost counts the acknowledged messages that are not in the log, and returns how
// long before the next kill the earliest of them was acknowledged.
func (h *History) Lost() (n int, earliest time.Duration) {
	there := make(map[string]bool)
	for _, m := range h.Log {
		there[m.ID] = true
	}
	for _, s := range h.Sent {
		if s.Acked.IsZero() || there[s.ID] {
			continue
		}
		n++
		for _, kill := range h.Kills {
			if before := kill.Sub(s.Acked); before >= 0 {
				earliest = max(earliest, before)
				break
			}
		}
	}
	return n, earliest
}

type check struct {
	*History
	at    map[uint64]Delivered // the log by offset
	of    map[string]Delivered // the log by content, which is each message's own
	wrong []string
}

func (c *check) complain(format string, args ...any) {
	c.wrong = append(c.wrong, fmt.Sprintf(format, args...))
}

// log looks for holes, repeats, and ids that do not rise.
func (c *check) log() {
	for i, m := range c.Log {
		if m.Offset != uint64(i+1) {
			c.complain("a hole: offset %d stands at place %d of the log", m.Offset, i+1)
		}
		if i > 0 && m.ID <= c.Log[i-1].ID {
			c.complain("ids do not rise: %s at offset %d after %s", m.ID, m.Offset, c.Log[i-1].ID)
		}
		if first, twice := c.of[m.Content]; twice {
			c.complain("a duplicate: %q stands at the offsets %d and %d", m.Content, first.Offset, m.Offset)
		}
		c.at[m.Offset], c.of[m.Content] = m, m
	}
}

// sent looks for what was acknowledged and is lost or elsewhere, and for authors
// whose messages do not stand in their order.
func (c *check) sent() {
	last := make(map[string]Delivered)
	for _, s := range c.Sent {
		m, there := c.of[s.Content]
		switch {
		case !there && s.Acked.IsZero():
			continue
		case !there:
			if c.Durable || !c.excused(s.Acked) {
				c.complain("a loss: message %d of %s was acknowledged at offset %d, and is not there", s.Number, s.Author, s.Offset)
			}
			continue
		case !s.Acked.IsZero() && (m.ID != s.ID || m.Offset != s.Offset) && (c.Durable || !c.excused(s.Acked)):
			c.complain("message %d of %s was acknowledged as %s at offset %d, and is %s at %d", s.Number, s.Author, s.ID, s.Offset, m.ID, m.Offset)
		}
		if before, ok := last[s.Author]; ok && m.Offset <= before.Offset {
			c.complain("another order: message %d of %s stands at offset %d, after the one before at %d", s.Number, s.Author, m.Offset, before.Offset)
		}
		last[s.Author] = m
	}
}

// excused reports whether what was acknowledged then may be lost.
func (c *check) excused(acked time.Time) bool {
	return slices.ContainsFunc(c.Kills, func(kill time.Time) bool {
		before := kill.Sub(acked)
		return before >= 0 && before < c.Window
	})
}

// reader follows one reader from its first join. What it saw between two breaks
// of which it was told must be what the log holds, one after the other; what was
// lost it may have seen only where a break follows.
func (c *check) reader(n int, events []Event) {
	var place uint64
	var epoch string
	joined := false
	unknown := make(map[uint64]Delivered) // seen since the last break, and not in the log
	seen := make(map[string]uint64)
	for _, e := range events {
		switch {
		case e.Joined && (!joined || !e.Recovered):
			if joined && c.Durable {
				c.complain("reader %d, whose place was %d of epoch %s, was not taken up there", n, place, epoch)
			}
			joined, place, epoch = true, e.Offset, e.Epoch
			clear(unknown) // it was told
		case e.Joined:
			epoch = e.Epoch
		case !joined:
			c.complain("reader %d got a message before it had joined", n)
			return
		default:
			m := e.Message
			if m.Offset != place+1 {
				c.complain("a silent gap or a repeat: reader %d got offset %d after %d", n, m.Offset, place)
			}
			place = m.Offset
			if before, twice := seen[m.ID]; twice {
				c.complain("a duplicate: reader %d got %s at offset %d and at %d", n, m.ID, before, m.Offset)
			}
			seen[m.ID] = m.Offset
			if stored, ok := c.at[m.Offset]; !ok || stored.ID != m.ID || stored.Content != m.Content {
				unknown[m.Offset] = m
			}
		}
	}
	for _, offset := range slices.Sorted(maps.Keys(unknown)) {
		c.complain("reader %d saw %s at offset %d, where the log has %q, and was not told", n, unknown[offset].ID, offset, c.at[offset].ID)
	}
}
