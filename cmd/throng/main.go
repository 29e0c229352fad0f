// Command throng is a WebSocket server with rooms, ordered delivery and
// history on disk. This folder holds its subcommands and the wiring of its
// packages, nothing else.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/pflag"

	"github.com/thronghq/throng/internal/config"
)

// The exit codes. A panic exits with 2, which is why nothing else does.
const (
	exitOK      = 0
	exitFailure = 1  // what was asked for failed
	exitUsage   = 64 // EX_USAGE: the command line makes no sense
	exitConfig  = 78 // EX_CONFIG: the configuration is refused
)

// outside is what a command has of its process: the environment, and where it
// writes its result and everything else.
type outside struct {
	environ  []string
	out, err io.Writer
}

// command is one subcommand. Its run gets the arguments after its name.
type command struct {
	name    string
	summary string
	run     func(args []string, o outside) int
}

func commands() []command {
	return []command{
		{"serve", "serve connections until SIGTERM or SIGINT (the default)", runServe},
		{"token", "print a token for a user", runToken},
		{"key", "make, list, retire and remove the keys that sign tokens", runKey},
		{"user", "look after the accounts", runUser},
		{"config", "check the configuration, or print all of it", runConfig},
		{"bench", "load a server and measure it", runBench},
		{"version", "print the version", runVersion},
	}
}

func main() {
	os.Exit(run(os.Args[1:], outside{os.Environ(), os.Stdout, os.Stderr}))
}

// run runs the subcommand that the arguments name and returns the exit code.
func run(args []string, o outside) int {
	name := "serve"
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		name, args = args[0], args[1:]
	} else if len(args) > 0 {
		switch args[0] {
		case "-h", "--help":
			name = "help"
		case "-v", "--version":
			name, args = "version", args[1:]
		}
	}
	if name == hashWorkerName {
		return runHashWorker(o)
	}
	if name == "help" {
		printOverview(o.out)
		return exitOK
	}
	for _, c := range commands() {
		if c.name == name {
			return c.run(args, o)
		}
	}
	return usageError(o, "", fmt.Errorf("there is no command %q", name))
}

func printOverview(w io.Writer) {
	fmt.Fprint(w, "throng serves WebSocket connections: rooms, ordered delivery, history on disk.\n\nUsage: throng [COMMAND] [FLAGS]\n\n")
	for _, c := range commands() {
		fmt.Fprintf(w, "  throng %-8s %s\n", c.name, c.summary)
	}
	fmt.Fprintf(w, "\nFlags of throng serve (and, before them, the same keys in the file and the environment):\n\n%s", config.Usage())
}

// newFlagSet returns the flags of a command, which prints nothing itself.
func newFlagSet(name string) *pflag.FlagSet {
	set := pflag.NewFlagSet(name, pflag.ContinueOnError)
	set.SetOutput(io.Discard)
	set.Usage = func() {}
	return set
}

// loadConfig parses the arguments of a command that takes no others than its
// flags, and loads the configuration. Unless ok, the command is done and exits
// with the code.
func loadConfig(set *pflag.FlagSet, args []string, o outside, usage string) (cfg *config.Config, code int, ok bool) {
	return loadConfigBeside(0, set, args, o, usage)
}

// loadConfigBeside is loadConfig for a command that takes some arguments beside
// its flags; they are the set's.
func loadConfigBeside(most int, set *pflag.FlagSet, args []string, o outside, usage string) (cfg *config.Config, code int, ok bool) {
	flags := config.AddFlags(set)
	err := flags.Parse(args)
	if errors.Is(err, pflag.ErrHelp) {
		fmt.Fprint(o.out, usage)
		return nil, exitOK, false
	}
	if err == nil && set.NArg() > most {
		err = fmt.Errorf("unexpected argument %q", set.Arg(most))
	}
	if err != nil {
		return nil, usageError(o, set.Name(), err), false
	}
	cfg, err = flags.Load(o.environ)
	if err != nil {
		fmt.Fprintf(o.err, "the configuration is refused:\n%v\n", err)
		return nil, exitConfig, false
	}
	return cfg, exitOK, true
}

func usageError(o outside, command string, err error) int {
	help := strings.TrimSpace("throng " + command)
	fmt.Fprintf(o.err, "throng: %v; %s --help lists what there is\n", err, help)
	return exitUsage
}

func failure(o outside, err error) int {
	fmt.Fprintf(o.err, "throng: %v\n", err)
	return exitFailure
}
