// Command compare runs throng and the C floors side by side and writes what it
// measured to a directory: every run as throng bench printed it, a table with
// the figures that the project wants to reach, and what it takes to plot them.
//
// The server has one core to itself and the generator another. Runs alternate,
// so that what else the machine does falls on both sides, and each run has a
// fresh server. A figure is the median over the rounds; a ratio is taken within
// a round.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"time"

	"github.com/spf13/pflag"
)

// plan is what to run.
type plan struct {
	Throng string // the binaries
	Floor  string
	Peers  string   // that of bench/peers
	Node   string   // the directory of those for node
	Out    string   // the results' directory
	Only   []string // the cells to run, none for all

	Rounds      int
	Duration    time.Duration
	Warmup      time.Duration
	Members     int
	Connections int
	Rooms       int
	Messages    uint64 // append
}

func main() {
	p := plan{Throng: "bin/throng", Floor: "bin/floor", Peers: "bin/peers", Node: "bench/peers/node", Out: "bench/results"}
	set := pflag.NewFlagSet("compare", pflag.ExitOnError)
	set.StringVar(&p.Throng, "throng", p.Throng, "throng's binary")
	set.StringVar(&p.Floor, "floor", p.Floor, "the floor's binary")
	set.StringVar(&p.Out, "out", p.Out, "where the results are written")
	set.StringSliceVar(&p.Only, "cell", nil, "run only the cell of this name; may be given more than once")
	quick := set.Bool("quick", false, "few short runs, to try things out")
	peers := set.Bool("peers", false, "compare throng with servers over other libraries")
	rounds := set.Int("rounds", 0, "with --peers: rounds of each cell, 0 for 5")
	_ = set.Parse(os.Args[1:]) // exits

	p.Rounds, p.Duration, p.Warmup, p.Members, p.Connections, p.Rooms, p.Messages = 6, 3*time.Second, time.Second, 5000, 15_000, 1500, 2_000_000
	if *quick {
		p.Rounds, p.Duration, p.Warmup, p.Messages = 2, 1500*time.Millisecond, 300*time.Millisecond, 500_000
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	measure := compare
	if *peers {
		p, measure = peersPlan(p, *rounds, *quick), comparePeers
	}
	if err := measure(ctx, p); err != nil {
		fmt.Fprintf(os.Stderr, "compare: %v\n", err)
		os.Exit(1)
	}
}

func compare(ctx context.Context, p plan) error {
	r, err := newRunner(p)
	if err != nil {
		return err
	}
	defer os.RemoveAll(r.dir)
	for _, c := range cells(p) {
		if len(p.Only) > 0 && !slices.Contains(p.Only, c.name) {
			continue
		}
		if err := r.runCell(ctx, c); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	report := r.report()
	if err := report.write(p.Out); err != nil {
		return err
	}
	fmt.Print(report.table())
	return nil
}

// newRunner makes the runner's directory, which its caller removes.
func newRunner(p plan) (*runner, error) {
	if runtime.NumCPU() < 2 {
		return nil, errors.New("two cores are needed: one for the server and one for the generator")
	}
	dir, err := os.MkdirTemp("", "throng-compare-")
	if err != nil {
		return nil, err
	}
	r := &runner{plan: p, dir: dir, generator: filepath.Join(dir, "generator")}
	if err := copyFile(r.generator, p.Throng); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return r, nil
}

// copyFile gives the generator a binary of its own. Were it the server's, the
// two processes would share the pages of its code, and the server's part of
// them would depend on what the generator does.
func copyFile(to, from string) error {
	binary, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, binary, 0o755)
}
