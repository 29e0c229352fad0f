package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"time"
)

// peer is a server over another library: see bench/peers.
type peer struct {
	name  string
	codec string   // of throng bench, "" for the floor's
	run   []string // its command
	idle  []string // the same for the comparison of memory, where it collects its garbage
}

// goPeers are those of bench/peers' own binary.
var goPeers = []peer{
	{name: "nbio"},
	{name: "gws"},
	{name: "gorilla"},
	{name: "gobwas"},
	{name: "coder"},
	{name: "melody"},
	{name: "centrifuge", codec: "centrifuge"},
}

// nodePeers are left out where node or their packages are not installed.
var nodePeers = []peer{
	{name: "ws"},
	{name: "socket.io", codec: "socket.io"},
}

// The cells of peers. In each, throng and the floors take turns with all of them.
const (
	peersOne   = "large room one at a time"
	peersFour  = "large room with four outstanding"
	peersRooms = "small rooms"
	peersEcho  = "echo"
	peersConn  = "connections"
)

// peersPlan is p with the sizes of this comparison: rounds of some two minutes,
// and one of memory, which hardly differs between runs, of five.
func peersPlan(p plan, rounds int, quick bool) plan {
	p.Rounds, p.Duration, p.Warmup = 5, 2*time.Second, 500*time.Millisecond
	if quick {
		p.Rounds, p.Duration, p.Warmup = 1, time.Second, 200*time.Millisecond
		p.Members, p.Connections, p.Rooms = 1000, 2000, 200
	}
	p.Rounds = cmp.Or(rounds, p.Rounds)
	return p
}

// foundPeers completes the peers' commands, and says on standard error which are
// left out.
func foundPeers(p plan) []peer {
	var found []peer
	for _, one := range goPeers {
		one.run = []string{p.Peers, one.name, "--listen", "127.0.0.1:0"}
		one.idle = append(slices.Clip(one.run), "--collect")
		found = append(found, one)
	}
	node, err := exec.LookPath("node")
	if err == nil {
		_, err = os.Stat(filepath.Join(p.Node, "node_modules"))
	}
	for _, one := range nodePeers {
		if err != nil {
			fmt.Fprintf(os.Stderr, "%s is left out: %v\n", one.name, err)
			continue
		}
		server := []string{filepath.Join(p.Node, "server.js"), one.name, "--listen", "127.0.0.1:0"}
		one.run = append([]string{node}, server...)
		one.idle = append(append([]string{node, "--expose-gc"}, server...), "--collect")
		found = append(found, one)
	}
	return found
}

// kind is a peer's among the kinds of servers, running or collecting garbage.
func peerKind(i int, idle bool) serverKind {
	k := firstPeer + serverKind(2*i)
	if idle {
		k++
	}
	return k
}

func peersCells(p plan, found []peer) []cell {
	timed := []string{"--size", "128", "--duration", p.Duration.String(), "--warmup", p.Warmup.String()}
	members, rooms := strconv.Itoa(p.Members), strconv.Itoa(p.Members/5)
	all := append([]string{"--members", members}, timed...)
	// A quiet throng gives memory back within ten seconds; those that collect
	// their garbage all the time need no more than two rounds of it.
	conn := []string{"--connections", strconv.Itoa(p.Connections), "--rooms", strconv.Itoa(p.Rooms), "--size", "128", "--timeout", "30s"}

	cells := []cell{
		newPeersCell(found, peersOne, p.Rounds, "fanout", all),
		newPeersCell(found, peersFour, p.Rounds, "fanout", append(slices.Clip(all), "--outstanding", "4")),
		newPeersCell(found, peersRooms, p.Rounds, "fanout", append([]string{"--members", strconv.Itoa(2 * p.Members), "--rooms", rooms}, timed...)),
		newPeersCell(found, peersEcho, p.Rounds, "echo", append([]string{"--connections", "1000"}, timed...)),
		newPeersCell(found, peersConn, 1, "conn", conn),
	}
	cells[1].sides = append(cells[1].sides, side{sideBatch, floorBatch, cells[1].sides[1].args})
	for i := range cells[4].sides {
		s := &cells[4].sides[i]
		settle := "5s"
		if s.server == throng {
			settle = "12s"
		}
		s.args = append(slices.Clip(s.args), "--settle", settle)
		if s.server >= firstPeer {
			s.server++ // which collects its garbage
		}
	}
	return cells
}

// newPeersCell has throng and the floor first. All do the same, each in its own
// protocol.
func newPeersCell(found []peer, name string, rounds int, command string, args []string) cell {
	own, floors := "json", "floor"
	if command == "echo" {
		own, floors = "echo", "echo"
	}
	with := func(codec string) []string { return append([]string{command, "--codec", codec}, args...) }
	c := cell{name, rounds, []side{{sideThrong, throng, with(own)}, {sideFloor, floorOne, with(floors)}}}
	for i, one := range found {
		c.sides = append(c.sides, side{one.name, peerKind(i, false), with(cmp.Or(one.codec, floors))})
	}
	return c
}

// comparePeers writes peers.json and peers.md. A peer that fails in a round has
// no figure of it, which the report says; the others go on.
func comparePeers(ctx context.Context, p plan) error {
	r, err := newRunner(p)
	if err != nil {
		return err
	}
	defer os.RemoveAll(r.dir)
	found := foundPeers(p)
	r.peers = make(map[serverKind][]string)
	for i, one := range found {
		r.peers[peerKind(i, false)], r.peers[peerKind(i, true)] = one.run, one.idle
	}
	var failed []string
	for _, c := range peersCells(p, found) {
		if len(p.Only) > 0 && !slices.Contains(p.Only, c.name) {
			continue
		}
		for round := range c.rounds {
			for _, s := range c.sides {
				if err := r.runPeer(ctx, c, s, round); err != nil {
					failed = append(failed, fmt.Sprintf("%s: %s, round %d: %v", c.name, s.name, round+1, err))
				}
				if ctx.Err() != nil {
					return ctx.Err()
				}
			}
		}
	}
	for _, f := range failed {
		fmt.Fprintln(os.Stderr, f)
	}
	report := newPeersReport(r.runs, found)
	if err := report.write(p.Out); err != nil {
		return err
	}
	fmt.Print(report.markdown())
	if len(failed) > 0 {
		return fmt.Errorf("%d runs failed", len(failed))
	}
	return nil
}

// runPeer does one run, twice where it fails.
func (r *runner) runPeer(ctx context.Context, c cell, s side, round int) error {
	fmt.Fprintf(os.Stderr, "%s: %s, round %d of %d\n", c.name, s.name, round+1, c.rounds)
	var failures error
	for range attempts {
		result, err := r.runSide(ctx, s)
		one := run{Cell: c.name, Side: s.name, Round: round, Result: result}
		if err == nil {
			err = json.Unmarshal(result, &one.Took)
		}
		if err == nil {
			r.runs = append(r.runs, one)
			return nil
		}
		failures = errors.Join(failures, err)
	}
	return failures
}
