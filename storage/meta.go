package storage

import (
	"encoding/binary"
	"errors"
)

// meta is what the store keeps of a room beside its messages, under its name.
// It is written with the room's first message after a wake, with the first of
// each bucket, with each change of the settings, and when the room goes idle.
type meta struct {
	room  uint64 // the interned id, from 1
	birth uint64 // random, drawn when the room's log began
	last  place  // the newest message when this was written
	floor uint64 // no offset below it can be read, however much the namespace keeps
	clean bool   // last is the room's newest message; otherwise look in its bucket

	segments []segment // where the messages stand, oldest first, at least one
	epochs   []epoch   // oldest first, at least one
	settings []byte    // opaque, nil for none
}

// place is the position of a message: offset and time rise together.
type place struct {
	offset uint64
	time   int64
}

// segment says in which retention class a room's messages stand from a time on,
// until the next segment begins.
type segment struct {
	class byte
	from  int64
}

// epoch says which offset was the first to be given out in a life of the log
// that began in a generation of the store. It ends where the next one begins.
type epoch struct {
	generation uint64
	start      uint64
}

const (
	metaVersion     = 1
	metaClean       = 0x01
	metaHasSettings = 0x02
	metaFlags       = metaClean | metaHasSettings
)

var errBadMeta = errors.New("storage: a room's record is damaged")

// appendMeta appends the record of m; docs/storage-format.md shows its layout.
func appendMeta(dst []byte, m *meta) []byte {
	first := byte(metaVersion << 4)
	if m.clean {
		first |= metaClean
	}
	if m.settings != nil {
		first |= metaHasSettings
	}
	dst = append(dst, first)
	dst = binary.BigEndian.AppendUint64(dst, m.birth)
	dst = binary.AppendUvarint(dst, m.room)
	dst = binary.AppendUvarint(dst, m.last.offset)
	dst = binary.AppendUvarint(dst, uint64(m.last.time))
	dst = binary.AppendUvarint(dst, m.floor)
	dst = binary.AppendUvarint(dst, uint64(len(m.segments)))
	for _, s := range m.segments {
		dst = append(dst, s.class)
		dst = binary.AppendUvarint(dst, uint64(s.from))
	}
	dst = binary.AppendUvarint(dst, uint64(len(m.epochs)))
	for _, e := range m.epochs {
		dst = binary.AppendUvarint(dst, e.generation)
		dst = binary.AppendUvarint(dst, e.start)
	}
	return append(dst, m.settings...)
}

// decodeMeta reads a room's record; what it returns shares nothing with b.
func decodeMeta(b []byte) (*meta, error) {
	if len(b) < 9 || b[0]>>4 != metaVersion || b[0]&0x0f&^metaFlags != 0 {
		return nil, errBadMeta
	}
	m := &meta{
		clean: b[0]&metaClean != 0,
		birth: binary.BigEndian.Uint64(b[1:]),
	}
	hasSettings := b[0]&metaHasSettings != 0
	r := metaReader{rest: b[9:], ok: true}
	m.room = r.uvarint()
	m.last.offset = r.uvarint()
	m.last.time = r.micros()
	m.floor = r.uvarint()
	for n := r.uvarint(); n > 0 && r.ok; n-- {
		m.segments = append(m.segments, segment{class: r.byte(), from: r.micros()})
	}
	for n := r.uvarint(); n > 0 && r.ok; n-- {
		m.epochs = append(m.epochs, epoch{generation: r.uvarint(), start: r.uvarint()})
	}
	if !r.ok || !m.consistent() || (!hasSettings && len(r.rest) > 0) {
		return nil, errBadMeta
	}
	if hasSettings {
		m.settings = append([]byte{}, r.rest...)
	}
	return m, nil
}

// consistent reports whether the record could have been written by a store.
func (m *meta) consistent() bool {
	if m.room == 0 || m.floor == 0 || len(m.segments) == 0 || len(m.epochs) == 0 {
		return false
	}
	for i, s := range m.segments {
		if s.class < firstClass || (i > 0 && s.from < m.segments[i-1].from) {
			return false
		}
	}
	for i, e := range m.epochs {
		if e.generation == 0 || e.start == 0 {
			return false
		}
		if i > 0 && (e.generation <= m.epochs[i-1].generation || e.start < m.epochs[i-1].start) {
			return false
		}
	}
	return true
}

// metaReader reads numbers until one is bad.
type metaReader struct {
	rest []byte
	ok   bool
}

func (r *metaReader) uvarint() uint64 {
	if !r.ok {
		return 0
	}
	var v uint64
	v, r.rest, r.ok = cutUvarint(r.rest)
	return v
}

func (r *metaReader) micros() int64 {
	v := int64(r.uvarint())
	r.ok = r.ok && v >= 0
	return v
}

func (r *metaReader) byte() byte {
	if !r.ok || len(r.rest) == 0 {
		r.ok = false
		return 0
	}
	b := r.rest[0]
	r.rest = r.rest[1:]
	return b
}
