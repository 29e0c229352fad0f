package doctest_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/thronghq/throng/internal/doctest"
)

// page shows the forms that a page may have; code fences are written as ~~~.
const page = `# A page

~~~json
{"only": "shown"}
~~~

<!-- a comment -->
<!-- sequence: greet -->

~~~mermaid
sequenceDiagram
~~~

~~~json client ann
{"say": "hello", "n": 1.0}
{"say": "bye"}
~~~

~~~~json server bob
{
  "heard": "hello"
}
~~~~

<!-- end -->

<!-- sequence: again -->
~~~json server ann
{}
~~~
<!-- end -->
`

func markdown(text string) []byte { return []byte(strings.ReplaceAll(text, "~", "`")) }

func TestSequences(t *testing.T) {
	got, err := doctest.Sequences(markdown(page))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		`greet 8`,
		`ann false 14 {"say": "hello", "n": 1.0}`,
		`ann false 14 {"say": "bye"}`,
		"bob true 19 {\n  \"heard\": \"hello\"\n}",
		`again 27`,
		`ann true 28 {}`,
	}
	var lines []string
	for _, s := range got {
		lines = append(lines, fmt.Sprintf("%s %d", s.Name, s.Line))
		for _, step := range s.Steps {
			lines = append(lines, fmt.Sprintf("%s %v %d %s", step.Client, step.Server, step.Line, step.JSON))
		}
	}
	if !slices.Equal(lines, want) {
		t.Errorf("got %q\nwant %q", lines, want)
	}
	if withCRLF, err := doctest.Sequences(markdown(strings.ReplaceAll(page, "\n", "\r\n"))); err != nil || len(withCRLF) != 2 {
		t.Errorf("with CRLF: %d sequences, %v", len(withCRLF), err)
	}
}

func TestSequencesErrors(t *testing.T) {
	const begin, end = "<!-- sequence: a -->\n", "<!-- end -->\n"
	const block = "~~~json client ann\n{}\n~~~\n"
	tests := map[string]string{
		begin + block:                           "line 1: the sequence has no end",
		begin + block + begin:                   `line 5: sequence "a" is still open`,
		begin + block + end + begin:             `line 6: sequence "a" is there twice`,
		begin + end:                             `line 2: sequence "a" has no frames`,
		end:                                     "line 1: no sequence is open",
		"<!-- sequence: -->":                    "line 1: the sequence has no name",
		block:                                   "line 1: a block that is run stands in a sequence",
		begin + "~~~json client ann\n{}":        "line 2: the block has no end",
		begin + "~~~json client\n":              `line 2: a block that is run begins with: json client NAME, or json server NAME; this one with "json client"`,
		begin + "~~~json sever ann\n":           `line 2: a block that is run begins`,
		begin + "~~~json client ann\n~~~\n":     "line 3: the block is empty",
		begin + "~~~json client ann\n{]\n~~~\n": "line 4: the block that begins in line 2: invalid character",
	}
	for text, want := range tests {
		_, err := doctest.Sequences(markdown(text))
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: %v; want %s", text, err, want)
		}
	}
}

// replay is a Transport whose server says what it was told to say.
type replay struct {
	sent    []string
	answers map[string][]string
}

func (r *replay) Send(client string, frame []byte) error {
	if client == "deaf" {
		return errors.New("not connected")
	}
	r.sent = append(r.sent, client+" "+string(frame))
	return nil
}

func (r *replay) Receive(client string) ([]byte, error) {
	answers := r.answers[client]
	if len(answers) == 0 {
		return nil, errors.New("nothing came")
	}
	r.answers[client] = answers[1:]
	return []byte(answers[0]), nil
}

func TestRun(t *testing.T) {
	sequences, err := doctest.Sequences(markdown(`<!-- sequence: s -->
~~~json client ann
{"type":"auth", "token":"<token>"}
~~~
~~~json server ann
{"type":"joined","epoch":"<string epoch>","offset":"<int at>"}
~~~
~~~json client bob
{"type":"ack","epoch":"<epoch>","offset":"<at>"}
~~~
~~~json server bob
{"type":"ack","epoch":"<epoch>","offset":"<at>"}
~~~
<!-- end -->
`))
	if err != nil {
		t.Fatal(err)
	}
	named := map[string]json.RawMessage{"token": json.RawMessage(`"t.o.k"`)}
	run := func(bob string) ([]string, error) {
		server := &replay{answers: map[string][]string{
			"ann": {`{"offset":12,"epoch":"\u0065<1>","type":"joined"}`},
			"bob": {bob},
		}}
		err := sequences[0].Run(server, named)
		return server.sent, err
	}

	sent, err := run(`{"offset":12,"type":"ack","epoch":"e<1>"}`)
	if err != nil {
		t.Error(err)
	}
	if want := []string{`ann {"type":"auth", "token":"t.o.k"}`, `bob {"type":"ack","epoch":"e<1>","offset":12}`}; !slices.Equal(sent, want) {
		t.Errorf("sent %q, want %q", sent, want)
	}
	if len(named) != 1 {
		t.Errorf("Run left %d names with its caller", len(named))
	}
	_, err = run(`{"offset":13,"type":"ack","epoch":"e<1>"}`)
	if err == nil || !strings.HasPrefix(err.Error(), `sequence "s", line 11, client bob: frame.offset is 13, not <at>, which is 12`) {
		t.Errorf("a wrong offset: %v", err)
	}
}

