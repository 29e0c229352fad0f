// Package callgrind lets a benchmark be counted in instructions. Its Loop stands
// where a benchmark has its loop; valgrind's callgrind counts what happens in it,
// and bench/regress compares the counts with those of the last release. Without
// callgrind the benchmark is one like any other.
//
// It is for benchmarks alone, and owns nothing.
package callgrind

import "testing"

// The functions at which callgrind sets its counters to zero, and writes them.
const (
	Begin = "github.com/thronghq/throng/internal/callgrind.begin"
	End   = "github.com/thronghq/throng/internal/callgrind.end"
)

// Loop runs op as often as the benchmark is to, and once before, for what is kept
// from call to call. It reports allocations.
func Loop(b *testing.B, op func()) {
	b.Helper()
	b.ReportAllocs()
	op()
	begin()
	for b.Loop() {
		op()
	}
	end()
}

// A function that may grow its stack can begin twice, which callgrind would take
// for two calls.

//go:noinline
//go:nosplit
func begin() {}

//go:noinline
//go:nosplit
func end() {}
