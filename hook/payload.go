package hook

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/thronghq/throng/proto"
)

// The bounds of one delivery of messages.
const (
	batchMessages = 100
	batchBytes    = 256 << 10 // of content; a single message may pass it
)

// head is what all payloads begin with.
type head struct {
	ID        string `json:"id"`
	Event     string `json:"event"`
	Timestamp int64  `json:"timestamp"` // when it happened, Unix ms
	Endpoint  string `json:"endpoint"`
	Run       uint64 `json:"run,omitempty"`
	Room      string `json:"room,omitempty"`
	UserID    string `json:"userId,omitempty"`
}

// device is a connection's own description of what it runs on.
type device struct {
	Type string `json:"type"`
	OS   string `json:"os"`
}

// connectionBody is the payload of connect and disconnect.
type connectionBody struct {
	head
	SessionID   string `json:"sessionId"`
	Address     string `json:"address,omitempty"`
	Device      device `json:"deviceInfo"`
	Via         string `json:"via,omitempty"`
	ConnectedAt int64  `json:"connectedAt"`
	Reason      string `json:"reason,omitempty"`
}

// messagesHead is the payload of message without the messages.
type messagesHead struct {
	head
	Epoch   string        `json:"epoch"`
	First   uint64        `json:"first"`
	Last    uint64        `json:"last"`
	Missing []missingSpan `json:"missing,omitempty"`
}

// eventBody returns the payload of an event other than a message.
func eventBody(e *event, endpoint string) (id string, body []byte, err error) {
	h := head{ID: eventID(e.id), Event: e.kind.String(), Timestamp: e.at, Endpoint: endpoint, Run: e.run, Room: e.room, UserID: e.user}
	if c := e.conn; c != nil {
		body, err = json.Marshal(connectionBody{
			head: h, SessionID: c.SessionID, Address: c.Address, Device: device{c.DeviceType, c.DeviceOS},
			Via: c.Via, ConnectedAt: c.ConnectedAt, Reason: e.reason,
		})
	} else {
		body, err = json.Marshal(h)
	}
	return h.ID, body, err
}

// messageBody returns the payload of the run's beginning, up to a bound or to
// upto, where that is not 0: a retry sends what the first try sent. Through is the
// last offset that it tells of.
func messageBody(e *event, endpoint string, upto uint64, history History) (id string, body []byte, through uint64, err error) {
	through = e.last
	if upto != 0 {
		through = upto
	}
	h := messagesHead{Epoch: e.epoch, First: e.first}
	var messages []byte
	next, count, bytes := e.first, 0, 0
	var codec proto.JSON
	err = history.Read(e.room, e.epoch, e.first, through, func(m *proto.Message) bool {
		full := count >= batchMessages || bytes+len(m.Content) > batchBytes
		if full && upto == 0 && count > 0 {
			through = next - 1
			return false
		}
		if m.Offset > next {
			h.Missing = append(h.Missing, missingSpan{First: next, Last: m.Offset - 1})
		}
		if count > 0 {
			messages = append(messages, ',')
		}
		messages = codec.AppendMessage(messages, m, false)
		next = m.Offset + 1
		count++
		bytes += len(m.Content)
		return true
	})
	if err != nil {
		return "", nil, 0, fmt.Errorf("hook: reading the messages %d to %d of room %q: %w", e.first, through, e.room, err)
	}
	if next <= through {
		h.Missing = append(h.Missing, missingSpan{First: next, Last: through})
	}
	h.Last = through
	h.head = head{ID: runID(endpoint, e.room, span{e.epoch, e.first, through}), Event: e.kind.String(), Timestamp: e.at, Endpoint: endpoint, Room: e.room}
	body, err = json.Marshal(h)
	if err != nil {
		return "", nil, 0, err
	}
	// The messages are appended as they are: their content stays byte for byte.
	body = append(body[:len(body)-1], `,"messages":[`...)
	body = append(append(body, messages...), `]}`...)
	return h.ID, body, through, nil
}

// runID is the id of a run of messages: the same for each try, over restarts too.
func runID(endpoint, room string, s span) string {
	h := sha256.New()
	for _, part := range []string{endpoint, room, s.epoch} {
		h.Write(appendString(nil, part))
	}
	h.Write(binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, s.first), s.last))
	return "msg_" + hex.EncodeToString(h.Sum(nil)[:16])
}
