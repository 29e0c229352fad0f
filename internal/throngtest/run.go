package throngtest

import (
	"bytes"
	"context"
	"errors"
	"os/exec"
	"testing"
)

// Run runs the binary to its end, with further variables, and returns its exit
// code and what it wrote.
func Run(t testing.TB, env []string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	var out, err bytes.Buffer
	command := exec.CommandContext(ctx, Build(t), args...)
	command.Env = append(Environ(), env...)
	command.Stdout, command.Stderr = &out, &err
	var exit *exec.ExitError
	if failed := command.Run(); failed != nil && !errors.As(failed, &exit) {
		t.Fatalf("throngtest: run %q: %v", args, failed)
	}
	return command.ProcessState.ExitCode(), out.String(), err.String()
}
