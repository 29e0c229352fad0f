package proto_test

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// A reference is a codec of throng.v1.bin that knows nothing but the tables of
// docs/protocol.md: what an author of a client has. It turns binary frames into
// the objects of the JSON protocol and back.
type reference struct {
	types  []refType
	fields []refField
}

type refType struct {
	name           string
	number         byte
	client, server map[string][]uint64 // the tags by the fields' names, nil where nobody sends it
}

type refField struct {
	name, form string
	tag        uint64
}

// readTables reads the chapter's tables.
func readTables(t testing.TB) *reference {
	t.Helper()
	ref := new(reference)
	chapter := section(t, readReference(t), "Binary")
	for _, row := range rowsUnder(t, chapter, "| type | number |") {
		typ := refType{name: row[0], number: byte(number(t, row[1]))}
		typ.client, typ.server = layout(t, row[2]), layout(t, row[3])
		ref.types = append(ref.types, typ)
	}
	for _, row := range rowsUnder(t, chapter, "| field | tag | form |") {
		ref.fields = append(ref.fields, refField{row[0], row[2], number(t, row[1])})
	}
	return ref
}

// rowsUnder returns the rows of the one table with that header.
func rowsUnder(t testing.TB, text, header string) [][]string {
	t.Helper()
	_, table, found := strings.Cut(text, "\n"+header)
	if !found || strings.Contains(table, "\n"+header) {
		t.Fatalf("the chapter needs one table with the header %q", header)
	}
	table, _, _ = strings.Cut(table, "\n\n")
	return rows(table)
}

// layout reads a cell such as "`to` 3, `content` 8 or 9, and the limits, 64 to 66".
func layout(t testing.TB, cell string) map[string][]uint64 {
	t.Helper()
	if cell == "" {
		return nil
	}
	fields := map[string][]uint64{"id": {1}}
	cell, limits, _ := strings.Cut(cell, ", and the limits, ")
	for part := range strings.SplitSeq(cell, ", ") {
		name, tags, _ := strings.Cut(strings.ReplaceAll(part, "`", ""), " ")
		for tag := range strings.SplitSeq(tags, " or ") {
			fields[name] = append(fields[name], number(t, tag))
		}
	}
	if first, last, found := strings.Cut(limits, " to "); found {
		for tag := number(t, first); tag <= number(t, last); tag++ {
			fields["limits"] = append(fields["limits"], tag)
		}
	}
	return fields
}

func number(t testing.TB, text string) uint64 {
	t.Helper()
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// unknownTag is the tag of fields that the tables do not have.
const unknownTag = 500

// encode turns a client's JSON frame into the binary one, its fields in the
// order of their tags. Fields that are not in the tables, or are of another form
// there, get a tag that no version knows.
func (ref *reference) encode(t testing.TB, frame string) []byte {
	t.Helper()
	top := object(t, []byte(frame))
	var name string
	if err := json.Unmarshal(top["type"], &name); err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(ref.types, func(typ refType) bool { return typ.name == name })
	if i < 0 {
		t.Fatalf("the page has no type %q", name)
	}
	type encoded struct {
		tag   uint64
		field []byte
	}
	var parts []encoded
	for name, value := range flatten(t, top) {
		tag, field := ref.encodeField(t, name, value, top["encoding"] != nil)
		parts = append(parts, encoded{tag, field})
	}
	slices.SortFunc(parts, func(a, b encoded) int { return int(a.tag) - int(b.tag) })
	out := []byte{ref.types[i].number}
	for _, part := range parts {
		out = append(out, part.field...)
	}
	return out
}

func object(t testing.TB, frame []byte) (fields map[string]json.RawMessage) {
	t.Helper()
	if err := json.Unmarshal(frame, &fields); err != nil {
		t.Fatal(err)
	}
	return fields
}

// flatten gives the fields of objects names with dots, and leaves out what the
// binary form says otherwise.
func flatten(t testing.TB, top map[string]json.RawMessage) map[string]json.RawMessage {
	flat := make(map[string]json.RawMessage)
	for name, value := range top {
		switch {
		case name == "type" || name == "encoding":
		case (name == "since" || name == "deviceInfo") && value[0] == '{':
			for inner, value := range object(t, value) {
				flat[name+"."+inner] = value
			}
		default:
			flat[name] = value
		}
	}
	return flat
}

func (ref *reference) encodeField(t testing.TB, name string, value json.RawMessage, isBytes bool) (uint64, []byte) {
	t.Helper()
	for _, f := range ref.fields {
		if f.name != name || (f.form == "bytes") != (isBytes && name == "content") {
			continue
		}
		switch {
		case f.form == "json":
			return f.tag, refText(f.tag, value)
		case f.form == "bytes":
			content, err := base64.StdEncoding.DecodeString(unquote(t, value))
			if err != nil {
				t.Fatal(err)
			}
			return f.tag, refText(f.tag, content)
		case f.form == "string" && value[0] == '"':
			return f.tag, refText(f.tag, []byte(unquote(t, value)))
		case f.form == "integer" && value[0] >= '0' && value[0] <= '9':
			return f.tag, refInteger(f.tag, number(t, string(value)))
		case f.form == "boolean" && (value[0] == 't' || value[0] == 'f'):
			return f.tag, refInteger(f.tag, map[byte]uint64{'t': 1, 'f': 0}[value[0]])
		}
	}
	return unknownTag, refText(unknownTag, value)
}

func unquote(t testing.TB, value json.RawMessage) (text string) {
	t.Helper()
	if err := json.Unmarshal(value, &text); err != nil {
		t.Fatal(err)
	}
	return text
}

func refInteger(tag, value uint64) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(nil, tag*2), value)
}

