package bintest

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Decode turns a frame of the server into the object of the JSON protocol, with
// numbers as json.Number. It fails where the frame has fields that the tables do
// not give to its type, or not in the order of their tags.
func (c *Codec) Decode(frame []byte) (map[string]any, error) {
	if len(frame) == 0 {
		return nil, errors.New("the frame is empty")
	}
	i := slices.IndexFunc(c.Types, func(typ Type) bool { return typ.Number == frame[0] && typ.Server != nil })
	if i < 0 {
		return nil, fmt.Errorf("no event has number %d", frame[0])
	}
	object := map[string]any{"type": c.Types[i].Name}
	// Lists that are empty are absent.
	for name, tags := range c.Types[i].Server {
		if field, _ := c.field(tags[0]); field.isList() {
			object[name] = []any{}
		}
	}
	return object, c.decodeFields(frame[1:], object, c.Types[i].Server)
}

// value is one field's value on the wire.
type value struct {
	tag     uint64
	isText  bool
	integer uint64
	text    []byte
}

// next reads one field, and returns what is left after it.
func next(fields []byte) (v value, rest []byte, err error) {
	key, n := binary.Uvarint(fields)
	if n <= 0 {
		return value{}, nil, errors.New("the frame ends within a key")
	}
	v.tag, v.isText = key/2, key%2 == 1
	rest = fields[n:]
	if v.integer, n = binary.Uvarint(rest); n <= 0 {
		return value{}, nil, fmt.Errorf("tag %d: the frame ends within an integer", v.tag)
	}
	rest = rest[n:]
	if v.isText {
		if v.integer > uint64(len(rest)) {
			return value{}, nil, fmt.Errorf("tag %d: a length of %d, and %d bytes are left", v.tag, v.integer, len(rest))
		}
		v.text, rest = rest[:v.integer], rest[v.integer:]
	}
	return v, rest, nil
}

// decodeFields puts fields into an object; allowed has their tags by name.
func (c *Codec) decodeFields(fields []byte, object map[string]any, allowed map[string][]uint64) error {
	last := uint64(0)
	for len(fields) > 0 {
		v, rest, err := next(fields)
		if err != nil {
			return err
		}
		fields = rest
		if v.tag == UnknownTag {
			continue
		}
		field, found := c.field(v.tag)
		if !found {
			return fmt.Errorf("tag %d is not in the table", v.tag)
		}
		outer, _, _ := strings.Cut(field.Name, ".")
		if !slices.Contains(allowed[field.Name], v.tag) && !slices.Contains(allowed[outer], v.tag) {
			return fmt.Errorf("tag %d (%s) is not in the type's layout", v.tag, field.Name)
		}
		if v.tag < last || v.tag == last && !field.isList() {
			return fmt.Errorf("tag %d comes after tag %d", v.tag, last)
		}
		last = v.tag
		if err := c.decodeField(field, v, object); err != nil {
			return fmt.Errorf("%s: %w", field.Name, err)
		}
	}
	return nil
}

// memberLayout is what the form groups has in each element.
var memberLayout = map[string][]uint64{"userId": {18}, "status": {19}}

// decodeField puts one field into an object, as JSON would have it.
func (c *Codec) decodeField(field Field, v value, object map[string]any) error {
	if isText := field.Form != "integer" && field.Form != "boolean"; isText != v.isText {
		return fmt.Errorf("the key does not say that a value of form %s follows", field.Form)
	}
	name := field.Name
	if outer, inner, found := strings.Cut(name, "."); found {
		if object[outer] == nil {
			object[outer] = make(map[string]any)
		}
		object, name = object[outer].(map[string]any), inner
	}
	switch field.Form {
	case "integer":
		object[name] = json.Number(strconv.FormatUint(v.integer, 10))
	case "boolean":
		object[name] = v.integer == 1
	case "string":
		object[name] = string(v.text)
	case "uuid":
		digits := hex.EncodeToString(v.text)
		if len(digits) != 32 {
			return fmt.Errorf("%d bytes", len(v.text))
		}
		object[name] = strings.Join([]string{digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]}, "-")
	case "json":
		content, err := decodeJSON(v.text)
		object[name] = content
		return err
	case "bytes":
		object[name], object["encoding"] = base64.StdEncoding.EncodeToString(v.text), "base64"
	case "frames":
		element, err := c.Decode(v.text)
		object[name] = append(object[name].([]any), element)
		return err
	case "groups":
		element := make(map[string]any)
		object[name] = append(object[name].([]any), element)
		return c.decodeFields(v.text, element, memberLayout)
	default:
		return fmt.Errorf("the form %q is not known", field.Form)
	}
	return nil
}

// decodeJSON decodes with numbers as they stand.
func decodeJSON(text []byte) (v any, err error) {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	return v, decoder.Decode(&v)
}

// Visit calls visit for each field of a frame, and of the frames in it, with the
// number of the frame's type.
func (c *Codec) Visit(frame []byte, visit func(typ byte, tag uint64)) error {
	for fields := frame[1:]; len(fields) > 0; {
		v, rest, err := next(fields)
		if err != nil {
			return err
		}
		fields = rest
		visit(frame[0], v.tag)
		if field, _ := c.field(v.tag); field.Form == "frames" {
			if err := c.Visit(v.text, visit); err != nil {
				return err
			}
		}
	}
	return nil
}
