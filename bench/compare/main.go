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
	"strconv"
	"strings"
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
	Work   string   // for what runs leave behind; removed in the end
	Only   []string // the cells to run, none for all
	Curves bool
	Quick  bool

	Rounds   int
	Duration time.Duration
	Warmup   time.Duration
	Settle   time.Duration // before memory is read
	Members  int           // of a room
	Crowd    int           // the most connections
	Users    int           // whom tokens name
	Messages uint64        // append
	Log      uint64        // messages in the large log
}

// A quiet server collects its garbage within ten seconds.
var (
	full  = plan{Rounds: 5, Duration: 2 * time.Second, Warmup: 500 * time.Millisecond, Settle: 12 * time.Second, Members: 5000, Crowd: 15_000, Users: 32, Messages: 2_000_000, Log: 20_000_000}
	quick = plan{Rounds: 1, Duration: time.Second, Warmup: 200 * time.Millisecond, Settle: 3 * time.Second, Members: 5000, Crowd: 15_000, Users: 32, Messages: 500_000, Log: 2_000_000, Quick: true}
)

func main() {
	p := full
	set := pflag.NewFlagSet("compare", pflag.ExitOnError)
	isQuick := set.Bool("quick", false, "one short round, to try things out")
	throng := set.String("throng", "bin/throng", "throng's binary")
	floor := set.String("floor", "bin/floor", "the floor's binary")
	out := set.String("out", "bench/results", "where the results are written")
	only := set.StringArray("cell", nil, "run only the cell of this name; may be given more than once")
	curves := set.Bool("curves", false, "measure also how costs grow with sizes")
	list := set.Bool("list", false, "print the cells' names and end")
	rounds := set.Int("rounds", 0, "rounds of each cell that has the most; 0 for the default")
	peers := set.Bool("peers", false, "compare throng with servers over other libraries, in place of what it measures else")
	_ = set.Parse(os.Args[1:]) // exits

	if *isQuick {
		p = quick
	}
	p.Throng, p.Floor, p.Out, p.Only, p.Curves = *throng, *floor, *out, *only, *curves
	if *rounds > 0 {
		p.Rounds = *rounds
	}
	if *list {
		for _, c := range cells(&p) {
			fmt.Println(c.name)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	measure := compare
	if *peers {
		p.Peers, p.Node, measure = "bin/peers", "bench/peers/node", comparePeers
	}
	if err := measure(ctx, p); err != nil {
		fmt.Fprintf(os.Stderr, "compare: %v\n", err)
		os.Exit(1)
	}
}

// chosen returns the cells that were asked for, with what they are prepared by.
func (p *plan) chosen(all []cell) (chosen []cell, err error) {
	if len(p.Only) == 0 {
		return all, nil
	}
	for _, name := range p.Only {
		if !slices.ContainsFunc(all, func(c cell) bool { return name == c.name || name == c.within }) {
			var names []string
			for _, c := range all {
				names = append(names, strconv.Quote(c.name))
			}
			return nil, fmt.Errorf("--cell %q: one of %s", name, strings.Join(slices.Compact(names), ", "))
		}
	}
	for _, c := range all {
		if slices.Contains(p.Only, c.name) || slices.Contains(p.Only, c.within) {
			chosen = append(chosen, c)
		}
	}
	return chosen, nil
}

// compare runs the cells. One that fails is told in the end, and does not keep the
// others from being run.
func compare(ctx context.Context, p plan) (err error) {
	r, err := newRunner(&p)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(r.dir)) }()
	var failed []error
	all := cells(&p)
	chosen, err := p.chosen(all)
	if err != nil {
		return err
	}
	for _, c := range chosen {
		start := time.Now()
		if err := r.runCell(ctx, c); err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", c.name, err))
		}
		fmt.Fprintf(os.Stderr, "%s took %.0f s\n", c.name, time.Since(start).Seconds())
		if ctx.Err() != nil {
			return errors.Join(failed...)
		}
	}
	report := r.report(all)
	if err := report.write(p.Out); err != nil {
		return err
	}
	fmt.Print(report.table())
	return errors.Join(failed...)
}

// newRunner makes the directory p.Work, which its caller removes.
func newRunner(p *plan) (_ *runner, err error) {
	if runtime.NumCPU() < 2 {
		return nil, errors.New("two cores are needed: one for the server and one for the generator")
	}
	if p.Work, err = os.MkdirTemp("", "throng-compare-"); err != nil {
		return nil, err
	}
	r := &runner{plan: *p, dir: p.Work, generator: filepath.Join(p.Work, "generator")}
	if err := copyFile(r.generator, p.Throng); err != nil {
		return nil, errors.Join(err, os.RemoveAll(p.Work))
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
