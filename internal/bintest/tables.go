// Package bintest is a codec of throng.v1.bin that knows nothing but the tables
// of docs/protocol.md: what the author of a client has. It turns binary frames
// into the objects of the JSON protocol and back, so that tests can hold the
// page, the server's codec and the JSON protocol against each other.
//
// It is made for tests: it checks more than a client would, and takes its time.
package bintest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Codec holds the page's tables. It is safe for concurrent use.
type Codec struct {
	Types  []Type
	Fields []Field
}

// Type is a row of the table of types.
type Type struct {
	Name   string
	Number byte

	// The tags of the fields that each side sends, by their names; nil for a
	// type that the side does not send.
	Client, Server map[string][]uint64
}

// Field is a row of the table of fields.
type Field struct {
	Name string // with the object's name and a dot before it, where it is in one
	Tag  uint64
	Form string
}

// UnknownTag is the tag that Encode gives to fields that the tables do not have,
// and the only such tag that Decode steps over.
const UnknownTag = 500

// Read reads the tables from the page's text.
func Read(page string) (*Codec, error) {
	c := new(Codec)
	types, err := Rows(page, "| type | number |")
	if err != nil {
		return nil, err
	}
	for _, row := range types {
		number, err := strconv.ParseUint(row[1], 10, 8)
		if err != nil {
			return nil, fmt.Errorf("type %s: %w", row[0], err)
		}
		typ := Type{Name: row[0], Number: byte(number)}
		if typ.Client, err = layout(row[2]); err != nil {
			return nil, fmt.Errorf("type %s: %w", row[0], err)
		}
		if typ.Server, err = layout(row[3]); err != nil {
			return nil, fmt.Errorf("type %s: %w", row[0], err)
		}
		c.Types = append(c.Types, typ)
	}
	fields, err := Rows(page, "| field | tag | form |")
	if err != nil {
		return nil, err
	}
	for _, row := range fields {
		tag, err := strconv.ParseUint(row[1], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("field %s: %w", row[0], err)
		}
		c.Fields = append(c.Fields, Field{Name: row[0], Tag: tag, Form: row[2]})
	}
	return c, nil
}

// Rows returns the cells of the page's one table with that header. Cells that
// are all code come without their marks.
func Rows(page, header string) ([][]string, error) {
	_, table, found := strings.Cut(page, "\n"+header)
	if !found || strings.Contains(table, "\n"+header) {
		return nil, fmt.Errorf("the page needs one table with the header %q", header)
	}
	table, _, _ = strings.Cut(table, "\n\n")
	lines := strings.Split(strings.TrimRight(table, "\n"), "\n")
	if len(lines) < 3 {
		return nil, fmt.Errorf("the table with the header %q has no rows", header)
	}
	columns := strings.Count(lines[1], "|") - 1
	var rows [][]string
	for _, line := range lines[2:] {
		cells := strings.Split(strings.TrimSuffix(strings.TrimPrefix(line, "|"), "|"), "|")
		if len(cells) != columns {
			return nil, fmt.Errorf("the row %q has not %d cells, as its header has", line, columns)
		}
		for i, cell := range cells {
			cell = strings.TrimSpace(cell)
			if code := strings.Trim(cell, "`"); len(cell) == len(code)+2 && !strings.Contains(code, "`") {
				cell = code
			}
			cells[i] = cell
		}
		rows = append(rows, cells)
	}
	return rows, nil
}

// layout reads a cell such as "`to` 3, `content` 8 or 9, and the limits, 64 to 66".
func layout(cell string) (map[string][]uint64, error) {
	if cell == "" {
		return nil, nil
	}
	fields := map[string][]uint64{"id": {1}}
	cell, limits, _ := strings.Cut(cell, ", and the limits, ")
	for part := range strings.SplitSeq(strings.ReplaceAll(cell, "`", ""), ", ") {
		name, tags, _ := strings.Cut(part, " ")
		for text := range strings.SplitSeq(tags, " or ") {
			tag, err := strconv.ParseUint(text, 10, 64)
			if err != nil {
				return nil, fmt.Errorf("%q: %w", part, err)
			}
			fields[name] = append(fields[name], tag)
		}
	}
	if limits == "" {
		return fields, nil
	}
	var first, last uint64
	if _, err := fmt.Sscanf(limits, "%d to %d", &first, &last); err != nil {
		return nil, fmt.Errorf("%q: %w", limits, err)
	}
	for tag := first; tag <= last; tag++ {
		fields["limits"] = append(fields["limits"], tag)
	}
	return fields, nil
}

// field finds a field by its tag.
func (c *Codec) field(tag uint64) (Field, bool) {
	i := slices.IndexFunc(c.Fields, func(f Field) bool { return f.Tag == tag })
	if i < 0 {
		return Field{}, false
	}
	return c.Fields[i], true
}

// isList reports whether the field comes once for each element.
func (f Field) isList() bool { return f.Form == "frames" || f.Form == "groups" }
