// Command plot draws what bench/compare measured. It is a module of its own, so
// that its drawing library is none of throng's dependencies.
package main

import (
	"encoding/json"
	"fmt"
	"image/color"
	"os"
	"path/filepath"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
)

// results is the part of results.json that is drawn.
type results struct {
	Runs []struct {
		Cell   string `json:"cell"`
		Side   string `json:"side"`
		Result struct {
			Latency struct {
				P50  float64 `json:"p50"`
				P99  float64 `json:"p99"`
				P999 float64 `json:"p999"`
			} `json:"latency_ms"`
			Server *struct {
				CPU float64 `json:"cpu_us_per_delivery"`
			} `json:"server"`
			Connections *struct {
				Idle  float64 `json:"idle_pss_bytes"`
				After float64 `json:"after_message_pss_bytes"`
			} `json:"connections"`
		} `json:"result"`
	} `json:"runs"`
	Curves []curve `json:"curves"`
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: plot DIRECTORY, which holds results.json")
		os.Exit(64)
	}
	if err := draw(os.Args[1]); err != nil {
		fmt.Fprintf(os.Stderr, "plot: %v\n", err)
		os.Exit(1)
	}
}

func draw(dir string) error {
	raw, err := os.ReadFile(filepath.Join(dir, "results.json"))
	if err != nil {
		return err
	}
	var r results
	if err := json.Unmarshal(raw, &r); err != nil {
		return err
	}
	for _, c := range r.Curves {
		if err := c.draw(dir); err != nil {
			return fmt.Errorf("%s: %w", c.Name, err)
		}
	}
	if err := drawCPU(&r, dir); err != nil {
		return err
	}
	if err := drawLatency(&r, dir); err != nil {
		return err
	}
	return drawMemory(&r, dir)
}

// samples are one bar's runs, under its label.
type samples struct {
	label  string
	values plotter.Values
}

// gather sorts values by cell and side, in the order of their first run. Cells are
// those whose name has the part; a label names the cell by what else it has.
func gather(r *results, part string, value func(i int) (float64, bool)) []samples {
	var all []samples
	for i, run := range r.Runs {
		v, ok := value(i)
		if !ok || !strings.Contains(run.Cell, part) || strings.HasPrefix(run.Cell, "curve: ") {
			continue
		}
		label := strings.TrimSpace(strings.Replace(run.Cell, part, "", 1) + "\n" + run.Side)
		found := false
		for j := range all {
			if all[j].label == label {
				all[j].values, found = append(all[j].values, v), true
			}
		}
		if !found {
			all = append(all, samples{label, plotter.Values{v}})
		}
	}
	return all
}

// drawCPU draws the fan-outs, each kind by itself.
func drawCPU(r *results, dir string) error {
	for _, kind := range []struct{ part, title, file string }{
		{", one at a time", "Fan-out, one message at a time: CPU time of the server", "fanout-cpu.svg"},
		{", saturated", "Fan-out, messages under way all the time: CPU time of the server", "saturated-cpu.svg"},
		{"1,000 rooms of 10", "1,000 rooms of 10: CPU time of the server", "rooms-cpu.svg"},
	} {
		all := gather(r, kind.part, func(i int) (float64, bool) {
			s := r.Runs[i].Result.Server
			if s == nil {
				return 0, false
			}
			return s.CPU, true
		})
		for i := range all {
			all[i].label = strings.Replace(all[i].label, ", ", "\n", 2)
		}
		if err := boxes(kind.title, "µs for each delivery", all, filepath.Join(dir, kind.file)); err != nil {
			return err
		}
	}
	return nil
}

func drawLatency(r *results, dir string) error {
	all := gather(r, "slow readers", func(i int) (float64, bool) { return r.Runs[i].Result.Latency.P99, true })
	return boxes("A publisher at full speed: latency of the members that read", "p99, ms", all, filepath.Join(dir, "slow-readers.svg"))
}

func drawMemory(r *results, dir string) error {
	var all []samples
	for _, state := range []string{"idle", "after a message"} {
		for _, s := range gather(r, "connections", func(i int) (float64, bool) {
			c := r.Runs[i].Result.Connections
			if c == nil || r.Runs[i].Cell != "connections" {
				return 0, false
			}
			if state == "idle" {
				return c.Idle, true
			}
			return c.After, true
		}) {
			s.label += "\n" + state
			all = append(all, s)
		}
	}
	return boxes("Memory of one connection that has joined a room", "PSS, bytes", all, filepath.Join(dir, "memory.svg"))
}

// boxes draws one box for each label: the median, the quartiles, every run.
func boxes(title, unit string, all []samples, path string) error {
	if len(all) == 0 {
		return nil
	}
	p := plot.New()
	p.Title.Text, p.Y.Label.Text, p.Y.Min = title, unit, 0
	p.Add(plotter.NewGrid())
	labels := make([]string, len(all))
	for i, s := range all {
		labels[i] = s.label
		box, err := plotter.NewBoxPlot(vg.Points(36), float64(i), s.values)
		if err != nil {
			return err
		}
		box.FillColor = color.RGBA{R: 0xd6, G: 0xe4, B: 0xf5, A: 0xff}
		p.Add(box)
		dots := make(plotter.XYs, len(s.values))
		for j, v := range s.values {
			dots[j] = plotter.XY{X: float64(i), Y: v}
		}
		scatter, err := plotter.NewScatter(dots)
		if err != nil {
			return err
		}
		scatter.Color = color.RGBA{R: 0x1f, G: 0x4e, B: 0x8c, A: 0xff}
		p.Add(scatter)
	}
	p.NominalX(labels...)
	return p.Save(vg.Points(float64(140*len(all)+120)), vg.Points(320), path)
}
