//go:build race

package session

// raceEnabled: the race detector makes sync.Pool forget values at random, so
// that allocations can't be counted.
const raceEnabled = true
