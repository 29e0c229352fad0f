package model

import (
	"flag"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/thronghq/throng/proto"
)

// How many programs each test plays, unless -rapid.checks says so. They have
// some forty steps each.
const (
	checks      = 100
	checksShort = 10
)

// TestModel plays random programs. A failure is shrunk and printed as the value
// that TestReplay takes.
func TestModel(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // so that a failure comes again
	checkPrograms(t)
}

// TestModelInParallel is TestModel with all processors: fewer failures come
// again, but goroutines meet that do not meet on one.
func TestModelInParallel(t *testing.T) { checkPrograms(t) }

func checkPrograms(t *testing.T) {
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "rapid.checks" })
	if !given {
		n := checks
		if testing.Short() {
			n = checksShort
		}
		if err := flag.Set("rapid.checks", strconv.Itoa(n)); err != nil {
			t.Fatal(err)
		}
	}
	rapid.Check(t, func(rt *rapid.T) {
		program := programs(sliceLength).Draw(rt, "program")
		if err := run(t, program, faults{}); err != nil {
			rt.Fatalf("%v\nafter\n%s", err, listing(program))
		}
	})
}

// listing is a program as it is written in Go.
func listing(program []step) string {
	var b strings.Builder
	for _, s := range program {
		fmt.Fprintf(&b, "\t%v,\n", s)
	}
	return b.String()
}

// TestTheModelCanFail breaks the server on purpose, in ways that a bug might,
// and expects the model to complain of each.
func TestTheModelCanFail(t *testing.T) {
	for name, f := range map[string]faults{
		"a message is not stored as it was sent": {publish: func(n int64, p *proto.Publish) {
			if n == 3 {
				p.Content = []byte(`"something else"`)
			}
		}},
		"a message is stored for another author": {publish: func(n int64, p *proto.Publish) {
			if n == 3 {
				p.From = "eve"
			}
		}},
		"a key is not stored":                       {publish: func(_ int64, p *proto.Publish) { p.Key = "" }},
		"a message is missing when the log is read": {read: func(n int64, _ *proto.Message) bool { return n%4 != 0 }},
		"a message is read with another's id": {read: func(n int64, m *proto.Message) bool {
			if n%4 == 0 {
				m.ID[15]++
			}
			return true
		}},
		"two offsets change places when the log is read": {read: func(n int64, m *proto.Message) bool {
			if n%6 == 0 {
				m.Offset++
			}
			return true
		}},
		"a deletion leaves the content": {edit: func(p *proto.Publish) {
			if p.Edit == proto.EditDelete {
				p.Kind, p.Content = proto.KindJSON, []byte(`"still here"`)
			}
		}},
		"a trim leaves one message more": {edit: func(p *proto.Publish) {
			if p.Edit == proto.EditTrim {
				p.Offset--
			}
		}},
		"binary clients get bytes as JSON": {binary: func(m *proto.Message) {
			if m.Kind == proto.KindBytes {
				m.Kind, m.Content = proto.KindJSON, []byte(`"bytes"`)
			}
		}},
		"what the log refuses is acknowledged": {acksAll: true},
		"the rooms go by the machine's clock":  {machine: true},
		"a connection loses a frame":           {lose: func(n int64) bool { return n%9 == 0 }},
		"a store that syncs nothing":           {unsynced: true},
	} {
		t.Run(name, func(t *testing.T) {
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
			generator := programs(sliceLength)
			const most = 500
			for seed := range most {
				if err := run(t, generator.Example(seed), f); err != nil {
					t.Logf("noticed in program %d: %v", seed+1, err)
					return
				}
			}
			t.Errorf("%d programs, and nothing was noticed", most)
		})
	}
}
