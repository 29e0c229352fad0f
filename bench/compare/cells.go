package main

import (
	"slices"
	"strconv"
)

// cell is one comparison: its sides take turns.
type cell struct {
	name   string
	rounds int
	sides  []side
}

// side is one way of doing a cell's job.
type side struct {
	name   string
	server serverKind
	args   []string // of throng bench
}

// serverKind is what is measured.
type serverKind int

const (
	noServer    serverKind = iota // the generator measures itself
	throng                        // throng serve --dev
	compressing                   // the same, with compression
	floorOne                      // one send for each member and message
	floorBatch                    // one send for each member and all that waits
	firstPeer                     // a server over another library: see peers.go
)

// The names of the cells and sides, by which figures are found.
const (
	cellConn    = "connections"
	cellOne     = "fan-out, one at a time"
	cellFour    = "fan-out, four outstanding"
	cellSlow    = "slow readers"
	cellDeflate = "fan-out of 1 KB, compressed"
	cellStorm   = "storm"
	cellEcho    = "echo"
	cellHistory = "history"
	cellResume  = "resume"
	cellAppend  = "append"
	cellREST    = "REST"

	sideThrong  = "throng"
	sideBinary  = "throng, binary"
	sideFloor   = "floor, one by one"
	sideBatch   = "floor, batched"
	sideDeflate = "compressed"
	sidePlain   = "plain"
	sideSlow    = "10% never read"
	sideAllRead = "all read"
	sideObey    = "clients that do as they are told"
	sideHasty   = "clients that do not"
	sideAsync   = "async"
	sideSync    = "sync"
	sidePublish = "publish"
	sidePages   = "pages"
)

func cells(p plan) []cell {
	timed := []string{"--duration", p.Duration.String(), "--warmup", p.Warmup.String()}
	with := func(command, codec string, more ...string) []string {
		return append([]string{command, "--codec", codec}, more...)
	}
	members := func(n int, more ...string) []string {
		return append(append([]string{"--members", strconv.Itoa(n), "--size", "128"}, timed...), more...)
	}
	conns := slices.Clip([]string{"--connections", strconv.Itoa(p.Connections), "--rooms", strconv.Itoa(p.Rooms), "--size", "128"})
	few := (p.Rounds + 1) / 2
	// A quiet server collects its garbage within ten seconds.
	const settle = "12s"
	echo := append([]string{"--connections", "100", "--size", "128"}, timed...)
	// A publisher at full speed keeps many messages under way. There are so many
	// that the outboxes of those that never read are full after two thirds of them,
	// whatever else the machine does: all that happens to them is in the figures.
	slow := slices.Clip([]string{"--outstanding", "64", "--messages", "2000"})
	storm := slices.Clip([]string{"--members", strconv.Itoa(p.Connections), "--rooms", strconv.Itoa(p.Connections / 50), "--size", "128"})

	rest := append([]string{"rest", "--members", "1"}, timed...)

	return []cell{
		{cellConn, p.Rounds / 2, []side{
			{sideThrong, throng, with("conn", "json", append(conns, "--settle", settle)...)},
			{sideFloor, floorOne, with("conn", "floor", append(conns, "--settle", "1s")...)},
		}},
		{cellOne, p.Rounds, []side{
			{sideThrong, throng, with("fanout", "json", members(p.Members)...)},
			{sideFloor, floorOne, with("fanout", "floor", members(p.Members)...)},
		}},
		{cellFour, p.Rounds, []side{
			{sideThrong, throng, with("fanout", "json", members(p.Members, "--outstanding", "4")...)},
			{sideFloor, floorOne, with("fanout", "floor", members(p.Members, "--outstanding", "4")...)},
			{sideBatch, floorBatch, with("fanout", "floor", members(p.Members, "--outstanding", "4")...)},
			{sideBinary, throng, with("fanout", "binary", members(p.Members, "--outstanding", "4")...)},
		}},
		{cellDeflate, few, []side{
			{sideDeflate, compressing, with("fanout", "json", members(p.Members, "--size", "1024", "--deflate")...)},
			{sidePlain, compressing, with("fanout", "json", members(p.Members, "--size", "1024")...)},
		}},
		{cellSlow, p.Rounds, []side{
			{sideSlow, throng, with("fanout", "json", members(p.Connections, append(slow, "--slow-readers", "10")...)...)},
			{sideAllRead, throng, with("fanout", "json", members(p.Connections-p.Connections/10, slow...)...)},
		}},
		{cellStorm, few, []side{
			{sideObey, throng, with("storm", "json", storm...)},
			{sideHasty, throng, with("storm", "json", append(storm, "--impatient")...)},
		}},
		{cellEcho, few, []side{
			{sideThrong, throng, with("echo", "echo", echo...)},
			{sideFloor, floorOne, with("echo", "echo", echo...)},
		}},
		{cellHistory, 1, []side{
			{sideThrong, throng, with("history", "json", "--duration", p.Duration.String())},
		}},
		{cellResume, few, []side{
			{sideThrong, throng, with("resume", "json", "--members", strconv.Itoa(2*p.Members), "--messages", "100", "--size", "128")},
		}},
		{cellREST, few, []side{
			{sidePublish, throng, append(slices.Clip(rest), "--scenario", "publish")},
			{sidePages, throng, append(slices.Clip(rest), "--scenario", "history")},
		}},
		{cellAppend, few, []side{
			{sideAsync, noServer, []string{"append", "--rooms", "1000", "--size", "128", "--messages", strconv.FormatUint(p.Messages, 10), "--durability", "async"}},
			{sideSync, noServer, []string{"append", "--rooms", "1000", "--size", "128", "--messages", strconv.FormatUint(p.Messages, 10), "--durability", "sync"}},
		}},
	}
}
