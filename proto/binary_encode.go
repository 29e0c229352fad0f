package proto

import (
	"encoding/binary"
	"slices"
	"time"
)

// The fields of each frame are put in the order of their tags.

// AppendMessage implements Codec. It allocates nothing where dst has room.
func (*Binary) AppendMessage(dst []byte, m *Message, own bool) []byte {
	dst = append(dst, typeMessage)
	dst = putText(dst, tagTo, m.To)
	dst = putText(dst, tagFrom, m.From)
	dst = putText(dst, tagMsgID, m.ID[:])
	if m.Offset != 0 {
		dst = putUint(dst, tagOffset, m.Offset)
	}
	dst = putInt(dst, tagTimestamp, m.Millis())
	switch m.Kind {
	case KindJSON:
		dst = putText(dst, tagContent, m.Content)
	case KindBytes:
		dst = putText(dst, tagBytes, m.Content)
	}
	if own {
		dst = putOptional(dst, tagKey, m.Key)
	}
	if m.Kind == KindDeleted {
		dst = putBool(dst, tagDeleted, true)
	}
	return dst
}

// AppendEvent implements Codec. It allocates nothing where dst has room.
func (c *Binary) AppendEvent(dst []byte, ev *Event) []byte {
	dst = append(dst, binaryEvents[ev.Type])
	if len(ev.ID) > 0 {
		dst = putText(dst, tagID, ev.ID)
	}
	switch ev.Type {
	case EvSession:
		dst = putSession(dst, ev.Session)
	case EvJoined:
		dst = putJoined(dst, ev)
	case EvLeft, EvHost:
		dst = putText(dst, tagRoom, ev.Room)
	case EvAck:
		dst = putText(dst, tagMsgID, ev.MsgID[:])
		if ev.Offset != 0 {
			dst = putUint(dst, tagOffset, ev.Offset)
		}
		dst = putInt(dst, tagTimestamp, ev.Millis)
		if ev.Duplicate {
			dst = putBool(dst, tagDuplicate, true)
		}
	case EvHistory:
		dst = c.putHistory(dst, ev)
	case EvMembers:
		dst = putMembers(dst, ev)
	case EvPong:
		dst = putInt(dst, tagTimestamp, ev.Millis)
	case EvMemberJoined, EvMemberLeft:
		dst = putText(dst, tagRoom, ev.Room)
		dst = putInt(dst, tagMembers, int64(ev.Members))
		dst = putText(dst, tagUserID, ev.UserID)
	case EvMemberCount:
		dst = putText(dst, tagRoom, ev.Room)
		dst = putInt(dst, tagMembers, int64(ev.Members))
	case EvLag:
		dst = putText(dst, tagRoom, ev.Room)
		dst = putUint(dst, tagOffset, ev.Offset)
	case EvGap:
		dst = putText(dst, tagRoom, ev.Room)
		dst = putText(dst, tagEpoch, ev.Epoch)
		dst = putUint(dst, tagAfter, ev.After)
		dst = putUint(dst, tagNextOffset, ev.NextSeen)
	case EvRoomClosed:
		dst = putText(dst, tagRoom, ev.Room)
		dst = putText(dst, tagReason, ev.Reason)
	case EvRoomUpdated:
		dst = putText(dst, tagRoom, ev.Room)
		dst = putOptional(dst, tagHost, ev.Host)
		if ev.MaxUsers != 0 {
			dst = putInt(dst, tagMaxUsers, int64(ev.MaxUsers))
		}
	case EvDelivered:
		dst = putText(dst, tagTo, ev.Room)
		dst = putText(dst, tagMsgID, ev.MsgID[:])
	case EvDeleted:
		dst = putText(dst, tagRoom, ev.Room)
		dst = putText(dst, tagMsgID, ev.MsgID[:])
		dst = putUint(dst, tagOffset, ev.Offset)
		dst = putText(dst, tagUserID, ev.UserID)
	case EvTokenExpiring:
		dst = putInt(dst, tagExpiresAt, ev.Millis)
	case EvError:
		dst = putOptional(dst, tagRoom, ev.Room)
		dst = putError(dst, ev.Err)
	}
	return dst
}

