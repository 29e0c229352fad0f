package main

import (
	"fmt"
	"slices"
)

// throngUnkept keeps no history.
var throngUnkept = throngServer{flags: throng.flags, config: "[namespace.default]\nhistory_size = 0\n"}

const sideUnkept = "throng, no history"

func fanoutCells(p *plan) []cell {
	var all []cell
	for _, members := range []int{p.Members, p.Crowd} {
		all = append(all, oneAtATime(p, members))
	}
	for _, members := range []int{p.Members, p.Crowd} {
		all = append(all, saturated(p, members))
	}
	return append(all, smallRooms(p), halfRate(p), deflated(p), onTwoCores(p))
}

func oneAtATime(p *plan, members int) cell {
	name := fmt.Sprintf("fan-out to %d, one at a time", members)
	return cell{
		name: name, rounds: p.Rounds,
		sides: []side{
			{name: sideThrong, server: throng, args: p.fanout("json", members, 1)},
			{name: sideFloor, server: floorOne, args: p.fanout("floor", members, 1)},
			{name: sideUnkept, server: throngUnkept, args: p.fanout("json", members, 1)},
		},
		figures: func(s seen) []figure {
			return []figure{
				newFigure(name+": CPU to the floor's", ratio, s.ratio(sideThrong, sideFloor, cpu), atMost, 1.05),
				newFigure("the same: CPU for each delivery", us, s.of(sideThrong, cpu), none, 0),
				newFigure("the same, floor", us, s.of(sideFloor, cpu), none, 0),
				newFigure(name+": CPU with history (async) to that without", ratio, s.ratio(sideThrong, sideUnkept, cpu), atMost, 1.05),
			}
		},
	}
}

func saturated(p *plan, members int) cell {
	const four, batchFour, binaryFour = "throng, 4 outstanding", "floor, batched, 4 outstanding", "throng, binary, 4 outstanding"
	const sixteen, oneSixteen = "throng, 16 outstanding", "floor, one by one, 16 outstanding"
	name := fmt.Sprintf("fan-out to %d, saturated", members)
	of := func(codec, outstanding string) []string {
		return p.fanout(codec, members, 1, "--outstanding", outstanding)
	}
	sides := []side{
		{name: four, server: throng, args: of("json", "4")},
		{name: batchFour, server: floorBatch, args: of("floor", "4")},
		{name: sixteen, server: throng, args: of("json", "16")},
		{name: oneSixteen, server: floorOne, args: of("floor", "16")},
	}
	if members == p.Members { // once is enough
		sides = append(sides, side{name: binaryFour, server: throng, args: of("binary", "4")})
	}
	return cell{
		name: name, rounds: p.Rounds, sides: sides,
		figures: func(s seen) []figure {
			var binary []figure
			if members == p.Members {
				binary = append(binary, newFigure("the same, binary codec", ratio, s.ratio(binaryFour, batchFour, cpu), none, 0))
			}
			return slices.Concat([]figure{
				newFigure(name+", 4 outstanding: CPU to the batching floor's", ratio, s.ratio(four, batchFour, cpu), atMost, 1.1),
			}, binary, []figure{
				newFigure(name+", 16 outstanding: CPU to the one-by-one floor's", ratio, s.ratio(sixteen, oneSixteen, cpu), atMost, 1.0/3),
				newFigure("the same: deliveries a second to the one-by-one floor's", ratio, s.ratio(sixteen, oneSixteen, rate), atLeast, 3),
			})
		},
	}
}

