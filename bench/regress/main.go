// Command regress compares what the hot path takes with what it took at the last
// release, in instructions: callgrind counts those of the benchmarks that
// internal/callgrind runs, which neither the machine's speed nor its other work
// changes. It fails where an operation takes more than a bound allows.
//
// Usage: go run ./bench/regress [--out FOLDER] [--record]
//
// The release's counts stand in baseline.txt. They hold for the toolchain that made
// them; with another one the release is counted again, from its commit, and where
// that is not in the clone nothing is compared, which is said. --record writes the
// counts of the commit that is checked out, for a release.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
)

const (
	// baselinePath is where the last release's counts stand.
	baselinePath = "bench/regress/baseline.txt"

	// benchstat prints the comparison.
	benchstat = "golang.org/x/perf/cmd/benchstat@v0.0.0-20260908200009-22c9c6c9d4da"

	// mostGrowth is how much more an operation may take than at the release. The
	// same code counts within 2% (docs/design/0062-instruction-counts.md).
	mostGrowth = 0.10

	// recounts is how often operations are counted again before they are said to
	// have grown. What else a process does only adds: the lowest count stands.
	recounts = 3
)

// errSkipped says why nothing can be compared here. It is no failure.
var errSkipped = errors.New("skipped")

func main() {
	out := flag.String("out", "bin/regress", "`folder` for what is built and counted")
	record := flag.Bool("record", false, "write the counts of HEAD to "+baselinePath)
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	err := run(ctx, *out, *record)
	if errors.Is(err, errSkipped) {
		fmt.Println("regress:", err)
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "regress:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out string, record bool) error {
	out, err := filepath.Abs(out)
	if err != nil {
		return err
	}
	c := &counter{tree: ".", out: filepath.Join(out, "head")}
	if record {
		return recordBaseline(ctx, c)
	}
	base, head, err := countBoth(ctx, out, c)
	if err != nil {
		return err
	}
	if err := again(ctx, base, head, c); err != nil {
		return err
	}
	basePath, headPath := filepath.Join(out, "base.txt"), filepath.Join(out, "head.txt")
	if err := errors.Join(base.write(basePath), head.write(headPath)); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "go", "run", benchstat, "-ignore", headKeys, "base="+basePath, "head="+headPath)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("benchstat: %w", err)
	}
	return base.judge(head)
}

// recordBaseline counts the commit that is checked out.
func recordBaseline(ctx context.Context, c *counter) error {
	changes, err := git(ctx, "status", "--porcelain", "--untracked-files=no", "--", ":!"+baselinePath)
	if err != nil {
		return err
	}
	if changes != "" {
		return fmt.Errorf("the tree is not that of a commit:\n%s", changes)
	}
	counted, err := c.count(ctx)
	if err != nil {
		return err
	}
	for range recounts {
		once, err := c.count(ctx)
		if err != nil {
			return err
		}
		counted.lower(once)
	}
	if counted.commit, err = git(ctx, "rev-parse", "HEAD"); err != nil {
		return err
	}
	return counted.write(baselinePath)
}

// countBoth counts the tree, and the release where its counts do not hold here.
func countBoth(ctx context.Context, out string, c *counter) (base, head *counts, err error) {
	if base, err = readCounts(baselinePath); err != nil {
		return nil, nil, err
	}
	here, err := toolchain(ctx, c.tree)
	if err != nil {
		return nil, nil, err
	}
	elsewhere := base.toolchain != here
	if elsewhere {
		fmt.Printf("%s is of %s, this is %s: counting its commit %.12s\n", baselinePath, base.toolchain, here, base.commit)
		if _, err := git(ctx, "cat-file", "-e", base.commit+"^{commit}"); err != nil {
			return nil, nil, fmt.Errorf("%w: commit %.12s is not in this clone", errSkipped, base.commit)
		}
	}
	if head, err = c.count(ctx); err != nil || !elsewhere {
		return base, head, err
	}
	tree := filepath.Join(out, "tree")
	if err := extract(ctx, base.commit, tree); err != nil {
		return nil, nil, err
	}
	defer func() { _ = os.RemoveAll(tree) }()
	release := &counter{tree: tree, out: filepath.Join(out, "base")}
	rebuilt, err := release.count(ctx)
	if err != nil {
		return nil, nil, err
	}
	rebuilt.commit = base.commit
	return rebuilt, head, nil
}

// again counts anew what seems to have grown.
func again(ctx context.Context, base, head *counts, c *counter) error {
	for range recounts {
		grown := base.grown(head)
		if len(grown) == 0 {
			return nil
		}
		fmt.Println("counting again:", strings.Join(grown, ", "))
		once, err := c.count(ctx, grown...)
		if err != nil {
			return err
		}
		head.lower(once)
	}
	return nil
}

// extract writes a commit's files to a folder, which it empties.
func extract(ctx context.Context, commit, folder string) error {
	if err := errors.Join(os.RemoveAll(folder), os.MkdirAll(folder, 0o755)); err != nil {
		return err
	}
	archive := folder + ".tar"
	defer func() { _ = os.Remove(archive) }()
	if _, err := git(ctx, "archive", "--format=tar", "--output="+archive, commit); err != nil {
		return err
	}
	if out, err := exec.CommandContext(ctx, "tar", "-x", "-f", archive, "-C", folder).CombinedOutput(); err != nil {
		return fmt.Errorf("tar: %w: %s", err, out)
	}
	return nil
}

// git returns what a git command prints.
func git(ctx context.Context, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, "git", args...).Output()
	if err != nil {
		return "", fmt.Errorf("git %s: %w", args[0], err)
	}
	return strings.TrimSpace(string(out)), nil
}
