package proto

import (
	"time"

	"github.com/gobwas/ws"
)

// Codec turns frames into commands, and events and messages into frames. The
// JSON codec and the ones beside it are stateless and safe for concurrent use.
type Codec interface {
	// Subprotocol is the name that clients offer, such as throng.v1.json.
	Subprotocol() string

	// OpCode is the opcode of the codec's frames, text or binary.
	OpCode() ws.OpCode

	// Decode reads one frame's payload into cmd, which it resets first. The
	// fields of cmd may alias payload and cmd's own scratch: they are valid
	// until payload is reused or the next Decode. Where it fails, cmd.ID is
	// still set if the frame had a readable id.
	Decode(payload []byte, cmd *Command) *Error

	// AppendEvent appends the payload of one event.
	AppendEvent(dst []byte, ev *Event) []byte

	// AppendMessage appends the payload of a pushed message. The author's
	// own copy (replay, history) carries the idempotency key.
	AppendMessage(dst []byte, m *Message, own bool) []byte
}

// CommandType is what a client asks for.
type CommandType uint8

// The commands, by the wire's names.
const (
	CmdNone CommandType = iota
	CmdAuth
	CmdJoin
	CmdLeave
	CmdMessage
	CmdHistory
	CmdAck
	CmdMembers
	CmdStatus
	CmdHost
	CmdPing
)

// HostAction is what a room's host wants done.
type HostAction uint8

// The host's actions, by the name of the field that asks for each.
const (
	HostNone HostAction = iota
	HostMaxUsers
	HostKick
	HostBan
	HostUnban
	HostMute
	HostUnmute
	HostHandOver
	HostClose  // "close":true
	HostReopen // "close":false
)

// SinceKind is the form in which a join says where the client stands.
type SinceKind uint8

// The forms of since.
const (
	SinceNone     SinceKind = iota
	SincePosition           // offset, epoch and perhaps a timestamp
	SinceTime               // timestamp alone
	SinceLast               // last n
)

// Since is where a join wants to begin.
type Since struct {
	Kind   SinceKind
	Offset uint64
	Epoch  []byte
	Millis int64 // SinceTime: from this time on. SincePosition: a hint, 0 for none
	Last   int
}

// Command is one decoded command. Which fields count depends on Type; the
// slices are borrowed, see Codec.
type Command struct {
	Type CommandType
	ID   []byte // the client's own, nil for none

	Token      []byte // auth
	DeviceType []byte
	DeviceOS   []byte

	Room  []byte // all that name a room; for a message it is "to"
	Since Since  // join
	Echo  bool   // join: the connection wants its own messages, too

	Key       []byte // message
	Content   []byte
	Kind      Kind
	Transient bool

	History History // history
	Cursor  []byte  // history, members

	Epoch  []byte // ack
	Offset uint64 // ack

	Action HostAction // host
	User   []byte     // host: whom
	Max    int        // host: maxUsers, 0 for no bound

	Status    []byte // status
	Timestamp int64  // PING: the client's own

	scratch []byte // unescaped strings live here
}

// History is the query of a history command. Times are Unix milliseconds.
type History struct {
	From, To      int64
	After, Before uint64
	Limit         int // 0 where the client gave none
	Reverse       bool
}

// EventType is what the server tells a client, pushed messages aside.
type EventType uint8

// The events, by the wire's names.
const (
	EvNone EventType = iota
	EvSession
	EvJoined
	EvLeft
	EvAck
	EvHistory
	EvMembers
	EvHost
	EvPong
	EvMemberJoined
	EvMemberLeft
	EvMemberCount
	EvLag
	EvGap
	EvRoomClosed
	EvRoomUpdated
	EvDelivered
	EvDeleted
	EvTokenExpiring
	EvError
)

// Event is one reply or notice. Which fields count depends on Type.
type Event struct {
	Type EventType
	ID   []byte // of the command that it answers, nil for none
	Room string // error: the room that it is about, "" for none

	Session *SessionInfo // session

	Epoch     string // joined, history, gap
	Offset    uint64 // joined: the committed head; ack; lag; deleted
	Recovered bool   // joined
	Host      string // joined, room_updated, "" for none
	MaxUsers  int    // joined, room_updated, 0 for none
	Members   int    // joined, member_joined, member_left, member_count: distinct users

	MsgID     MsgID // ack, delivered, deleted
	Millis    int64 // ack: the message's time; PONG: the client's own; token_expiring: when
	Duplicate bool  // ack: the key was seen before

	Messages []Message // history
	Own      string    // history: the reader's user id; its own messages carry their keys
	Next     string    // history, members: the next page's cursor, "" for none

	UserID string // member_joined, member_left; deleted: who did it
	List   []MemberInfo

	After    uint64 // gap: the last offset that the client has
	NextSeen uint64 // gap: the next offset that it will get

	Reason string // room_closed: the registry's code

	Err *Error // error
}

// SessionInfo is what a client learns about its own session.
type SessionInfo struct {
	SessionID   string
	UserID      string
	ConnectedAt int64 // Unix ms
	Status      string
	DeviceType  string
	DeviceOS    string
	Heartbeat   time.Duration // the server's ping interval
	Limits      *Limits
}

// MemberInfo is one user of a room, as the members command lists it.
type MemberInfo struct {
	UserID string
	Status string
}