// smallRooms compares with the better of the floor's two modes: which one is, a
// server's author could have chosen.
func smallRooms(p *plan) cell {
	const name = "1,000 rooms of 10"
	return cell{
		name: name, rounds: p.Rounds,
		sides: []side{
			{name: sideThrong, server: throng, args: p.fanout("json", 10_000, 1000)},
			{name: sideFloor, server: floorOne, args: p.fanout("floor", 10_000, 1000)},
			{name: sideBatch, server: floorBatch, args: p.fanout("floor", 10_000, 1000)},
			{name: sideUnkept, server: throngUnkept, args: p.fanout("json", 10_000, 1000)},
		},
		figures: func(s seen) []figure {
			floor := combine(s.of(sideFloor, cpu), s.of(sideBatch, cpu), func(a, b float64) float64 { return min(a, b) })
			history := combine(s.of(sideThrong, cpuPerSent), s.of(sideUnkept, cpuPerSent), func(a, b float64) float64 { return a - b })
			return []figure{
				newFigure(name+": CPU to the better floor's", ratio, divide(s.of(sideThrong, cpu), floor), atMost, 1.3),
				newFigure("the same: CPU for each delivery", us, s.of(sideThrong, cpu), none, 0),
				newFigure(name+": CPU for each message, with history (async) beyond that without", us, history, atMost, 4),
			}
		},
	}
}

func halfRate(p *plan) cell {
	const highest, throngHalf, floorHalf = "floor, highest rate", "throng, half of it", "floor, half of it"
	const name = "fan-out at half rate"
	return cell{
		name: name, rounds: p.Rounds,
		sides: []side{
			{name: highest, server: floorOne, args: p.fanout("floor", p.Members, 1, "--outstanding", "4")},
			{name: throngHalf, server: throng, args: p.fanout("json", p.Members, 1), more: atHalfOf(name, highest)},
			{name: floorHalf, server: floorOne, args: p.fanout("floor", p.Members, 1), more: atHalfOf(name, highest)},
		},
		figures: func(s seen) []figure {
			return []figure{
				newFigure("fan-out at half of the floor's highest rate: p99 to the floor's", ratio, s.ratio(throngHalf, floorHalf, p99), atMost, 1.2),
				newFigure("the same: p50 to the floor's", ratio, s.ratio(throngHalf, floorHalf, p50), none, 0),
				newFigure("the same: p99", ms, s.of(throngHalf, p99), none, 0),
			}
		},
	}
}

func deflated(p *plan) cell {
	const compressed = "compressed"
	server := throngServer{flags: append([]string{"--compress-enabled"}, throng.flags...)}
	return cell{
		name: "fan-out of 1 KB, compressed", rounds: p.Rounds,
		sides: []side{
			{name: compressed, server: server, args: p.fanout("json", p.Members, 1, "--size", "1024", "--deflate")},
			{name: sidePlain, server: server, args: p.fanout("json", p.Members, 1, "--size", "1024")},
		},
		figures: func(s seen) []figure {
			return []figure{newFigure("fan-out of 1 KB, compressed: CPU to that of plain frames", ratio, s.ratio(compressed, sidePlain, cpu), atMost, 1.3)}
		},
	}
}

// onTwoCores has the generator share the cores in every side, so that it takes
// as much of the caches everywhere.
func onTwoCores(p *plan) cell {
	const oneRoom, oneSmall, twoRoom, twoSmall = "one core, one room", "one core, rooms of 10", "two cores, one room", "two cores, rooms of 10"
	room, small := p.fanout("json", p.Members, 1), p.fanout("json", 10_000, 1000)
	return cell{
		name: "cores", rounds: p.Rounds,
		sides: []side{
			{name: twoRoom, server: throng, args: room, serverCores: bothCores, generatorCores: bothCores},
			{name: oneRoom, server: throng, args: room, generatorCores: bothCores},
			{name: twoSmall, server: throng, args: small, serverCores: bothCores, generatorCores: bothCores},
			{name: oneSmall, server: throng, args: small, generatorCores: bothCores},
		},
		figures: func(s seen) []figure {
			return []figure{
				newFigure(fmt.Sprintf("two cores, room of %d: CPU for each delivery to that on one", p.Members), ratio, s.ratio(twoRoom, oneRoom, cpu), atMost, 1.1),
				newFigure("two cores, 1,000 rooms of 10: CPU for each delivery to that on one", ratio, s.ratio(twoSmall, oneSmall, cpu), atMost, 1.1),
			}
		},
	}
}
