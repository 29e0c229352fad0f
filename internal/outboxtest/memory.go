// Package outboxtest has an outbox in memory, for tests, and the tests that every
// outbox must pass.
package outboxtest

import (
	"bytes"
	"errors"
	"maps"
	"slices"
	"sync"
)

// Outbox keeps records by key, in order; see hook.Outbox.
type Outbox interface {
	Get(key []byte) ([]byte, error)
	Scan(from, to []byte, visit func(key, value []byte) bool) error
	Write(keys, values [][]byte) error
}

// Memory is an outbox in memory. Its methods are safe for concurrent use.
type Memory struct {
	mu      sync.Mutex
	records map[string][]byte
	fail    error // what writes answer, nil for none
	writes  int
}

// NewMemory returns an empty outbox.
func NewMemory() *Memory { return &Memory{records: make(map[string][]byte)} }

// Get implements Outbox.
func (m *Memory) Get(key []byte) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return bytes.Clone(m.records[string(key)]), nil
}

// Scan implements Outbox. It visits the records as they were when it began.
func (m *Memory) Scan(from, to []byte, visit func(key, value []byte) bool) error {
	m.mu.Lock()
	records := maps.Clone(m.records)
	m.mu.Unlock()
	for _, key := range slices.Sorted(maps.Keys(records)) {
		if key < string(from) || (to != nil && key >= string(to)) {
			continue
		}
		if !visit([]byte(key), records[key]) {
			return nil
		}
	}
	return nil
}

// Write implements Outbox.
func (m *Memory) Write(keys, values [][]byte) error {
	if len(keys) != len(values) {
		return errors.New("outboxtest: not as many values as keys")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return m.fail
	}
	m.writes++
	for i, key := range keys {
		if values[i] == nil {
			delete(m.records, string(key))
		} else {
			m.records[string(key)] = append([]byte{}, values[i]...)
		}
	}
	return nil
}

// Fail lets writes fail with err until it is called with nil.
func (m *Memory) Fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fail = err
}

// Writes counts the writes that succeeded.
func (m *Memory) Writes() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.writes
}

// Crash returns what a crash at this moment leaves: all that was written. What
// still writes to the old outbox changes nothing in the new one.
func (m *Memory) Crash() *Memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	return &Memory{records: maps.Clone(m.records)}
}
