package proto

import (
	"bytes"
	"strings"
	"sync"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/gobwas/ws"
)

// JSONSubprotocol is the name of the native protocol in JSON.
const JSONSubprotocol = "throng.v1.json"

// MaxSafeInteger is the largest integer that a JavaScript client can hold
// exactly (2^53-1): the bound of all offsets and times in JSON.
const MaxSafeInteger = 1<<53 - 1

// JSON is the codec of throng.v1.json: one JSON object per text frame, as
// docs/protocol.md defines it. It holds no state but its limits and is safe for
// concurrent use.
//
// The grammar is RFC 8259's, read as strictly as RFC 7493 asks for, except that
// names may repeat where the codec does not interpret them: within content and
// in fields that it does not know.
type JSON struct {
	limits *Limits
}

var _ Codec = (*JSON)(nil)

// NewJSON returns the codec. It reads limits at each frame and never changes
// them.
func NewJSON(limits *Limits) *JSON { return &JSON{limits: limits} }

// Subprotocol implements Codec.
func (*JSON) Subprotocol() string { return JSONSubprotocol }

// OpCode implements Codec.
func (*JSON) OpCode() ws.OpCode { return ws.OpText }

// Decode implements Codec. It allocates nothing for a valid command whose
// strings need no room beyond what cmd's scratch already has.
func (c *JSON) Decode(payload []byte, cmd *Command) *Error {
	*cmd = Command{scratch: cmd.scratch[:0]}
	if nestsDeeper(payload, c.limits.Depth) {
		return ErrTooDeep.With("the frame's JSON is nested deeper than %d levels", c.limits.Depth)
	}
	f := framePool.Get().(*jsonFrame)
	defer f.release()

	bad := f.read(payload)
	v := values{from: f, seen: f.seen, limits: c.limits, cmd: cmd}
	v.id()
	if bad != nil {
		return bad
	}
	if v.err == nil {
		v.err = f.commandType(cmd)
	}
	if v.err == nil {
		v.command()
	}
	return v.err
}

// commandType fills in the command that the frame names.
func (f *jsonFrame) commandType(cmd *Command) *Error {
	const expected = "the name of a command"
	if !f.seen.has(fieldType) {
		return ErrInvalidField.With("field %q is missing; %s is expected", fieldType.name(), expected)
	}
	name, ok := f.text(fieldType, cmd)
	if !ok {
		return wrongValue(fieldType, f.show(fieldType), expected)
	}
	if cmd.Type = commandOf(name); cmd.Type == CmdNone {
		return ErrUnknownType.With("type %q is not known; known are %s", shorten(name), servedCommands)
	}
	return nil
}

// A jsonFrame is one frame cut into its fields: which were there, and the JSON
// value of each. The values alias the frame's payload.
type jsonFrame struct {
	payload []byte
	buffer  bytes.Buffer // lets the decoder read payload in place
	decoder *jsontext.Decoder

	raw   [fieldCount]jsontext.Value // valid where seen has the field
	seen  fieldSet
	twice field // the last field that came twice, fieldNone for none
}

// framePool keeps decoders, which cost some allocations each.
var framePool = sync.Pool{
	New: func() any { return &jsonFrame{decoder: new(jsontext.Decoder)} },
}

// decoderOptions let names repeat: the codec checks the names that it knows,
// and for others the check would cost a table for each object.
var decoderOptions = []jsontext.Options{jsontext.AllowDuplicateNames(true)}

// release gives the frame back to the pool, without a hold on the payload.
func (f *jsonFrame) release() {
	f.payload = nil
	f.buffer = bytes.Buffer{}
	clear(f.raw[:])
	framePool.Put(f)
}

