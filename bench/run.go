package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/pflag"
)

// UsageError is a command line that makes no sense.
type UsageError struct{ err error }

func (e *UsageError) Error() string { return e.err.Error() }

// Unwrap returns what is wrong with it.
func (e *UsageError) Unwrap() error { return e.err }

// Streams is where a benchmark writes: its result, one JSON object on a line,
// to Out; the table and, on a terminal, its progress to Err.
type Streams struct {
	In  io.Reader
	Out io.Writer
	Err io.Writer
}

// ErrViolated means that the server lost, repeated or reordered messages. The
// result has been written.
var ErrViolated = errors.New("messages were lost, repeated or out of order")

// benchmark is one subcommand.
type benchmark struct {
	name    string
	summary string
	flags   []string
	preset  func(*options)
	run     func(ctx context.Context, o *options, s Streams) (*result, error)
}

func benchmarks() []benchmark {
	server := []string{"url", "codec", "processes", "pid", "timeout", "allow-remote", "room-prefix"}
	return []benchmark{
		{
			name:    "fanout",
			summary: "publish to rooms, and count and time what each member gets",
			flags:   append([]string{"members", "rooms", "publishers", "size", "outstanding", "rate", "slow-readers", "duration", "messages", "warmup"}, server...),
			preset:  func(o *options) { o.Conns = 1000 },
			run:     runFanout,
		},
	}
}

// Run runs throng bench: args are what stands behind it. It returns a
// *UsageError where they are wrong, ErrViolated where the server broke a
// promise, and nil where the result is written.
func Run(ctx context.Context, args []string, s Streams) error {
	if len(args) == 0 || args[0] == "--help" || args[0] == "-h" {
		_, err := io.WriteString(s.Out, usageText())
		return err
	}
	if args[0] == workerCommand {
		return runWorker(ctx, s.In, s.Out)
	}
	for _, b := range benchmarks() {
		if b.name == args[0] {
			return b.main(ctx, args[1:], s)
		}
	}
	return &UsageError{fmt.Errorf("there is no benchmark %q", args[0])}
}

func (b benchmark) main(ctx context.Context, args []string, s Streams) error {
	o := defaultOptions()
	b.preset(&o)
	set := o.flagSet(b.name, b.flags...)
	err := set.Parse(args)
	if errors.Is(err, pflag.ErrHelp) {
		_, err := fmt.Fprintf(s.Out, "Usage: throng bench %s [FLAGS]\n\nTo %s.\n\n%s", b.name, b.summary, set.FlagUsages())
		return err
	}
	if err == nil && set.NArg() > 0 {
		err = fmt.Errorf("unexpected argument %q", set.Arg(0))
	}
	if err == nil {
		err = o.validate()
	}
	if err != nil {
		return &UsageError{err}
	}
	r, err := b.run(ctx, &o, s)
	if err != nil {
		return err
	}
	r.Benchmark, r.Options = b.name, o
	if _, err := io.WriteString(s.Err, r.table()); err != nil {
		return err
	}
	if err := json.NewEncoder(s.Out).Encode(r); err != nil {
		return err
	}
	if r.Violations.any() {
		return ErrViolated
	}
	return nil
}

func usageText() string {
	var b strings.Builder
	b.WriteString("throng bench loads a server and measures it. The result is a JSON object on standard\noutput, and a table on standard error.\n\nUsage: throng bench BENCHMARK [FLAGS]\n\n")
	for _, m := range benchmarks() {
		fmt.Fprintf(&b, "  throng bench %-8s %s\n", m.name, m.summary)
	}
	b.WriteString("\nThe server runs with --dev. throng bench BENCHMARK --help lists the flags.\n")
	return b.String()
}
