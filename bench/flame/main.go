// Command flame draws a flame graph: a static SVG in which each frame is as wide as
// what was counted in it and in all that it called.
//
// Usage: flame [--title TEXT] [--unit NAME] FORMAT <PROFILE >SVG
//
// The format is perf, for what perf script -F ip,sym,dso prints, or traces, for
// what go tool pprof -traces -unit B prints of a heap profile.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
)

// maxSVG bounds a drawing, which is committed: narrow frames are left out.
const maxSVG = 150_000 // bytes

func main() {
	title := flag.String("title", "flame graph", "what stands above it")
	unit := flag.String("unit", "samples", "what was counted")
	flag.Parse()
	if err := run(flag.Arg(0), *title, *unit, os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "flame:", err)
		os.Exit(1)
	}
}

func run(format, title, unit string, in io.Reader, out io.Writer) error {
	parse := map[string]func(io.Reader) (*node, error){"perf": parsePerf, "traces": parseTraces}[format]
	if parse == nil {
		return fmt.Errorf("the format is %q; it must be perf or traces", format)
	}
	root, err := parse(in)
	if err != nil {
		return err
	}
	if root.total == 0 {
		return fmt.Errorf("the profile is empty")
	}
	var svg []byte
	for narrowest := 0.5; ; narrowest *= 1.5 {
		if svg = draw(root, title, unit, narrowest); len(svg) <= maxSVG {
			break
		}
	}
	_, err = io.Copy(out, bytes.NewReader(svg))
	return err
}
