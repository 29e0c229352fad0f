package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

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
	codecs  []string // the first is the default
	flags   []string
	help    map[string]string // of flags that mean something else here
	preset  func(*options)
	run     func(ctx context.Context, o *options, p *progress) (*result, error)
}

// serverFlags are the flags of all benchmarks that load a server.
var serverFlags = []string{"url", "codec", "processes", "pid", "timeout", "allow-remote", "room-prefix"}

func benchmarks() []benchmark {
	return []benchmark{
		{
			name:    "conn",
			summary: "open connections that join rooms, and measure the server's memory for each",
			codecs:  []string{codecJSON, codecBinary, codecFloor, codecCentrifuge, codecSocketIO},
			flags:   append([]string{"connections", "rooms", "size", "settle", "deflate", "ca"}, serverFlags...),
			preset:  func(o *options) { o.Conns, o.Rooms, o.Messages = 1000, 100, 1 },
			run:     runConn,
		},
		{
			name:    "hold",
			summary: "keep connections that join rooms, as many as this process may open, and measure the server's memory",
			codecs:  []string{codecJSON, codecBinary, codecFloor},
			flags:   []string{"connections", "rooms", "largest", "size", "duration", "settle", "url", "codec", "pid", "timeout", "room-prefix"},
			help:    map[string]string{"duration": "how long the connections are kept after all else; each must be pinged meanwhile"},
			preset: func(o *options) {
				o.Conns, o.Rooms, o.Messages, o.Duration, o.perProcess = 1000, 100, 1, time.Minute, connsOfDescriptors()
			},
			run: runHold,
		},
		{
			name:    "fanout",
			summary: "publish to rooms, and count and time what each member gets",
			codecs:  []string{codecJSON, codecBinary, codecFloor, codecCentrifuge, codecSocketIO},
			flags:   append([]string{"members", "rooms", "publishers", "size", "outstanding", "rate", "slow-readers", "duration", "messages", "warmup", "deflate", "ca"}, serverFlags...),
			preset:  func(o *options) { o.Conns = 1000 },
			run:     runFanout,
		},
		{
			name:    "echo",
			summary: "send messages to and fro on each connection: raw ones to /echo, or the protocol's own: a PING, an RPC, an event",
			codecs:  []string{codecEcho, codecJSON, codecCentrifuge, codecSocketIO},
			flags:   append([]string{"connections", "size", "outstanding", "rate", "duration", "messages", "warmup", "ca"}, serverFlags...),
			preset:  func(o *options) { o.Conns, o.Codec = 100, codecEcho },
			run:     runEcho,
		},
		{
			name:    "handshake",
			summary: "open connections and drop them, over and over, and measure what the server spends on each",
			codecs:  []string{codecEcho},
			flags:   []string{"connections", "token-file", "duration", "warmup", "ca", "url", "processes", "pid", "timeout", "allow-remote"},
			help:    map[string]string{"connections": "connections that are being opened at any time"},
			preset:  func(o *options) { o.Conns, o.Codec = 64, codecEcho },
			run:     runHandshake,
		},
		{
			name:    "history",
			summary: "fill rooms with messages, and page through them",
			codecs:  []string{codecJSON, codecBinary},
			flags:   append([]string{"connections", "rooms", "size", "messages", "page", "duration", "deflate"}, serverFlags...),
			help:    map[string]string{"messages": "messages that each room is filled with before"},
			preset:  func(o *options) { o.Conns, o.Rooms, o.Messages, o.Outstanding = 16, 16, 5000, 64 },
			run:     runHistory,
		},
		{
			name:    "pages",
			summary: "ask for pages at random places of rooms that throng bench append --keep has filled",
			codecs:  []string{codecJSON},
			flags:   append([]string{"connections", "rooms", "messages", "page", "places", "duration"}, serverFlags...),
			help:    map[string]string{"messages": "messages that each room holds", "rooms": "rooms that are filled"},
			preset:  func(o *options) { o.Conns, o.Rooms, o.Messages, o.Page, o.filled = 1, 1000, 1000, 50, true },
			run:     runPages,
		},
		{
			name:    "resume",
			summary: "fill rooms with messages, and have all members join again at once, having missed all of them",
			codecs:  []string{codecJSON},
			flags:   append([]string{"members", "rooms", "size", "messages"}, serverFlags...),
			help:    map[string]string{"messages": "messages that each member has missed"},
			preset:  func(o *options) { o.Conns, o.Messages, o.Outstanding = 1000, 100, 4 },
			run:     runResume,
		},
		{
			name:    "rest",
			summary: "publish, page through history or log in by REST, beside WebSocket members and a request that does nothing",
			codecs:  []string{codecJSON},
			flags:   []string{"scenario", "requests", "members", "size", "rate", "messages", "page", "duration", "warmup", "url", "pid", "timeout", "allow-remote", "room-prefix"},
			help: map[string]string{
				"members":  "publish, login: WebSocket members of the room that the messages go to",
				"rate":     "login: messages a second that go to the room meanwhile",
				"messages": "history: messages that the room is filled with before",
			},
			preset: func(o *options) {
				o.Scenario, o.Requests, o.Conns, o.Rate, o.Messages, o.Page = restPublish, 8, 20, 100, 5000, 50
			},
			run: runRest,
		},
		{
			name:    "storm",
			summary: "cut all members of rooms off at once, publish, and time how they come back and catch up",
			codecs:  []string{codecJSON},
			flags:   append([]string{"members", "rooms", "size", "messages", "rate", "impatient", "admission"}, serverFlags...),
			help: map[string]string{
				"messages": "messages that each room is filled with before, and as many that are published while all are away",
				"rate":     "messages a second, of all rooms, while they come back",
				"timeout":  "how long to wait for the answer to a handshake and a join",
			},
			preset: func(o *options) {
				o.Conns, o.Rooms, o.Messages, o.Rate, o.Outstanding, o.Timeout = 5000, 100, 20, 100, 4, 20*time.Second
			},
			run: runStorm,
		},
		{
			name:    "append",
			summary: "append messages to the log within this process, and the same bytes to a plain file",
			flags:   []string{"rooms", "size", "messages", "outstanding", "durability", "dir", "keep", "room-prefix"},
			help: map[string]string{
				"messages":    "messages in all",
				"outstanding": "messages under way at any time: as many publishers as wait for the answer to their last one",
			},
			preset: func(o *options) { o.Rooms, o.Messages, o.Outstanding = 1000, 1_000_000, 8192 },
			run:    runAppend,
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
	set := o.flagSet(b)
	err := set.Parse(args)
	if errors.Is(err, pflag.ErrHelp) {
		_, err := fmt.Fprintf(s.Out, "Usage: throng bench %s [FLAGS]\n\nTo %s.\n\n%s", b.name, b.summary, set.FlagUsages())
		return err
	}
	if err == nil && set.NArg() > 0 {
		err = fmt.Errorf("unexpected argument %q", set.Arg(0))
	}
	if err == nil {
		err = o.validate(b.codecs)
	}
	if err != nil {
		return &UsageError{err}
	}
	if t, err := parseTarget(ctx, o.URL, true); err == nil && t.secure && !slices.Contains(b.flags, "ca") {
		return &UsageError{fmt.Errorf("--url %s: throng bench %s speaks no TLS", o.URL, b.name)}
	}
	p := newProgress(s.Err)
	r, err := b.run(ctx, &o, p)
	p.end()
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
	if r.Hold != nil && !r.Hold.whole() {
		return ErrNotHeld
	}
	return nil
}

func usageText() string {
	var b strings.Builder
	b.WriteString("throng bench loads a server and measures it. The result is a JSON object on standard\noutput, and a table on standard error.\n\nUsage: throng bench BENCHMARK [FLAGS]\n\n")
	for _, m := range benchmarks() {
		fmt.Fprintf(&b, "  throng bench %-9s %s\n", m.name, m.summary)
	}
	b.WriteString("\nThe server runs with --dev. throng bench BENCHMARK --help lists the flags.\n")
	return b.String()
}
