// Package doctest finds the conversations that a Markdown page shows and
// replays them, so that a reference says only what the server does.
//
// A conversation stands between two comments, which a reader doesn't see:
//
//	<!-- sequence: publish -->
//	Prose, diagrams and blocks of other languages are skipped.
//	```json client ann
//	{"type":"join","id":"1","room":"tour"}
//	```
//	```json server ann
//	{"type":"joined","id":"1","room":"tour","epoch":"<string epoch>","offset":0,"recovered":false,"members":1}
//	```
//	<!-- end -->
//
// A client block holds one or more frames that the client of that name sends,
// byte for byte as they stand; a server block holds the frames that it gets
// next. Each client is one connection: ann#2 is another one of the user ann.
//
// In a frame, a string in angle brackets stands for a value. "<kind>" is any
// value of that kind: any, string, int, bool or uuid. "<kind name>" also keeps
// the value under a name of one's choice; after that, "<name>" stands for the
// same value, in what is sent and in what is expected.
//
// The package opens no connection: a Transport does.
package doctest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"strings"
)

// A Sequence is one conversation.
type Sequence struct {
	Name  string
	Line  int // of its first comment, from 1
	Steps []Step
}

// A Step is one frame.
type Step struct {
	Client string
	Server bool   // the server sends the frame to the client, not the client
	JSON   []byte // with its placeholders
	Line   int    // of the block, from 1
}

// A Transport connects the clients of one sequence to a server. A client
// connects when its name first comes up: if by Receive, its credentials go with
// the handshake; if by Send, the sequence shows how it introduces itself.
type Transport interface {
	// Send sends one frame. It does not keep the slice.
	Send(client string, frame []byte) error

	// Receive waits for the client's next frame, for a bounded time. The
	// caller owns what it returns.
	Receive(client string) ([]byte, error)
}

// User returns the name of the user whose connection a client is.
func User(client string) string {
	user, _, _ := strings.Cut(client, "#")
	return user
}

// Sequences returns the page's conversations in their order. A page whose marks
// don't fit together is an error that names the line.
func Sequences(markdown []byte) ([]Sequence, error) {
	p := parser{names: make(map[string]bool)}
	for i, line := range strings.Split(string(markdown), "\n") {
		if err := p.line(i+1, strings.TrimRight(line, "\r")); err != nil {
			return nil, fmt.Errorf("line %d: %w", i+1, err)
		}
	}
	switch {
	case p.block != nil:
		return nil, fmt.Errorf("line %d: the block has no end", p.block.Line)
	case p.open:
		return nil, fmt.Errorf("line %d: the sequence has no end", p.last().Line)
	}
	return p.done, nil
}

type parser struct {
	done  []Sequence
	names map[string]bool
	open  bool   // within the last sequence
	fence string // that ends the block at hand, "" outside of blocks
	block *Step  // the block at hand, nil where it is none of ours
	text  strings.Builder
}

func (p *parser) last() *Sequence { return &p.done[len(p.done)-1] }

func (p *parser) line(number int, line string) error {
	trimmed := strings.TrimSpace(line)
	switch {
	case p.fence != "" && trimmed == p.fence:
		p.fence = ""
		return p.endBlock()
	case p.fence != "":
		p.text.WriteString(line)
		p.text.WriteByte('\n')
		return nil
	case strings.HasPrefix(trimmed, "```"):
		info := strings.TrimLeft(trimmed, "`")
		p.fence = trimmed[:len(trimmed)-len(info)]
		p.text.Reset()
		return p.beginBlock(number, strings.Fields(info))
	}
	return p.comment(number, trimmed)
}

func (p *parser) comment(number int, line string) error {
	body, found := strings.CutPrefix(line, "<!--")
	if !found {
		return nil
	}
	body, found = strings.CutSuffix(body, "-->")
	if !found {
		return nil // a comment of several lines is none of ours
	}
	body = strings.TrimSpace(body)
	name, begins := strings.CutPrefix(body, "sequence:")
	switch {
	case begins:
		return p.begin(number, strings.TrimSpace(name))
	case body != "end":
		return nil
	case !p.open:
		return errors.New("no sequence is open")
	case len(p.last().Steps) == 0:
		return fmt.Errorf("sequence %q has no frames", p.last().Name)
	}
	p.open = false
	return nil
}

func (p *parser) begin(number int, name string) error {
	switch {
	case p.open:
		return fmt.Errorf("sequence %q is still open", p.last().Name)
	case name == "":
		return errors.New("the sequence has no name")
	case p.names[name]:
		return fmt.Errorf("sequence %q is there twice", name)
	}
	p.names[name], p.open = true, true
	p.done = append(p.done, Sequence{Name: name, Line: number})
	return nil
}

func (p *parser) beginBlock(number int, info []string) error {
	if len(info) < 2 || info[0] != "json" {
		return nil
	}
	if len(info) != 3 || info[1] != "client" && info[1] != "server" {
		return fmt.Errorf("a block that is run begins with: json client NAME, or json server NAME; this one with %q", strings.Join(info, " "))
	}
	if !p.open {
		return errors.New("a block that is run stands in a sequence")
	}
	p.block = &Step{Client: info[2], Server: info[1] == "server", Line: number}
	return nil
}

func (p *parser) endBlock() error {
	if p.block == nil {
		return nil
	}
	block := *p.block
	p.block = nil
	frames := json.NewDecoder(strings.NewReader(p.text.String()))
	for first := true; ; first = false {
		var frame json.RawMessage
		err := frames.Decode(&frame)
		switch {
		case err == io.EOF && !first:
			return nil
		case err == io.EOF:
			return errors.New("the block is empty")
		case err != nil:
			return fmt.Errorf("the block that begins in line %d: %w", block.Line, err)
		}
		block.JSON = bytes.Clone(frame)
		p.last().Steps = append(p.last().Steps, block)
	}
}

// Run replays the sequence: it sends what the clients send, in order, and
// compares what they receive. Named holds JSON values that the page may use
// from the start; Run does not change it. The error names the line.
func (s *Sequence) Run(t Transport, named map[string]json.RawMessage) error {
	values := Values{}
	maps.Copy(values, named)
	for _, step := range s.Steps {
		if err := step.run(t, values); err != nil {
			return fmt.Errorf("sequence %q, line %d, client %s: %w", s.Name, step.Line, step.Client, err)
		}
	}
	return nil
}

func (s *Step) run(t Transport, values Values) error {
	if !s.Server {
		frame, err := values.Fill(s.JSON)
		if err != nil {
			return err
		}
		return t.Send(s.Client, frame)
	}
	got, err := t.Receive(s.Client)
	if err != nil {
		return fmt.Errorf("waiting for %s: %w", s.JSON, err)
	}
	if err := values.Match(s.JSON, got); err != nil {
		return fmt.Errorf("%w\n got %s\nwant %s", err, got, s.JSON)
	}
	return nil
}
