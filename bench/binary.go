package bench

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/gobwas/ws"

	"github.com/thronghq/throng/proto"
)

// binaryDialect is throng.v1.bin (docs/protocol.md): a byte for the type, then
// fields, whose keys hold a tag and say whether a text follows.
type binaryDialect struct{}

// The types and tags that the generator uses.
const (
	binJoin, binMessage, binHistory, binAck              = 2, 4, 5, 6
	binSession, binJoined, binLag, binGap                = 12, 13, 18, 19
	binRoomClosed, binError                              = 20, 23
	tagID, tagRoom, tagTo, tagOffset                     = 1, 2, 3, 6
	tagContent, tagMessages, tagNext, tagNextSeen        = 8, 20, 22, 25
	tagLimit, tagCursor                           uint64 = 28, 30
)

func (binaryDialect) subprotocol() string        { return proto.BinarySubprotocol }
func (binaryDialect) opcode() ws.OpCode          { return ws.OpBinary }
func (binaryDialect) path(user, _ string) string { return wsPath(user) }

func putText(dst []byte, tag uint64, text string) []byte {
	dst = binary.AppendUvarint(dst, tag<<1|1)
	dst = binary.AppendUvarint(dst, uint64(len(text)))
	return append(dst, text...)
}

func putUint(dst []byte, tag, value uint64) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(dst, tag<<1), value)
}

func (binaryDialect) appendJoin(dst []byte, room string) []byte {
	dst = append(dst, binJoin)
	return putText(putText(dst, tagID, "j"), tagRoom, room)
}

func (binaryDialect) appendPublish(dst []byte, _, room string, s stamp, size int) []byte {
	dst = append(dst, binMessage)
	dst = putText(dst, tagID, "m")
	dst = putText(dst, tagTo, room)
	dst = binary.AppendUvarint(dst, tagContent<<1|1)
	dst = binary.AppendUvarint(dst, uint64(size))
	return appendContent(dst, s, size)
}

func (binaryDialect) appendHistory(dst []byte, room, cursor string, limit int) []byte {
	dst = append(dst, binHistory)
	dst = putText(putText(dst, tagID, "h"), tagRoom, room)
	dst = putUint(dst, tagLimit, uint64(limit))
	if cursor != "" {
		dst = putText(dst, tagCursor, cursor)
	}
	return dst
}

var errBinary = errors.New("the server sent a frame that is not throng.v1.bin")

// nextField cuts one field off b. Text is nil for an integer.
func nextField(b []byte) (tag, value uint64, text, rest []byte, err error) {
	key, n := binary.Uvarint(b)
	if n <= 0 {
		return 0, 0, nil, nil, errBinary
	}
	value, m := binary.Uvarint(b[n:])
	if m <= 0 {
		return 0, 0, nil, nil, errBinary
	}
	b = b[n+m:]
	if key&1 == 0 {
		return key >> 1, value, nil, b, nil
	}
	if value > uint64(len(b)) {
		return 0, 0, nil, nil, errBinary
	}
	return key >> 1, value, b[:value:value], b[value:], nil
}

// binaryKinds holds the events by their types.
var binaryKinds = [...]eventKind{
	binMessage: evMessage, binHistory: evPage, binAck: evAck, binSession: evSession, binJoined: evJoined,
	binLag: evLag, binGap: evGap, binRoomClosed: evFailed, binError: evFailed,
}

func (binaryDialect) read(payload []byte, ev *event) error {
	if len(payload) == 0 {
		return errBinary
	}
	*ev = event{}
	if int(payload[0]) < len(binaryKinds) {
		ev.kind = binaryKinds[payload[0]]
	}
	switch ev.kind {
	case evFailed, evPage:
		ev.text = payload
		return nil
	case evOther, evSession:
		return nil
	}
	stamped := ev.kind != evMessage
	for rest := payload[1:]; len(rest) > 0; {
		var tag, value uint64
		var text []byte
		var err error
		if tag, value, text, rest, err = nextField(rest); err != nil {
			return err
		}
		switch {
		case tag == tagOffset, tag == tagNextSeen && ev.kind == evGap:
			ev.offset = value
		case tag == tagContent && ev.kind == evMessage && len(text) > 0:
			if ev.stamp, err = readStamp(text[1:]); err != nil {
				return err
			}
			stamped = true
		}
	}
	if !stamped {
		return errNoStamp
	}
	return nil
}

func (binaryDialect) readPage(payload []byte, each func(offset uint64)) (next string, err error) {
	if len(payload) == 0 {
		return "", errBinary
	}
	for rest := payload[1:]; len(rest) > 0; {
		var tag uint64
		var text []byte
		if tag, _, text, rest, err = nextField(rest); err != nil {
			return "", err
		}
		switch tag {
		case tagNext:
			next = string(text)
		case tagMessages:
			var ev event
			if err := (binaryDialect{}).read(text, &ev); err != nil {
				return "", fmt.Errorf("a page's message: %w", err)
			}
			each(ev.offset)
		}
	}
	return next, nil
}