func putSession(dst []byte, s *SessionInfo) []byte {
	dst = putText(dst, tagUserID, s.UserID)
	dst = putText(dst, tagStatus, s.Status)
	dst = putText(dst, tagDeviceType, s.DeviceType)
	dst = putText(dst, tagDeviceOS, s.DeviceOS)
	dst = putText(dst, tagSessionID, s.SessionID)
	dst = putInt(dst, tagConnectedAt, s.ConnectedAt)
	dst = putMillis(dst, tagHeartbeat, s.Heartbeat)
	l := s.Limits
	dst = putInt(dst, tagLimitMessage, int64(l.Message))
	dst = putInt(dst, tagLimitFrame, int64(l.Message+l.Envelope))
	dst = putInt(dst, tagLimitDepth, int64(l.Depth))
	dst = putInt(dst, tagLimitID, int64(l.IDBytes))
	dst = putInt(dst, tagLimitKey, int64(l.KeyBytes))
	dst = putMillis(dst, tagLimitKeyTTL, l.KeyTTL)
	dst = putInt(dst, tagLimitRooms, int64(l.RoomsPerConn))
	dst = putInt(dst, tagLimitHistory, int64(l.HistoryPage))
	dst = putInt(dst, tagLimitReplay, int64(l.Replay))
	dst = putInt(dst, tagLimitOutbox, int64(l.Outbox))
	return putInt(dst, tagLimitInvalid, int64(l.InvalidFrames))
}

func putJoined(dst []byte, ev *Event) []byte {
	dst = putText(dst, tagRoom, ev.Room)
	dst = putUint(dst, tagOffset, ev.Offset)
	dst = putText(dst, tagEpoch, ev.Epoch)
	dst = putBool(dst, tagRecovered, ev.Recovered)
	dst = putOptional(dst, tagHost, ev.Host)
	dst = putInt(dst, tagMembers, int64(ev.Members))
	if ev.MaxUsers != 0 {
		dst = putInt(dst, tagMaxUsers, int64(ev.MaxUsers))
	}
	return dst
}

// putHistory puts each message of the page as the frame that pushes it.
func (c *Binary) putHistory(dst []byte, ev *Event) []byte {
	dst = putText(dst, tagRoom, ev.Room)
	dst = putText(dst, tagEpoch, ev.Epoch)
	for i := range ev.Messages {
		m := &ev.Messages[i]
		dst = putKey(dst, tagMessageList, keyText)
		start := len(dst)
		dst = sealText(c.AppendMessage(dst, m, ev.Own != "" && m.From == ev.Own), start)
	}
	return putOptional(dst, tagNextPage, ev.Next)
}

// putMembers puts each member as fields of its own.
func putMembers(dst []byte, ev *Event) []byte {
	dst = putText(dst, tagRoom, ev.Room)
	for i := range ev.List {
		dst = putKey(dst, tagMemberList, keyText)
		start := len(dst)
		dst = putText(dst, tagUserID, ev.List[i].UserID)
		dst = putText(dst, tagStatus, ev.List[i].Status)
		dst = sealText(dst, start)
	}
	return putOptional(dst, tagNextPage, ev.Next)
}

func putError(dst []byte, err *Error) []byte {
	dst = putText(dst, tagCode, err.Name)
	dst = putText(dst, tagReason, err.Text())
	dst = putBool(dst, tagRetry, err.Retry)
	if err.RetryAfter > 0 {
		dst = putMillis(dst, tagRetryAfter, err.RetryAfter)
	}
	return dst
}

// What a key says of the value that follows, in its lowest bit.
const (
	keyInteger = 0
	keyText    = 1
)

func putKey(dst []byte, t tag, form uint64) []byte {
	return binary.AppendUvarint(dst, uint64(t)<<1|form)
}

func putUint(dst []byte, t tag, value uint64) []byte {
	return binary.AppendUvarint(putKey(dst, t, keyInteger), value)
}

// putInt puts an integer that is never negative.
func putInt(dst []byte, t tag, value int64) []byte { return putUint(dst, t, uint64(value)) }

func putBool(dst []byte, t tag, value bool) []byte {
	if value {
		return putUint(dst, t, 1)
	}
	return putUint(dst, t, 0)
}

func putMillis(dst []byte, t tag, d time.Duration) []byte { return putInt(dst, t, wholeMillis(d)) }

func putText[T ~string | ~[]byte](dst []byte, t tag, value T) []byte {
	dst = putKey(dst, t, keyText)
	dst = binary.AppendUvarint(dst, uint64(len(value)))
	return append(dst, value...)
}

// putOptional puts a text that is left out where it is empty.
func putOptional(dst []byte, t tag, value string) []byte {
	if value == "" {
		return dst
	}
	return putText(dst, t, value)
}

// sealText puts the length before a text that stands at the end of dst, from
// start on.
func sealText(dst []byte, start int) []byte {
	var length [binary.MaxVarintLen64]byte
	n := binary.PutUvarint(length[:], uint64(len(dst)-start))
	return slices.Insert(dst, start, length[:n]...)
}
