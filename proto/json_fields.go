package proto

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// A field is one of the fields that the codec knows in commands.
type field uint8

const (
	fieldNone field = iota
	fieldType
	fieldID
	fieldToken
	fieldDeviceInfo
	fieldDeviceType
	fieldDeviceOS
	fieldRoom
	fieldSince
	fieldSinceOffset
	fieldSinceEpoch
	fieldSinceTimestamp
	fieldSinceLast
	fieldEcho
	fieldTo
	fieldContent
	fieldEncoding
	fieldKey
	fieldTransient
	fieldFrom
	fieldAfter
	fieldBefore
	fieldLimit
	fieldReverse
	fieldCursor
	fieldEpoch
	fieldOffset
	fieldMaxUsers
	fieldKick
	fieldBan
	fieldUnban
	fieldMute
	fieldUnmute
	fieldHandOver
	fieldClose
	fieldStatus
	fieldTimestamp
	fieldCount
)

// fieldNames holds each field's name as errors show it: with the object that it
// is in before the dot.
var fieldNames = [fieldCount]string{
	fieldType:           "type",
	fieldID:             "id",
	fieldToken:          "token",
	fieldDeviceInfo:     "deviceInfo",
	fieldDeviceType:     "deviceInfo.type",
	fieldDeviceOS:       "deviceInfo.os",
	fieldRoom:           "room",
	fieldSince:          "since",
	fieldSinceOffset:    "since.offset",
	fieldSinceEpoch:     "since.epoch",
	fieldSinceTimestamp: "since.timestamp",
	fieldSinceLast:      "since.last",
	fieldEcho:           "echo",
	fieldTo:             "to",
	fieldContent:        "content",
	fieldEncoding:       "encoding",
	fieldKey:            "key",
	fieldTransient:      "transient",
	fieldFrom:           "from",
	fieldAfter:          "after",
	fieldBefore:         "before",
	fieldLimit:          "limit",
	fieldReverse:        "reverse",
	fieldCursor:         "cursor",
	fieldEpoch:          "epoch",
	fieldOffset:         "offset",
	fieldMaxUsers:       "maxUsers",
	fieldKick:           "kick",
	fieldBan:            "ban",
	fieldUnban:          "unban",
	fieldMute:           "mute",
	fieldUnmute:         "unmute",
	fieldHandOver:       "handOver",
	fieldClose:          "close",
	fieldStatus:         "status",
	fieldTimestamp:      "timestamp",
}

func (f field) name() string { return fieldNames[f] }

// A fieldSet is a set of fields.
type fieldSet uint64

func (s fieldSet) has(f field) bool { return s&(1<<f) != 0 }
func (s *fieldSet) add(f field)     { *s |= 1 << f }

// An object is one of the objects whose fields the codec knows.
type object uint8

const (
	objectFrame object = iota // the frame's own
	objectSince
	objectDeviceInfo
	objectCount
)

// objectOf returns the object that a field's value may be, objectFrame for a
// field whose value is not looked into.
func objectOf(f field) object {
	switch f {
	case fieldSince:
		return objectSince
	case fieldDeviceInfo:
		return objectDeviceInfo
	}
	return objectFrame
}

// objectFields finds the fields of each object by their names.
var objectFields = func() (tables [objectCount]map[string]field) {
	prefixes := [objectCount]string{objectSince: "since.", objectDeviceInfo: "deviceInfo."}
	for o, prefix := range prefixes {
		tables[o] = make(map[string]field)
		for f := fieldNone + 1; f < fieldCount; f++ {
			name, found := strings.CutPrefix(f.name(), prefix)
			if found && !strings.Contains(name, ".") {
				tables[o][name] = f
			}
		}
	}
	return tables
}()

// lookup finds a field by its name as it stands in the frame, in quotes.
func (o object) lookup(quoted jsontext.Value) (field, bool) {
	name := quoted[1 : len(quoted)-1]
	if bytes.IndexByte(name, '\\') >= 0 {
		// A valid string, so that unquoting it can't fail.
		name, _ = jsontext.AppendUnquote(nil, quoted)
	}
	f, known := objectFields[o][string(name)]
	return f, known
}

// invalid turns the library's error into the client's.
func (f *jsonFrame) invalid(err error) *Error {
	if syntax, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		return ErrInvalidJSON.With("the frame is not valid JSON at byte %d: %v", syntax.ByteOffset, syntax.Err)
	}
	if errors.Is(err, io.EOF) {
		return ErrInvalidJSON.With("the frame is empty; a JSON object is expected")
	}
	return ErrInvalidJSON.With("the frame is not valid JSON: %v", err)
}

// shorten returns the beginning of what a client sent, short enough to show.
func shorten(value []byte) string {
	const most = 40
	if len(value) <= most {
		return string(value)
	}
	n := most
	for n > 0 && !utf8.RuneStart(value[n]) {
		n--
	}
	return string(value[:n]) + "…"
}
