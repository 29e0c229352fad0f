package main

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// node is a frame of the flame graph: a function, called the same way.
type node struct {
	name     string
	kernel   bool
	total    int64 // counted in it and in what it called
	children map[frame]*node
}

// frame is a function in a stack.
type frame struct {
	name   string
	kernel bool
}

// add counts a stack, of which the innermost function comes first.
func (n *node) add(stack []frame, count int64) {
	n.total += count
	for _, f := range slices.Backward(stack) {
		child := n.children[f]
		if child == nil {
			child = &node{name: f.name, kernel: f.kernel}
			if n.children == nil {
				n.children = make(map[frame]*node)
			}
			n.children[f] = child
		}
		child.total += count
		n = child
	}
}

// parsePerf reads stacks that perf script has printed: a function in each line, the
// innermost first, and an empty line after each stack.
func parsePerf(in io.Reader) (*node, error) {
	root := &node{name: "all"}
	var stack []frame
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if line == "" {
			if len(stack) > 0 {
				root.add(stack, 1)
				stack = stack[:0]
			}
			continue
		}
		address, rest, _ := strings.Cut(line, " ")
		name, dso := rest, ""
		if i := strings.LastIndex(rest, " ("); i >= 0 {
			name, dso = rest[:i], rest[i+2:]
		}
		if _, err := strconv.ParseUint(address, 16, 64); err != nil || name == "" {
			return nil, fmt.Errorf("%q is no frame of a stack", line)
		}
		stack = append(stack, frame{name, strings.HasPrefix(dso, "[kernel") || strings.HasPrefix(address, "ffff")})
	}
	if len(stack) > 0 {
		root.add(stack, 1)
	}
	return root, lines.Err()
}

// parseTraces reads stacks that go tool pprof -traces -unit B has printed: a line of
// dashes before each stack; then a count and the innermost function, and the others
// below. Labels, such as the size of an object, end in a colon.
func parseTraces(in io.Reader) (*node, error) {
	root := &node{name: "all"}
	var stack []frame
	var count int64
	flush := func() {
		if len(stack) > 0 && count > 0 {
			root.add(stack, count)
		}
		stack, count = stack[:0], 0
	}
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 1<<20)
	started := false
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if strings.HasPrefix(line, "-----") {
			started = true
			flush()
			continue
		}
		first, rest, two := strings.Cut(line, " ")
		if !started || line == "" || strings.HasSuffix(first, ":") {
			continue
		}
		if len(stack) == 0 {
			n, err := strconv.ParseFloat(strings.TrimSuffix(first, "B"), 64)
			if err != nil || !two {
				return nil, fmt.Errorf("%q begins no stack", line)
			}
			count, line = int64(n), strings.TrimSpace(rest)
		}
		stack = append(stack, frame{name: strings.TrimSuffix(line, " (inline)")})
	}
	flush()
	return root, lines.Err()
}
