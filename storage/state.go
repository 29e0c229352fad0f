package storage

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// maxAhead is how far stored times may be ahead of the clock at start.
const maxAhead = time.Hour

// storeState is the store's own record.
type storeState struct {
	generation uint64 // raised at an open after an unclean stop, and by a restore
	restored   uint64 // the generation that the last restore began, 0 for none
	clean      bool   // the last stop was clean
}

const (
	stateVersion = 1
	stateClean   = 0x01
)

var errBadState = errors.New("storage: the store's own record is damaged")

func appendState(dst []byte, s storeState) []byte {
	first := byte(stateVersion << 4)
	if s.clean {
		first |= stateClean
	}
	dst = append(dst, first)
	dst = binary.AppendUvarint(dst, s.generation)
	return binary.AppendUvarint(dst, s.restored)
}

func decodeState(b []byte) (storeState, error) {
	if len(b) == 0 || b[0]>>4 != stateVersion || b[0]&0x0f&^stateClean != 0 {
		return storeState{}, errBadState
	}
	r := metaReader{rest: b[1:], ok: true}
	s := storeState{clean: b[0]&stateClean != 0, generation: r.uvarint(), restored: r.uvarint()}
	if !r.ok || len(r.rest) > 0 || s.generation == 0 || s.restored > s.generation {
		return storeState{}, errBadState
	}
	return s, nil
}

const namespaceVersion = 1

var errBadNamespace = errors.New("storage: a namespace's record is damaged")

// appendNamespace appends a namespace's record: the last generation of the store
// in which its rooms were async.
func appendNamespace(dst []byte, asyncUntil uint64) []byte {
	return binary.AppendUvarint(append(dst, namespaceVersion<<4), asyncUntil)
}

func decodeNamespace(b []byte) (asyncUntil uint64, err error) {
	if len(b) == 0 || b[0] != namespaceVersion<<4 {
		return 0, errBadNamespace
	}
	r := metaReader{rest: b[1:], ok: true}
	if asyncUntil = r.uvarint(); !r.ok || len(r.rest) > 0 {
		return 0, errBadNamespace
	}
	return asyncUntil, nil
}

// class is a retention class: messages that are kept equally long stand
// together, in buckets of time that are removed as a whole. Numbers are never
// given a second meaning.
type class struct {
	number byte
	ttl    int64 // µs
	width  int64 // of a bucket, µs
}

// bucketsPerTTL says how finely a class's time is divided.
const bucketsPerTTL = 8

func newClass(number byte, ttl time.Duration) class {
	return class{
		number: number,
		ttl:    ttl.Microseconds(),
		width:  max(ttl/bucketsPerTTL, time.Second).Microseconds(),
	}
}

func (c class) bucket(micros int64) uint32 { return uint32(micros / c.width) }

// start returns the first microsecond of a bucket.
func (c class) start(bucket uint32) int64 { return int64(bucket) * c.width }

const classVersion = 1

var errBadClass = errors.New("storage: a retention class's record is damaged")

func appendClass(dst []byte, c class) []byte {
	dst = append(dst, classVersion<<4)
	dst = binary.AppendUvarint(dst, uint64(c.ttl))
	return binary.AppendUvarint(dst, uint64(c.width))
}

func decodeClass(key, b []byte) (class, error) {
	if len(key) != 2 || key[1] < firstClass || len(b) == 0 || b[0] != classVersion<<4 {
		return class{}, errBadClass
	}
	r := metaReader{rest: b[1:], ok: true}
	c := class{number: key[1], ttl: r.micros(), width: r.micros()}
	if !r.ok || len(r.rest) > 0 || c.ttl <= 0 || c.width <= 0 {
		return class{}, errBadClass
	}
	return c, nil
}

// loadClasses reads all retention classes.
func loadClasses(db *pebble.DB) (classes map[byte]class, err error) {
	it, err := db.NewIter(&pebble.IterOptions{
		LowerBound: []byte{prefixClass},
		UpperBound: []byte{prefixClass + 1},
	})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	classes = make(map[byte]class)
	for ok := it.First(); ok; ok = it.Next() {
		c, err := decodeClass(it.Key(), it.Value())
		if err != nil {
			return nil, err
		}
		classes[c.number] = c
	}
	return classes, it.Error()
}

// classFor returns the class that keeps messages for ttl, and whether it is
// new: it is then in the map, and the caller stores it.
func classFor(classes map[byte]class, ttl time.Duration) (c class, isNew bool, err error) {
	next := firstClass
	for _, c := range classes {
		if c.ttl == ttl.Microseconds() {
			return c, false, nil
		}
		next = max(next, int(c.number)+1)
	}
	if next > 0xff {
		return class{}, false, fmt.Errorf("storage: no retention class is left for a history of %v: the store has had %d different ones (%s)", ttl, len(classes), listTTLs(classes))
	}
	c = newClass(byte(next), ttl)
	classes[c.number] = c
	return c, true, nil
}

func listTTLs(classes map[byte]class) string {
	ttls := make([]time.Duration, 0, len(classes))
	for _, c := range classes {
		ttls = append(ttls, time.Duration(c.ttl)*time.Microsecond)
	}
	slices.SortFunc(ttls, cmp.Compare)
	return fmt.Sprint(ttls)
}

// clock gives the store's time, which only moves forward, over restarts too.
type clock struct {
	now func() time.Time

	mu   sync.Mutex
	last int64
}

// micros returns the time in microseconds since the Unix epoch.
func (c *clock) micros() int64 {
	wall := c.now().UnixMicro()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = max(c.last, wall)
	return c.last
}

// resume sets the time that was reached before a restart.
func (c *clock) resume(stored int64) error {
	wall := c.now()
	if ahead := time.UnixMicro(stored).Sub(wall); ahead > maxAhead {
		return fmt.Errorf("storage: the newest stored message is from %s, %v ahead of this machine's clock (%s): set the clock, or wait; times in the history only move forward",
			time.UnixMicro(stored).UTC().Format(time.RFC3339), ahead.Round(time.Second), wall.UTC().Format(time.RFC3339))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = stored
	return nil
}
