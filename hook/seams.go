package hook

import "github.com/thronghq/throng/proto"

// Outbox keeps records by key, in order, on disk. The methods may block and are
// called concurrently.
type Outbox interface {
	// Get returns a copy of the record under a key, nil for none.
	Get(key []byte) ([]byte, error)

	// Scan visits the records with from <= key < to in order until visit
	// returns false; key and value are valid during the visit. A nil to is
	// no bound.
	Scan(from, to []byte, visit func(key, value []byte) bool) error

	// Write sets each key to the value beside it, or removes it where that
	// is nil, in the given order, all or nothing, and durably.
	Write(keys, values [][]byte) error
}

// History reads the rooms' logs. The methods may block and are called
// concurrently.
type History interface {
	// Read visits those of the messages first to last that are still in the
	// log that the epoch belongs to, in order, until visit returns false. A
	// message is valid during its visit.
	Read(room, epoch string, first, last uint64, visit func(*proto.Message) bool) error

	// Resume returns the offset of the first message that can be read,
	// follows the position, where that is one of this log, and is not older
	// than since (Unix microseconds); 0 for none.
	Resume(room, epoch string, after uint64, since int64) (uint64, error)

	// Rooms visits the rooms that have had messages and whose names come
	// after a given one, in order of their names, with the end of each
	// one's log, until visit returns false.
	Rooms(after string, visit func(room, epoch string, offset uint64) bool) error
}
