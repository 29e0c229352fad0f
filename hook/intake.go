package hook

import (
	"sync"
)

// intake takes events from those to whom they happen, who never wait. Runs of
// messages that follow one another in a room become one.
type intake struct {
	limit  int
	memory Account
	wake   chan struct{} // capacity 1

	mu     sync.Mutex
	roomy  sync.Cond // there is space for offer
	items  []event
	bytes  int64          // that are counted for items
	runs   map[string]int // the place of a room's newest event, where that is a run of messages
	lost   bool           // a run of messages was not taken
	closed bool
}

func (in *intake) init(limit int, memory Account) {
	in.limit, in.memory = limit, memory
	in.wake = make(chan struct{}, 1)
	in.runs = make(map[string]int)
	in.roomy.L = &in.mu
}

// put takes an event and reports whether there was space. After close everything
// is ignored.
func (in *intake) put(e event) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.putLocked(e, in.limit)
}

// offer takes a run of messages that was found in a log once half of the space is
// free. It reports whether the intake is still open.
func (in *intake) offer(e event) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	for len(in.items) >= max(1, in.limit/2) && !in.closed {
		in.roomy.Wait()
	}
	in.putLocked(e, in.limit)
	return !in.closed
}

func (in *intake) putLocked(e event, limit int) bool {
	if in.closed {
		return true
	}
	if e.kind == Message {
		if i, ok := in.runs[e.room]; ok {
			if old := &in.items[i]; old.epoch == e.epoch && old.last+1 == e.first {
				old.last = e.last
				return true
			}
		}
	}
	if len(in.items) >= limit {
		in.lost = in.lost || e.kind == Message
		return false
	}
	if e.room != "" {
		if e.kind == Message {
			in.runs[e.room] = len(in.items)
		} else {
			delete(in.runs, e.room)
		}
	}
	if len(in.items) == 0 {
		in.wakeUp()
	}
	in.items = append(in.items, e)
	cost := eventCost + e.texts()
	in.bytes += cost
	in.memory.Add(cost)
	return true
}

// take returns what has gathered, the bytes that are counted for it, which are the
// caller's to give back, and whether runs of messages were lost since the last
// call. The slice that is given is used for what comes next.
func (in *intake) take(empty []event) (items []event, bytes int64, lost bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	items, in.items = in.items, empty
	bytes, in.bytes = in.bytes, 0
	lost, in.lost = in.lost, false
	clear(in.runs)
	in.roomy.Broadcast()
	return items, bytes, lost
}

// close ends the intake; what was taken stays.
func (in *intake) close() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.closed = true
	in.roomy.Broadcast()
	in.wakeUp()
}

func (in *intake) wakeUp() {
	select {
	case in.wake <- struct{}{}:
	default:
	}
}
