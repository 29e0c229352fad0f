// Package authtest gives tests a store of accounts in memory, and holds every
// store to what auth.Store promises. It is not meant for anything but tests.
package authtest

import (
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/thronghq/throng/auth"
)

// Memory is an auth.Store that keeps everything in memory.
type Memory struct {
	mu          sync.Mutex
	users       map[string]auth.UserRecord
	sessions    map[string]auth.SessionRecord // by id
	keys        map[string]auth.KeyRecord
	revocations map[subject]auth.RevocationRecord
	fault       error
	applied     int
}

type subject struct {
	kind auth.SubjectKind
	id   string
}

// NewMemory returns an empty store.
func NewMemory() *Memory {
	return &Memory{
		users:       make(map[string]auth.UserRecord),
		sessions:    make(map[string]auth.SessionRecord),
		keys:        make(map[string]auth.KeyRecord),
		revocations: make(map[subject]auth.RevocationRecord),
	}
}

// Fail lets everything that is asked from now on fail with the error; nil ends
// that.
func (m *Memory) Fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fault = err
}

// Applied returns how many changes were applied.
func (m *Memory) Applied() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.applied
}

// User implements auth.Store.
func (m *Memory) User(name string) (*auth.UserRecord, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	u, ok := m.users[name]
	if !ok || m.fault != nil {
		return nil, m.fault
	}
	return &u, nil
}

// Users implements auth.Store.
func (m *Memory) Users(prefix, after string, limit int) ([]auth.UserRecord, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []auth.UserRecord
	for _, name := range slices.Sorted(maps.Keys(m.users)) {
		if strings.HasPrefix(name, prefix) && name > after && len(list) < limit {
			list = append(list, m.users[name])
		}
	}
	return list, m.fault
}

// Session implements auth.Store.
func (m *Memory) Session(id string) (*auth.SessionRecord, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, ok := m.sessions[id]
	if !ok || m.fault != nil {
		return nil, m.fault
	}
	return &s, nil
}

// Sessions implements auth.Store.
func (m *Memory) Sessions(user, after string, limit int) ([]auth.SessionRecord, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []auth.SessionRecord
	for _, id := range slices.Sorted(maps.Keys(m.sessions)) {
		if s := m.sessions[id]; s.UserID == user && id > after && len(list) < limit {
			list = append(list, s)
		}
	}
	return list, m.fault
}

// Load implements auth.Store.
func (m *Memory) Load() ([]auth.KeyRecord, []auth.RevocationRecord, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Collect(maps.Values(m.keys)), slices.Collect(maps.Values(m.revocations)), m.fault
}

// Apply implements auth.Store.
func (m *Memory) Apply(c *auth.Changes) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fault != nil {
		return m.fault
	}
	m.applied++
	for _, u := range c.Users {
		m.users[u.Name] = u
	}
	for _, s := range c.Sessions {
		m.sessions[s.ID] = s
	}
	for _, k := range c.Keys {
		k.Rooms = slices.Clone(k.Rooms)
		m.keys[k.ID] = k
	}
	for _, r := range c.Revocations {
		kind, id := r.Subject()
		m.revocations[subject{kind, id}] = r
	}
	for _, name := range c.DropUsers {
		delete(m.users, name)
	}
	for _, s := range c.DropSessions {
		delete(m.sessions, s.ID)
	}
	for _, id := range c.DropKeys {
		delete(m.keys, id)
	}
	for _, r := range c.DropRevocations {
		kind, id := r.Subject()
		delete(m.revocations, subject{kind, id})
	}
	return nil
}
