package main

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
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
		{[]float64{math.NaN(), 1, math.Inf(1)}, atMost, 2, 1, 1, 1, true},
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
	p := full
	p.Curves = true
	const one, small = "fan-out to 5000, one at a time", "1,000 rooms of 10"
	const log = curvePrefix + "CPU for a delivery, by payload"
	r := &runner{plan: p, runs: []run{
		sampleRun(t, one, sideThrong, `{"server":{"cpu_us_per_delivery":4},"violations":{"lost":0}}`),
		sampleRun(t, one, sideFloor, `{"server":{"cpu_us_per_delivery":2},"limited_by":"generator"}`),
		sampleRun(t, one, sideThrong, `{"server":{"cpu_us_per_delivery":2}}`),
		sampleRun(t, one, sideFloor, `{"server":{"cpu_us_per_delivery":2},"violations":{"lost":1,"order":2}}`),
		sampleRun(t, small, sideThrong, `{"sent":10,"delivered":90,"server":{"cpu_us_per_delivery":6}}`),
		sampleRun(t, small, sideFloor, `{"sent":10,"delivered":90,"server":{"cpu_us_per_delivery":5},"limited_by":"generator"}`),
		sampleRun(t, small, sideBatch, `{"sent":10,"delivered":90,"server":{"cpu_us_per_delivery":4}}`),
		sampleRun(t, small, sideUnkept, `{"sent":10,"delivered":90,"server":{"cpu_us_per_delivery":5.5}}`),
		sampleRun(t, "connections", sideThrong, `{"connections":{"idle_pss_bytes":400,"after_message_pss_bytes":500,"after_message_rss_bytes":601}}`),
		sampleRun(t, "resume", sideThrong, `{"delivered_per_second":900000,"server":{"cpu_us_per_delivery":0.5}}`),
		sampleRun(t, "REST", "publish", `{"rest":{"requests":[{"cpu_us_per_request":25},{"cpu_us_per_request":125,"cpu_to_floor":5}]}}`),
	}}
	for _, at := range []struct{ x, cpu string }{{"65536", "30"}, {"34", "5"}, {"34", "7"}} {
		one := sampleRun(t, log, sideThrong, `{"server":{"cpu_us_per_delivery":`+at.cpu+`}}`)
		if err := json.Unmarshal([]byte(at.x), &one.X); err != nil {
			t.Fatal(err)
		}
		r.runs = append(r.runs, one)
	}
	dir := filepath.Join(t.TempDir(), "results")
	if err := r.report(cells(&p)).write(dir); err != nil {
		t.Fatal(err)
	}
	table, err := os.ReadFile(filepath.Join(dir, "table.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"| PSS of an idle connection that has joined | bytes | 400 | 400 to 400 |  |  |",
		"| RSS of it after a message in every room | bytes | 601 | 601 to 601 | at most 600 | not met |",
		"| fan-out to 5000, one at a time: CPU to the floor's | ratio | 1.500 | 1 to 2 | at most 1.050 | not met |",
		"| fan-out to 5000, one at a time: CPU with history (async) to that without | ratio | 0 | not measured | at most 1.050 | not met |",
		"| 1,000 rooms of 10: CPU to the better floor's | ratio | 1.500 | 1.500 to 1.500 | at most 1.300 | not met |",
		"| 1,000 rooms of 10: CPU for each message, with history (async) beyond that without | µs | 4.500 | 4.500 to 4.500 | at most 4 | not met |",
		"| the same, for each second of the server's CPU time | messages/s | 2000000 | 2000000 to 2000000 | at least 1000000 | met |",
		"| publish by REST to one member: CPU for each message | µs | 125 | 125 to 125 |  |  |",
		"| curve of CPU for a delivery, by payload, throng: the largest to the least | ratio | 5 | 5 to 5 |  |  |",
		"| lost, duplicate or reordered messages | messages | 3 | 3 to 3 | at most 0 | not met |",
		"| fan-out to 5000, one at a time | 1 of 4 | floor, one by one |",
		"| 1,000 rooms of 10 | 1 of 4 | floor, one by one |",
	} {
		if !strings.Contains(string(table), line+"\n") {
			t.Errorf("the table lacks %q:\n%s", line, table)
		}
	}
	raw, err := os.ReadFile(filepath.Join(dir, "results.json"))
	if err != nil {
		t.Fatal(err)
	}
	var again struct {
		Curves []curve
		Runs   []run
	}
	if err := json.Unmarshal(raw, &again); err != nil || len(again.Runs) != len(r.runs) || again.Runs[0].Side != sideThrong {
		t.Errorf("results.json: %d runs, %v", len(again.Runs), err)
	}
	if len(again.Curves) != 1 || len(again.Curves[0].Lines) != 1 || !slices.Equal(again.Curves[0].Lines[0].Points, [][2]float64{{34, 6}, {65536, 30}}) {
		t.Errorf("curves: %+v", again.Curves)
	}
}

// TestCellsHaveWhatTheFiguresNeed runs no benchmark: it checks that every side
// that a figure is made of is run, and that no two cells are taken for one.
func TestCellsHaveWhatTheFiguresNeed(t *testing.T) {
	for _, p := range []plan{full, quick} {
		p.Curves = true
		r := &runner{plan: p}
		all := cells(&p)
		names := make(map[string]bool)
		for _, c := range all {
			if (c.curve != nil) != strings.HasPrefix(c.name, curvePrefix) || c.curve == nil && names[c.name] {
				t.Errorf("%q: a curve: %v", c.name, c.curve != nil)
			}
			names[c.name] = true
			for round := range c.rounds {
				for _, s := range c.sides {
					one := sampleRun(t, c.name, s.name, `{"seconds":1,"sent":1,"delivered":1,"delivered_per_second":1,"latency_ms":{"p50":1,"p99":1},
						"server":{"cpu_us_per_delivery":1},"connections":{"after_message_rss_bytes":1},"append":{"messages_per_second":1,"cpu_us_per_message":1}}`)
					one.Round, one.X = round, s.x
					r.runs = append(r.runs, one)
				}
			}
		}
		report := r.report(all)
		for _, f := range report.Figures {
			if f.Rounds == 0 {
				t.Errorf("nothing is run for %q", f.Name)
			}
		}
		for _, c := range report.Curves {
			for _, l := range c.Lines {
				if len(l.Points) < 2 {
					t.Errorf("the curve of %s, %s has %d points", c.Name, l.Name, len(l.Points))
				}
			}
		}
	}
}

// TestHalfOfARate takes the side's newest run.
func TestHalfOfARate(t *testing.T) {
	r := &runner{runs: []run{
		sampleRun(t, "a", "highest", `{"sent":100,"seconds":2}`),
		sampleRun(t, "a", "highest", `{"sent":100,"seconds":4}`),
		sampleRun(t, "a", "other", `{"sent":100,"seconds":1}`),
		sampleRun(t, "b", "highest", `{"sent":100,"seconds":1}`),
	}}
	if args, err := atHalfOf("a", "highest")(r, nil); err != nil || !slices.Equal(args, []string{"--rate", "12.500"}) {
		t.Errorf("%q, %v", args, err)
	}
	if args, err := atHalfOf("c", "highest")(r, nil); err == nil {
		t.Errorf("a side that was not run: %q", args)
	}
}
