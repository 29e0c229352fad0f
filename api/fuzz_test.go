package api

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/thronghq/throng/proto"
)

// FuzzObject holds the bodies that are taken to what encoding/json reads in
// them, and what is refused to an error that says why.
func FuzzObject(f *testing.F) {
	for _, seed := range []string{
		`{}`, ` {"content" : 1, "key":"k" } `, `{"content":{"a":1,"a":2}}`, `{"content":1,"content":2}`, `{"conten\u0074":[1,"}"]}`,
		`{"content":1}x`, `{"content":1`, `[]`, `null`, ``, `{"content":"\ud800"}`, "{\"content\":\"\xff\"}", `{"rooms":["a",["b"]]}`, `{"nonsense":0}`,
	} {
		f.Add([]byte(seed))
	}
	known := []string{"content", "key", "rooms"}
	f.Fuzz(func(t *testing.T, text []byte) {
		o := parseObject(text, known)
		if o.err != nil {
			if o.err.Text() == "" || strings.Contains(o.err.Text(), "%!") {
				t.Errorf("refused with %q", o.err.Text())
			}
			return
		}
		var fields map[string]json.RawMessage
		if err := json.Unmarshal(text, &fields); err != nil {
			t.Fatalf("taken, and no object: %v", err)
		}
		if len(fields) != len(o.fields) {
			t.Errorf("%d fields, want %d", len(o.fields), len(fields))
		}
		for name, value := range fields {
			if !bytes.Equal(bytes.TrimSpace(value), o.fields[name]) {
				t.Errorf("field %q is %q, want %q", name, o.fields[name], value)
			}
		}
		if o.has("rooms") {
			o.texts("rooms", 10)
		}
	})
}

// FuzzEvents: whatever the content is, an event reads back as the message that
// it was, with the right id, and as nothing besides.
func FuzzEvents(f *testing.F) {
	for _, seed := range []string{`1`, "{\r\n\"data: x\":\n\n[\r1]}", `"\n\nevent: x"`, `{"offset":7}`, `[{"type":"gap","offset":1}]`, "\"\u2028\"", ` "x" `} {
		f.Add([]byte(seed), uint64(5), "key")
		f.Add([]byte(seed), uint64(0), "")
	}
	limits := proto.DefaultLimits()
	codec := proto.NewJSON(&limits)
	f.Fuzz(func(t *testing.T, content []byte, offset uint64, key string) {
		if !jsontext.Value(content).IsValid() || offset > proto.MaxSafeInteger {
			return
		}
		m := proto.Message{Offset: offset, From: "ada", To: "lobby", Key: key, Kind: proto.KindJSON, Content: content}
		payload := codec.AppendMessage(nil, &m, true)
		st := &stream{epoch: "e:1"}
		st.append(payload)
		var data []string
		id, name := "", ""
		whole, ended := strings.CutSuffix(string(st.buf), "\n\n")
		if !ended {
			t.Fatalf("the event does not end: %q", st.buf)
		}
		for line := range strings.SplitSeq(whole, "\n") {
			field, value, _ := strings.Cut(line, ": ")
			switch field {
			case "data":
				data = append(data, value)
			case "id":
				id = value
			case "event":
				name = value
			default:
				t.Fatalf("the line %q in %q", line, st.buf)
			}
			if strings.ContainsRune(line, '\r') {
				t.Fatalf("a line end within the line %q", line)
			}
		}
		want := ""
		if offset > 0 {
			want = "e:1:" + strconv.FormatUint(offset, 10)
		}
		if id != want || name != "message" {
			t.Errorf("event %q with id %q, want %q", name, id, want)
		}
		sent, got := readJSON(t, string(payload)), readJSON(t, strings.Join(data, "\n"))
		if !reflect.DeepEqual(sent, got) {
			t.Errorf("read %v, want %v", got, sent)
		}
	})
}

// readJSON reads one JSON value, its numbers as they are written.
func readJSON(t *testing.T, text string) (value any) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&value); err != nil {
		t.Fatalf("%v in %q", err, text)
	}
	return value
}

// FuzzHeaders: no header makes the server fail.
func FuzzHeaders(f *testing.F) {
	f.Add("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "Bearer x", `"7-x"`)
	f.Add("*", "bearer  ", "-")
	f.Add("", "Basic", `"`)
	f.Fuzz(func(t *testing.T, trace, authorization, match string) {
		if token, err := bearer([]string{authorization}); (token == "") == (err == nil) {
			t.Errorf("%q gives the token %q and %v", authorization, token, err)
		}
		if version, err := ifVersion(match); err == nil && version == nil && strings.TrimSpace(match) != "" && strings.TrimSpace(match) != "*" {
			t.Errorf("%q matches anything", match)
		}
		if id := traceID(trace); len(id) != 32 || !isID(id) {
			t.Errorf("the trace id is %q", id)
		}
	})
}
