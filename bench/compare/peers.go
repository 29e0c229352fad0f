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
	codec string // of throng bench, "" for the floor's
	run   peerServer
	idle  peerServer // the same for the comparison of memory, where it collects its garbage
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

// peerServer is a peer that runs.
type peerServer []string

func (s peerServer) command(*plan, string) ([]string, error) { return s, nil }

// The cells of peers. In each, throng and the floors take turns with all of them.
const (
	peersOne       = "large room one at a time"
	peersFour      = "large room with four outstanding"
	peersRooms     = "small rooms"
	peersEcho      = "echo"
	peersHandshake = "handshake"
	peersConn      = "connections"
)

// foundPeers completes the peers' commands, and says on standard error which are
// left out.
func foundPeers(p *plan) []peer {
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

func peersCells(p *plan, found []peer) []cell {
	all := []string{"--members", strconv.Itoa(p.Members), "--size", "128"}
	small := []string{"--members", "10000", "--rooms", "1000", "--size", "128"}
	crowd := []string{"--connections", strconv.Itoa(p.Crowd), "--rooms", strconv.Itoa(p.Crowd / 10), "--size", "128", "--timeout", "30s"}

	four := newPeersCell(found, peersFour, p.Rounds, "fanout", p.timed(append(slices.Clip(all), "--outstanding", "4")...))
	batch := four.sides[1]
	batch.name, batch.server = sideBatch, floorBatch
	four.sides = append(four.sides, batch)

	// The others upgrade and no more; those with a protocol of their own begin it
	// later.
	handshake := newPeersCell(found, peersHandshake, p.Rounds, "handshake", p.timed("--connections", "64"))
	handshake.sides = slices.DeleteFunc(handshake.sides, func(s side) bool {
		return slices.ContainsFunc(found, func(one peer) bool { return one.name == s.name && one.codec != "" })
	})

	return []cell{
		newPeersCell(found, peersOne, p.Rounds, "fanout", p.timed(all...)),
		four,
		newPeersCell(found, peersRooms, p.Rounds, "fanout", p.timed(small...)),
		newPeersCell(found, peersEcho, p.Rounds, "echo", p.timed("--connections", "1000", "--size", "128")),
		handshake,
		idlePeers(p, newPeersCell(found, peersConn, 1, "conn", crowd), found),
	}
}

// idlePeers has the peers collect their garbage all the time, so that they need
// no longer rest; a quiet throng gives memory back within ten seconds.
func idlePeers(p *plan, c cell, found []peer) cell {
	for i := range c.sides {
		s := &c.sides[i]
		settle := min(p.Settle, 5*time.Second)
		if s.name == sideThrong {
			settle = p.Settle
		}
		s.args = append(slices.Clip(s.args), "--settle", settle.String())
		if at := slices.IndexFunc(found, func(one peer) bool { return one.name == s.name }); at >= 0 {
			s.server = found[at].idle
		}
	}
	return c
}

// newPeersCell has throng and the floor first. All do the same, each in its own
// protocol.
func newPeersCell(found []peer, name string, rounds int, command string, args []string) cell {
	own, floors := "json", "floor"
	if command == "echo" {
		own, floors = "echo", "echo"
	}
	with := func(codec string) []string {
		if command == "handshake" {
			return append([]string{command}, args...)
		}
		return append([]string{command, "--codec", codec}, args...)
	}
	c := cell{name: name, rounds: rounds, sides: []side{
		{name: sideThrong, server: throng, args: with(own)},
		{name: sideFloor, server: floorOne, args: with(floors)},
	}}
	for _, one := range found {
		c.sides = append(c.sides, side{name: one.name, server: one.run, args: with(cmp.Or(one.codec, floors))})
	}
	return c
}

// comparePeers writes peers.json and peers.md. A peer that fails in a round has
// no figure of it, which the report says; the others go on.
func comparePeers(ctx context.Context, p plan) error {
	r, err := newRunner(&p)
	if err != nil {
		return err
	}
	defer os.RemoveAll(r.dir)
	found := foundPeers(&p)
	var failed []string
	chosen, err := p.chosen(peersCells(&p, found))
	if err != nil {
		return err
	}
	for _, c := range chosen {
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
