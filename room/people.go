package room

import (
	"hash/maphash"
	"slices"
	"sync"
)

// Status is what a user says of itself.
type Status uint8

// The statuses. A user without a session has none.
const (
	Online Status = iota
	Away
	Busy
)

// String returns the status as the wire has it.
func (s Status) String() string { return [...]string{Online: "online", Away: "away", Busy: "busy"}[s] }

// ParseStatus reads what String writes.
func ParseStatus(text string) (Status, bool) {
	for _, s := range []Status{Online, Away, Busy} {
		if s.String() == text {
			return s, true
		}
	}
	return Online, false
}

// people knows every user's connections and status, whichever rooms they are
// in. It is safe for concurrent use.
type people struct {
	seed   maphash.Seed
	shards [shardCount]struct {
		mu    sync.Mutex
		users map[string]*person
	}
}

// person is a user with at least one connection.
type person struct {
	sessions []Member
	status   Status
}

func newPeople(seed maphash.Seed) *people {
	p := &people{seed: seed}
	for i := range p.shards {
		p.shards[i].users = make(map[string]*person)
	}
	return p
}

// Connect makes a connection reachable by its user's name, from the moment the
// user is known.
func (h *Hub) Connect(m Member) {
	h.people.change(m.UserID(), func(u *person) { u.sessions = append(u.sessions, m) })
}

// Disconnect undoes Connect. With its last connection a user's status is
// forgotten.
func (h *Hub) Disconnect(m Member) {
	h.people.change(m.UserID(), func(u *person) {
		if i := slices.Index(u.sessions, m); i >= 0 {
			u.sessions = slices.Delete(u.sessions, i, i+1)
		}
	})
}

// SetStatus takes the status that a user gives itself on any connection.
func (h *Hub) SetStatus(user string, s Status) {
	h.people.change(user, func(u *person) { u.status = s })
}

// change applies a change to a user; who then has no connection is forgotten.
func (p *people) change(user string, change func(*person)) {
	s := &p.shards[maphash.String(p.seed, user)%shardCount]
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.users[user]
	if u == nil {
		u = new(person)
		s.users[user] = u
	}
	if change(u); len(u.sessions) == 0 {
		delete(s.users, user)
	}
}

// sessions appends the user's connections.
func (p *people) sessions(dst []Member, user string) []Member {
	s := &p.shards[maphash.String(p.seed, user)%shardCount]
	s.mu.Lock()
	defer s.mu.Unlock()
	if u := s.users[user]; u != nil {
		dst = append(dst, u.sessions...)
	}
	return dst
}

// status returns the user's status; Online for who has none.
func (p *people) status(user string) Status {
	s := &p.shards[maphash.String(p.seed, user)%shardCount]
	s.mu.Lock()
	defer s.mu.Unlock()
	if u := s.users[user]; u != nil {
		return u.status
	}
	return Online
}
