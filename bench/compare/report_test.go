package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestFigureIsTheMedian(t *testing.T) {
	for _, test := range []struct {
		values              []float64
		goal                goal
		bar                 float64
		median, least, most float64
		met                 bool
	}{
		{[]float64{3, 1, 2}, atMost, 2, 2, 1, 3, true},
		{[]float64{4, 1, 2, 3}, atMost, 2, 2.5, 1, 4, false},
		{[]float64{4, 1, 2, 3}, atLeast, 2.5, 2.5, 1, 4, true},
		{[]float64{1}, atLeast, 2, 1, 1, 1, false},
		{[]float64{1}, none, 0, 1, 1, 1, false},
		{nil, atMost, 2, 0, 0, 0, false}, // what was not measured is not met
	} {
		f := newFigure("x", "y", test.values, test.goal, test.bar)
		if f.Median != test.median || f.Least != test.least || f.Most != test.most || f.Met != test.met {
			t.Errorf("%v %s %v: %+v", test.values, test.goal, test.bar, f)
		}
	}
}

// sampleRun is a run as throng bench prints one.
func sampleRun(t *testing.T, cell, side, result string) run {
	t.Helper()
	r := run{Cell: cell, Side: side, Result: json.RawMessage(result)}
	if err := json.Unmarshal(r.Result, &r.Took); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestReport(t *testing.T) {
	r := &runner{plan: plan{Members: 5000}, runs: []run{
		sampleRun(t, cellOne, sideThrong, `{"server":{"cpu_us_per_delivery":4},"violations":{"lost":0}}`),
		sampleRun(t, cellOne, sideFloor, `{"server":{"cpu_us_per_delivery":2},"limited_by":"generator"}`),
		sampleRun(t, cellOne, sideThrong, `{"server":{"cpu_us_per_delivery":2}}`),
		sampleRun(t, cellOne, sideFloor, `{"server":{"cpu_us_per_delivery":2},"violations":{"lost":1,"order":2}}`),
		sampleRun(t, cellConn, sideThrong, `{"connections":{"idle_pss_bytes":1000,"after_message_pss_bytes":1600}}`),
		sampleRun(t, cellAppend, sideAsync, `{"append":{"messages_per_second":400000,"cpu_us_per_message":2,"file":{"cpu_us_per_message":0.5}}}`),
		sampleRun(t, cellDeflate, sideDeflate, `{"server":{"cpu_us_per_delivery":3}}`),
		sampleRun(t, cellDeflate, sidePlain, `{"server":{"cpu_us_per_delivery":4}}`),
		sampleRun(t, cellREST, sidePublish, `{"rest":{"requests":[{"cpu_us_per_request":25},{"cpu_us_per_request":125,"cpu_to_floor":5}]}}`),
	}}
	report := r.report()
	dir := filepath.Join(t.TempDir(), "results")
	if err := report.write(dir); err != nil {
		t.Fatal(err)
	}
	table, err := os.ReadFile(filepath.Join(dir, "table.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"| PSS of an idle connection that has joined | bytes | 1000 | 1000 to 1000 | at most 1536 | met |",
		"| the same after a message in every room | bytes | 1600 | 1600 to 1600 | at most 1536 | not met |",
		"| fan-out one at a time: CPU to the floor's | ratio | 1.500 | 1 to 2 | at most 1.300 | not met |",
		"| lost, duplicate or reordered messages | messages | 3 | 3 to 3 | at most 0 | not met |",
		"| append, async | messages/s | 400000 | 400000 to 400000 | at least 300000 | met |",
		"| append, async: CPU for each message | µs | 2 | 2 to 2 |  |  |",
		"| fan-out, 4 outstanding: CPU to the one-by-one floor's | ratio | 0 | not measured | at most 0.600 | not met |",
		"| fan-out of 1 KB, compressed: CPU to that of plain frames | ratio | 0.750 | 0.750 to 0.750 | at most 1.300 | met |",
		"| publish by REST to one member: CPU for each message | µs | 125 | 125 to 125 |  |  |",
		"| the same, to a request that does nothing | ratio | 5 | 5 to 5 |  |  |",
		"| page of 50 by REST: CPU for each page | µs | 0 | not measured |  |  |",
		"In 1 of 9 runs the generator was the limit",
	} {
		if !strings.Contains(string(table), line) {
			t.Errorf("the table lacks %q:\n%s", line, table)
		}
	}
	raw, err := os.ReadFile(filepath.Join(dir, "results.json"))
	if err != nil {
		t.Fatal(err)
	}
	var again struct{ Runs []run }
	if err := json.Unmarshal(raw, &again); err != nil || len(again.Runs) != 9 || again.Runs[0].Side != sideThrong {
		t.Errorf("results.json: %d runs, %v", len(again.Runs), err)
	}
}

// TestCellsHaveWhatTheFiguresNeed runs no benchmark: it checks that every side
// that a figure is made of is run.
func TestCellsHaveWhatTheFiguresNeed(t *testing.T) {
	r := &runner{plan: plan{Rounds: 2, Members: 5000, Connections: 15_000, Rooms: 1500}}
	for _, c := range cells(r.plan) {
		for round := range c.rounds {
			for _, s := range c.sides {
				r.runs = append(r.runs, run{Cell: c.name, Side: s.name, Round: round})
			}
		}
	}
	for _, f := range r.report().Figures {
		if f.Rounds == 0 {
			t.Errorf("nothing is run for %q", f.Name)
		}
	}
}
