package proto

import "time"

// Limits is the one table of bounds on what a peer may do or make grow.
type Limits struct {
	Message          int           // bytes of one message's content
	Envelope         int           // bytes of a frame beside its content
	Depth            int           // nesting of JSON
	InvalidFrames    int           // invalid frames in a row that close the connection, 255 at most
	RoomsPerConn     int           // rooms that one connection may have joined
	Outbox           int           // bytes of room messages that wait for one connection
	Replies          int           // bytes of replies that wait for one connection; past it, it is closed
	MessageTimeout   time.Duration // in which 4 KiB of a message on its way, or its end, have to come
	HandshakeTimeout time.Duration // from accept to the end of the request's head
	HandshakeBytes   int           // of the request's head
	HandshakeLine    int           // bytes of one line of it
	HandshakeHeaders int           // headers in it
	AuthTimeout      time.Duration // from the upgrade to a valid auth
	HistoryPage      int           // messages in one history reply
	HistoryBytes     int           // bytes of content in one history reply
	Replay           int           // missed messages that a join replays
	IDBytes          int           // of a command's id
	KeyBytes         int           // of an idempotency key
	KeyTTL           time.Duration // how long a key is remembered
	KeyRecords       int           // records read for keys when a room wakes
	UserIDBytes      int           // of a user id
	TokenBytes       int           // of a token
	EchoMessage      int           // bytes of one message on the raw echo
}

// DefaultLimits returns the limits that hold where configuration says nothing.
func DefaultLimits() Limits {
	return Limits{
		Message:          64 << 10,
		Envelope:         8 << 10,
		Depth:            64,
		InvalidFrames:    3,
		RoomsPerConn:     1000,
		Outbox:           256 << 10,
		Replies:          2 << 20,
		MessageTimeout:   time.Minute,
		HandshakeTimeout: 10 * time.Second,
		HandshakeBytes:   8 << 10,
		HandshakeLine:    8 << 10,
		HandshakeHeaders: 64,
		AuthTimeout:      10 * time.Second,
		HistoryPage:      1000,
		HistoryBytes:     256 << 10,
		Replay:           10_000,
		IDBytes:          64,
		KeyBytes:         64,
		KeyTTL:           10 * time.Minute,
		KeyRecords:       10_000,
		UserIDBytes:      128,
		TokenBytes:       4 << 10,
		EchoMessage:      16 << 20,
	}
}
