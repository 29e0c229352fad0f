package bench

import (
	"bytes"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"time"

	"github.com/gobwas/ws"

	"github.com/thronghq/throng/proto"
)

// jsonDialect is throng.v1.json. It knows the order in which the server writes
// an event's fields, which no client may rely on, because a JSON parser would
// cost the generator more than everything else it does.
type jsonDialect struct{}

func (jsonDialect) subprotocol() string        { return "throng.v1.json" }
func (jsonDialect) opcode() ws.OpCode          { return ws.OpText }
func (jsonDialect) path(user, _ string) string { return wsPath(user) }

func (jsonDialect) appendJoin(dst []byte, room string) []byte {
	dst = append(dst, `{"type":"join","id":"j","room":"`...)
	dst = append(dst, room...)
	return append(dst, `"}`...)
}

func (jsonDialect) appendPublish(dst []byte, _, room string, s stamp, size int) []byte {
	dst = append(dst, `{"type":"message","id":"`...)
	dst = strconv.AppendUint(dst, uint64(s.seq), 10)
	dst = append(dst, `","to":"`...)
	dst = append(dst, room...)
	dst = append(dst, `","content":`...)
	dst = appendContent(dst, s, size)
	return append(dst, '}')
}

func (jsonDialect) appendHistory(dst []byte, room, cursor string, limit int) []byte {
	dst = append(dst, `{"type":"history","id":"h","room":"`...)
	dst = append(dst, room...)
	dst = append(dst, `","limit":`...)
	dst = strconv.AppendInt(dst, int64(limit), 10)
	if cursor != "" {
		dst = append(dst, `,"cursor":"`...)
		dst = append(dst, cursor...)
		dst = append(dst, '"')
	}
	return append(dst, '}')
}

// readPage finds the offsets by their name, which the generator's own contents
// do not hold.
func (jsonDialect) readPage(payload []byte, each func(offset uint64)) (next string, err error) {
	rest := payload
	for {
		at := bytes.Index(rest, offsetField)
		if at < 0 {
			break
		}
		rest = rest[at:]
		offset, ok := numberAfter(rest, offsetField)
		if !ok {
			return "", errors.New("the server sent a page with an offset that is no number")
		}
		each(offset)
		rest = rest[len(offsetField):]
	}
	if at := bytes.Index(rest, cursorField); at >= 0 {
		cursor := rest[at+len(cursorField):]
		end := bytes.IndexByte(cursor, '"')
		if end < 0 {
			return "", errors.New("the server sent a page whose cursor does not end")
		}
		next = string(cursor[:end])
	}
	return next, nil
}

var (
	typePrefix    = []byte(`{"type":"`)
	contentField  = []byte(`"content":"`)
	offsetField   = []byte(`"offset":`)
	nextSeenField = []byte(`"next":`)
	cursorField   = []byte(`"next":"`)
	jsonEventKind = map[string]eventKind{
		"message": evMessage, "ack": evAck, "session": evSession, "joined": evJoined,
		"lag": evLag, "gap": evGap, "history": evPage, "error": evFailed, "room_closed": evFailed,
	}
)

func (jsonDialect) read(payload []byte, ev *event) error {
	rest, ok := bytes.CutPrefix(payload, typePrefix)
	end := bytes.IndexByte(rest, '"')
	if !ok || end < 0 {
		return fmt.Errorf("the server sent %.100q, which is no event", payload)
	}
	*ev = event{kind: jsonEventKind[string(rest[:end])]}
	switch ev.kind {
	case evMessage:
		return readJSONMessage(rest, ev)
	case evAck, evJoined, evLag:
		ev.offset, ok = numberAfter(rest, offsetField)
	case evGap:
		ev.offset, ok = numberAfter(rest, nextSeenField)
	case evFailed, evPage:
		ev.text = payload
	}
	if !ok {
		return fmt.Errorf("the server sent %.200q, which lacks an offset", payload)
	}
	return nil
}

func readJSONMessage(payload []byte, ev *event) (err error) {
	at := bytes.Index(payload, contentField)
	if at < 0 {
		return errNoStamp
	}
	ev.stamp, err = readStamp(payload[at+len(contentField):])
	if err != nil {
		return err
	}
	// The offset is the last field: its digits stand before the brace.
	offset, unit := uint64(0), uint64(1)
	i := len(payload) - 2
	for ; i > 0 && payload[i] >= '0' && payload[i] <= '9'; i-- {
		offset += uint64(payload[i]-'0') * unit
		unit *= 10
	}
	if !bytes.HasSuffix(payload[:i+1], offsetField) {
		return fmt.Errorf("the server sent %.400q, whose last field is not the offset", payload)
	}
	ev.offset = offset
	return nil
}

// numberAfter reads the digits behind the first place of the field.
func numberAfter(b, field []byte) (v uint64, ok bool) {
	at := bytes.Index(b, field)
	if at < 0 {
		return 0, false
	}
	for _, digit := range b[at+len(field):] {
		if digit < '0' || digit > '9' {
			break
		}
		v, ok = v*10+uint64(digit-'0'), true
	}
	return v, ok
}

// floorDialect is what the C programs of bench/floor speak: the URL names the
// room, and a message goes out to its members as it came in. What is sent is
// therefore what throng would deliver, to the byte, with the author's own
// count as the offset: a floor's room has one author.
type floorDialect struct{ jsonDialect }

func (floorDialect) subprotocol() string { return "" }

func (floorDialect) path(_, room string) string { return "/floor?room=" + url.QueryEscape(room) }

func (floorDialect) appendJoin(dst []byte, _ string) []byte { return dst }

func (floorDialect) appendPublish(dst []byte, user, room string, s stamp, size int) []byte {
	content := appendContent(make([]byte, 0, size), s, size)
	message := proto.Message{Offset: uint64(s.seq), Time: time.Now().UnixMicro(), From: user, To: room, Content: content}
	return new(proto.JSON).AppendMessage(dst, &message, false)
}
