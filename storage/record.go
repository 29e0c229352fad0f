package storage

import (
	"encoding/binary"
	"errors"

	"github.com/thronghq/throng/proto"
)

// A message's record is
//
//	version and flags 1 · tail 8 · length of author, author · [length of key, key] · [length of addressee, addressee] · content
//
// The version stands in the upper four bits of the first byte. The content is
// what is left. Time and offset stand in the key alone; time and tail together
// are the message's id. The addressee is there where it is not the room in whose
// log the record stands.
const (
	recordVersion  = 1
	recordKindMask = 0x03
	recordHasKey   = 0x04
	recordHasTo    = 0x08
	recordFlags    = recordKindMask | recordHasKey | recordHasTo
)

var errBadRecord = errors.New("storage: a message's record is damaged")

// record is a decoded message record; its slices alias the encoded bytes.
type record struct {
	tail    uint64
	kind    proto.Kind
	author  []byte
	key     []byte
	to      []byte
	content []byte
}

// recordSize returns the number of bytes that appendRecord appends. In both, To
// is "" where it is the room in whose log the record stands.
func recordSize(m *proto.Message) int {
	n := 1 + 8 + uvarintLen(uint64(len(m.From))) + len(m.From) + len(m.Content)
	if m.Key != "" {
		n += uvarintLen(uint64(len(m.Key))) + len(m.Key)
	}
	if m.To != "" {
		n += uvarintLen(uint64(len(m.To))) + len(m.To)
	}
	return n
}

// appendRecord appends the record of m with the given random tail.
func appendRecord(dst []byte, m *proto.Message, tail uint64) []byte {
	first := byte(recordVersion<<4) | byte(m.Kind)&recordKindMask
	if m.Key != "" {
		first |= recordHasKey
	}
	if m.To != "" {
		first |= recordHasTo
	}
	dst = append(dst, first)
	dst = binary.BigEndian.AppendUint64(dst, tail)
	dst = binary.AppendUvarint(dst, uint64(len(m.From)))
	dst = append(dst, m.From...)
	if m.Key != "" {
		dst = binary.AppendUvarint(dst, uint64(len(m.Key)))
		dst = append(dst, m.Key...)
	}
	if m.To != "" {
		dst = binary.AppendUvarint(dst, uint64(len(m.To)))
		dst = append(dst, m.To...)
	}
	return append(dst, m.Content...)
}

// decodeRecord reads a record; what it returns aliases b.
func decodeRecord(b []byte) (record, error) {
	if len(b) < 9 || b[0]>>4 != recordVersion || b[0]&0x0f&^recordFlags != 0 {
		return record{}, errBadRecord
	}
	r := record{kind: proto.Kind(b[0] & recordKindMask), tail: binary.BigEndian.Uint64(b[1:])}
	if r.tail>>62 != 0 || r.kind > proto.KindDeleted {
		return record{}, errBadRecord
	}
	hasKey, hasTo := b[0]&recordHasKey != 0, b[0]&recordHasTo != 0
	b = b[9:]
	var ok bool
	if r.author, b, ok = cutBytes(b); !ok {
		return record{}, errBadRecord
	}
	if hasKey {
		if r.key, b, ok = cutBytes(b); !ok || len(r.key) == 0 {
			return record{}, errBadRecord
		}
	}
	if hasTo {
		if r.to, b, ok = cutBytes(b); !ok || len(r.to) == 0 {
			return record{}, errBadRecord
		}
	}
	if r.kind == proto.KindDeleted && len(b) > 0 {
		return record{}, errBadRecord
	}
	r.content = b
	return r, nil
}

// cutBytes reads a length and that many bytes; head and rest alias b.
func cutBytes(b []byte) (head, rest []byte, ok bool) {
	n, rest, ok := cutUvarint(b)
	if !ok || n > uint64(len(rest)) {
		return nil, nil, false
	}
	return rest[:n:n], rest[n:], true
}

// cutUvarint reads a number in its shortest form.
func cutUvarint(b []byte) (v uint64, rest []byte, ok bool) {
	v, n := binary.Uvarint(b)
	if n <= 0 || n != uvarintLen(v) {
		return 0, nil, false
	}
	return v, b[n:], true
}

func uvarintLen(v uint64) int {
	n := 1
	for ; v >= 0x80; v >>= 7 {
		n++
	}
	return n
}
