package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// peersReport is what peers.json holds.
type peersReport struct {
	Date  string     `json:"date"`
	Cores int        `json:"cores"`
	Arch  string     `json:"arch"`
	Go    string     `json:"go"`
	Names []string   `json:"servers"` // throng first
	Rows  []peersRow `json:"rows"`
	Runs  []run      `json:"runs"`
}

// peersRow is one line of the table. The figures stand in the order of the
// servers' names; less is better in all of them.
type peersRow struct {
	Name    string   `json:"name"`
	Unit    string   `json:"unit"`
	Figures []figure `json:"figures"`
}

// newPeersReport takes ratios within a round, as report does, and pairs runs by
// their round: one of a peer may have failed.
func newPeersReport(runs []run, found []peer) *peersReport {
	r := &peersReport{
		Date: time.Now().UTC().Format(time.DateOnly), Cores: runtime.NumCPU(), Arch: runtime.GOARCH, Go: runtime.Version(),
		Names: []string{sideThrong}, Runs: runs,
	}
	for _, one := range found {
		r.Names = append(r.Names, one.name)
	}
	perDelivery := func(one *run) float64 { return cpu(&one.Took) }
	r.ratio("room of 5,000, one at a time: CPU for each delivery, to the one-by-one floor's", peersOne, sideFloor, perDelivery)
	r.ratio("the same with 4 outstanding, to the batching floor's", peersFour, sideBatch, perDelivery)
	r.ratio("1,000 rooms of 10, to the one-by-one floor's", peersRooms, sideFloor, perDelivery)
	r.ratio("echo, 1,000 connections, depth 1: CPU for each message, to the floor's", peersEcho, sideFloor, perDelivery)
	r.ratio("handshake: CPU for each, to the floor's", peersHandshake, sideFloor, perDelivery)
	r.ratio("opening a connection and joining: CPU, to the floor's", peersConn, sideFloor, func(one *run) float64 { return one.Took.Connections.CPU })
	r.row("memory of an idle connection, PSS, bytes", "bytes", func(name string) []float64 {
		return r.values(peersConn, name, func(one *run) float64 { return idlePSS(&one.Took) })
	})
	r.row("the same after a message in every room, bytes", "bytes", func(name string) []float64 {
		return r.values(peersConn, name, func(one *run) float64 { return afterPSS(&one.Took) })
	})
	return r
}

func (r *peersReport) row(name, unit string, values func(server string) []float64) {
	row := peersRow{Name: name, Unit: unit}
	for _, server := range r.Names {
		row.Figures = append(row.Figures, newFigure(server, unit, values(server), none, 0))
	}
	r.Rows = append(r.Rows, row)
}

// ratio adds a row of figures that are divided by another server's of the round.
func (r *peersReport) ratio(name, cell, to string, value func(*run) float64) {
	r.row(name, "ratio", func(server string) []float64 {
		var ratios []float64
		for i := range r.Runs {
			of := &r.Runs[i]
			if of.Cell != cell || of.Side != server {
				continue
			}
			at := slices.IndexFunc(r.Runs, func(one run) bool {
				return one.Cell == cell && one.Side == to && one.Round == of.Round
			})
			if at >= 0 && value(&r.Runs[at]) > 0 {
				ratios = append(ratios, value(of)/value(&r.Runs[at]))
			}
		}
		return ratios
	})
}

func (r *peersReport) values(cell, server string, value func(*run) float64) []float64 {
	var values []float64
	for i := range r.Runs {
		if one := &r.Runs[i]; one.Cell == cell && one.Side == server {
			values = append(values, value(one))
		}
	}
	return values
}

func (r *peersReport) write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	raw, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "peers.json"), append(raw, '\n'), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "peers.md"), []byte(r.markdown()), 0o644)
}

// markdown is the medians, the extremes, and where throng is not the best.
func (r *peersReport) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %d cores, %s, %s. Medians of alternating runs, a fresh server for each; the server on one core, the generator on another. Less is better; the least of each row is bold.\n\n",
		r.Date, r.Cores, r.Arch, r.Go)
	r.table(&b, func(f figure, best bool) string {
		if best {
			return "**" + short(f.Median) + "**"
		}
		return short(f.Median)
	})
	b.WriteString("\nFrom the least to the most of the rounds:\n\n")
	r.table(&b, func(f figure, _ bool) string { return short(f.Least) + " to " + short(f.Most) })
	b.WriteString("\n")
	for _, row := range r.Rows {
		b.WriteString(row.ahead())
	}
	r.notes(&b)
	return b.String()
}

func (r *peersReport) table(b *strings.Builder, text func(f figure, best bool) string) {
	fmt.Fprintf(b, "| | %s |\n|---|%s\n", strings.Join(r.Names, " | "), strings.Repeat("---:|", len(r.Names)))
	for _, row := range r.Rows {
		fmt.Fprintf(b, "| %s |", row.Name)
		best := row.best()
		for _, f := range row.Figures {
			if f.Rounds == 0 {
				b.WriteString(" not measured |")
				continue
			}
			fmt.Fprintf(b, " %s |", text(f, f.Name == best.Name))
		}
		b.WriteString("\n")
	}
}

// best is the figure with the least median of those that were measured.
func (row *peersRow) best() (best figure) {
	for _, f := range row.Figures {
		if f.Rounds > 0 && (best.Rounds == 0 || f.Median < best.Median) {
			best = f
		}
	}
	return best
}

// ahead says who is, where it is not throng, and "" otherwise.
func (row *peersRow) ahead() string {
	own := row.Figures[0]
	if own.Rounds == 0 {
		return ""
	}
	var others []string
	for _, f := range row.Figures[1:] {
		if f.Rounds > 0 && f.Median < own.Median {
			others = append(others, fmt.Sprintf("%s (%s)", f.Name, short(f.Median)))
		}
	}
	if len(others) == 0 {
		return ""
	}
	return fmt.Sprintf("- throng (%s) does not lead in %q: %s.\n", short(own.Median), row.Name, strings.Join(others, ", "))
}

// notes say what restricts the figures.
func (r *peersReport) notes(b *strings.Builder) {
	limited := 0
	wrong := make(map[string]uint64)
	for i := range r.Runs {
		one := &r.Runs[i]
		if one.Took.LimitedBy != "" {
			limited++
		}
		v := one.Took.Violations
		wrong[one.Side] += v.Lost + v.Duplicates + v.Order
	}
	if limited > 0 {
		fmt.Fprintf(b, "- In %d of %d runs the generator was the limit: the CPU figures stand.\n", limited, len(r.Runs))
	}
	for _, name := range r.Names {
		if wrong[name] > 0 {
			fmt.Fprintf(b, "- %s lost, repeated or reordered %d messages.\n", name, wrong[name])
		}
	}
}

// short writes ratios with two digits, and bytes whole.
func short(v float64) string {
	if v >= 100 {
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.2f", v)
}
