package main

import (
	"path/filepath"
	"strconv"
)

func logCells(p *plan) []cell {
	all := []cell{appending(p), resuming(p)}
	return append(append(all, largeLog(p)...), paging(p), requesting(p))
}

func (p *plan) appendTo(rooms int, messages uint64, durability string, more ...string) []string {
	args := []string{"append", "--rooms", strconv.Itoa(rooms), "--size", "128", "--messages", strconv.FormatUint(messages, 10), "--durability", durability}
	return append(args, more...)
}

func appending(p *plan) cell {
	const async, many, one = "async", "sync, 256 publishers", "sync, one publisher"
	return cell{
		name: "append", rounds: p.Rounds,
		sides: []side{
			{name: async, args: p.appendTo(1000, p.Messages, "async")},
			{name: many, args: p.appendTo(1000, p.Messages/20, "sync", "--outstanding", "256")},
			{name: one, args: p.appendTo(1000, p.Messages/1000, "sync", "--outstanding", "1")},
		},
		figures: func(s seen) []figure {
			return []figure{
				newFigure("append, async", perSecond, s.of(async, appended), atLeast, 500_000),
				newFigure("append, async: CPU for each message", us, s.of(async, appendCPU), none, 0),
				newFigure("the same, plain file", us, s.of(async, func(m *measured) float64 { return m.Append.File.CPUPerMessage }), none, 0),
				newFigure("append, sync, 256 publishers: rate to one publisher's", ratio, s.ratio(many, one, appended), atLeast, 25),
				newFigure("append, sync, 256 publishers", perSecond, s.of(many, appended), none, 0),
			}
		},
	}
}

func resuming(p *plan) cell {
	return cell{
		name: "resume", rounds: p.Rounds,
		sides: []side{{name: sideThrong, server: throng, args: []string{"resume", "--members", "10000", "--messages", "100", "--size", "128"}}},
		figures: func(s seen) []figure {
			byCPU := func(m *measured) float64 { return 1e6 / cpu(m) }
			return []figure{
				newFigure("resume of 10,000 members that missed 100: replayed", perSecond, s.of(sideThrong, rate), atLeast, 1_000_000),
				newFigure("the same, for each second of the server's CPU time", perSecond, s.of(sideThrong, byCPU), atLeast, 1_000_000),
				newFigure("the same: CPU for each message", us, s.of(sideThrong, cpu), none, 0),
			}
		},
	}
}

// The large log.
const (
	largeEach   = 2000 // messages that each room has in the end
	largePrefix = "kept"
	cellLarge   = "history page, large log"
	sideCold    = "cold"
	sideWarm    = "warm"
	sideFill    = "append"
)

// largeStages is the sizes at which the large log is asked for pages, in messages:
// a page of each room at least.
func largeStages(p *plan) []uint64 { return []uint64{p.Log / 20, p.Log / 4, p.Log} }

// largeLog fills a log step by step, and asks it for pages at each size. The last
// step is that of the bars; all of them are a curve. The log's directory goes
// with the runner's.
func largeLog(p *plan) []cell {
	dir, rooms := filepath.Join(p.Work, "large"), int(p.Log/largeEach)
	server := throngServer{flags: throng.flags, kept: dir, config: "[namespace.default]\nhistory_size = 1_000_000_000\n"}
	pages := func(messages uint64, more ...string) []string {
		args := []string{"pages", "--rooms", strconv.Itoa(rooms), "--messages", strconv.FormatUint(messages/uint64(rooms), 10), "--room-prefix", largePrefix, "--duration", p.Duration.String()}
		return append(args, more...)
	}
	var all []cell
	before := uint64(0)
	for i, messages := range largeStages(p) {
		x, last := float64(messages), i == len(largeStages(p))-1
		fill := cell{
			within: cellLarge,
			name:   curvePrefix + "append, by messages in the log", rounds: 1,
			sides: []side{{name: sideFill, x: x, args: p.appendTo(rooms, messages-before, "async", "--keep", dir, "--room-prefix", largePrefix)}},
			curve: &axes{x: "messages in the log", unit: us, cost: appendCPU},
		}
		ask := cell{
			// The first of them meets what Pebble still has to do with what was just written.
			name: curvePrefix + "CPU for a page of 50, by messages in the log", rounds: min(3, p.Rounds),
			sides: []side{
				{name: sideCold, x: x, server: server, more: forgotten(dir), args: pages(messages)},
				{name: sideWarm, x: x, server: server, args: pages(messages, "--places", "1000")},
			},
			curve: &axes{x: "messages in the log", unit: us, cost: cpuPerSent},
		}
		all = append(all, fill, ask)
		if last {
			again := cell{name: cellLarge, rounds: (p.Rounds + 1) / 2, sides: ask.sides, figures: largeFigures}
			all = append(all, again)
		}
		before = messages
	}
	return all
}

func largeFigures(s seen) []figure {
	return []figure{
		newFigure("history page of 50, cold, in a large log: p99", ms, s.of(sideCold, p99), atMost, 2),
		newFigure("the same: p50", ms, s.of(sideCold, p50), none, 0),
		newFigure("the same: CPU for each page", us, s.of(sideCold, cpuPerSent), none, 0),
		newFigure("history page of 50, warm, in a large log: p99", ms, s.of(sideWarm, p99), atMost, 0.2),
		newFigure("the same: p50", ms, s.of(sideWarm, p50), none, 0),
		newFigure("the same: CPU for each page", us, s.of(sideWarm, cpuPerSent), none, 0),
	}
}

func paging(p *plan) cell {
	return cell{
		name: "history", rounds: 1,
		sides: []side{{name: sideThrong, server: throng, args: []string{"history", "--duration", p.Duration.String()}}},
		figures: func(s seen) []figure {
			return []figure{newFigure("history: CPU for each message", us, s.of(sideThrong, cpu), none, 0)}
		},
	}
}

// lastRequest is a value of the last kind of request that a run measured: the
// floor comes first.
func lastRequest(value func(cpu, toFloor float64) float64) func(*measured) float64 {
	return func(m *measured) float64 {
		if n := len(m.Rest.Requests); n > 0 {
			return value(m.Rest.Requests[n-1].CPU, m.Rest.Requests[n-1].ToFloor)
		}
		return 0
	}
}

func requesting(p *plan) cell {
	const publish, pages = "publish", "pages"
	ofCPU := lastRequest(func(cpu, _ float64) float64 { return cpu })
	toFloor := lastRequest(func(_, toFloor float64) float64 { return toFloor })
	return cell{
		name: "REST", rounds: (p.Rounds + 1) / 2,
		sides: []side{
			{name: publish, server: throng, args: p.timed("rest", "--members", "1", "--scenario", "publish")},
			{name: pages, server: throng, args: p.timed("rest", "--members", "1", "--scenario", "history")},
		},
		figures: func(s seen) []figure {
			return []figure{
				newFigure("publish by REST to one member: CPU for each message", us, s.of(publish, ofCPU), none, 0),
				newFigure("the same, to a request that does nothing", ratio, s.of(publish, toFloor), none, 0),
				newFigure("page of 50 by REST: CPU for each page", us, s.of(pages, ofCPU), none, 0),
				newFigure("the same, to a request that does nothing", ratio, s.of(pages, toFloor), none, 0),
			}
		},
	}
}
