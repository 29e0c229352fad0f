package hook

import "encoding/binary"

// The first byte of an outbox key says what its record is.
const (
	keyState    = 's' // the outbox's own record
	keyCoverage = 'c' // endpoints, by name
	keyQueue    = 'q' // what waits, by endpoint and number
	keyDead     = 'd' // dead letters, by endpoint and number
	keyGap      = 'g' // what is missing, by endpoint
	keyMark     = 'm' // rooms, by name
)

func stateKey() []byte                   { return []byte{keyState} }
func coverageKey(endpoint string) []byte { return append([]byte{keyCoverage}, endpoint...) }
func gapKey(endpoint string) []byte      { return append([]byte{keyGap}, endpoint...) }
func markKey(room string) []byte         { return append([]byte{keyMark}, room...) }

// queueKey is the key of an event that waits or, with keyDead, of a dead letter.
func queueKey(kind byte, endpoint string, number uint64) []byte {
	return binary.BigEndian.AppendUint64(queuePrefix(kind, endpoint), number)
}

// queuePrefix begins the keys of an endpoint's events. The name's length stands
// before it, so that no endpoint's keys lie between another's.
func queuePrefix(kind byte, endpoint string) []byte {
	key := make([]byte, 0, 2+len(endpoint)+8)
	return append(append(key, kind, byte(len(endpoint))), endpoint...)
}

// queueEnd is the first key after those of an endpoint's events.
func queueEnd(kind byte, endpoint string) []byte {
	return append(queueKey(kind, endpoint, 1<<64-1), 0)
}

// queueNumber returns the number that ends a key.
func queueNumber(key []byte) uint64 { return binary.BigEndian.Uint64(key[len(key)-8:]) }
