package model

import (
	bigendian "encoding/binary"
	"encoding/json"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/thronghq/throng/proto"
)

// outboxBytes is how much room traffic may wait for one connection. It is so
// small that a few messages fill it.
const outboxBytes = 1200

// event is one frame from the server.
type event struct {
	Type      string          `json:"type"`
	ID        string          `json:"id"`
	Room      string          `json:"room"`
	To        string          `json:"to"`
	From      string          `json:"from"`
	MsgID     string          `json:"msgId"`
	Offset    uint64          `json:"offset"`
	Timestamp int64           `json:"timestamp"`
	Epoch     string          `json:"epoch"`
	Recovered bool            `json:"recovered"`
	Host      string          `json:"host"`
	MaxUsers  int             `json:"maxUsers"`
	Members   json.RawMessage `json:"members"`
	UserID    string          `json:"userId"`
	Status    string          `json:"status"`
	Duplicate bool            `json:"duplicate"`
	Deleted   bool            `json:"deleted"`
	Code      string          `json:"code"`
	Reason    string          `json:"reason"`
	After     uint64          `json:"after"`
	Next      json.RawMessage `json:"next"`
	Content   json.RawMessage `json:"content"`
	Encoding  string          `json:"encoding"`
	Key       string          `json:"key"`
	Messages  []event         `json:"messages"`
}

// count is the number of members in most events.
func (e *event) count() (n int) {
	if json.Unmarshal(e.Members, &n) != nil {
		return -1
	}
	return n
}

// list is the users in a reply to members.
func (e *event) list() (users []event) {
	if json.Unmarshal(e.Members, &users) != nil {
		return nil
	}
	return users
}

// cursor is the next page's, "" for none.
func (e *event) cursor() (s string) {
	if json.Unmarshal(e.Next, &s) != nil {
		return ""
	}
	return s
}

// offset is the next offset after a gap.
func (e *event) nextOffset() (n uint64) {
	if json.Unmarshal(e.Next, &n) != nil {
		return 0
	}
	return n
}

// String leaves out what is random, so that a failure reads the same in every
// run.
func (e *event) String() string {
	s := fmt.Sprintf("%s{id:%s room:%s to:%s from:%s offset:%d", e.Type, e.ID, e.Room, e.To, e.From, e.Offset)
	if e.Type == "error" || e.Type == "room_closed" {
		s += " code:" + e.Code + " reason:" + e.Reason
	}
	if e.Type == "joined" {
		s += fmt.Sprintf(" recovered:%v host:%s maxUsers:%d members:%s", e.Recovered, e.Host, e.MaxUsers, e.Members)
	}
	if e.Type == "member_joined" || e.Type == "member_left" || e.Type == "member_count" {
		s += fmt.Sprintf(" user:%s members:%s", e.UserID, e.Members)
	}
	if e.Type == "gap" {
		s += fmt.Sprintf(" after:%d next:%s", e.After, e.Next)
	}
	if e.Type == "history" {
		for _, m := range e.Messages {
			s += fmt.Sprintf(" %d", m.Offset)
		}
	}
	if e.Deleted {
		s += " deleted"
	}
	if e.Duplicate {
		s += " duplicate"
	}
	if len(e.Content) > 0 {
		s += fmt.Sprintf(" content:%.40s", e.Content)
	}
	return s + "}"
}

// frame is one frame that waits to be read.
type frame struct {
	op       proto.OpCode
	payload  []byte
	delivery bool // of a room: counts against the bound
}

// conn is a session's connection: an outbox that the test reads when it likes,
// with the bound and the refusals of a socket's.
type conn struct {
	binary bool        // it speaks throng.v1.bin
	lose   func() bool // whether the next room frame gets lost, see faults

	mu      sync.Mutex
	out     []frame // not read yet
	news    []frame // not looked at yet
	waiting int     // bytes of deliveries in out
	refused bool    // Drained is owed
	slow    bool    // something was refused since it was last cleared
	closed  proto.CloseCode
}

func newConn(f faults, binary bool) *conn { return &conn{binary: binary, lose: f.loser()} }

// Reply implements session.Conn.
func (c *conn) Reply(b []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.push(append([]byte(nil), b...), false)
}

func (c *conn) Prefetch() {}

// Deliver implements session.Conn.
func (c *conn) Deliver(b []byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed != 0:
		return true
	case c.waiting > 0 && c.waiting+len(b) > outboxBytes:
		c.refused, c.slow = true, true
		return false
	}
	c.push(b, true)
	return true
}

// push queues whole frames, unless the connection has ended.
func (c *conn) push(b []byte, delivery bool) {
	for len(b) > 0 && c.closed == 0 {
		n, head := int(b[1]), 2
		switch n {
		case 126:
			n, head = int(bigendian.BigEndian.Uint16(b[2:])), 4
		case 127:
			n, head = int(bigendian.BigEndian.Uint64(b[2:])), 10
		}
		f := frame{op: proto.OpCode(b[0] & 0x0f), payload: b[head : head+n], delivery: delivery}
		b = b[head+n:]
		if delivery && c.lose() {
			continue
		}
		if delivery {
			c.waiting += len(f.payload)
		}
		c.out = append(c.out, f)
		c.news = append(c.news, f)
	}
}

// Close implements session.Conn. What waits may still be read.
func (c *conn) Close(code proto.CloseCode, _ string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed == 0 {
		c.closed = code
	}
}

// Address implements session.Conn.
func (c *conn) Address() netip.Addr { return netip.Addr{} }

// SetDeadline implements session.Conn: no token ends while a test runs.
func (c *conn) SetDeadline(time.Time) {}

// look returns the frames that came since the last look, read or not.
func (c *conn) look() []event {
	c.mu.Lock()
	defer c.mu.Unlock()
	events := c.decode(c.news)
	c.news = nil
	return events
}

// read takes up to n frames out of the outbox. It reports whether the session
// is to be told that there is room again.
func (c *conn) read(n int) (events []event, drained bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n = min(n, len(c.out))
	events = c.decode(c.out[:n])
	for _, f := range c.out[:n] {
		if f.delivery {
			c.waiting -= len(f.payload)
		}
	}
	c.out = c.out[n:]
	if c.refused && c.waiting < outboxBytes/4 {
		c.refused = false
		return events, true
	}
	return events, false
}

// state reports whether the connection is behind, was so at any time since the
// last forget, and with which code the server has closed it.
func (c *conn) state() (refused, slow bool, closed proto.CloseCode) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.refused, c.slow || c.refused, c.closed
}

// forget clears the mark of having been slow.
func (c *conn) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.slow = c.refused
}

func (c *conn) decode(frames []frame) []event {
	events := make([]event, len(frames))
	for i, f := range frames {
		payload, want := f.payload, text
		if c.binary {
			payload, want = fromBinary(payload), binary
		}
		if f.op != want {
			panic(failure(fmt.Sprintf("a frame with opcode %d: %q", f.op, f.payload)))
		}
		if err := json.Unmarshal(payload, &events[i]); err != nil {
			panic(failure(fmt.Sprintf("a frame that is no JSON: %q", f.payload)))
		}
	}
	return events
}