func TestRunErrors(t *testing.T) {
	tests := map[string]string{
		"json client deaf\n{}":               "not connected",
		"json client ann\n{\"a\":\"<x>\"}":   `"<x>" stands for no value that can be sent`,
		"json client ann\n{\"a\":\"<int>\"}": `"<int>" stands for no value that can be sent`,
		"json server ann\n{}":                "waiting for {}: nothing came",
	}
	for block, want := range tests {
		sequences, err := doctest.Sequences(markdown("<!-- sequence: s -->\n~~~" + block + "\n~~~\n<!-- end -->"))
		if err != nil {
			t.Fatal(err)
		}
		err = sequences[0].Run(&replay{}, nil)
		if err == nil || !strings.Contains(err.Error(), "line 2") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %s", block, err, want)
		}
	}
}

func TestUser(t *testing.T) {
	for client, want := range map[string]string{"ann": "ann", "ann#2": "ann"} {
		if got := doctest.User(client); got != want {
			t.Errorf("client %s is user %q, want %q", client, got, want)
		}
	}
}

func TestMatch(t *testing.T) {
	const id = `"0192f0c4-1a2b-7c3d-8e4f-5a6b7c8d9e0f"`
	tests := []struct {
		want, got string
		err       string // "" for a match
	}{
		{`{"a":1,"b":[true,null,"x"]}`, `{"b":[true,null,"x"],"a":1}`, ""},
		{`{"a":1}`, `{"a":2}`, "frame.a is 2, not 1"},
		{`{"a":1}`, `{"a":1.0}`, "frame.a is 1.0, not 1"},
		{`{"a":1}`, `{"a":"1"}`, `frame.a is "1", not 1`},
		{`{"a":1}`, `{}`, "frame has no a"},
		{`{}`, `{"a":1}`, "frame has a field a, which the page does not show"},
		{`{}`, `[]`, "frame is [], not an object"},
		{`{"a":[1,2]}`, `{"a":[1]}`, "frame.a is [1], not an array of 2"},
		{`{"a":[1,2]}`, `{"a":{}}`, "frame.a is {}, not an array of 2"},
		{`{"a":[1,2]}`, `{"a":[1,3]}`, "frame.a[1] is 3, not 2"},
		{`{"a":null}`, `{"a":false}`, "frame.a is false, not null"},
		{`"<any>"`, `[{}]`, ""},
		{`"<string>"`, `"x"`, ""},
		{`"<string>"`, `1`, "frame is 1, not of the kind string"},
		{`"<int>"`, `9007199254740991`, ""},
		{`"<int>"`, `1.5`, "frame is 1.5, not of the kind int"},
		{`"<int>"`, `"1"`, `frame is "1", not of the kind int`},
		{`"<bool>"`, `false`, ""},
		{`"<bool>"`, `null`, "frame is null, not of the kind bool"},
		{`"<uuid>"`, id, ""},
		{`"<uuid>"`, `"0192f0c4"`, `frame is "0192f0c4", not of the kind uuid`},
		{`["<uuid m>","<m>"]`, `[` + id + `,` + id + `]`, ""},
		{`["<any m>","<m>"]`, `[{"b":1,"a":2},{"a":2,"b":1}]`, ""},
		{`["<int m>","<m>"]`, `[1,2]`, "frame[1] is 2, not <m>, which is 1"},
		{`"<m>"`, `1`, "frame: the page's <m> is neither a kind nor a name that has a value"},
		{`"a <int> b"`, `"a <int> b"`, ""},
		{`{}`, `{} {}`, "the frame is not JSON: data after the value at byte 4"},
		{`{}`, `{`, "the frame is not JSON"},
		{`{`, `{}`, "the page's frame"},
	}
	for _, test := range tests {
		err := doctest.Values{}.Match([]byte(test.want), []byte(test.got))
		switch {
		case test.err == "" && err != nil:
			t.Errorf("%s matches %s: %v", test.want, test.got, err)
		case test.err != "" && (err == nil || !strings.HasPrefix(err.Error(), test.err)):
			t.Errorf("%s matches %s: %v; want %s", test.want, test.got, err, test.err)
		}
	}
}
