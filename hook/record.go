package hook

import (
	"encoding/binary"
	"errors"

	"github.com/thronghq/throng/proto"
)

// The outbox's records; docs/storage-format.md shows their layout. Each begins
// with a byte whose upper four bits are the record's version and whose lower four
// are flags. Numbers are unsigned varints in their shortest form, strings have
// their length before them.
const (
	recordVersion = 1 << 4
	stateClean    = 0x01
)

var errBadRecord = errors.New("hook: a record of the outbox is damaged")

// event is what happened, as it waits and as it is stored.
type event struct {
	kind   Event
	at     int64 // when it happened, Unix ms
	queued int64 // when it was put into the queue, or replayed, Unix ms
	id     proto.MsgID
	run    uint64 // which of the server's starts came before it; 0 for messages
	room   string // all but connect and disconnect
	user   string // join, leave, connect, disconnect

	span // message

	conn   *Connection // connect, disconnect
	reason string      // disconnect
}

// span is a run of messages in a room's log, both ends inclusive.
type span struct {
	epoch       string
	first, last uint64
}

func (s span) count() uint64 { return s.last - s.first + 1 }

// size counts what happened: for messages, how many there are.
func (e *event) size() uint64 {
	if e.kind == Message {
		return e.count()
	}
	return 1
}

func appendEvent(dst []byte, e *event) []byte {
	dst = append(dst, recordVersion, byte(e.kind))
	dst = binary.AppendUvarint(dst, uint64(e.at))
	dst = binary.AppendUvarint(dst, uint64(e.queued))
	dst = append(dst, e.id[:]...)
	dst = binary.AppendUvarint(dst, e.run)
	switch e.kind {
	case RoomOpened, RoomEmptied:
		dst = appendString(dst, e.room)
	case Join, Leave:
		dst = appendString(dst, e.room)
		dst = appendString(dst, e.user)
	case Message:
		dst = appendString(dst, e.room)
		dst = appendSpan(dst, e.span)
	case Connect, Disconnect:
		for _, s := range []string{e.user, e.conn.SessionID, e.conn.Address, e.conn.DeviceType, e.conn.DeviceOS, e.conn.Via, e.reason} {
			dst = appendString(dst, s)
		}
		dst = binary.AppendUvarint(dst, uint64(e.conn.ConnectedAt))
	}
	return dst
}

func decodeEvent(b []byte) (*event, error) {
	r := reader{rest: b}
	r.version(recordVersion)
	e := &event{kind: Event(r.byte()), at: r.time(), queued: r.time(), id: r.id(), run: r.uvarint()}
	switch e.kind {
	case RoomOpened, RoomEmptied:
		e.room = r.string()
	case Join, Leave:
		e.room, e.user = r.string(), r.string()
	case Message:
		e.room, e.span = r.string(), r.span()
	case Connect, Disconnect:
		e.user = r.string()
		e.conn = &Connection{UserID: e.user, SessionID: r.string(), Address: r.string(), DeviceType: r.string(), DeviceOS: r.string(), Via: r.string()}
		e.reason = r.string()
		e.conn.ConnectedAt = r.time()
	default:
		r.bad = true
	}
	return e, r.end()
}

// letter is an event that is not tried any more.
type letter struct {
	event    *event
	at       int64  // when it was given up, Unix ms
	attempts uint64 // that were made
	status   uint64 // of the last answer, 0 for none
	reason   string
}

func appendLetter(dst []byte, l *letter) []byte {
	dst = append(dst, recordVersion)
	dst = binary.AppendUvarint(dst, uint64(l.at))
	dst = binary.AppendUvarint(dst, l.attempts)
	dst = binary.AppendUvarint(dst, l.status)
	dst = appendString(dst, l.reason)
	return appendEvent(dst, l.event)
}

