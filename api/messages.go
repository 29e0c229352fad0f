package api

import (
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/thronghq/throng/internal/httpcontent"
	"github.com/thronghq/throng/proto"
	"github.com/thronghq/throng/session"
)

func messageRoutes() []Route {
	return []Route{
		{
			Method: http.MethodGet, Pattern: "/rooms/{room}/messages", Access: User, command: true, gzip: true, handle: (*call).listMessages,
			Params: []string{"from", "to", "after", "before", "limit", "reverse", "cursor"},
		},
		{Method: http.MethodPost, Pattern: "/rooms/{room}/messages", Access: User, command: true, content: true, handle: (*call).publish},
		{Method: http.MethodPost, Pattern: "/rooms/{room}/messages/batch", Access: User, command: true, content: true, gzip: true, handle: (*call).publishBatch},
		{Method: http.MethodGet, Pattern: "/rooms/{room}/messages/{offset}", Access: User, command: true, handle: (*call).getMessage},
		{Method: http.MethodDelete, Pattern: "/rooms/{room}/messages/{offset}", Access: User, handle: (*call).deleteMessage},
		{Method: http.MethodPost, Pattern: "/rooms/{room}/trim", Access: User, handle: (*call).trim},
		{Method: http.MethodPost, Pattern: "/messages", Access: User, command: true, content: true, gzip: true, handle: (*call).publishToRooms},
		{Method: http.MethodGet, Pattern: "/rooms/{room}/events", Access: User, Params: []string{sinceParam, tokenParam}, stream: true, handle: (*call).events},
	}
}

// caller is who asks, as the sessions want it.
func (c *call) caller() session.Caller {
	return session.Caller{Identity: c.identity, Address: c.address()}
}

// frame builds the protocol's own frame of what a request asks for, which the
// codec then judges: what a field may be is said in one place.
type frame struct{ text []byte }

func newFrame(command proto.CommandType) *frame {
	return &frame{append([]byte(`{"type":"`), command.String()+`"`...)}
}

// raw adds a field whose value is JSON.
func (f *frame) raw(name string, value []byte) {
	f.text = append(append(append(f.text, `,"`...), name...), `":`...)
	f.text = append(f.text, value...)
}

// quoted adds a field whose value is a string.
func (f *frame) quoted(name, value string) {
	quoted, _ := jsontext.AppendQuote(nil, value) // fails for bytes that it replaced
	f.raw(name, quoted)
}

// decode reads the frame as a client's. The command keeps what it needs of it.
func (c *call) decode(f *frame) (*proto.Command, *proto.Error) {
	f.text = append(f.text, '}')
	cmd := new(proto.Command)
	if err := c.api.codec.Decode(f.text, cmd); err != nil {
		return nil, err
	}
	return cmd, nil
}

// historyNumbers are the parameters of a history that are numbers.
var historyNumbers = []string{"from", "to", "after", "before", "limit"}

func (c *call) listMessages() *proto.Error {
	p, err := c.room()
	if err != nil {
		return err
	}
	f := newFrame(proto.CmdHistory)
	f.quoted("room", p.name)
	for _, name := range historyNumbers {
		value := c.query.values.Get(name)
		switch _, err := strconv.ParseUint(value, 10, 64); {
		case err == nil:
			f.raw(name, []byte(strings.TrimLeft(value[:len(value)-1], "0")+value[len(value)-1:]))
		case c.query.values.Has(name):
			f.quoted(name, value) // which the codec refuses, with its bounds
		}
	}
	if !c.query.values.Has("limit") {
		f.raw("limit", strconv.AppendInt(nil, int64(min(pageDefault, c.api.Limits.HistoryPage)), 10))
	}
	switch reverse := c.query.values.Get("reverse"); {
	case reverse == "true" || reverse == "false":
		f.raw("reverse", []byte(reverse))
	case c.query.values.Has("reverse"):
		f.quoted("reverse", reverse)
	}
	if c.query.values.Has("cursor") {
		f.quoted("cursor", c.query.values.Get("cursor"))
	}
	cmd, err := c.decode(f)
	if err != nil {
		return err
	}
	page, err := c.api.Sessions.Do(c.r.Context(), c.caller(), cmd)
	if err != nil {
		return err
	}
	buf := pages.Get().(*[]byte)
	*buf = c.appendPage((*buf)[:0], page)
	c.write(http.StatusOK, "application/json", *buf)
	if cap(*buf) <= pagesKept {
		pages.Put(buf)
	}
	return nil
}

