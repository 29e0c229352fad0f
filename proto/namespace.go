package proto

import (
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Durability says when a message counts as accepted.
type Durability uint8

const (
	// Async acknowledges from the write-ahead log's buffer, synced within
	// milliseconds.
	Async Durability = iota
	// Sync acknowledges after an fsync that covers the message.
	Sync
	// Memory keeps a room's recent messages in memory only; configuration
	// calls it "none".
	Memory
)

// SlowPolicy says what happens to a member that does not read fast enough.
type SlowPolicy uint8

const (
	// SlowLag tells the member and feeds it from the log at its own pace.
	SlowLag SlowPolicy = iota
	// SlowClose closes its connection.
	SlowClose
	// SlowConflate keeps only the latest message for it.
	SlowConflate
)

// Succession says who follows a host that leaves its room.
type Succession uint8

const (
	// NoSuccession leaves the room to its host, who may come back.
	NoSuccession Succession = iota
	// OldestSucceeds makes the user host who has been in the room for longest.
	OldestSucceeds
)

// Namespace is what configuration says of all rooms that share a name's part
// before the first colon.
type Namespace struct {
	Name        string
	HistorySize int           // messages a room keeps; 0 keeps none
	HistoryTTL  time.Duration // how long a message is kept
	Durability  Durability
	Slow        SlowPolicy
	Presence    bool
	JoinLeave   bool // member_joined and member_left are sent
	Hosts       bool // a room's creator is its host
	Succession  Succession
	Compress    bool     // frames are compressed for clients that agreed on it
	Allow       []string // the rights, by name, of users whose tokens do not say what they may do
}

// DefaultNamespace is the name of the namespace of rooms without a colon.
const DefaultNamespace = "default"

// UserNamespace is reserved for the users' direct inboxes.
const UserNamespace = "user"

// MaxRoomName is the longest room name, in bytes.
const MaxRoomName = 128

// NewNamespace returns the namespace of that name with the default settings.
func NewNamespace(name string) Namespace {
	return Namespace{
		Name:        name,
		HistorySize: 10_000,
		HistoryTTL:  7 * 24 * time.Hour,
		Presence:    true,
		JoinLeave:   true,
		Hosts:       name == DefaultNamespace,
		Allow:       []string{"join", "publish", "read", "members", "create", "dm"},
	}
}

// InboxNamespace returns the settings of the users' direct inboxes, whose only
// member is their owner.
func InboxNamespace() Namespace {
	ns := NewNamespace(UserNamespace)
	ns.Presence, ns.JoinLeave = false, false
	return ns
}

// NamespaceOf returns the name of the namespace that a room belongs to.
func NamespaceOf(room string) string {
	if name, _, found := strings.Cut(room, ":"); found {
		return name
	}
	return DefaultNamespace
}

// CheckRoomName reports what is wrong with a room's name, or nil.
func CheckRoomName(field, name string) *Error {
	switch {
	case name == "":
		return ErrInvalidField.With("field %q is empty; a room's name has 1 to %d bytes", field, MaxRoomName)
	case len(name) > MaxRoomName && !isInbox(name):
		return ErrInvalidField.With("field %q has %d bytes; a room's name has 1 to %d", field, len(name), MaxRoomName)
	case !utf8.ValidString(name):
		return ErrInvalidField.With("field %q is not valid UTF-8", field)
	}
	if i := strings.IndexFunc(name, unicode.IsControl); i >= 0 {
		return ErrInvalidField.With("field %q holds a control character at byte %d; a room's name has none", field, i)
	}
	return nil
}

// isInbox reports whether a name is that of a direct inbox, which may be longer
// than others: its user's id may be as long as a room's name.
func isInbox(name string) bool {
	user, ok := strings.CutPrefix(name, UserNamespace+":")
	return ok && len(user) <= MaxRoomName
}

// String returns the name that configuration uses.
func (d Durability) String() string {
	return [...]string{Async: "async", Sync: "sync", Memory: "none"}[d]
}

// UnmarshalText reads the name that configuration uses.
func (d *Durability) UnmarshalText(text []byte) error {
	for _, v := range []Durability{Async, Sync, Memory} {
		if v.String() == string(text) {
			*d = v
			return nil
		}
	}
	return fmt.Errorf("%q is not one of none, async, sync", text)
}

// String returns the name that configuration uses.
func (p SlowPolicy) String() string {
	return [...]string{SlowLag: "lag", SlowClose: "close", SlowConflate: "conflate"}[p]
}

// UnmarshalText reads the name that configuration uses.
func (p *SlowPolicy) UnmarshalText(text []byte) error {
	for _, v := range []SlowPolicy{SlowLag, SlowClose, SlowConflate} {
		if v.String() == string(text) {
			*p = v
			return nil
		}
	}
	return fmt.Errorf("%q is not one of lag, close, conflate", text)
}

// String returns the name that configuration uses.
func (s Succession) String() string {
	return [...]string{NoSuccession: "none", OldestSucceeds: "oldest"}[s]
}

// UnmarshalText reads the name that configuration uses.
func (s *Succession) UnmarshalText(text []byte) error {
	for _, v := range []Succession{NoSuccession, OldestSucceeds} {
		if v.String() == string(text) {
			*s = v
			return nil
		}
	}
	return fmt.Errorf("%q is not one of none, oldest", text)
}