func decodeLetter(b []byte) (*letter, error) {
	r := reader{rest: b}
	r.version(recordVersion)
	l := &letter{at: r.time(), attempts: r.uvarint(), status: r.uvarint(), reason: r.string()}
	if r.bad {
		return nil, errBadRecord
	}
	var err error
	l.event, err = decodeEvent(r.rest)
	return l, err
}

// mark says up to where a room's messages have entered the queues.
type mark struct {
	epoch  string
	offset uint64
}

func appendMark(dst []byte, m mark) []byte {
	dst = binary.AppendUvarint(append(dst, recordVersion), m.offset)
	return appendString(dst, m.epoch)
}

func decodeMark(b []byte) (mark, error) {
	r := reader{rest: b}
	r.version(recordVersion)
	m := mark{offset: r.uvarint(), epoch: r.string()}
	return m, r.end()
}

// coverage says since when an endpoint has been told of the same messages.
type coverage struct {
	session uint64 // the last session of the outbox in which it was there
	since   int64  // Unix µs
	scope   uint64 // hash of which messages it is told of
}

func appendCoverage(dst []byte, c coverage) []byte {
	dst = binary.AppendUvarint(append(dst, recordVersion), c.session)
	dst = binary.AppendUvarint(dst, uint64(c.since))
	return binary.BigEndian.AppendUint64(dst, c.scope)
}

func decodeCoverage(b []byte) (coverage, error) {
	r := reader{rest: b}
	r.version(recordVersion)
	c := coverage{session: r.uvarint(), since: r.time()}
	if s := r.bytes(8); s != nil {
		c.scope = binary.BigEndian.Uint64(s)
	}
	return c, r.end()
}

// state is the outbox's own record.
type state struct {
	session uint64 // counts the starts
	clean   bool   // all that happened before the last stop is in the queues
}

func appendState(dst []byte, s state) []byte {
	first := byte(recordVersion)
	if s.clean {
		first |= stateClean
	}
	return binary.AppendUvarint(append(dst, first), s.session)
}

func decodeState(b []byte) (state, error) {
	r := reader{rest: b}
	first := r.byte()
	s := state{clean: first&stateClean != 0, session: r.uvarint()}
	r.bad = r.bad || first&^stateClean != recordVersion
	return s, r.end()
}

func appendString(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

func appendSpan(dst []byte, s span) []byte {
	dst = appendString(dst, s.epoch)
	dst = binary.AppendUvarint(dst, s.first)
	return binary.AppendUvarint(dst, s.last)
}

// reader reads a record's fields until one is bad. What it returns shares nothing
// with the record.
type reader struct {
	rest []byte
	bad  bool
}

// end tells whether the record was read to its end, and rightly.
func (r *reader) end() error {
	if r.bad || len(r.rest) > 0 {
		return errBadRecord
	}
	return nil
}

func (r *reader) version(want byte) {
	if r.byte() != want {
		r.bad = true
	}
}

// bytes returns the next n bytes, nil where there are not as many.
func (r *reader) bytes(n uint64) []byte {
	if r.bad || n > uint64(len(r.rest)) {
		r.bad = true
		return nil
	}
	b := r.rest[:n:n]
	r.rest = r.rest[n:]
	return b
}

func (r *reader) byte() byte {
	if b := r.bytes(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.rest)
	if r.bad || n <= 0 || (n > 1 && r.rest[n-1] == 0) {
		r.bad = true
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

// time reads a number that is no less than 0 as an int64.
func (r *reader) time() int64 {
	v := int64(r.uvarint())
	r.bad = r.bad || v < 0
	return v
}

func (r *reader) string() string { return string(r.bytes(r.uvarint())) }

func (r *reader) id() (id proto.MsgID) {
	copy(id[:], r.bytes(uint64(len(id))))
	return id
}

func (r *reader) span() span {
	s := span{epoch: r.string(), first: r.uvarint(), last: r.uvarint()}
	r.bad = r.bad || s.first == 0 || s.last < s.first
	return s
}
