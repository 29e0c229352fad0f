package main

import (
	"path/filepath"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"
)

// curve is what a unit of work costs at several sizes.
type curve struct {
	Name  string `json:"name"`
	X     string `json:"x"`
	Unit  string `json:"unit"`
	Lines []struct {
		Name   string       `json:"name"`
		Points [][2]float64 `json:"points"`
	} `json:"lines"`
}

// draw draws the lines, both axes by their logarithms: a cost that does not grow
// is level, one that grows with the size is a slope.
func (c curve) draw(dir string) error {
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = c.Name, c.X, c.Unit
	p.X.Scale, p.Y.Scale = plot.LogScale{}, plot.LogScale{}
	p.X.Tick.Marker, p.Y.Tick.Marker = plot.LogTicks{Prec: -1}, plot.LogTicks{Prec: -1}
	p.Legend.Top = true
	p.Add(plotter.NewGrid())
	least, most := 0.0, 0.0
	for i, l := range c.Lines {
		points := make(plotter.XYs, 0, len(l.Points))
		for _, at := range l.Points {
			if at[0] <= 0 || at[1] <= 0 {
				continue // it has no logarithm
			}
			points = append(points, plotter.XY{X: at[0], Y: at[1]})
			if least == 0 || at[1] < least {
				least = at[1]
			}
			most = max(most, at[1])
		}
		if len(points) == 0 {
			continue
		}
		line, dots, err := plotter.NewLinePoints(points)
		if err != nil {
			return err
		}
		line.Color, dots.Color, dots.Shape = plotutil.Color(i), plotutil.Color(i), plotutil.Shape(i)
		p.Add(line, dots)
		p.Legend.Add(l.Name, line, dots)
	}
	if most == 0 {
		return nil
	}
	p.Y.Min, p.Y.Max = least/3, most*3 // so that noise does not look like a slope
	return p.Save(vg.Points(520), vg.Points(320), filepath.Join(dir, "curve-"+fileName(c.Name)+".svg"))
}

// fileName makes a file's name of a text.
func fileName(text string) string {
	words := strings.FieldsFunc(strings.ToLower(text), func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') })
	return strings.Join(words, "-")
}
