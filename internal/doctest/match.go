package doctest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// Values holds JSON values by the names that a sequence has given them.
type Values map[string]json.RawMessage

// placeholder finds "<kind>", "<kind name>" and "<name>", quotes included.
var placeholder = regexp.MustCompile(`"<([a-zA-Z0-9]+)(?: ([a-zA-Z0-9]+))?>"`)

// kinds says what the placeholder of each kind stands for.
var kinds = map[string]func(value any) bool{
	"any":    func(any) bool { return true },
	"string": func(v any) bool { _, ok := v.(string); return ok },
	"bool":   func(v any) bool { _, ok := v.(bool); return ok },
	"int": func(v any) bool {
		n, ok := v.(json.Number)
		return ok && !strings.ContainsAny(n.String(), ".eE")
	},
	"uuid": func(v any) bool {
		text, ok := v.(string)
		return ok && uuid.MatchString(text)
	},
}

var uuid = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// Fill returns the frame with the named values in the place of their names; the
// rest stays byte for byte. A name that has no value is an error.
func (v Values) Fill(frame []byte) ([]byte, error) {
	var failed error
	filled := placeholder.ReplaceAllFunc(frame, func(found []byte) []byte {
		groups := placeholder.FindSubmatch(found)
		value, ok := v[string(groups[1])]
		if !ok || len(groups[2]) > 0 {
			failed = fmt.Errorf("%s stands for no value that can be sent", found)
			return found
		}
		return value
	})
	return filled, failed
}

// Match compares a frame with what the page says, and keeps the values that the
// page names. Objects must have the same fields, in any order.
func (v Values) Match(want, got []byte) error {
	w, err := parse(want)
	if err != nil {
		return fmt.Errorf("the page's frame: %w", err)
	}
	g, err := parse(got)
	if err != nil {
		return fmt.Errorf("the frame is not JSON: %w", err)
	}
	return v.match("frame", w, g)
}

func (v Values) match(path string, want, got any) error {
	switch w := want.(type) {
	case map[string]any:
		g, ok := got.(map[string]any)
		if !ok {
			return fmt.Errorf("%s is %s, not an object", path, show(got))
		}
		return v.matchObject(path, w, g)
	case []any:
		g, ok := got.([]any)
		if !ok || len(g) != len(w) {
			return fmt.Errorf("%s is %s, not an array of %d", path, show(got), len(w))
		}
		for i := range w {
			if err := v.match(fmt.Sprintf("%s[%d]", path, i), w[i], g[i]); err != nil {
				return err
			}
		}
		return nil
	case string:
		if groups := placeholder.FindStringSubmatch(`"` + w + `"`); groups != nil {
			return v.matchPlaceholder(path, groups[1], groups[2], got)
		}
	}
	if want != got { // strings, numbers as written, booleans, null
		return fmt.Errorf("%s is %s, not %s", path, show(got), show(want))
	}
	return nil
}

func (v Values) matchObject(path string, want, got map[string]any) error {
	for _, name := range slices.Sorted(maps.Keys(want)) {
		value, ok := got[name]
		if !ok {
			return fmt.Errorf("%s has no %s", path, name)
		}
		if err := v.match(path+"."+name, want[name], value); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(got)) {
		if _, ok := want[name]; !ok {
			return fmt.Errorf("%s has a field %s, which the page does not show", path, name)
		}
	}
	return nil
}

func (v Values) matchPlaceholder(path, word, name string, got any) error {
	is, isKind := kinds[word]
	if !isKind {
		value, ok := v[word]
		if !ok || name != "" {
			return fmt.Errorf("%s: the page's <%s> is neither a kind nor a name that has a value", path, word)
		}
		want, err := parse(value)
		if err != nil {
			return fmt.Errorf("%s: the value of <%s>: %w", path, word, err)
		}
		if show(got) != show(want) {
			return fmt.Errorf("%s is %s, not <%s>, which is %s", path, show(got), word, show(want))
		}
		return nil
	}
	if !is(got) {
		return fmt.Errorf("%s is %s, not of the kind %s", path, show(got), word)
	}
	if name != "" {
		v[name] = json.RawMessage(show(got))
	}
	return nil
}

// parse reads one JSON value, its numbers as they are written.
func parse(data []byte) (any, error) {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		return nil, err
	}
	if _, err := decoder.Token(); err != io.EOF {
		return nil, fmt.Errorf("data after the value at byte %d", decoder.InputOffset())
	}
	return value, nil
}

// show returns a parsed value as JSON, with its names sorted.
func show(value any) string {
	var text strings.Builder
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		panic(err) // what parse returns can be encoded
	}
	return strings.TrimSuffix(text.String(), "\n")
}
