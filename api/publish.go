package api

import (
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/thronghq/throng/proto"
	"github.com/thronghq/throng/session"
)

const (
	batchMost   = 1000 // messages, and rooms, of one request
	batchWindow = 64   // of these, on their way at once
)

// publicationFields are what a message may have in a body.
var publicationFields = []string{"content", "encoding", "key", "transient"}

// publication turns a body's message into the protocol's command.
func (c *call) publication(room string, body *object) (*proto.Command, *proto.Error) {
	if body.err != nil {
		return nil, body.err
	}
	f := newFrame(proto.CmdMessage)
	f.quoted("to", room)
	for _, name := range publicationFields {
		if value := body.fields[name]; value != nil {
			f.raw(name, value)
		}
	}
	return c.decode(f)
}

// ack is what publishing is answered with.
type ack struct {
	MsgID     string `json:"msgId"`
	Offset    uint64 `json:"offset,omitzero"` // none for a transient message
	Timestamp int64  `json:"timestamp"`
	Duplicate bool   `json:"duplicate,omitzero"`
}

func ackOf(ev *proto.Event) *ack {
	return &ack{ev.MsgID.String(), ev.Offset, ev.Millis, ev.Duplicate}
}

func (c *call) publish() *proto.Error {
	p, err := c.room()
	if err != nil {
		return err
	}
	cmd, err := c.publication(p.name, c.object(publicationFields...))
	if err != nil {
		return err
	}
	if err := c.idempotencyKey(cmd); err != nil {
		return err
	}
	ev, err := c.api.Sessions.Do(c.r.Context(), c.caller(), cmd)
	if err != nil {
		return err
	}
	status := http.StatusCreated
	if ev.Duplicate {
		status = http.StatusOK
	}
	return c.json(status, ackOf(ev))
}

// idempotencyKey takes the header for the message's key. It may be bare or a
// string in quotes, as the draft of the header has it.
func (c *call) idempotencyKey(cmd *proto.Command) *proto.Error {
	values := c.r.Header.Values("Idempotency-Key")
	if len(values) == 0 {
		return nil
	}
	key := values[0]
	if n := len(key); n >= 2 && key[0] == '"' && key[n-1] == '"' {
		key = strings.NewReplacer(`\"`, `"`, `\\`, `\`).Replace(key[1 : n-1])
	}
	switch most := c.api.Limits.KeyBytes; {
	case len(values) > 1:
		return proto.ErrInvalidField.With("the request has %d Idempotency-Key headers; one is expected", len(values))
	case key == "" || len(key) > most || !utf8.ValidString(key):
		return proto.ErrInvalidField.With("the Idempotency-Key is %.40q; 1 to %d bytes of UTF-8 are expected", key, most)
	case cmd.Key != nil && string(cmd.Key) != key:
		return proto.ErrInvalidField.With("field \"key\" is %.40q, and the Idempotency-Key %.40q; they may both be there only where they are the same", cmd.Key, key)
	}
	cmd.Key = []byte(key)
	return nil
}

// result is what became of one message among several.
type result struct {
	Room string `json:"room,omitzero"`
	*ack
	Error *problem `json:"error,omitzero"`
}

// publishBatch publishes many messages to one room, in their order.
func (c *call) publishBatch() *proto.Error {
	p, err := c.room()
	if err != nil {
		return err
	}
	body := c.object("messages")
	messages := body.list("messages", batchMost)
	if body.err != nil {
		return body.err
	}
	return c.publishAll(c.caller().InOrder(), make([]result, len(messages)), func(i int) (*proto.Command, *proto.Error) {
		if kind := messages[i].Kind(); kind != jsontext.KindBeginObject {
			return nil, proto.ErrInvalidField.With("messages[%d] is %s; an object is expected", i, kindOf(messages[i]))
		}
		cmd, err := c.publication(p.name, parseObject(messages[i], publicationFields))
		if err != nil {
			err = err.Code.With("messages[%d]: %s", i, err.Text())
		}
		return cmd, err
	})
}

// publishToRooms publishes one message to many rooms.
func (c *call) publishToRooms() *proto.Error {
	body := c.object("rooms", "content", "encoding", "key")
	rooms := body.texts("rooms", batchMost)
	if body.err != nil {
		return body.err
	}
	// Content is the same everywhere, and is looked at once.
	whole, err := c.publication(proto.DefaultNamespace, body)
	if err != nil {
		return err
	}
	if err := c.idempotencyKey(whole); err != nil {
		return err
	}
	results := make([]result, len(rooms))
	for i, name := range rooms {
		results[i].Room = name
	}
	return c.publishAll(c.caller(), results, func(i int) (*proto.Command, *proto.Error) {
		if err := proto.CheckRoomName("rooms["+strconv.Itoa(i)+"]", rooms[i]); err != nil {
			return nil, err
		}
		one := *whole
		one.Room = []byte(rooms[i])
		return &one, nil
	})
}

// publishAll starts publishes in their order, one for each result, some of them on their way at
// once, and answers with what became of each, in the same order. The order
// within a room is that in which they are started. What is not answered when the
// request's time is over gets that for an error.
func (c *call) publishAll(by session.Caller, results []result, next func(i int) (*proto.Command, *proto.Error)) *proto.Error {
	type answer struct {
		i   int
		ev  *proto.Event
		err *proto.Error
	}
	n := len(results)
	answers := make(chan answer, n) // those that nobody waits for any more fit, too
	settle := func(a answer) {
		if a.err != nil {
			results[a.i].Error = c.problem(a.err)
			return
		}
		results[a.i].ack = ackOf(a.ev)
	}
	started, settled, done := 0, 0, c.r.Context().Done()
	for settled < n {
		for started < n && started-settled < batchWindow {
			i := started
			started++
			cmd, err := next(i)
			if err != nil {
				answers <- answer{i, nil, err}
				continue
			}
			c.api.Sessions.Start(by, cmd, func(ev *proto.Event, err *proto.Error) { answers <- answer{i, ev, err} })
		}
		select {
		case a := <-answers:
			settle(a)
			settled++
		case <-done:
			for i := range results {
				if results[i].ack == nil && results[i].Error == nil {
					results[i].Error = c.problem(c.late())
				}
			}
			settled = n
		}
	}
	return c.json(http.StatusOK, struct {
		Results []result `json:"results"`
	}{results})
}
