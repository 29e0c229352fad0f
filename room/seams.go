package room

import "github.com/thronghq/throng/proto"

// Log keeps the rooms' messages. Storage is the durable one; MemoryLog counts
// offsets for rooms whose namespace keeps nothing on disk.
type Log interface {
	// Room wakes a room's stream. It may block on a disk. The sink receives
	// the room's publishes in the order of their offsets, never two calls at
	// a time; the slice is borrowed, the publishes are not.
	Room(name string, sink func([]*proto.Publish)) (Stream, error)

	// AppendPair is Append to two streams in one commit: two messages get the
	// same id and time, two edits take place together, and each stream's sink gets its own once both
	// have their offsets.
	AppendPair(a Stream, p *proto.Publish, b Stream, q *proto.Publish) *proto.Error

	// Rooms lists the stored rooms whose names begin with prefix and come
	// after the given one, in the order of the names' bytes, at most limit.
	// It wakes none. It may block.
	Rooms(prefix, after string, limit int) ([]proto.StoredRoom, error)

	// Receipt returns how far the user has acknowledged the room's
	// messages, as far as that was saved; 0 for nothing. It may block.
	Receipt(room, user string) (uint64, error)

	// SaveReceipts stores receipts; none lowers what is stored. It may
	// block.
	SaveReceipts(receipts []proto.Receipt) error
}

// Stream is one room's log. The methods are safe for concurrent use.
type Stream interface {
	// Head is the end of what the sink has received; its epoch does not
	// change while the stream is open.
	Head() proto.Head

	// Settings returns the stored settings as they were at the wake, nil for
	// none.
	Settings() []byte

	// Append queues a publish and never blocks. Where it returns nil, the
	// sink gets p.
	Append(p *proto.Publish) *proto.Error

	// Covers reports whether everything after pos can still be read.
	Covers(pos proto.Position) bool

	// Read visits the messages in rg, in order, until visit returns false. A
	// message is valid during its visit.
	Read(rg proto.Range, visit func(*proto.Message) bool) error

	// Close lets the stream go. It does not block.
	Close()
}

// Account counts bytes of memory against the server's budget. It is safe for
// concurrent use.
type Account interface{ Add(bytes int64) }

// Member is one connection, as a room sees it. The methods are safe for
// concurrent use and never block.
type Member interface {
	// UserID names the user.
	UserID() string

	// Form is what the connection's frames look like; it never changes. A
	// member that takes compressed frames takes plain ones, too.
	Form() proto.Form

	// Send encodes an event and queues it. It is never dropped.
	Send(ev *proto.Event)

	// Deliver queues whole frames, which are shared and must not change. It
	// returns false when the connection's outbox is full and nothing was
	// taken; Membership.Drained then tells the room when to go on. Without
	// frames it tells whether that is still to come.
	Deliver(frames []byte) bool

	// Prefetch announces a Deliver: what it needs may be brought into the
	// processor's caches. It has no other effect.
	Prefetch()

	// Close ends the connection with the error's close code.
	Close(err *proto.Error)

	// Ended tells that a join failed or that the membership has ended.
	Ended(ms *Membership)
}
