package proto

import (
	"encoding/base64"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// AppendMessage implements Codec. It allocates nothing where dst has room.
func (*JSON) AppendMessage(dst []byte, m *Message, own bool) []byte {
	dst = append(dst, `{"type":"message","msgId":"`...)
	dst = m.ID.AppendText(dst)
	dst = append(dst, '"')
	dst = appendString(dst, "from", m.From)
	dst = appendString(dst, "to", m.To)
	switch m.Kind {
	case KindJSON:
		dst = append(dst, `,"content":`...)
		dst = append(dst, m.Content...)
	case KindBytes:
		dst = append(dst, `,"content":"`...)
		dst = base64.StdEncoding.AppendEncode(dst, m.Content)
		dst = append(dst, `","encoding":"base64"`...)
	case KindDeleted:
		dst = append(dst, `,"deleted":true`...)
	}
	if own {
		dst = appendOptional(dst, "key", m.Key)
	}
	dst = appendInt(dst, "timestamp", m.Millis())
	if m.Offset != 0 {
		dst = appendUint(dst, "offset", m.Offset)
	}
	return append(dst, '}')
}

// AppendEvent implements Codec. It allocates nothing where dst has room.
func (c *JSON) AppendEvent(dst []byte, ev *Event) []byte {
	dst = append(dst, `{"type":"`...)
	dst = append(dst, eventNames[ev.Type]...)
	dst = append(dst, '"')
	if len(ev.ID) > 0 {
		dst = appendName(dst, "id")
		dst = appendQuoted(dst, ev.ID)
	}
	switch ev.Type {
	case EvSession:
		dst = appendSession(dst, ev.Session)
	case EvJoined:
		dst = appendJoined(dst, ev)
	case EvLeft, EvHost:
		dst = appendString(dst, "room", ev.Room)
	case EvAck:
		dst = appendMsgID(dst, ev.MsgID)
		if ev.Offset != 0 {
			dst = appendUint(dst, "offset", ev.Offset)
		}
		dst = appendInt(dst, "timestamp", ev.Millis)
		if ev.Duplicate {
			dst = append(dst, `,"duplicate":true`...)
		}
	case EvHistory:
		dst = c.appendHistory(dst, ev)
	case EvMembers:
		dst = appendMembers(dst, ev)
	case EvPong:
		dst = appendInt(dst, "timestamp", ev.Millis)
	case EvMemberJoined, EvMemberLeft:
		dst = appendString(dst, "room", ev.Room)
		dst = appendString(dst, "userId", ev.UserID)
		dst = appendInt(dst, "members", int64(ev.Members))
	case EvMemberCount:
		dst = appendString(dst, "room", ev.Room)
		dst = appendInt(dst, "members", int64(ev.Members))
	case EvLag:
		dst = appendString(dst, "room", ev.Room)
		dst = appendUint(dst, "offset", ev.Offset)
	case EvGap:
		dst = appendString(dst, "room", ev.Room)
		dst = appendString(dst, "epoch", ev.Epoch)
		dst = appendUint(dst, "after", ev.After)
		dst = appendUint(dst, "next", ev.NextSeen)
	case EvRoomClosed:
		dst = appendString(dst, "room", ev.Room)
		dst = appendString(dst, "reason", ev.Reason)
	case EvRoomUpdated:
		dst = appendString(dst, "room", ev.Room)
		dst = appendOptional(dst, "host", ev.Host)
		if ev.MaxUsers > 0 {
			dst = appendInt(dst, "maxUsers", int64(ev.MaxUsers))
		}
	case EvDelivered:
		dst = appendString(dst, "to", ev.Room)
		dst = appendMsgID(dst, ev.MsgID)
	case EvDeleted:
		dst = appendString(dst, "room", ev.Room)
		dst = appendMsgID(dst, ev.MsgID)
		dst = appendUint(dst, "offset", ev.Offset)
		dst = appendString(dst, "userId", ev.UserID)
	case EvTokenExpiring:
		dst = appendInt(dst, "expiresAt", ev.Millis)
	case EvError:
		dst = appendOptional(dst, "room", ev.Room)
		dst = appendError(dst, ev.Err)
	}
	return append(dst, '}')
}

// eventNames holds the wire's name of each event.
var eventNames = [...]string{
	EvSession:       "session",
	EvJoined:        "joined",
	EvLeft:          "left",
	EvAck:           "ack",
	EvHistory:       "history",
	EvMembers:       "members",
	EvHost:          "host",
	EvPong:          "PONG",
	EvMemberJoined:  "member_joined",
	EvMemberLeft:    "member_left",
	EvMemberCount:   "member_count",
	EvLag:           "lag",
	EvGap:           "gap",
	EvRoomClosed:    "room_closed",
	EvRoomUpdated:   "room_updated",
	EvDelivered:     "delivered",
	EvDeleted:       "deleted",
	EvTokenExpiring: "token_expiring",
	EvError:         "error",
}

// String returns the wire's name of the event, "" for none.
func (t EventType) String() string { return eventNames[t] }

func appendSession(dst []byte, s *SessionInfo) []byte {
	dst = appendString(dst, "sessionId", s.SessionID)
	dst = appendString(dst, "userId", s.UserID)
	dst = appendInt(dst, "connectedAt", s.ConnectedAt)
	dst = appendString(dst, "status", s.Status)
	dst = append(dst, `,"deviceInfo":{"type":`...)
	dst = appendQuoted(dst, s.DeviceType)
	dst = appendString(dst, "os", s.DeviceOS)
	dst = append(dst, '}')
	dst = appendMillis(dst, "heartbeat", s.Heartbeat)
	l := s.Limits
	dst = append(dst, `,"limits":{"message":`...)
	dst = strconv.AppendInt(dst, int64(l.Message), 10)
	dst = appendInt(dst, "frame", int64(l.Message+l.Envelope))
	dst = appendInt(dst, "depth", int64(l.Depth))
	dst = appendInt(dst, "id", int64(l.IDBytes))
	dst = appendInt(dst, "key", int64(l.KeyBytes))
	dst = appendMillis(dst, "keyTtl", l.KeyTTL)
	dst = appendInt(dst, "rooms", int64(l.RoomsPerConn))
	dst = appendInt(dst, "history", int64(l.HistoryPage))
	dst = appendInt(dst, "replay", int64(l.Replay))
	dst = appendInt(dst, "outbox", int64(l.Outbox))
	dst = appendInt(dst, "invalid", int64(l.InvalidFrames))
	return append(dst, '}')
}

func appendJoined(dst []byte, ev *Event) []byte {
	dst = appendString(dst, "room", ev.Room)
	dst = appendString(dst, "epoch", ev.Epoch)
	dst = appendUint(dst, "offset", ev.Offset)
	dst = appendBool(dst, "recovered", ev.Recovered)
	dst = appendOptional(dst, "host", ev.Host)
	if ev.MaxUsers != 0 {
		dst = appendInt(dst, "maxUsers", int64(ev.MaxUsers))
	}
	return appendInt(dst, "members", int64(ev.Members))
}

func (c *JSON) appendHistory(dst []byte, ev *Event) []byte {
	dst = appendString(dst, "room", ev.Room)
	dst = appendString(dst, "epoch", ev.Epoch)
	dst = append(dst, `,"messages":[`...)
	for i := range ev.Messages {
		if i > 0 {
			dst = append(dst, ',')
		}
		m := &ev.Messages[i]
		dst = c.AppendMessage(dst, m, ev.Own != "" && m.From == ev.Own)
	}
	dst = append(dst, ']')
	return appendOptional(dst, "next", ev.Next)
}

func appendMembers(dst []byte, ev *Event) []byte {
	dst = appendString(dst, "room", ev.Room)
	dst = append(dst, `,"members":[`...)
	for i := range ev.List {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, `{"userId":`...)
		dst = appendQuoted(dst, ev.List[i].UserID)
		dst = appendString(dst, "status", ev.List[i].Status)
		dst = append(dst, '}')
	}
	dst = append(dst, ']')
	return appendOptional(dst, "next", ev.Next)
}

