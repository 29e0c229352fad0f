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
	Date    string   `json:"date"`
	Cores   int      `json:"cores"`
	Arch    string   `json:"arch"`
	Go      string   `json:"go"`
	Figures []figure `json:"figures"`
	Runs    []run    `json:"runs"`
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

// byRound returns a side's value in each round.
func (r *runner) byRound(cell, side string, value func(*measured) float64) []float64 {
	var values []float64
	for i := range r.runs {
		if one := &r.runs[i]; one.Cell == cell && one.Side == side {
			values = append(values, value(&one.Took))
		}
	}
	return values
}

// ratios divides two sides within each round.
func ratios(of, to []float64) []float64 {
	values := make([]float64, min(len(of), len(to)))
	for i := range values {
		values[i] = of[i] / to[i]
	}
	return values
}

func newFigure(name, unit string, values []float64, goal goal, bar float64) figure {
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

func cpu(m *measured) float64   { return m.Server.CPUPerDelivery }
func p99(m *measured) float64   { return m.LatencyMS.P99 }
func idle(m *measured) float64  { return m.Connections.Idle }
func after(m *measured) float64 { return m.Connections.After }

func toImplied(m *measured) float64 { return m.Storm.ToImplied }

// ofBudget is the most of the memory budget that was in use.
func ofBudget(m *measured) float64 {
	return float64(m.Gauges.Memory) / float64(max(m.Gauges.MemoryMark, 1))
}

// dealtWith is the part of those that never read that were moved to the log or
// closed; in a long run first the one and then, as silent, the other.
func (r *runner) dealtWith(m *measured) float64 {
	return float64(max(m.Gauges.Lagged, m.Gauges.Closed)) / float64(r.plan.Connections/10)
}

// lastCPU and lastToFloor are of the last kind of request that a run measured:
// the floor comes first.
func lastCPU(m *measured) float64 {
	if n := len(m.Rest.Requests); n > 0 {
		return m.Rest.Requests[n-1].CPU
	}
	return 0
}

func lastToFloor(m *measured) float64 {
	if n := len(m.Rest.Requests); n > 0 {
		return m.Rest.Requests[n-1].ToFloor
	}
	return 0
}

func (r *runner) report() *report {
	const us, bytes, ratio = "µs", "bytes", "ratio"
	side := r.byRound
	floorOne, floorFour := side(cellOne, sideFloor, cpu), side(cellFour, sideFloor, cpu)
	figures := []figure{
		newFigure("PSS of an idle connection that has joined", bytes, side(cellConn, sideThrong, idle), atMost, 1536),
		newFigure("the same after a message in every room", bytes, side(cellConn, sideThrong, after), atMost, 1536),
		newFigure("the same, floor", bytes, side(cellConn, sideFloor, after), none, 0),
		newFigure("fan-out one at a time: CPU to the floor's", ratio, ratios(side(cellOne, sideThrong, cpu), floorOne), atMost, 1.3),
		newFigure("fan-out one at a time: CPU for each delivery", us, side(cellOne, sideThrong, cpu), none, 0),
		newFigure("the same, floor", us, floorOne, none, 0),
		newFigure("fan-out, 4 outstanding: CPU to the one-by-one floor's", ratio, ratios(side(cellFour, sideThrong, cpu), floorFour), atMost, 0.6),
		newFigure("the same, binary codec", ratio, ratios(side(cellFour, sideBinary, cpu), floorFour), none, 0),
		newFigure("the same, to the batching floor's", ratio, ratios(side(cellFour, sideThrong, cpu), side(cellFour, sideBatch, cpu)), none, 0),
		newFigure("fan-out of 1 KB, compressed: CPU to that of plain frames", ratio, ratios(side(cellDeflate, sideDeflate, cpu), side(cellDeflate, sidePlain, cpu)), atMost, 1.3),
		newFigure("lost, duplicate or reordered messages", "messages", r.violations(), atMost, 0),
		newFigure("append, async", "messages/s", side(cellAppend, sideAsync, func(m *measured) float64 { return m.Append.PerSecond }), atLeast, 300_000),
		newFigure("append, async: CPU for each message", us, side(cellAppend, sideAsync, func(m *measured) float64 { return m.Append.CPUPerMessage }), none, 0),
		newFigure("the same, plain file", us, side(cellAppend, sideAsync, func(m *measured) float64 { return m.Append.File.CPUPerMessage }), none, 0),
		newFigure("append, sync", "messages/s", side(cellAppend, sideSync, func(m *measured) float64 { return m.Append.PerSecond }), none, 0),
		newFigure("10% never read: the others' p99 to that without them", ratio, ratios(side(cellSlow, sideSlow, p99), side(cellSlow, sideAllRead, p99)), atMost, 1.3),
		newFigure("10% never read: CPU for each delivery to that without them", ratio, ratios(side(cellSlow, sideSlow, cpu), side(cellSlow, sideAllRead, cpu)), none, 0),
		newFigure("10% never read: memory for each that does not", bytes, r.slowMemory(), atMost, outboxBound),
		newFigure("10% never read: part of these fed from the log or closed", ratio, side(cellSlow, sideSlow, r.dealtWith), atLeast, 1),
		newFigure("10% never read: most of the memory budget that was in use", ratio, side(cellSlow, sideSlow, ofBudget), atMost, 1),
		newFigure("storm: until all are back, to what admission's budget implies", ratio, side(cellStorm, sideObey, toImplied), none, 0),
		newFigure("the same, where clients come again at once", ratio, side(cellStorm, sideHasty, toImplied), none, 0),
		newFigure("storm: most of the memory budget that was in use", ratio, side(cellStorm, sideObey, ofBudget), atMost, 1),
		newFigure("storm: clients that did not go on where they had been", "clients", side(cellStorm, sideObey, func(m *measured) float64 { return float64(m.Storm.NotRecovered) }), atMost, 0),
		newFigure("storm: CPU for each client", us, side(cellStorm, sideObey, func(m *measured) float64 { return m.Storm.CPUPerClient }), none, 0),
		newFigure("echo: CPU to the floor's", ratio, ratios(side(cellEcho, sideThrong, cpu), side(cellEcho, sideFloor, cpu)), none, 0),
		newFigure("history: CPU for each message", us, side(cellHistory, sideThrong, cpu), none, 0),
		newFigure("publish by REST to one member: CPU for each message", us, side(cellREST, sidePublish, lastCPU), none, 0),
		newFigure("the same, to a request that does nothing", ratio, side(cellREST, sidePublish, lastToFloor), none, 0),
		newFigure("page of 50 by REST: CPU for each page", us, side(cellREST, sidePages, lastCPU), none, 0),
		newFigure("the same, to a request that does nothing", ratio, side(cellREST, sidePages, lastToFloor), none, 0),
	}
	return &report{
		Date: time.Now().UTC().Format(time.DateOnly), Cores: runtime.NumCPU(), Arch: runtime.GOARCH, Go: runtime.Version(),
		Figures: figures, Runs: r.runs,
	}
}

// outboxBound is limits.outbox, the bytes that may wait for one connection.
const outboxBound = 256 << 10

// slowMemory is what the server's memory grows by while some never read, beyond
// what it grows by without them, for each of them.
func (r *runner) slowMemory() []float64 {
	grown := func(m *measured) float64 { return float64(m.Server.Peak - m.Server.Before) }
	with, without := r.byRound(cellSlow, sideSlow, grown), r.byRound(cellSlow, sideAllRead, grown)
	values := make([]float64, min(len(with), len(without)))
	for i := range values {
		values[i] = (with[i] - without[i]) / float64(r.plan.Connections/10)
	}
	return values
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
	if limited := r.limited(); limited > 0 {
		fmt.Fprintf(&b, "\nIn %d of %d runs the generator was the limit: CPU figures stand, rates and latencies of those runs say nothing.\n", limited, len(r.Runs))
	}
	return b.String()
}

func (r *report) limited() (n int) {
	for _, one := range r.Runs {
		if one.Took.LimitedBy != "" {
			n++
		}
	}
	return n
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
