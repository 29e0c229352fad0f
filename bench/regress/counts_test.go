package main

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func counted(operations map[string]float64) *counts {
	return &counts{commit: "abc", toolchain: "go1.26 amd64", operations: operations}
}

func TestCountsAreReadAsTheyAreWritten(t *testing.T) {
	want := counted(map[string]float64{"proto.AppendAck": 355.4, "netio.Read/16": 14121})
	path := filepath.Join(t.TempDir(), "counts")
	if err := want.write(path); err != nil {
		t.Fatal(err)
	}
	got, err := readCounts(path)
	if err != nil {
		t.Fatal(err)
	}
	if got.commit != want.commit || got.toolchain != want.toolchain || !maps.Equal(got.operations, want.operations) {
		t.Errorf("%+v became %+v", want, got)
	}
	for _, bad := range []string{
		"",
		"toolchain: x\n",
		"BenchmarkX 1 5 instructions/op\n",
		"toolchain: x\nBenchmarkX 1 5 ns/op\n",
		"toolchain: x\nBenchmarkX 1 many instructions/op\n",
		"toolchain: x\nBenchmarkX 1 0 instructions/op\n",
	} {
		if _, err := parseCounts(bad); err == nil {
			t.Errorf("%q is no file of counts", bad)
		}
	}
}

// The baseline names its commit, without which it cannot be counted again, and
// operations that are still counted.
func TestTheBaseline(t *testing.T) {
	base, err := readCounts("baseline.txt")
	if err != nil {
		t.Fatal(err)
	}
	if len(base.commit) != 40 {
		t.Errorf("the commit is %q", base.commit)
	}
	for name := range base.operations {
		if !slices.ContainsFunc(suites, func(s suite) bool { return s.has(name) }) {
			t.Errorf("no suite has %s", name)
		}
	}
}

func TestGrowthBeyondTheBoundFails(t *testing.T) {
	base := counted(map[string]float64{"a.same": 1000, "a.less": 1000, "a.little": 1000, "a.much": 1000})
	head := counted(map[string]float64{"a.same": 1000, "a.less": 100, "a.little": 1000 * (1 + mostGrowth), "a.much": 1001 * (1 + mostGrowth), "a.new": 1e9})
	if got := base.grown(head); !slices.Equal(got, []string{"a.much"}) {
		t.Errorf("grown: %v", got)
	}
	err := base.judge(head)
	if err == nil || !strings.Contains(err.Error(), "a.much takes 1101.1 instructions, 10.1% more than the 1000.0") || strings.Contains(err.Error(), "\n") {
		t.Errorf("judged: %v", err)
	}

	head.lower(counted(map[string]float64{"a.much": 1000, "a.same": 2000, "a.other": 1}))
	if err := base.judge(head); err != nil {
		t.Errorf("counted again: %v", err)
	}
	if _, ok := head.operations["a.other"]; ok || head.operations["a.same"] != 1000 {
		t.Errorf("lowered: %v", head.operations)
	}

	delete(head.operations, "a.less")
	if err := base.judge(head); err == nil || !strings.Contains(err.Error(), "a.less stands in") {
		t.Errorf("one that is not counted: %v", err)
	}
}

func TestBenchmarkNames(t *testing.T) {
	output := `goos: linux
BenchmarkDecode/PING         	    2000	     30112 ns/op	   1.36 MB/s	       0 B/op	       0 allocs/op
BenchmarkAppendAck 	    2000	     15266 ns/op
Benchmarking is what this is
PASS
`
	if got := benchmarkNames(output); !slices.Equal(got, []string{"Decode/PING", "AppendAck"}) {
		t.Errorf("%q", got)
	}
}

func TestDumpTotal(t *testing.T) {
	path := filepath.Join(t.TempDir(), "dump")
	for _, c := range []struct {
		text string
		want uint64
		ok   bool
	}{
		{"# callgrind format\nevents: Ir\nfn=(1)\n12 34\ntotals: 6813923\n", 6813923, true},
		{"events: Ir\n", 0, false},
	} {
		if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := dumpTotal(path); got != c.want || (err == nil) != c.ok {
			t.Errorf("%q: %d, %v", c.text, got, err)
		}
	}
	if _, err := dumpTotal(path + ".none"); err == nil {
		t.Error("a file that is not there has a total")
	}
}