func appendError(dst []byte, err *Error) []byte {
	dst = appendString(dst, "code", err.Name)
	dst = appendString(dst, "reason", err.Text())
	dst = appendBool(dst, "retry", err.Retry)
	if err.RetryAfter > 0 {
		dst = appendMillis(dst, "retryAfter", err.RetryAfter)
	}
	return dst
}

func appendMsgID(dst []byte, id MsgID) []byte {
	dst = append(dst, `,"msgId":"`...)
	dst = id.AppendText(dst)
	return append(dst, '"')
}

// appendName appends the comma and the name of an object's next member.
func appendName(dst []byte, name string) []byte {
	dst = append(dst, ',', '"')
	dst = append(dst, name...)
	return append(dst, '"', ':')
}

func appendString(dst []byte, name, value string) []byte {
	return appendQuoted(appendName(dst, name), value)
}

// appendOptional appends a string that is left out where it is empty.
func appendOptional(dst []byte, name, value string) []byte {
	if value == "" {
		return dst
	}
	return appendString(dst, name, value)
}

func appendInt(dst []byte, name string, value int64) []byte {
	return strconv.AppendInt(appendName(dst, name), value, 10)
}

func appendUint(dst []byte, name string, value uint64) []byte {
	return strconv.AppendUint(appendName(dst, name), value, 10)
}

func appendBool(dst []byte, name string, value bool) []byte {
	return strconv.AppendBool(appendName(dst, name), value)
}

func appendMillis(dst []byte, name string, d time.Duration) []byte {
	return appendInt(dst, name, wholeMillis(d))
}

// wholeMillis returns a duration in whole milliseconds, rounded up, so that no
// client comes back too early.
func wholeMillis(d time.Duration) int64 {
	return int64((d + time.Millisecond - 1) / time.Millisecond)
}

// appendQuoted appends a JSON string. Bytes that are not UTF-8 become U+FFFD;
// names and ids that came through a codec hold none.
func appendQuoted[T ~string | ~[]byte](dst []byte, value T) []byte {
	dst, _ = jsontext.AppendQuote(dst, value) // fails for bytes that it replaced
	return dst
}
