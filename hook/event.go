package hook

import (
	"fmt"
	"slices"
	"strings"
)

// Event says what happened. The numbers stand in stored records and are never
// given a second meaning.
type Event uint8

// The events. A gap is none that an endpoint asks for: it tells of events that
// are missing.
const (
	Gap Event = iota
	Connect
	Disconnect
	RoomOpened
	RoomEmptied
	Join
	Leave
	Message

	eventCount
)

var eventNames = [eventCount]string{
	Gap:         "gap",
	Connect:     "connect",
	Disconnect:  "disconnect",
	RoomOpened:  "room_opened",
	RoomEmptied: "room_emptied",
	Join:        "join",
	Leave:       "leave",
	Message:     "message",
}

// String returns the event's name in payloads and configuration.
func (e Event) String() string { return eventNames[e] }

// Events is a set of events.
type Events uint16

// Of returns the set of the given events.
func Of(events ...Event) Events {
	var set Events
	for _, e := range events {
		set |= 1 << e
	}
	return set
}

// Has reports whether the event is in the set.
func (s Events) Has(e Event) bool { return s&(1<<e) != 0 }

// Names returns the events' names in the order of the constants.
func (s Events) Names() []string {
	var names []string
	for e := Connect; e < eventCount; e++ {
		if s.Has(e) {
			names = append(names, e.String())
		}
	}
	return names
}

// ParseEvents returns the set of the named events; gap is none of them.
func ParseEvents(names []string) (Events, error) {
	var set Events
	for _, name := range names {
		i := slices.Index(eventNames[Connect:], name)
		if i < 0 {
			return 0, fmt.Errorf("hook: there is no event %q; there are %s", name, strings.Join(eventNames[Connect:], ", "))
		}
		set |= Of(Connect + Event(i))
	}
	return set, nil
}

// Connection is what events about a connection say of it.
type Connection struct {
	SessionID   string
	UserID      string
	Address     string // the client's, "" for unknown
	DeviceType  string
	DeviceOS    string
	Via         string // how it is connected: websocket or sse
	ConnectedAt int64  // Unix ms
}
