package api

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/thronghq/throng/proto"
)

// body reads the request's body, which is JSON, up to the route's bound. What
// the client says of its length allocates nothing.
func (c *call) body() ([]byte, *proto.Error) {
	if err := c.checkBodyType(); err != nil {
		return nil, err
	}
	limit := c.api.bodyLimit(c.route)
	if c.r.ContentLength > limit {
		return nil, bodyTooLarge(limit)
	}
	text, err := c.readAll(http.MaxBytesReader(c.w.ResponseWriter, c.r.Body, limit))
	switch _, large := errors.AsType[*http.MaxBytesError](err); {
	case large:
		return nil, bodyTooLarge(limit)
	case errors.Is(err, errNoMemory):
		c.w.Header().Set("Connection", "close") // and do not wait for the rest
		return nil, noMemory()
	case c.r.Context().Err() != nil:
		return nil, c.late()
	case err != nil:
		return nil, proto.ErrInvalidJSON.With("the body ended before its end")
	}
	return text, nil
}

// firstRead is the space for a body before anything of it has come.
const firstRead = 512

// errNoMemory means that there is no memory for more of a body.
var errNoMemory = errors.New("the memory for requests' bodies is used up")

// readAll reads to the end, as long as there is memory for it. What it holds is
// counted until the request ends.
func (c *call) readAll(r io.Reader) ([]byte, error) {
	b := make([]byte, 0, firstRead)
	for {
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
		if !c.hold(cap(b)) {
			return nil, errNoMemory
		}
		n, err := r.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		switch {
		case err == io.EOF:
			return b, nil
		case err != nil:
			return nil, err
		}
	}
}

// hold counts that the request's body takes so many bytes by now. It reports
// whether there is memory for it, which for administrators there is always.
func (c *call) hold(bytes int) bool {
	c.api.bodies.Add(int64(bytes) - c.held)
	c.held = int64(bytes)
	most := c.api.BodiesBytes
	return c.route.Access == Admin || !c.api.Memory.Full() && (most == 0 || c.api.bodies.Held() <= most)
}

// noMemory is the error of a request that there is no memory for.
func noMemory() *proto.Error { return proto.ErrOverloaded.After(retrySoon + rand.N(retrySoon)) }

func bodyTooLarge(limit int64) *proto.Error {
	return proto.ErrTooLarge.With("the body is larger than %d bytes", limit)
}

// checkBodyType refuses bodies that are not JSON in UTF-8, or compressed.
func (c *call) checkBodyType() *proto.Error {
	given := c.r.Header.Get("Content-Type")
	if given == "" && c.r.ContentLength == 0 {
		return nil // no body, which is no object either
	}
	kind, params, err := mime.ParseMediaType(given)
	charset, has := params["charset"]
	if err != nil || kind != "application/json" || has && !strings.EqualFold(charset, "utf-8") {
		return proto.ErrMediaType.With("the Content-Type is %.60q; application/json is expected", given)
	}
	if coding := c.r.Header.Get("Content-Encoding"); coding != "" && !strings.EqualFold(coding, "identity") {
		return proto.ErrMediaType.With("the Content-Encoding is %.60q; bodies are taken as they are", coding)
	}
	return nil
}

// object reads the request's body, an object that has no fields but the given
// ones. Whatever is wrong with it is told by the object's err.
func (c *call) object(known ...string) *object {
	text, err := c.body()
	if err != nil {
		return &object{err: err}
	}
	return parseObject(text, known)
}

// optionalObject is object where the request may also have no body.
func (c *call) optionalObject(known ...string) *object {
	text, err := c.body()
	switch {
	case err != nil:
		return &object{err: err}
	case len(bytes.TrimSpace(text)) == 0:
		return &object{}
	}
	return parseObject(text, known)
}

// noBody refuses a request whose body says something.
func (c *call) noBody() *proto.Error { return c.optionalObject().err }

// object is a JSON object cut into its fields, whose values alias its text. Its
// methods keep the first thing that is wrong in err; what they return after
// that does not count.
type object struct {
	fields map[string]jsontext.Value
	err    *proto.Error
}