func refText(tag uint64, value []byte) []byte {
	out := binary.AppendUvarint(binary.AppendUvarint(nil, tag*2+1), uint64(len(value)))
	return append(out, value...)
}

// decode turns a frame from the server into the object of the JSON protocol. It
// fails where the frame has fields that the tables do not give to its type.
func (ref *reference) decode(payload []byte) (map[string]any, error) {
	i := slices.IndexFunc(ref.types, func(typ refType) bool { return typ.number == payload[0] && typ.server != nil })
	if i < 0 {
		return nil, fmt.Errorf("no event has number %d", payload[0])
	}
	frame := map[string]any{"type": ref.types[i].name}
	// Lists that are empty are absent.
	for name, tags := range ref.types[i].server {
		if form := ref.form(tags[0]); form == "frames" || form == "groups" {
			frame[name] = []any{}
		}
	}
	return frame, ref.decodeFields(payload[1:], frame, ref.types[i].server)
}

func (ref *reference) form(tag uint64) string {
	for _, f := range ref.fields {
		if f.tag == tag {
			return f.form
		}
	}
	return ""
}

// decodeFields puts fields into an object; allowed has their tags by name.
func (ref *reference) decodeFields(payload []byte, into map[string]any, allowed map[string][]uint64) error {
	last := uint64(0)
	for len(payload) > 0 {
		key, n := binary.Uvarint(payload)
		value, m := binary.Uvarint(payload[n:])
		payload = payload[n+m:]
		var text []byte
		if key%2 == 1 {
			text, payload = payload[:value], payload[value:]
		}
		tag := key / 2
		if tag == unknownTag {
			continue
		}
		i := slices.IndexFunc(ref.fields, func(f refField) bool { return f.tag == tag })
		if i < 0 {
			return fmt.Errorf("tag %d is not in the table", tag)
		}
		field := ref.fields[i]
		outer, _, _ := strings.Cut(field.name, ".")
		if !slices.Contains(allowed[field.name], tag) && !slices.Contains(allowed[outer], tag) {
			return fmt.Errorf("tag %d (%s) is not in the type's layout", tag, field.name)
		}
		isList := field.form == "frames" || field.form == "groups"
		if tag < last || tag == last && !isList {
			return fmt.Errorf("tag %d comes after tag %d", tag, last)
		}
		last = tag
		if err := ref.decodeField(field, value, text, into); err != nil {
			return fmt.Errorf("%s: %w", field.name, err)
		}
	}
	return nil
}

// decodeField puts one field into an object, as JSON would have it.
func (ref *reference) decodeField(field refField, value uint64, text []byte, into map[string]any) error {
	if isText := field.form != "integer" && field.form != "boolean"; isText != (text != nil) {
		return fmt.Errorf("the key does not say that a value of form %s follows", field.form)
	}
	name := field.name
	if outer, inner, found := strings.Cut(name, "."); found {
		if into[outer] == nil {
			into[outer] = make(map[string]any)
		}
		into, name = into[outer].(map[string]any), inner
	}
	switch field.form {
	case "integer":
		into[name] = json.Number(strconv.FormatUint(value, 10))
	case "boolean":
		into[name] = value == 1
	case "string":
		into[name] = string(text)
	case "uuid":
		h := hex.EncodeToString(text)
		into[name] = strings.Join([]string{h[:8], h[8:12], h[12:16], h[16:20], h[20:]}, "-")
	case "json":
		content, err := decodeJSON(text)
		into[name] = content
		return err
	case "bytes":
		into[name], into["encoding"] = base64.StdEncoding.EncodeToString(text), "base64"
	case "frames":
		element, err := ref.decode(text)
		into[name] = append(into[name].([]any), element)
		return err
	case "groups":
		element := make(map[string]any)
		into[name] = append(into[name].([]any), element)
		return ref.decodeFields(text, element, map[string][]uint64{"userId": {18}, "status": {19}})
	default:
		return fmt.Errorf("the form %q is not in the table", field.form)
	}
	return nil
}

// decodeJSON decodes with numbers as they stand.
func decodeJSON(text []byte) (value any, err error) {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	return value, decoder.Decode(&value)
}

func usage(direction string, typ byte, tag uint64) string {
	return fmt.Sprint(direction, " ", typ, " ", tag)
}

// markUsed notes which tags a frame has, and the frames in it.
func markUsed(ref *reference, used map[string]bool, direction string, frame []byte) {
	typ, rest := frame[0], frame[1:]
	for len(rest) > 0 {
		key, n := binary.Uvarint(rest)
		value, m := binary.Uvarint(rest[n:])
		rest = rest[n+m:]
		used[usage(direction, typ, key/2)] = true
		if key%2 == 0 {
			continue
		}
		if ref.form(key/2) == "frames" {
			markUsed(ref, used, direction, rest[:value])
		}
		rest = rest[value:]
	}
}
