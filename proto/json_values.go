package proto

import (
	"bytes"
	"encoding/base64"
	"errors"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

var _ fieldValues = (*jsonFrame)(nil)

// text implements fieldValues: the string aliases the frame or, where it had
// escapes, cmd's scratch.
func (f *jsonFrame) text(id field, cmd *Command) ([]byte, bool) {
	raw := f.raw[id]
	if raw.Kind() != jsontext.KindString {
		return nil, false
	}
	text := raw[1 : len(raw)-1]
	if bytes.IndexByte(text, '\\') < 0 {
		return text[:len(text):len(text)], true
	}
	start := len(cmd.scratch)
	scratch, err := jsontext.AppendUnquote(cmd.scratch, raw)
	if err != nil {
		return nil, false
	}
	cmd.scratch = scratch
	return scratch[start:len(scratch):len(scratch)], true
}

// integer implements fieldValues.
func (f *jsonFrame) integer(id field) (uint64, bool) {
	n, err := strconv.ParseUint(string(f.raw[id]), 10, 64)
	return n, err == nil
}

// boolean implements fieldValues.
func (f *jsonFrame) boolean(id field) (value, ok bool) {
	switch f.raw[id].Kind() {
	case jsontext.KindTrue:
		return true, true
	case jsontext.KindFalse:
		return false, true
	}
	return false, false
}

// isObject implements fieldValues.
func (f *jsonFrame) isObject(id field) bool { return f.raw[id].Kind() == jsontext.KindBeginObject }

// show implements fieldValues.
func (f *jsonFrame) show(id field) string { return shorten(f.raw[id]) }

// content implements fieldValues: any JSON value as it stands in the frame, or
// bytes in base64, which cmd's scratch takes.
func (f *jsonFrame) content(cmd *Command, limits *Limits) *Error {
	if !f.seen.has(fieldEncoding) {
		cmd.Content = f.raw[fieldContent]
		return checkContentSize(len(cmd.Content), limits)
	}
	if string(f.raw[fieldEncoding]) != `"base64"` {
		return wrongValue(fieldEncoding, f.show(fieldEncoding), `"base64", or no such field where content is JSON,`)
	}
	const expected = "with encoding base64, a string of base64 with padding (RFC 4648, section 4)"
	text, ok := f.text(fieldContent, cmd)
	// The library would skip line ends.
	if !ok || bytes.ContainsAny(text, "\r\n") {
		return wrongValue(fieldContent, f.show(fieldContent), expected)
	}
	start := len(cmd.scratch)
	scratch, err := base64.StdEncoding.Strict().AppendDecode(cmd.scratch, text)
	if err != nil {
		return wrongValue(fieldContent, f.show(fieldContent), expected)
	}
	cmd.scratch = scratch
	cmd.Kind, cmd.Content = KindBytes, scratch[start:len(scratch):len(scratch)]
	if cmd.Content == nil {
		cmd.Content = []byte{} // there, and without bytes
	}
	return checkContentSize(len(cmd.Content), limits)
}

// jsonContent returns the one JSON value that text is, without the white space
// around it. The value may be nested as deep as depth says.
func jsonContent(text []byte, depth int) ([]byte, *Error) {
	const space = " \t\r\n"
	value := bytes.TrimLeft(text, space)
	before := len(text) - len(value)
	value = bytes.TrimRight(value, space)
	if len(value) == 0 {
		return nil, ErrInvalidJSON.With("field %q is empty; JSON text is expected", fieldContent.name())
	}
	if nestsDeeper(value, depth) {
		return nil, ErrTooDeep.With("field %q is nested deeper than %d levels", fieldContent.name(), depth)
	}
	f := framePool.Get().(*jsonFrame)
	defer f.release()
	f.buffer = *bytes.NewBuffer(value)
	f.decoder.Reset(&f.buffer, decoderOptions...)
	if _, err := f.decoder.ReadValue(); err != nil {
		return nil, invalidContent(before, err)
	}
	if rest := bytes.TrimLeft(f.decoder.UnreadBuffer(), space); len(rest) > 0 {
		at := before + len(value) - len(rest)
		return nil, ErrInvalidJSON.With("field %q is not valid JSON at byte %d: data after the value", fieldContent.name(), at)
	}
	return value, nil
}

// invalidContent turns the library's error into the client's; skipped bytes of
// the field stand before what the library read.
func invalidContent(skipped int, err error) *Error {
	if syntax, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		return ErrInvalidJSON.With("field %q is not valid JSON at byte %d: %v", fieldContent.name(), int64(skipped)+syntax.ByteOffset, syntax.Err)
	}
	return ErrInvalidJSON.With("field %q is not valid JSON: %v", fieldContent.name(), err)
}
