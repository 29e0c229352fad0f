package bintest

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
)

// Encode turns a client's JSON frame into the binary one, its fields in the
// order of their tags. A field that the tables do not have, or have in another
// form, gets UnknownTag and its JSON as text.
func (c *Codec) Encode(frame []byte) ([]byte, error) {
	var top map[string]json.RawMessage
	if err := json.Unmarshal(frame, &top); err != nil {
		return nil, err
	}
	var name string
	if err := json.Unmarshal(top["type"], &name); err != nil {
		return nil, fmt.Errorf("type: %w", err)
	}
	i := slices.IndexFunc(c.Types, func(typ Type) bool { return typ.Name == name && typ.Client != nil })
	if i < 0 {
		return nil, fmt.Errorf("the page has no command %q", name)
	}
	fields, err := flatten(top)
	if err != nil {
		return nil, err
	}
	parts := make([]part, 0, len(fields))
	for name, value := range fields {
		p, err := c.encodeField(name, value, top["encoding"] != nil)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		parts = append(parts, p)
	}
	slices.SortFunc(parts, func(a, b part) int { return cmp.Compare(a.tag, b.tag) })
	out := []byte{c.Types[i].Number}
	for _, p := range parts {
		out = append(out, p.field...)
	}
	return out, nil
}

// part is one encoded field.
type part struct {
	tag   uint64
	field []byte
}

// flatten gives the fields of objects names with dots, and leaves out what the
// binary form says otherwise.
func flatten(top map[string]json.RawMessage) (map[string]json.RawMessage, error) {
	flat := make(map[string]json.RawMessage)
	for name, value := range top {
		switch {
		case name == "type" || name == "encoding":
		case (name == "since" || name == "deviceInfo") && value[0] == '{':
			var fields map[string]json.RawMessage
			if err := json.Unmarshal(value, &fields); err != nil {
				return nil, err
			}
			for inner, value := range fields {
				flat[name+"."+inner] = value
			}
		default:
			flat[name] = value
		}
	}
	return flat, nil
}

// encodeField encodes a field in the first form of that name that its value fits.
func (c *Codec) encodeField(name string, value json.RawMessage, isBytes bool) (part, error) {
	for _, f := range c.Fields {
		if f.Name != name || (f.Form == "bytes") != (isBytes && name == "content") {
			continue
		}
		first := value[0]
		switch {
		case f.Form == "json":
			return part{f.Tag, AppendText(nil, f.Tag, value)}, nil
		case f.Form == "bytes" && first == '"':
			var content []byte // which encoding/json reads as base64
			err := json.Unmarshal(value, &content)
			return part{f.Tag, AppendText(nil, f.Tag, content)}, err
		case f.Form == "string" && first == '"':
			var text string
			err := json.Unmarshal(value, &text)
			return part{f.Tag, AppendText(nil, f.Tag, []byte(text))}, err
		case f.Form == "integer" && first >= '0' && first <= '9':
			n, err := strconv.ParseUint(string(value), 10, 64)
			return part{f.Tag, AppendInteger(nil, f.Tag, n)}, err
		case f.Form == "boolean" && (first == 't' || first == 'f'):
			return part{f.Tag, AppendInteger(nil, f.Tag, map[byte]uint64{'t': 1, 'f': 0}[first])}, nil
		}
	}
	return part{UnknownTag, AppendText(nil, UnknownTag, value)}, nil
}

// AppendInteger appends a field that is an integer.
func AppendInteger(dst []byte, tag, value uint64) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(dst, tag*2), value)
}

// AppendText appends a field that is a text.
func AppendText(dst []byte, tag uint64, text []byte) []byte {
	dst = binary.AppendUvarint(binary.AppendUvarint(dst, tag*2+1), uint64(len(text)))
	return append(dst, text...)
}