// pages lends what pages of history are encoded into; larger ones than pagesKept
// bytes are not kept.
var pages = sync.Pool{New: func() any { return new([]byte) }}

const pagesKept = 512 << 10

// appendPage appends a page of history, its messages as the protocol has them.
func (c *call) appendPage(dst []byte, page *proto.Event) []byte {
	dst, _ = jsontext.AppendQuote(append(dst, `{"room":`...), page.Room)
	dst, _ = jsontext.AppendQuote(append(dst, `,"epoch":`...), page.Epoch)
	dst = append(dst, `,"messages":[`...)
	for i := range page.Messages {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = c.appendMessage(dst, &page.Messages[i])
	}
	dst = append(dst, ']')
	if page.Next != "" {
		dst, _ = jsontext.AppendQuote(append(dst, `,"next":`...), page.Next)
	}
	return append(dst, '}')
}

func (c *call) appendMessage(dst []byte, m *proto.Message) []byte {
	return c.api.codec.AppendMessage(dst, m, m.From == c.identity.UserID)
}

// offset reads the offset in the request's path.
func (c *call) offset() (uint64, *proto.Error) {
	text := c.r.PathValue("offset")
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || n < 1 || n > proto.MaxSafeInteger {
		return 0, proto.ErrInvalidField.With("the offset in the path is %.40q; %s is expected", text, integerOf(1, proto.MaxSafeInteger))
	}
	return n, nil
}

func (c *call) getMessage() *proto.Error {
	p, err := c.room()
	if err != nil {
		return err
	}
	offset, err := c.offset()
	if err != nil {
		return err
	}
	cmd := &proto.Command{
		Type: proto.CmdHistory, Room: []byte(p.name),
		History: proto.History{After: offset - 1, Before: offset + 1, Limit: 1},
	}
	page, err := c.api.Sessions.Do(c.r.Context(), c.caller(), cmd)
	if err != nil {
		return err
	}
	if len(page.Messages) == 0 {
		return proto.ErrNotFound.With("room %q has no message with offset %d", p.name, offset)
	}
	body := c.appendMessage(nil, &page.Messages[0])
	return c.tagged(http.StatusOK, httpcontent.StrongTag(body), body)
}

func (c *call) deleteMessage() *proto.Error {
	p, err := c.visible()
	if err != nil {
		return err
	}
	offset, err := c.offset()
	if err != nil {
		return err
	}
	return c.act(func(done func(*proto.Error)) {
		c.api.Hub.DeleteMessage(c.actor(p), p.name, p.ns, offset, func(err *proto.Error) {
			if err != nil && err.Code == proto.ErrBeyondHead { // as for a reader of it
				err = proto.ErrNotFound.With("room %q has no message with offset %d", p.name, offset)
			}
			done(err)
		})
	})
}

func (c *call) trim() *proto.Error {
	p, err := c.visible()
	if err != nil {
		return err
	}
	body := c.object("before", "olderThan")
	before, olderThan := body.integer("before", 1, proto.MaxSafeInteger), body.integer("olderThan", 1, proto.MaxSafeInteger)
	if (before == nil) == (olderThan == nil) {
		body.fail(proto.ErrInvalidField.With("one of before (an offset) and olderThan (a time) is expected"))
	}
	if body.err != nil {
		return body.err
	}
	var offset uint64
	var millis int64
	if before != nil {
		offset = *before
	} else {
		millis = int64(*olderThan)
	}
	oldest, err := await(c, func(done func(uint64, *proto.Error)) {
		c.api.Hub.Trim(c.actor(p), p.name, p.ns, offset, millis, done)
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, struct {
		Oldest uint64 `json:"oldest"`
	}{oldest})
}