// read cuts payload, which must hold exactly one JSON object, into fields. What
// it read before an error stays readable.
func (f *jsonFrame) read(payload []byte) *Error {
	f.payload = payload
	f.buffer = *bytes.NewBuffer(payload)
	f.decoder.Reset(&f.buffer, decoderOptions...)
	f.seen, f.twice = 0, fieldNone

	if kind := f.decoder.PeekKind(); kind != jsontext.KindBeginObject {
		if value, err := f.decoder.ReadValue(); err != nil {
			return f.invalid(err)
		} else {
			return ErrInvalidJSON.With("the frame is %s; a JSON object is expected", shorten(value))
		}
	}
	if err := f.readObject(objectFrame); err != nil {
		return f.invalid(err)
	}
	if rest := bytes.TrimLeft(f.decoder.UnreadBuffer(), " \t\r\n"); len(rest) > 0 {
		return ErrInvalidJSON.With("the frame is not valid JSON: data after the object at byte %d", len(payload)-len(rest))
	}
	if f.twice != fieldNone {
		return ErrInvalidField.With("field %q comes twice; it may come once", f.twice.name())
	}
	return nil
}

// readObject reads an object whose first brace is next, and stores the values
// of the fields that it is known to have.
func (f *jsonFrame) readObject(o object) error {
	if _, err := f.decoder.ReadToken(); err != nil {
		return err
	}
	for f.decoder.PeekKind() != jsontext.KindEndObject {
		quoted, err := f.decoder.ReadValue()
		if err != nil {
			return err
		}
		id, known := o.lookup(quoted)
		if !known {
			if err := f.decoder.SkipValue(); err != nil {
				return err
			}
			continue
		}
		if f.seen.has(id) {
			f.twice = id
		}
		if err := f.readField(id); err != nil {
			return err
		}
	}
	_, err := f.decoder.ReadToken()
	return err
}

// readField reads the value of a field, and with since and deviceInfo the
// fields in it.
func (f *jsonFrame) readField(id field) error {
	inner := objectOf(id)
	if inner == objectFrame || f.decoder.PeekKind() != jsontext.KindBeginObject {
		value, err := f.decoder.ReadValue()
		if err != nil {
			return err
		}
		f.raw[id] = value
		f.seen.add(id)
		return nil
	}
	rest := len(f.decoder.UnreadBuffer())
	if err := f.readObject(inner); err != nil {
		return err
	}
	whole := f.payload[len(f.payload)-rest : f.decoder.InputOffset()]
	f.raw[id] = bytes.TrimLeft(whole, ": \t\r\n")
	f.seen.add(id)
	return nil
}

// nestsDeeper reports whether JSON is nested deeper than limit. It may see more
// levels than there are in what is not valid JSON, and never fewer.
func nestsDeeper(payload []byte, limit int) bool {
	if bytes.Count(payload, []byte{'{'})+bytes.Count(payload, []byte{'['}) <= limit {
		return false // as many as these, at most: the usual frame
	}
	depth, quoted := 0, false
	for i := 0; i < len(payload); i++ {
		switch b := payload[i]; {
		case b == '"':
			quoted = !quoted
		case quoted && b == '\\':
			i++
		case quoted:
		case b == '{' || b == '[':
			if depth++; depth > limit {
				return true
			}
		case b == '}' || b == ']':
			depth--
		}
	}
	return false
}

// commandNames holds the wire's name of each command.
var commandNames = [...]string{
	CmdAuth:    "auth",
	CmdJoin:    "join",
	CmdLeave:   "leave",
	CmdMessage: "message",
	CmdHistory: "history",
	CmdAck:     "ack",
	CmdMembers: "members",
	CmdStatus:  "status",
	CmdHost:    "host",
	CmdPing:    "PING",
}

// servedCommands lists the commands that clients may send, for them to read.
var servedCommands = strings.Join(commandNames[CmdNone+1:], ", ")

// String returns the wire's name of the command, "" for none.
func (t CommandType) String() string { return commandNames[t] }

// commandOf returns the command of that name, CmdNone for none.
func commandOf(name []byte) CommandType {
	for t := CmdNone + 1; int(t) < len(commandNames); t++ {
		if string(name) == commandNames[t] {
			return t
		}
	}
	return CmdNone
}
