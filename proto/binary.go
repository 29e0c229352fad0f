package proto

import (
	"strconv"
	"sync"
	"unicode/utf8"

	"github.com/gobwas/ws"
)

// BinarySubprotocol is the name of the native protocol in its compact form.
const BinarySubprotocol = "throng.v1.bin"

// Binary is the codec of throng.v1.bin: the commands and events of
// throng.v1.json in binary frames, as docs/protocol.md defines them. It holds
// no state but its limits and is safe for concurrent use.
//
// A frame is a byte for its type and then fields in any order. Each field
// begins with a key, which holds its tag and says whether an integer or a text
// follows; a text's length stands before it. So a reader steps over the fields
// that it does not know, and a later version may add some.
type Binary struct {
	limits *Limits
}

var _ Codec = (*Binary)(nil)

// NewBinary returns the codec. It reads limits at each frame and never changes
// them.
func NewBinary(limits *Limits) *Binary { return &Binary{limits: limits} }

// Subprotocol implements Codec.
func (*Binary) Subprotocol() string { return BinarySubprotocol }

// OpCode implements Codec.
func (*Binary) OpCode() ws.OpCode { return ws.OpBinary }

// Decode implements Codec. It allocates nothing for a valid command, all of
// whose strings alias payload.
func (c *Binary) Decode(payload []byte, cmd *Command) *Error {
	*cmd = Command{scratch: cmd.scratch[:0]}
	f := binaryFramePool.Get().(*binaryFrame)
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

// A binaryFrame is one frame cut into its fields: which were there, and the
// value of each.
type binaryFrame struct {
	payload []byte

	values [fieldCount]binaryValue // valid where seen has the field
	seen   fieldSet
	twice  field // the last field that came twice, fieldNone for none
	kind   Kind  // of the content
}

var _ fieldValues = (*binaryFrame)(nil)

// A binaryValue is an integer, or where a text stands in the payload. No text
// begins at 0, where the type is.
type binaryValue struct {
	integer    uint64
	start, end int
}

func (v *binaryValue) isText() bool { return v.start > 0 }

var binaryFramePool = sync.Pool{New: func() any { return new(binaryFrame) }}

// release gives the frame back to the pool, without a hold on the payload, and
// with nothing of it for the next one.
func (f *binaryFrame) release() {
	f.payload = nil
	clear(f.values[:])
	binaryFramePool.Put(f)
}

// read cuts payload into fields. What it read before an error stays readable.
func (f *binaryFrame) read(payload []byte) *Error {
	f.payload = payload
	f.seen, f.twice = 0, fieldNone
	if len(payload) == 0 {
		return ErrInvalidFrame.With("the frame is empty; a byte that names its type is expected")
	}
	for at := 1; at < len(payload); {
		key, next, problem := readVarint(payload, at)
		if problem == "" && key < 2 {
			problem = "a key with tag 0"
		}
		if problem != "" {
			return malformed(at, problem)
		}
		value, end, problem := readVarint(payload, next)
		if problem != "" {
			return malformed(next, problem)
		}
		if key&1 == 0 {
			f.store(tag(key>>1), binaryValue{integer: value})
			at = end
			continue
		}
		if value > uint64(len(payload)-end) {
			return malformed(next, "a length of "+strconv.FormatUint(value, 10)+", and "+strconv.Itoa(len(payload)-end)+" bytes are left")
		}
		at = end + int(value)
		f.store(tag(key>>1), binaryValue{start: end, end: at})
	}
	if f.twice != fieldNone {
		return ErrInvalidField.With("field %q comes twice; it may come once", f.twice.name())
	}
	return nil
}

func malformed(at int, problem string) *Error {
	return ErrInvalidFrame.With("the frame is not valid at byte %d: %s", at, problem)
}

// store keeps a field's value, unless commands have no such field.
func (f *binaryFrame) store(t tag, value binaryValue) {
	id := commandField(t)
	switch id {
	case fieldNone:
		return
	case fieldContent:
		f.kind = KindJSON
		if t == tagBytes {
			f.kind = KindBytes
		}
	case fieldSinceOffset, fieldSinceEpoch, fieldSinceTimestamp, fieldSinceLast:
		f.seen.add(fieldSince)
	}
	if f.seen.has(id) {
		f.twice = id
	}
	f.values[id] = value
	f.seen.add(id)
}

// readVarint reads the integer at payload[at:], and where it ends: seven bits a
// byte, the low ones first, and the top bit in all bytes but the last. What is
// wrong with it, if anything, is the third result.
func readVarint(payload []byte, at int) (value uint64, end int, problem string) {
	const longest = 8 // bytes: 56 bits hold MaxSafeInteger
	for i := range longest {
		if at+i >= len(payload) {
			return 0, 0, "the frame ends within a field"
		}
		b := payload[at+i]
		value |= uint64(b&0x7f) << (7 * i)
		if b < 0x80 {
			if b == 0 && i > 0 {
				return 0, 0, "an integer in more bytes than it needs"
			}
			return value, at + i + 1, ""
		}
	}
	return 0, 0, "an integer in more than 8 bytes"
}

// commandType fills in the command that the frame's first byte names.
func (f *binaryFrame) commandType(cmd *Command) *Error {
	if cmd.Type = binaryCommandOf(f.payload[0]); cmd.Type == CmdNone {
		return ErrUnknownType.With("type %d is not known; known are %s", f.payload[0], numberedCommands)
	}
	return nil
}

// raw returns a text as it stands in the frame, and false where the value is an
// integer.
func (f *binaryFrame) raw(id field) ([]byte, bool) {
	value := &f.values[id]
	return f.payload[value.start:value.end:value.end], value.isText()
}

// text implements fieldValues; the string aliases the frame.
func (f *binaryFrame) text(id field, _ *Command) ([]byte, bool) {
	text, ok := f.raw(id)
	if !ok || !utf8.Valid(text) {
		return nil, false
	}
	return text, true
}

// integer implements fieldValues.
func (f *binaryFrame) integer(id field) (uint64, bool) {
	value := &f.values[id]
	return value.integer, !value.isText()
}

// boolean implements fieldValues.
func (f *binaryFrame) boolean(id field) (value, ok bool) {
	n, ok := f.integer(id)
	return n == 1, ok && n <= 1
}

// isObject implements fieldValues: the fields of objects have tags of their
// own, so that the objects cannot be something else.
func (*binaryFrame) isObject(field) bool { return true }

// content implements fieldValues; the content aliases the frame.
func (f *binaryFrame) content(cmd *Command, limits *Limits) *Error {
	content, ok := f.raw(fieldContent)
	if !ok {
		return wrongValue(fieldContent, f.show(fieldContent), "JSON text, or bytes,")
	}
	if err := checkContentSize(len(content), limits); err != nil {
		return err
	}
	if f.kind == KindJSON {
		var err *Error
		// The JSON codec's own object counts as a level.
		if content, err = jsonContent(content, limits.Depth-1); err != nil {
			return err
		}
	}
	cmd.Kind, cmd.Content = f.kind, content
	return nil
}

// show implements fieldValues.
func (f *binaryFrame) show(id field) string {
	if id == fieldSince {
		return f.showSince()
	}
	if text, ok := f.raw(id); ok {
		return strconv.Quote(shorten(text))
	}
	return strconv.FormatUint(f.values[id].integer, 10)
}

// showSince lists the fields of since that were there.
func (f *binaryFrame) showSince() string {
	shown := "{"
	for _, id := range [...]field{fieldSinceOffset, fieldSinceEpoch, fieldSinceTimestamp, fieldSinceLast} {
		if !f.seen.has(id) {
			continue
		}
		if len(shown) > 1 {
			shown += ", "
		}
		shown += id.name()[len("since."):]
	}
	return shown + "}"
}
