package main

import (
	"slices"
	"strconv"
)

// axes says what a curve shows: the cost of a unit of work over a size, both
// drawn by their logarithms.
type axes struct {
	x, unit string
	cost    func(*measured) float64
}

// curvePrefix begins the names of cells whose sides are points of a curve.
const curvePrefix = "curve: "

// curve is what results.json holds of one.
type curve struct {
	Name  string `json:"name"`
	X     string `json:"x"`
	Unit  string `json:"unit"`
	Lines []line `json:"lines"`
}

// line is one side's points, by their size.
type line struct {
	Name   string       `json:"name"`
	Points [][2]float64 `json:"points"`
}

// curveCells is the curves that have no other cells' work to do. Those of the
// large log are among its cells.
func curveCells(p *plan) []cell {
	return []cell{byConnections(p), byMembers(p), byRooms(p), byRoomsInLog(p), byPayload(p)}
}

// some takes the ends of a list, or all of it.
func some[T any](p *plan, all []T) []T {
	if p.Quick {
		return []T{all[0], all[len(all)-1]}
	}
	return all
}

// points has both servers do the same at each size.
func points[T int | uint64](sizes []T, args func(codec string, size T) []string) (sides []side) {
	for _, size := range sizes {
		sides = append(sides,
			side{name: sideThrong, x: float64(size), server: throng, args: args("json", size)},
			side{name: sideFloor, x: float64(size), server: floorOne, args: args("floor", size)})
	}
	return sides
}

// wholeRSS is what the process occupies with all connections, after a message in
// every room. Before them it shares nothing, so that its PSS is its RSS.
func wholeRSS(m *measured) float64 {
	return float64(m.Server.Before) + m.Connections.AfterRSS*float64(m.Options.Connections)
}

func byConnections(p *plan) cell {
	var sides []side
	for _, n := range some(p, []int{1000, 4000, p.Crowd}) {
		sides = append(sides, side{name: sideThrong, x: float64(n), server: throng, args: p.conn("json", n, p.Settle.String())})
	}
	return cell{
		name: curvePrefix + "RSS of the server, by connections", rounds: 1, sides: sides,
		curve: &axes{x: "connections", unit: inBytes, cost: wholeRSS},
	}
}

// byMembers has as many connections at each size, in fewer and larger rooms.
func byMembers(p *plan) cell {
	return cell{
		name: curvePrefix + "CPU for a delivery, by members of each room", rounds: 1,
		sides: points(some(p, []int{10, 100, 1000, 5000, p.Crowd}), func(codec string, members int) []string {
			return p.fanout(codec, p.Crowd, p.Crowd/members)
		}),
		curve: &axes{x: "members of each room", unit: us, cost: cpu},
	}
}

func byRooms(p *plan) cell {
	return cell{
		name: curvePrefix + "CPU for a delivery, by rooms of 10", rounds: 1,
		sides: points(some(p, []int{1, 10, 100, p.Crowd / 10}), func(codec string, rooms int) []string {
			return p.fanout(codec, 10*rooms, rooms)
		}),
		curve: &axes{x: "rooms", unit: us, cost: cpu},
	}
}

func byRoomsInLog(p *plan) cell {
	var sides []side
	most := 1_000_000
	if p.Quick {
		most = 100_000
	}
	for _, rooms := range some(p, []int{1000, 10_000, 100_000, most}) {
		sides = append(sides, side{name: sideThrong, x: float64(rooms), args: p.appendTo(rooms, uint64(most), "async")})
	}
	return cell{
		name: curvePrefix + "CPU for an append, by rooms", rounds: 1, sides: sides,
		curve: &axes{x: "rooms", unit: us, cost: appendCPU},
	}
}

// byPayload begins with the least that the generator can embed in a message.
func byPayload(p *plan) cell {
	return cell{
		name: curvePrefix + "CPU for a delivery, by payload", rounds: 1,
		sides: points(some(p, []int{16, 128, 1 << 10, 4 << 10, 16 << 10, 64 << 10}), func(codec string, size int) []string {
			return p.fanout(codec, 1000, 1, "--size", strconv.Itoa(size))
		}),
		curve: &axes{x: "bytes of content", unit: us, cost: cpu},
	}
}

// newCurve gathers the points of a curve's runs. Runs of the same size in several
// rounds are their median.
func newCurve(c cell, s seen) curve {
	made := curve{Name: c.name[len(curvePrefix):], X: c.curve.x, Unit: c.curve.unit}
	type place struct {
		line string
		x    float64
	}
	values := make(map[place][]float64)
	for i := range s {
		at := place{s[i].Side, s[i].X}
		if values[at] == nil {
			if !slices.ContainsFunc(made.Lines, func(l line) bool { return l.Name == at.line }) {
				made.Lines = append(made.Lines, line{Name: at.line})
			}
		}
		values[at] = append(values[at], c.curve.cost(&s[i].Took))
	}
	for i := range made.Lines {
		l := &made.Lines[i]
		for at, costs := range values {
			if at.line == l.Name {
				l.Points = append(l.Points, [2]float64{at.x, newFigure("", "", costs, none, 0).Median})
			}
		}
		slices.SortFunc(l.Points, func(a, b [2]float64) int { return int(a[0] - b[0]) })
	}
	return made
}

// figures says how much more a unit costs at the largest size than at the least.
func (c curve) figures() (all []figure) {
	for _, l := range c.Lines {
		if n := len(l.Points); n > 1 && l.Points[0][1] > 0 {
			growth := l.Points[n-1][1] / l.Points[0][1]
			all = append(all, newFigure("curve of "+c.Name+", "+l.Name+": the largest to the least", ratio, []float64{growth}, none, 0))
		}
	}
	return all
}
