package main

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// report is what results.json holds.
type report struct {
	Date    string    `json:"date"`
	Cores   int       `json:"cores"`
	Arch    string    `json:"arch"`
	Go      string    `json:"go"`
	Figures []figure  `json:"figures"`
	Curves  []curve   `json:"curves"`
	Limits  []limited `json:"generator_limited"`
	Runs    []run     `json:"runs"`
}

// figure is one line of the table: the median over the rounds, and how far they
// lie apart.
type figure struct {
	Name   string  `json:"name"`
	Unit   string  `json:"unit"`
	Median float64 `json:"median"`
	Least  float64 `json:"least"`
	Most   float64 `json:"most"`
	Rounds int     `json:"rounds"`

	Bar  float64 `json:"bar,omitempty"`
	Goal goal    `json:"goal"`
	Met  bool    `json:"met"`
}

// goal says on which side of the bar a figure should lie.
type goal string

const (
	atMost  goal = "at most"
	atLeast goal = "at least"
	none    goal = "" // told, not wanted
)

func newFigure(name, unit string, values []float64, goal goal, bar float64) figure {
	values = slices.DeleteFunc(values, func(v float64) bool { return math.IsNaN(v) || math.IsInf(v, 0) }) // nothing was counted
	f := figure{Name: name, Unit: unit, Rounds: len(values), Goal: goal, Bar: bar}
	if len(values) == 0 {
		return f
	}
	slices.Sort(values)
	f.Least, f.Most = values[0], values[len(values)-1]
	f.Median = (values[(len(values)-1)/2] + values[len(values)/2]) / 2
	switch goal {
	case atMost:
		f.Met = f.Median <= bar
	case atLeast:
		f.Met = f.Median >= bar
	case none:
	}
	return f
}

// report makes the figures of all cells that have been run.
func (r *runner) report(cells []cell) *report {
	made := &report{
		Date: time.Now().UTC().Format(time.DateOnly), Cores: runtime.NumCPU(), Arch: runtime.GOARCH, Go: runtime.Version(), Runs: r.runs,
	}
	drawn := make(map[string]bool)
	for _, c := range cells {
		s := r.seen(c)
		switch {
		case len(s) == 0:
		case c.curve != nil && !drawn[c.name]:
			drawn[c.name] = true
			made.Curves = append(made.Curves, newCurve(c, s))
		case c.figures != nil:
			made.Figures = append(made.Figures, c.figures(s)...)
		}
		if limit := s.limit(c.name); limit != nil && !slices.ContainsFunc(made.Limits, func(l limited) bool { return l.Cell == c.name }) {
			made.Limits = append(made.Limits, *limit)
		}
	}
	for _, c := range made.Curves {
		made.Figures = append(made.Figures, c.figures()...)
	}
	made.Figures = append(made.Figures, newFigure("lost, duplicate or reordered messages", "messages", r.violations(), atMost, 0))
	return made
}

// limited is a cell in which the generator could do no more.
type limited struct {
	Cell string `json:"cell"`
	Runs int    `json:"runs"`
	Of   int    `json:"of"`
	Side string `json:"sides"` // in which
}

// limit says in how many of a cell's runs the generator was the limit; nil for
// none.
func (s seen) limit(cell string) *limited {
	l := &limited{Cell: cell, Of: len(s)}
	var sides []string
	for _, one := range s {
		if one.Took.LimitedBy == "" {
			continue
		}
		l.Runs++
		if !slices.Contains(sides, one.Side) {
			sides = append(sides, one.Side)
		}
	}
	if l.Side = strings.Join(sides, "; "); l.Runs == 0 {
		return nil
	}
	return l
}

// violations adds up all runs: the figure is their sum, not a median.
func (r *runner) violations() []float64 {
	sum := 0.0
	for _, one := range r.runs {
		v := one.Took.Violations
		sum += float64(v.Lost + v.Duplicates + v.Order)
	}
	return []float64{sum}
}

func (r *report) write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	raw, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "results.json"), append(raw, '\n'), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "table.md"), []byte(r.table()), 0o644)
}

// table is the figures in Markdown.
func (r *report) table() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %d cores, %s, %s. Medians of alternating runs; the server on one core, the generator on another.\n\n", r.Date, r.Cores, r.Arch, r.Go)
	b.WriteString("| figure | unit | median | spread | bar | |\n|---|---|---:|---:|---:|---|\n")
	for _, f := range r.Figures {
		bar, met := "", ""
		if f.Goal != none {
			bar, met = fmt.Sprintf("%s %s", f.Goal, number(f.Bar)), "not met"
			if f.Met {
				met = "met"
			}
		}
		spread := number(f.Least) + " to " + number(f.Most)
		if f.Rounds == 0 {
			spread = "not measured"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", f.Name, f.Unit, number(f.Median), spread, bar, met)
	}
	if len(r.Limits) > 0 {
		b.WriteString("\nWhere the generator was the limit, CPU figures stand; rates and latencies of these runs say nothing of the server:\n\n| cell | runs | sides |\n|---|---:|---|\n")
		for _, l := range r.Limits {
			fmt.Fprintf(&b, "| %s | %d of %d | %s |\n", l.Cell, l.Runs, l.Of, l.Side)
		}
	}
	return b.String()
}

// number writes three digits of what is small, and whole numbers else.
func number(v float64) string {
	switch {
	case v == math.Trunc(v) || math.Abs(v) >= 1000:
		return fmt.Sprintf("%.0f", v)
	case math.Abs(v) >= 100:
		return fmt.Sprintf("%.1f", v)
	default:
		return fmt.Sprintf("%.3f", v)
	}
}
