package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
)

const (
	commitKey    = "commit: "
	toolchainKey = "toolchain: "
	headKeys     = "commit,toolchain" // which benchstat is not to compare
	unit         = "instructions/op"
)

// counts are the instructions of each operation, in one tree.
type counts struct {
	commit     string
	toolchain  string             // that they were counted with
	operations map[string]float64 // by package and benchmark, such as proto.AppendAck
}

// readCounts reads what write has written.
func readCounts(path string) (*counts, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	c, err := parseCounts(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

func parseCounts(text string) (*counts, error) {
	c := &counts{operations: make(map[string]float64)}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if commit, ok := strings.CutPrefix(line, commitKey); ok {
			c.commit = commit
		} else if toolchain, ok := strings.CutPrefix(line, toolchainKey); ok {
			c.toolchain = toolchain
		} else if name, ok := strings.CutPrefix(line, "Benchmark"); ok {
			f := strings.Fields(name)
			if len(f) != 4 || f[3] != unit {
				return nil, fmt.Errorf("%q is no count of instructions", line)
			}
			n, err := strconv.ParseFloat(f[2], 64)
			if err != nil || n <= 0 {
				return nil, fmt.Errorf("%q has no number of instructions", line)
			}
			c.operations[f[0]] = n
		}
	}
	if c.toolchain == "" || len(c.operations) == 0 {
		return nil, errors.New("it has no toolchain or no operations")
	}
	return c, nil
}

// text returns the counts in the format of Go's benchmarks. Counts are exact:
// benchstat need not ask how likely a difference is.
func (c *counts) text() string {
	var b strings.Builder
	if c.commit != "" {
		fmt.Fprintf(&b, "%s%s\n", commitKey, c.commit)
	}
	fmt.Fprintf(&b, "%s%s\nUnit %s assume=exact better=lower\n", toolchainKey, c.toolchain, unit)
	for _, name := range slices.Sorted(maps.Keys(c.operations)) {
		fmt.Fprintf(&b, "Benchmark%s 1 %.1f %s\n", name, c.operations[name], unit)
	}
	return b.String()
}

func (c *counts) write(path string) error { return os.WriteFile(path, []byte(c.text()), 0o644) }

// lower takes the counts of another run where they are lower.
func (c *counts) lower(o *counts) {
	for name, n := range o.operations {
		if had, ok := c.operations[name]; ok {
			c.operations[name] = min(had, n)
		}
	}
}

// grown names the operations that take more in head than the bound allows. New
// ones have nothing to be held against.
func (c *counts) grown(head *counts) (names []string) {
	for name, n := range head.operations {
		if was, ok := c.operations[name]; ok && n > was*(1+mostGrowth) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// judge is an error that names what has grown, and what is no longer counted:
// a benchmark that was renamed would never be missed otherwise.
func (c *counts) judge(head *counts) error {
	var errs []error
	for _, name := range c.grown(head) {
		was, n := c.operations[name], head.operations[name]
		errs = append(errs, fmt.Errorf("%s takes %.1f instructions, %.1f%% more than the %.1f at the last release; %.0f%% are allowed",
			name, n, 100*(n/was-1), was, 100*mostGrowth))
	}
	for _, name := range slices.Sorted(maps.Keys(c.operations)) {
		if _, ok := head.operations[name]; !ok {
			errs = append(errs, fmt.Errorf("%s stands in %s and is not counted any more", name, baselinePath))
		}
	}
	return errors.Join(errs...)
}
