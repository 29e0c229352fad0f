package main

import (
	"slices"
	"strconv"
)

// cells is all comparisons, in the order of the table.
func cells(p *plan) []cell {
	all := slices.Concat(connectionCells(p), fanoutCells(p), requestCells(p), logCells(p), troubleCells(p))
	if p.Curves {
		all = append(all, curveCells(p)...)
	}
	return all
}

// The names of sides that several cells have.
const (
	sideThrong = "throng"
	sideFloor  = "floor, one by one"
	sideBatch  = "floor, batched"
	sidePlain  = "plain"
)

// timed appends for how long a benchmark measures.
func (p *plan) timed(args ...string) []string {
	return append(args, "--duration", p.Duration.String(), "--warmup", p.Warmup.String())
}

// fanout is the arguments of a fan-out of 128 bytes.
func (p *plan) fanout(codec string, members, rooms int, more ...string) []string {
	args := p.timed("fanout", "--codec", codec, "--members", strconv.Itoa(members), "--rooms", strconv.Itoa(rooms), "--size", "128")
	return append(args, more...)
}

// conn is the arguments of idle connections, ten in each room.
func (p *plan) conn(codec string, connections int, settle string) []string {
	return []string{"conn", "--codec", codec, "--connections", strconv.Itoa(connections), "--rooms", strconv.Itoa(connections / 10), "--size", "128", "--settle", settle}
}

func connectionCells(p *plan) []cell {
	few := (p.Rounds + 1) / 2
	idle := cell{
		name: "connections", rounds: few,
		sides: []side{
			{name: sideThrong, server: throng, args: p.conn("json", p.Crowd, p.Settle.String())},
			{name: sideFloor, server: floorOne, args: p.conn("floor", p.Crowd, "1s")},
		},
		figures: func(s seen) []figure {
			return []figure{
				newFigure("RSS of an idle connection that has joined", inBytes, s.of(sideThrong, idleRSS), none, 0),
				newFigure("RSS of it after a message in every room", inBytes, s.of(sideThrong, afterRSS), atMost, 600),
				newFigure("PSS of an idle connection that has joined", inBytes, s.of(sideThrong, idlePSS), none, 0),
				newFigure("PSS of it after a message in every room", inBytes, s.of(sideThrong, afterPSS), none, 0),
				newFigure("the same, floor", inBytes, s.of(sideFloor, afterPSS), none, 0),
			}
		},
	}
	const sideTLS = "TLS"
	secured := throng
	secured.tls = true
	overTLS := cell{
		name: "connections over TLS", rounds: 1,
		sides: []side{
			{name: sideTLS, server: secured, more: trusting, args: p.conn("json", p.Members, p.Settle.String())},
		},
		figures: func(s seen) []figure {
			return []figure{
				newFigure("TLS: RSS of an idle connection after a message in every room", inBytes, s.of(sideTLS, afterRSS), atMost, 10<<10),
				newFigure("TLS: PSS of it", inBytes, s.of(sideTLS, afterPSS), none, 0),
				newFigure("TLS: CPU for each connection: handshakes, session, join", us, s.of(sideTLS, func(m *measured) float64 { return m.Connections.CPU }), none, 0),
			}
		},
	}
	fanoutTLS := cell{
		name: "fan-out over TLS", rounds: p.Rounds,
		sides: []side{
			{name: sideTLS, server: secured, more: trusting, args: p.fanout("json", p.Members, 1)},
			{name: sidePlain, server: throng, args: p.fanout("json", p.Members, 1)},
		},
		figures: func(s seen) []figure {
			return []figure{newFigure("TLS: CPU for each delivery to plain", ratio, s.ratio(sideTLS, sidePlain, cpu), atMost, 2)}
		},
	}
	return []cell{idle, overTLS, fanoutTLS}
}

// requestCells is what has one connection on each end: echoes and handshakes.
func requestCells(p *plan) []cell {
	var all []cell
	for _, depth := range []string{"1", "16"} {
		echo := p.timed("echo", "--connections", "1000", "--size", "128", "--outstanding", depth)
		all = append(all, cell{
			name: "echo, depth " + depth, rounds: p.Rounds,
			sides: []side{
				{name: sideThrong, server: throng, args: echo},
				{name: sideFloor, server: floorOne, args: echo},
			},
			figures: func(s seen) []figure {
				return []figure{
					newFigure("echo on 1,000 connections, depth "+depth+": CPU to the floor's", ratio, s.ratio(sideThrong, sideFloor, cpu), atMost, 1.25),
					newFigure("the same: CPU for each message", us, s.of(sideThrong, cpu), none, 0),
				}
			},
		})
	}
	const anonymous, token = "throng, anonymous", "throng, token"
	handshake := p.timed("handshake", "--connections", "64")
	return append(all, cell{
		name: "handshake", rounds: p.Rounds,
		sides: []side{
			{name: anonymous, server: throng, args: handshake},
			{name: token, server: throng, args: handshake, more: withTokens},
			{name: sideFloor, server: floorOne, args: handshake},
		},
		figures: func(s seen) []figure {
			return []figure{
				newFigure("anonymous handshake: CPU to the floor's", ratio, s.ratio(anonymous, sideFloor, cpu), atMost, 1.5),
				newFigure("handshake with an HS256 token: CPU to the floor's", ratio, s.ratio(token, sideFloor, cpu), atMost, 2),
				newFigure("CPU for an anonymous handshake", us, s.of(anonymous, cpu), none, 0),
				newFigure("CPU for one with a token", us, s.of(token, cpu), none, 0),
				newFigure("CPU for the floor's", us, s.of(sideFloor, cpu), none, 0),
			}
		},
	})
}
