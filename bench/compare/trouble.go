package main

import "strconv"

// troubleCells is clients that do not read, and clients that all come at once.
func troubleCells(p *plan) []cell { return []cell{slowReaders(p), storm(p)} }

// outboxBound is limits.outbox, the bytes that may wait for one connection.
const outboxBound = 256 << 10

// ofBudget is the most of the memory budget that was in use.
func ofBudget(m *measured) float64 {
	return float64(m.Gauges.Memory) / float64(max(m.Gauges.MemoryMark, 1))
}

// slowReaders keeps many messages under way, as a publisher at full speed does.
// There are so many that the outboxes of those that never read are full after two
// thirds of them, whatever else the machine does: all that happens to them is in
// the figures.
func slowReaders(p *plan) cell {
	const slow, allRead = "10% never read", "all read"
	members := func(n int, more ...string) []string {
		return p.fanout("json", n, 1, append([]string{"--outstanding", "64", "--messages", "2000"}, more...)...)
	}
	silent := float64(p.Crowd / 10)
	return cell{
		name: "slow readers", rounds: (p.Rounds + 1) / 2,
		sides: []side{
			{name: slow, server: throng, args: members(p.Crowd, "--slow-readers", "10")},
			{name: allRead, server: throng, args: members(p.Crowd - p.Crowd/10)},
		},
		figures: func(s seen) []figure {
			grown := func(m *measured) float64 { return float64(m.Server.Peak - m.Server.Before) }
			// In a long run they are first moved to the log and then, as silent, closed.
			dealtWith := func(m *measured) float64 { return float64(max(m.Gauges.Lagged, m.Gauges.Closed)) / silent }
			memory := combine(s.of(slow, grown), s.of(allRead, grown), func(with, without float64) float64 { return (with - without) / silent })
			return []figure{
				newFigure("10% never read: the others' p99 to that without them", ratio, s.ratio(slow, allRead, p99), atMost, 1.3),
				newFigure("10% never read: CPU for each delivery to that without them", ratio, s.ratio(slow, allRead, cpu), none, 0),
				newFigure("10% never read: memory for each that does not", inBytes, memory, atMost, outboxBound),
				newFigure("10% never read: part of these fed from the log or closed", ratio, s.of(slow, dealtWith), atLeast, 1),
				newFigure("10% never read: most of the memory budget that was in use", ratio, s.of(slow, ofBudget), atMost, 1),
			}
		},
	}
}

// storm has the default budget of handshakes, which is what it is about.
func storm(p *plan) cell {
	const obey, hasty = "clients that do as they are told", "clients that do not"
	args := []string{"storm", "--members", strconv.Itoa(p.Crowd), "--rooms", strconv.Itoa(p.Crowd / 50), "--size", "128"}
	return cell{
		name: "storm", rounds: min(2, p.Rounds),
		sides: []side{
			{name: obey, server: throngServer{}, args: args},
			{name: hasty, server: throngServer{}, args: append(args[:len(args):len(args)], "--impatient")},
		},
		figures: func(s seen) []figure {
			toImplied := func(m *measured) float64 { return m.Storm.ToImplied }
			return []figure{
				newFigure("storm: until all are back, to what admission's budget implies", ratio, s.of(obey, toImplied), none, 0),
				newFigure("the same, where clients come again at once", ratio, s.of(hasty, toImplied), none, 0),
				newFigure("storm: most of the memory budget that was in use", ratio, s.of(obey, ofBudget), atMost, 1),
				newFigure("storm: clients that did not go on where they had been", "clients", s.of(obey, func(m *measured) float64 { return float64(m.Storm.NotRecovered) }), atMost, 0),
				newFigure("storm: CPU for each client", us, s.of(obey, func(m *measured) float64 { return m.Storm.CPUPerClient }), none, 0),
			}
		},
	}
}