// repeatable lets names repeat within values: in content the server does not
// interpret them. An object's own names may not.
var repeatable = []jsontext.Options{jsontext.AllowDuplicateNames(true)}

// parseObject reads one JSON object, which the result's values alias: the decoder
// reads a bytes.Buffer in place. Its grammar is RFC 8259's, in UTF-8, with
// names that are known and come once, and nothing after it.
func parseObject(text []byte, known []string) *object {
	o := &object{fields: make(map[string]jsontext.Value, len(known))}
	d := jsontext.NewDecoder(bytes.NewBuffer(text), repeatable...)
	if kind := d.PeekKind(); kind != jsontext.KindBeginObject {
		o.err = invalidBody(d, text)
		return o
	}
	_, err := d.ReadToken()
	for err == nil && d.PeekKind() != jsontext.KindEndObject {
		var quoted, value jsontext.Value
		if quoted, err = d.ReadValue(); err != nil {
			break
		}
		var name []byte
		if name, err = jsontext.AppendUnquote(nil, quoted); err != nil {
			break
		}
		if value, err = d.ReadValue(); err != nil {
			break
		}
		o.add(string(name), value, known)
	}
	if err == nil {
		_, err = d.ReadToken()
	}
	if err == nil {
		if _, err = d.ReadToken(); err == nil {
			err = errors.New("data after the object")
		} else if errors.Is(err, io.EOF) {
			err = nil
		}
	}
	if err != nil {
		o.err = wrongJSON(err)
	}
	return o
}

// add takes one field, or says what is wrong with it. A syntax error further on
// still replaces that.
func (o *object) add(name string, value jsontext.Value, known []string) {
	_, twice := o.fields[name]
	switch {
	case o.err != nil:
	case !slices.Contains(known, name):
		o.err = unknownField("field", name, known)
	case twice:
		o.err = proto.ErrInvalidField.With("field %q comes twice; it may come once", name)
	}
	o.fields[name] = value
}

func unknownField(what, name string, known []string) *proto.Error {
	expected := "none is taken here"
	if len(known) > 0 {
		expected = "known are " + strings.Join(known, ", ")
	}
	return proto.ErrInvalidField.With("%s %.60q is not known; %s", what, name, expected)
}

// invalidBody says what stands where an object should.
func invalidBody(d *jsontext.Decoder, text []byte) *proto.Error {
	if len(bytes.TrimSpace(text)) == 0 {
		return proto.ErrInvalidJSON.With("the body is empty; a JSON object is expected")
	}
	value, err := d.ReadValue()
	if err != nil {
		return wrongJSON(err)
	}
	return proto.ErrInvalidJSON.With("the body is %s; a JSON object is expected", kindOf(value))
}

// wrongJSON turns the library's error into the client's.
func wrongJSON(err error) *proto.Error {
	if syntax, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		return proto.ErrInvalidJSON.With("the body is not valid JSON at byte %d: %v", syntax.ByteOffset, syntax.Err)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return proto.ErrInvalidJSON.With("the body is not valid JSON: it ends before its end")
	}
	return proto.ErrInvalidJSON.With("the body is not valid JSON: %v", err)
}

// kindOf names what a value is.
func kindOf(v jsontext.Value) string {
	switch v.Kind() {
	case jsontext.KindBeginObject:
		return "an object"
	case jsontext.KindBeginArray:
		return "a list"
	case jsontext.KindString:
		return "a string"
	case jsontext.KindNumber:
		return "a number"
	default:
		return string(v) // null, true or false
	}
}

func (o *object) has(name string) bool { return o.fields[name] != nil }

// fail keeps the first error.
func (o *object) fail(err *proto.Error) {
	if o.err == nil {
		o.err = err
	}
}

func (o *object) missing(name, expected string) {
	o.fail(proto.ErrInvalidField.With("field %q is missing; %s is expected", name, expected))
}

// wrong fails for a field's value, which it shows where it is no secret.
func (o *object) wrong(name, shown, expected string) {
	o.fail(proto.ErrInvalidField.With("field %q is %s; %s is expected", name, shown, expected))
}

