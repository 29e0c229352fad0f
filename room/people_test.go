package room

import (
	"slices"
	"sync"
)

// gathering is a People that tests fill.
type gathering struct {
	mu       sync.Mutex
	members  []Member
	statuses map[string]Status
}

// connect makes a connection reachable by its user's name.
func (c *gathering) connect(m Member) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.members = append(c.members, m)
}

func (c *gathering) disconnect(m Member) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.members = slices.DeleteFunc(c.members, func(other Member) bool { return other == m })
}

func (c *gathering) setStatus(user string, s Status) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.statuses == nil {
		c.statuses = make(map[string]Status)
	}
	c.statuses[user] = s
}

func (c *gathering) Members(dst []Member, user string) []Member {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.AppendSeq(dst, func(yield func(Member) bool) {
		for _, m := range c.members {
			if m.UserID() == user && !yield(m) {
				return
			}
		}
	})
}

func (c *gathering) Status(user string) Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.statuses[user]
}
