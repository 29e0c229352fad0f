package session

import (
	"hash/maphash"
	"sync"

	"github.com/VictoriaMetrics/metrics"
)

const (
	tableShards   = 64
	tableEntries  = 100_000 // in all shards of a table: some 15 MB
	evictionLooks = 16      // entries that are looked at for one to forget
)

// table holds the buckets of users, addresses or rooms. It is bounded: where it
// is full, an entry whose buckets are full makes place, for to forget it changes
// nothing; if there is none among some that are looked at, the one that would be
// full first. It is safe for concurrent use.
type table[K comparable] struct {
	perShard  int
	seed      maphash.Seed
	forgotten *metrics.Counter
	shards    [tableShards]struct {
		mu      sync.Mutex
		entries map[K]*buckets
	}
}

func newTable[K comparable](c scope, entries int, set *metrics.Set) *table[K] {
	t := &table[K]{perShard: entries / tableShards, seed: maphash.MakeSeed()}
	t.forgotten = set.NewCounter(`throng_rate_forgotten_total{scope="` + c.String() + `"}`)
	set.NewGauge(`throng_rate_entries{scope="`+c.String()+`"}`, func() float64 { return float64(t.len()) })
	return t
}

// get returns the buckets of a key, which are full where it is new.
func (t *table[K]) get(key K, now int64) *buckets {
	s := &t.shards[maphash.Comparable(t.seed, key)%tableShards]
	s.mu.Lock()
	defer s.mu.Unlock()
	if b := s.entries[key]; b != nil {
		return b
	}
	switch {
	case s.entries == nil:
		s.entries = make(map[K]*buckets)
	case len(s.entries) >= t.perShard:
		victim, full := leastUsed(s.entries, now)
		delete(s.entries, victim)
		if !full {
			t.forgotten.Inc()
		}
	}
	b := new(buckets)
	s.entries[key] = b
	return b
}

// leastUsed finds an entry with full buckets, or else the one of some that will
// have them first.
func leastUsed[K comparable](entries map[K]*buckets, now int64) (victim K, full bool) {
	least := int64(0)
	looked := 0
	for key, b := range entries { // begins anywhere
		at := b.fullAt()
		if at <= now {
			return key, true
		}
		if looked == 0 || at < least {
			victim, least = key, at
		}
		if looked++; looked == evictionLooks {
			break
		}
	}
	return victim, false
}

// fullAt is when all buckets are full.
func (b *buckets) fullAt() int64 {
	at := b[0].full.Load()
	for i := range b {
		at = max(at, b[i].full.Load())
	}
	return at
}

func (t *table[K]) len() int {
	n := 0
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		n += len(s.entries)
		s.mu.Unlock()
	}
	return n
}