// show is a value, short enough for an error.
func (o *object) show(name string) string {
	const most = 40
	value := o.fields[name]
	if len(value) <= most {
		return string(value)
	}
	n := most
	for n > 0 && !utf8.RuneStart(value[n]) {
		n--
	}
	return string(value[:n]) + "…"
}

// text returns a string of 1 to most bytes that must be there.
func (o *object) text(name string, most int) string { return o.string(name, most, false) }

// secret is text whose value no error shows.
func (o *object) secret(name string, most int) string { return o.string(name, most, true) }

// optionalSecret is secret, nil where there is none.
func (o *object) optionalSecret(name string, most int) *string {
	if !o.has(name) {
		return nil
	}
	text := o.secret(name, most)
	return &text
}

// optionalText returns a string of 1 to most bytes, nil where there is none.
func (o *object) optionalText(name string, most int) *string {
	if !o.has(name) {
		return nil
	}
	text := o.string(name, most, false)
	return &text
}

func (o *object) string(name string, most int, secret bool) string {
	expected := "a string of 1 to " + strconv.Itoa(most) + " bytes"
	value := o.fields[name]
	if value == nil {
		o.missing(name, expected)
		return ""
	}
	text, err := jsontext.AppendUnquote(nil, value)
	if value.Kind() == jsontext.KindString && err == nil && len(text) >= 1 && len(text) <= most {
		return string(text)
	}
	shown := "not one"
	switch {
	case value.Kind() != jsontext.KindString:
		shown = kindOf(value)
	case !secret:
		shown = o.show(name)
	}
	o.wrong(name, shown, expected)
	return ""
}

// boolean returns a truth, nil where there is none.
func (o *object) boolean(name string) *bool {
	value := o.fields[name]
	if value == nil {
		return nil
	}
	truth := value.Kind() == jsontext.KindTrue
	if !truth && value.Kind() != jsontext.KindFalse {
		o.wrong(name, o.show(name), "true or false")
	}
	return &truth
}

// integer returns an integer of least to most, nil where there is none.
func (o *object) integer(name string, least, most uint64) *uint64 {
	value := o.fields[name]
	if value == nil {
		return nil
	}
	n, err := strconv.ParseUint(string(value), 10, 64)
	if err != nil || n < least || n > most {
		o.wrong(name, o.show(name), integerOf(least, most))
	}
	return &n
}

func integerOf(least, most uint64) string {
	return "an integer of " + strconv.FormatUint(least, 10) + " to " + strconv.FormatUint(most, 10)
}

// list returns the elements of a list of 1 to most values that must be there.
func (o *object) list(name string, most int) []jsontext.Value {
	expected := "a list of 1 to " + strconv.Itoa(most) + " values"
	value := o.fields[name]
	if value == nil {
		o.missing(name, expected)
		return nil
	}
	if value.Kind() != jsontext.KindBeginArray {
		o.wrong(name, o.show(name), expected)
		return nil
	}
	d := jsontext.NewDecoder(bytes.NewBuffer(value), repeatable...)
	_, err := d.ReadToken()
	var elements []jsontext.Value
	for err == nil && d.PeekKind() != jsontext.KindEndArray {
		var element jsontext.Value
		if element, err = d.ReadValue(); err == nil {
			elements = append(elements, element)
		}
		if len(elements) > most {
			o.wrong(name, "longer", expected)
			return nil
		}
	}
	if err != nil || len(elements) == 0 {
		o.wrong(name, "empty", expected)
	}
	return elements
}

// texts returns a list of 1 to most strings that must be there.
func (o *object) texts(name string, most int) []string {
	elements := o.list(name, most)
	texts := make([]string, 0, len(elements))
	for i, e := range elements {
		text, err := jsontext.AppendUnquote(nil, e)
		if e.Kind() != jsontext.KindString || err != nil {
			o.wrong(name+"["+strconv.Itoa(i)+"]", kindOf(e), "a string")
			return nil
		}
		texts = append(texts, string(text))
	}
	return texts
}
