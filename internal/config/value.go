package config

import (
	"encoding"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/thronghq/throng/proto"
)

// value is a key's place in a Config, with the type and bounds that the key
// has. A value that is refused leaves the place as it was.
type value interface {
	// set reads the text of a flag or of the environment.
	set(text string) error
	// setTOML reads what the TOML parser made of the value.
	setTOML(v any) error
	// text is the value as set would read it; toml as a file would.
	text() string
	toml() string
	// accepts says what set takes, for errors and the documentation.
	accepts() string
}

// isList tells the values that a repeated flag adds to.
type isList interface{ list() }

// stringValue is any text, or one of a few words.
type stringValue struct {
	at    *string
	words []string // all that is accepted, nil for any text
}

func (v stringValue) set(text string) error {
	if v.words != nil && !slices.Contains(v.words, text) {
		return errors.New("unknown")
	}
	*v.at = text
	return nil
}

func (v stringValue) setTOML(raw any) error { return setString(v, raw) }
func (v stringValue) text() string          { return *v.at }
func (v stringValue) toml() string          { return quoteTOML(*v.at) }

func (v stringValue) accepts() string {
	if v.words != nil {
		return "one of " + strings.Join(v.words, ", ")
	}
	return "text"
}

// listValue is a list of texts; a flag or variable separates them by commas.
type listValue struct {
	at    *[]string
	what  string
	check func(item string) error // nil accepts every item that is not empty
}

func (v listValue) list() {}

func (v listValue) set(text string) error {
	items := []string{}
	for item := range strings.SplitSeq(text, ",") {
		if item = strings.TrimSpace(item); item != "" {
			items = append(items, item)
		}
	}
	return v.setItems(items)
}

func (v listValue) setItems(items []string) error {
	for _, item := range items {
		if v.check == nil {
			continue
		}
		if err := v.check(item); err != nil {
			return fmt.Errorf("%q: %w", item, err)
		}
	}
	*v.at = items
	return nil
}

func (v listValue) setTOML(raw any) error {
	list, ok := raw.([]any)
	if !ok {
		return errors.New("not a list of strings")
	}
	items := make([]string, len(list))
	for i, item := range list {
		if items[i], ok = item.(string); !ok {
			return fmt.Errorf("element %d is not a string", i+1)
		}
	}
	return v.setItems(items)
}

func (v listValue) text() string { return strings.Join(*v.at, ",") }

func (v listValue) toml() string {
	quoted := make([]string, len(*v.at))
	for i, item := range *v.at {
		quoted[i] = quoteTOML(item)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

func (v listValue) accepts() string { return "a list of " + v.what }

// boolValue is true or false.
type boolValue struct{ at *bool }

func (v boolValue) set(text string) error {
	switch text {
	case "true", "1":
		*v.at = true
	case "false", "0":
		*v.at = false
	default:
		return errors.New("neither")
	}
	return nil
}

func (v boolValue) setTOML(raw any) error {
	b, ok := raw.(bool)
	if !ok {
		return errors.New("not a boolean")
	}
	*v.at = b
	return nil
}

func (v boolValue) text() string    { return strconv.FormatBool(*v.at) }
func (v boolValue) toml() string    { return v.text() }
func (v boolValue) accepts() string { return "true or false" }

// intValue is a whole number between two bounds, both accepted.
type intValue struct {
	at       *int
	min, max int
}

func (v intValue) set(text string) error {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return errors.New("not a whole number")
	}
	return v.setTOML(n)
}

func (v intValue) setTOML(raw any) error {
	n, ok := raw.(int64)
	if !ok {
		return errors.New("not a whole number")
	}
	if n < int64(v.min) || n > int64(v.max) {
		return errors.New("out of range")
	}
	*v.at = int(n)
	return nil
}

func (v intValue) text() string    { return strconv.Itoa(*v.at) }
func (v intValue) toml() string    { return v.text() }
func (v intValue) accepts() string { return fmt.Sprintf("a number from %d to %d", v.min, v.max) }

// sizeValue is a number of bytes between two bounds, both accepted.
type sizeValue struct {
	at       *int
	min, max int
}

func (v sizeValue) set(text string) error {
	n, err := parseSize(text)
	if err != nil {
		return err
	}
	return v.setTOML(n)
}

func (v sizeValue) setTOML(raw any) error {
	if text, ok := raw.(string); ok {
		return v.set(text)
	}
	n, ok := raw.(int64)
	if !ok {
		return errors.New("not a size")
	}
	if n < int64(v.min) || n > int64(v.max) {
		return errors.New("out of range")
	}
	*v.at = int(n)
	return nil
}

func (v sizeValue) text() string { return formatSize(*v.at) }
func (v sizeValue) toml() string { return quoteTOML(v.text()) }

func (v sizeValue) accepts() string {
	return fmt.Sprintf(`a size from %s to %s, such as "64KiB" or a number of bytes`, formatSize(v.min), formatSize(v.max))
}

// durationValue is a time span between two bounds, both accepted.
type durationValue struct {
	at       *time.Duration
	min, max time.Duration
}

func (v durationValue) set(text string) error {
	d, err := time.ParseDuration(text)
	if err != nil {
		return errors.New("not a duration")
	}
	if d < v.min || d > v.max {
		return errors.New("out of range")
	}
	*v.at = d
	return nil
}

func (v durationValue) setTOML(raw any) error { return setString(v, raw) }
func (v durationValue) text() string          { return formatDuration(*v.at) }
func (v durationValue) toml() string          { return quoteTOML(v.text()) }

func (v durationValue) accepts() string {
	return fmt.Sprintf(`a duration from %s to %s, with its unit (ms, s, m, h)`, formatDuration(v.min), formatDuration(v.max))
}

// rateValue is a bound on how often something may happen, or "".
type rateValue struct {
	at    *proto.Rate
	empty string // what "" stands for
}

func (v rateValue) set(text string) error {
	r, err := proto.ParseRate(text)
	if err != nil {
		return err
	}
	*v.at = r
	return nil
}

func (v rateValue) setTOML(raw any) error { return setString(v, raw) }
func (v rateValue) text() string          { return v.at.String() }
func (v rateValue) toml() string          { return quoteTOML(v.text()) }
func (v rateValue) accepts() string {
	return `a rate such as "10/s", or "30/m burst 100", or "" for ` + v.empty
}

// textValue is a type with text of its own, of which there are a few.
type textValue struct {
	at interface {
		encoding.TextUnmarshaler
		fmt.Stringer
	}
	words []string // what is accepted
}

func (v textValue) set(text string) error {
	if !slices.Contains(v.words, text) {
		return errors.New("unknown")
	}
	return v.at.UnmarshalText([]byte(text))
}

func (v textValue) setTOML(raw any) error { return setString(v, raw) }
func (v textValue) text() string          { return strings.ToLower(v.at.String()) }
func (v textValue) toml() string          { return quoteTOML(v.text()) }
func (v textValue) accepts() string       { return "one of " + strings.Join(v.words, ", ") }

func setString(v value, raw any) error {
	text, ok := raw.(string)
	if !ok {
		return errors.New("not a string")
	}
	return v.set(text)
}
