package model

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// programLength is how many steps a program has at most.
const programLength = 30

// TestModel plays random programs. A failure is shrunk and printed as the value
// that TestReplay takes.
func TestModel(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // so that a failure comes again
	rapid.Check(t, func(rt *rapid.T) {
		program := programs(programLength).Draw(rt, "program")
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
