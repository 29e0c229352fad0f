package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/thronghq/throng/internal/callgrind"
)

// suite is a package's benchmarks that are counted in one process.
type suite struct {
	pkg        string
	benchmarks string // for -test.bench
	iterations int    // of each: some millions of instructions, a second under callgrind
}

// suites are the operations of the hot path. All of them run on one goroutine, or
// hand over from one to the next: what depends on who comes first counts
// differently each time.
var suites = []suite{
	{"proto", "^(BenchmarkDecode|BenchmarkAppendMessage|BenchmarkAppendAck|BenchmarkBinaryDecode|BenchmarkBinaryAppendMessage|BenchmarkBinaryAppendAck)$", 2000},
	{"proto", "^BenchmarkDeflateFrame$/^window=15$/^bytes=1024$", 100},
	{"netio", "^(BenchmarkFrameReader|BenchmarkRead|BenchmarkHandshake)$", 2000},
	{"netio", "^BenchmarkDeliver$/^netio$", 10_000},
	{"room", "^(BenchmarkFanOut|BenchmarkPublishInStep)$", 300},
	{"room", "^BenchmarkReplay$/^shared=false$", 20},
	{"session", "^BenchmarkDispatch$/^(PING|message)$", 2000},
	{"storage", "^BenchmarkAppendBatch$", 100},
	{"storage", "^BenchmarkRecord$", 10_000},
}

const (
	// attempts is how often a suite is run that callgrind did not get through.
	attempts = 3
	// patience is how long one run may take. A second is usual.
	patience = 2 * time.Minute
)

// counter counts one tree.
type counter struct {
	tree string
	out  string // folder of the test binaries, absolute

	built bool
}

// count runs all suites once, or those of some operations' packages.
func (c *counter) count(ctx context.Context, operations ...string) (*counts, error) {
	if err := c.build(ctx); err != nil {
		return nil, err
	}
	all := &counts{operations: make(map[string]float64)}
	var err error
	if all.toolchain, err = toolchain(ctx, c.tree); err != nil {
		return nil, err
	}
	for _, s := range suites {
		if len(operations) > 0 && !slices.ContainsFunc(operations, s.has) {
			continue
		}
		if err := c.run(ctx, s, all); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// has reports whether the suite may have the operation.
func (s suite) has(operation string) bool { return strings.HasPrefix(operation, s.pkg+".") }

// build makes the test binaries as make build makes the server, with the symbols
// that callgrind needs and no others.
func (c *counter) build(ctx context.Context) error {
	if c.built {
		return nil
	}
	args := []string{"test", "-c", "-buildvcs=false", "-ldflags=-w", "-o", c.out + string(filepath.Separator)}
	done := make(map[string]bool)
	for _, s := range suites {
		if !done[s.pkg] {
			args = append(args, "./"+s.pkg)
			done[s.pkg] = true
		}
	}
	if err := os.MkdirAll(c.out, 0o755); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir, cmd.Env = c.tree, append(os.Environ(), "CGO_ENABLED=0", "GOAMD64=v1", "GOARM64=v8.0")
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("building the test binaries of %s: %w", c.tree, err)
	}
	c.built = true
	return nil
}

// run counts one suite. Where callgrind cannot do it although the benchmarks run
// without, the comparison is skipped.
func (c *counter) run(ctx context.Context, s suite, all *counts) error {
	for attempt := 1; ; attempt++ {
		err := c.try(ctx, s, all)
		if err == nil || ctx.Err() != nil {
			return err
		}
		if attempt < attempts {
			continue
		}
		binary := append([]string{c.binary(s)}, s.flags()...)
		if alone, bad := c.command(ctx, s, binary...).CombinedOutput(); bad != nil {
			return fmt.Errorf("%s: %w\n%s", s.pkg, bad, alone)
		}
		return fmt.Errorf("%w: callgrind does not count ./%s here: %w", errSkipped, s.pkg, err)
	}
}

func (c *counter) binary(s suite) string { return filepath.Join(c.out, s.pkg+".test") }

func (s suite) flags() []string {
	return []string{"-test.run=^$", "-test.bench=" + s.benchmarks, "-test.benchtime=" + strconv.Itoa(s.iterations) + "x"}
}

// command is a command for a suite's binary, of which nothing runs by the clock:
// no collection of garbage, no preemption by signals, one goroutine at a time.
func (c *counter) command(ctx context.Context, s suite, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir = filepath.Join(c.tree, s.pkg)
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "TMPDIR=" + os.TempDir(),
		"GOMAXPROCS=1", "GOGC=off", "GODEBUG=asyncpreemptoff=1",
	}
	return cmd
}

// try runs a suite under callgrind, which writes a file for each benchmark.
func (c *counter) try(ctx context.Context, s suite, all *counts) error {
	dumps, err := os.MkdirTemp("", "throng-regress-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dumps) }()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	out := filepath.Join(dumps, "out")
	cmd := c.command(ctx, s, append([]string{
		"valgrind", "--tool=callgrind", "--callgrind-out-file=" + out, "--compress-pos=no",
		"--zero-before=" + callgrind.Begin, "--dump-before=" + callgrind.End, c.binary(s),
	}, s.flags()...)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%w\n%s%s", err, &stdout, &stderr)
	}
	names := benchmarkNames(stdout.String())
	for i, name := range names {
		total, err := dumpTotal(out + "." + strconv.Itoa(i+1))
		if err != nil {
			return err
		}
		all.operations[s.pkg+"."+name] = float64(total) / float64(s.iterations)
	}
	if _, err := os.Stat(out + "." + strconv.Itoa(len(names)+1)); err == nil {
		return errors.New("callgrind saw more benchmarks than ran")
	}
	return nil
}

var benchmarkLine = regexp.MustCompile(`(?m)^Benchmark(\S+)\s+\d+\s`)

// benchmarkNames returns the benchmarks that a test binary says have run.
func benchmarkNames(output string) (names []string) {
	for _, m := range benchmarkLine.FindAllStringSubmatch(output, -1) {
		names = append(names, m[1])
	}
	return names
}

var totals = regexp.MustCompile(`(?m)^totals: (\d+)`)

// dumpTotal returns the instructions of a file that callgrind wrote.
func dumpTotal(path string) (uint64, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, fmt.Errorf("callgrind saw fewer benchmarks than ran: %w", err)
	}
	m := totals.FindSubmatch(text)
	if m == nil {
		return 0, fmt.Errorf("%s has no totals", path)
	}
	return strconv.ParseUint(string(m[1]), 10, 64)
}

// toolchain names all that makes the same code count differently: the compiler, and
// the processor that valgrind imitates.
func toolchain(ctx context.Context, tree string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", "env", "GOVERSION")
	cmd.Dir = tree
	version, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("go env: %w", err)
	}
	valgrind, err := exec.CommandContext(ctx, "valgrind", "--version").Output()
	if err != nil {
		return "", fmt.Errorf("valgrind is not here (apt-get install valgrind): %w", err)
	}
	parts := []string{strings.TrimSpace(string(version)), runtime.GOARCH, strings.TrimSpace(string(valgrind))}
	if info, err := os.ReadFile("/proc/cpuinfo"); err == nil && bytes.Contains(info, []byte(" avx2 ")) {
		parts = append(parts, "avx2")
	}
	return strings.Join(parts, " "), nil
}
