package checker

import (
	"fmt"
	"sync"
)

// Audience judges what the connections of one room get, one by one as it comes,
// where members stop reading, are cut off and go on: each gets every message in
// order and once, its own acknowledgements in their places, or is told exactly
// what it misses. Its methods are safe for concurrent use.
type Audience struct {
	// Latest says that members that do not keep up get the latest messages
	// alone: their offsets rise, and nothing else is promised but the last one.
	Latest bool
	// Keeps is how many of the newest messages the room keeps; 0 for all. What
	// is older may be missing, where the member is told.
	Keeps uint64
	// InFlight is how many messages may be stored that the head in the answer to
	// a join does not count yet.
	InFlight uint64

	mu       sync.Mutex
	contents map[uint64]string // by offset, as whoever saw it first did
	head     uint64            // the highest of them
	seats    []*Seat
	wrong    []string
}

// worst bounds the violations that are kept: the first ones tell most.
const worst = 20

// Seat returns the place of one member, who may come back on other connections.
func (a *Audience) Seat(name string) *Seat {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := &Seat{audience: a, name: name}
	a.seats = append(a.seats, s)
	return s
}

func (a *Audience) complainLocked(format string, args ...any) {
	if len(a.wrong) < worst {
		a.wrong = append(a.wrong, fmt.Sprintf(format, args...))
	}
}

// saw takes it that somebody saw the content at the offset.
func (a *Audience) sawLocked(who string, offset uint64, content string) {
	if a.contents == nil {
		a.contents = make(map[uint64]string)
	}
	switch before, there := a.contents[offset]; {
	case !there:
		a.contents[offset] = content
		a.head = max(a.head, offset)
	case before != content:
		a.complainLocked("%s saw %q at offset %d, where another one saw %q", who, content, offset, before)
	}
}

// Check judges the end, when everybody has read everything, and returns all
// violations, each as a sentence. Published is how many messages were
// acknowledged.
func (a *Audience) Check(published int) []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.head != uint64(published) {
		a.complainLocked("%d messages were acknowledged, and the last offset is %d", published, a.head)
	}
	places := make(map[string]uint64)
	for offset, content := range a.contents {
		if other, twice := places[content]; twice {
			a.complainLocked("%q stands at the offsets %d and %d", content, other, offset)
		}
		places[content] = offset
	}
	for _, s := range a.seats {
		if s.place != a.head {
			a.complainLocked("%s ended at offset %d, and the head is %d", s.name, s.place, a.head)
		}
		if s.missing > 0 && s.missing+a.Keeps > a.head {
			a.complainLocked("%s was told that offset %d is gone, and the room keeps %d of %d", s.name, s.missing, a.Keeps, a.head)
		}
	}
	return a.wrong
}

// Seat is what one member has seen. Its methods are for one goroutine.
type Seat struct {
	audience *Audience
	name     string

	Messages, Acks, Lags, Gaps, Joins, Afresh int // what came; Afresh are joins that did not recover

	joined  bool
	behind  bool // may miss something: it has lagged, or resumed
	place   uint64
	missing uint64 // the highest offset that it was told is gone
}

// Place is the offset of the last message that the member has, or does without.
func (s *Seat) Place() uint64 { return s.place }

func (s *Seat) complain(format string, args ...any) {
	s.audience.complainLocked("%s at offset %d: %s", s.name, s.place, fmt.Sprintf(format, args...))
}

// Joined takes the answer to a join, which had since as its place unless it was
// the first.
func (s *Seat) Joined(since uint64, recovered bool, head uint64) {
	s.audience.mu.Lock()
	defer s.audience.mu.Unlock()
	s.Joins++
	switch keeps := s.audience.Keeps; {
	case head < since:
		s.complain("a join since %d found the head at %d", since, head)
	case recovered:
		s.behind = true
	case s.joined && (keeps == 0 || since+keeps >= head+s.audience.InFlight):
		s.complain("a join since %d did not take up, and the head was %d", since, head)
	}
	s.place = since
	if !recovered {
		s.Afresh++
		s.place = head
	}
	s.joined = true
}

// Message takes a message.
func (s *Seat) Message(offset uint64, content string) {
	s.audience.mu.Lock()
	defer s.audience.mu.Unlock()
	s.Messages++
	s.moveLocked("message", offset)
	s.audience.sawLocked(s.name, offset, content)
}

// Ack takes the acknowledgement of a message of the member's own, sent after the
// join.
func (s *Seat) Ack(offset uint64, content string) {
	s.audience.mu.Lock()
	defer s.audience.mu.Unlock()
	s.Acks++
	s.moveLocked("ack", offset)
	s.audience.sawLocked(s.name, offset, content)
}

// LateAck is Ack where the place of the acknowledgement says nothing: of what was
// sent over an earlier connection.
func (s *Seat) LateAck(offset uint64, content string) {
	s.audience.mu.Lock()
	defer s.audience.mu.Unlock()
	s.Acks++
	s.audience.sawLocked(s.name, offset, content)
}

func (s *Seat) moveLocked(what string, offset uint64) {
	if !s.joined {
		s.complain("a %s %d before the join", what, offset)
	}
	if offset <= s.place || offset != s.place+1 && !s.audience.Latest {
		s.complain("then came the %s %d", what, offset)
	}
	s.place = max(s.place, offset)
}

// Lag takes the news that what follows an offset comes from the history.
func (s *Seat) Lag(offset uint64) {
	s.audience.mu.Lock()
	defer s.audience.mu.Unlock()
	s.Lags++
	s.behind = true
	if s.audience.Latest {
		s.complain("a lag where the latest alone is promised")
	}
	if offset != s.place {
		s.complain("a lag behind offset %d", offset)
	}
}

// Gap takes the news that the messages after one offset and before another are
// gone.
func (s *Seat) Gap(after, next uint64) {
	s.audience.mu.Lock()
	defer s.audience.mu.Unlock()
	s.Gaps++
	if after != s.place || next <= after+1 {
		s.complain("a gap after %d and before %d", after, next)
	}
	if !s.behind || s.audience.Keeps == 0 {
		s.complain("a gap after %d and before %d, where none may be", after, next)
	}
	s.missing = max(s.missing, next-1)
	s.place = max(s.place, next-1)
}
