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
	noServer   serverKind = iota // the generator measures itself
	throng                       // throng serve --dev
	floorOne                     // one send for each member and message
	floorBatch                   // one send for each member and all that waits
)

// The names of the cells and sides, by which figures are found.
const (
	cellConn    = "connections"
	cellOne     = "fan-out, one at a time"
	cellFour    = "fan-out, four outstanding"
	cellSlow    = "slow readers"
	cellEcho    = "echo"
	cellHistory = "history"
	cellResume  = "resume"
	cellAppend  = "append"
	cellREST    = "REST"

	sideThrong  = "throng"
	sideBinary  = "throng, binary"
	sideFloor   = "floor, one by one"
	sideBatch   = "floor, batched"
	sideSlow    = "10% never read"
	sideAllRead = "all read"
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
	// A publisher at full speed keeps many messages under way. The warm-up is
	// long, so that the outboxes of those that never read are full after it.
	slow := slices.Clip([]string{"--outstanding", "64", "--warmup", (3 * p.Warmup).String()})

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
		{cellSlow, few, []side{
			{sideSlow, throng, with("fanout", "json", members(p.Members, append(slow, "--slow-readers", "10")...)...)},
			{sideAllRead, throng, with("fanout", "json", members(p.Members-p.Members/10, slow...)...)},
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
