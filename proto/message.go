package proto

import "time"

// Kind says what a message's content is. It is stored with the message, so
// that each codec can carry content of the other kind (docs/protocol.md).
type Kind uint8

const (
	// KindJSON is content that is one valid JSON value, kept byte for byte.
	KindJSON Kind = iota
	// KindBytes is opaque content. JSON carries it as base64.
	KindBytes
	// KindDeleted is no content: the message was deleted, and only its
	// place is left.
	KindDeleted
)

// Message is one message of a room's log.
//
// Offset is gapless per room from 1; zero means that the message is transient
// and has no place in the log. Time is the server's, in microseconds since the
// Unix epoch, strictly rising within a room; clients see it in milliseconds.
type Message struct {
	ID      MsgID
	Offset  uint64
	Time    int64
	From    string // the author's user id
	To      string // the room
	Key     string // idempotency key, "" for none
	Kind    Kind
	Content []byte // immutable from the moment the message is appended
}

// Millis is the message's time as clients see it: Unix milliseconds.
func (m *Message) Millis() int64 { return m.Time / int64(time.Millisecond/time.Microsecond) }

// Publish is a message on its way into a room's log.
//
// The author's side fills From, To, Key, Kind and Content and hands the value
// over; from then on it belongs to the log until the room's sink receives it,
// with ID, Offset and Time set, or with Err. Content must not change any more.
type Publish struct {
	Message

	// Settings, where not nil, replaces the room's stored settings in the
	// same commit. The bytes are opaque to the log. With SettingsOnly there
	// is no message beside them, and the room's offset does not move.
	Settings     []byte
	SettingsOnly bool

	// Edit, where it is not EditNone, changes what the log holds in place of
	// adding a message; the room's offset does not move.
	Edit Edit

	// Durable asks that the sink gets the publish only when it is on the
	// disk, whatever the namespace's durability.
	Durable bool

	// Origin is the room's own note of whom to answer. The log carries it
	// and does not look at it.
	Origin any

	// Err is set by the log when the message was not appended.
	Err *Error
}

// Edit is a change to what a room's log holds.
type Edit uint8

const (
	// EditNone is none: the publish is a message, or settings.
	EditNone Edit = iota
	// EditDelete replaces the message of that Offset and Time by the
	// publish's own Message, whose kind is KindDeleted and whose other fields
	// are the old one's. Err is of ErrNotFound where the log has none there.
	EditDelete
	// EditTrim removes the messages below Offset. Time, where known, is that
	// of the message at Offset.
	EditTrim
	// EditEnd removes the whole log with settings and receipts. What is
	// appended to the stream after it gets an Err of ErrRoomClosed. A later
	// room of the name begins anew.
	EditEnd
)

// Head is the committed end of a room's log.
type Head struct {
	Epoch  string // names the life of the log that Offset belongs to
	Offset uint64 // of the last message, 0 for none
	Time   int64  // of the last message, µs
}

// Position is a place in a room's log, as a client gives it: everything up to
// and with Offset has been seen. Time, where known, is that message's time (µs)
// and only speeds up the search for it.
type Position struct {
	Epoch  string
	Offset uint64
	Time   int64
}

// Range selects stored messages of a room. All given bounds hold at once.
type Range struct {
	After   uint64 // only offsets above it; 0 for no bound
	Before  uint64 // only offsets below it; 0 for no bound
	From    int64  // only times at or after it, µs; 0 for no bound
	To      int64  // only times before it, µs; 0 for no bound
	Hint    int64  // time (µs) of the message After (or, in reverse, Before) names, where known; 0 otherwise
	Limit   int    // at most this many messages; 0 for no bound
	Reverse bool   // newest first
}

// StoredRoom is what a log knows of a room without waking it.
type StoredRoom struct {
	Name     string
	Offset   uint64 // of the last message, 0 for none
	Time     int64  // of the last message, µs
	Settings []byte // as stored, nil for none
}

// Receipt is how far one user has acknowledged a room's messages.
type Receipt struct {
	Room   string
	User   string
	Offset uint64
}
