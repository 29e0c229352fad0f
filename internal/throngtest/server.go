package throngtest

import (
	"context"
	"errors"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// readyPrefix begins the line that the server writes to standard output once
// it serves; its address follows.
const readyPrefix = "throng is ready: "

// The deadlines of the helper. They only end tests that hang; under the race
// detector on a busy machine everything takes its time.
const (
	startTimeout = 60 * time.Second
	stopTimeout  = 60 * time.Second
)

// Options says how a server is started. The zero value starts it with --dev on
// a free port of 127.0.0.1 and a new data directory.
type Options struct {
	DataDir string   // "" for a new one, which the test's end removes
	Args    []string // further flags
	Env     []string // further variables; those of the test that are throng's are not passed on
	NoDev   bool     // without --dev: clients need tokens

	// Command, where set, runs instead of the binary with the binary's path
	// and its arguments after it, such as prlimit and its flags.
	Command []string
}

// Server is one running server, or one that was and can be started again. Its
// methods are for the test's own goroutine.
type Server struct {
	DataDir string
	Binary  string

	t      testing.TB
	opts   Options
	listen string // with the port, once it is known
	url    *url.URL

	process *process   // nil while it is not running
	lives   []*process // all of them, for the log of a failed test
}

// process is one life of a server.
type process struct {
	cmd    *exec.Cmd
	stdout *output
	stderr *output
	exited chan struct{} // closed when the process is gone and err is set
	err    error
}

// Start starts a server and returns once it is ready. When the test ends it is
// killed; where the test failed, its standard error is logged.
func Start(t testing.TB, opts Options) *Server {
	t.Helper()
	s := &Server{DataDir: opts.DataDir, Binary: Build(t), t: t, opts: opts, listen: "127.0.0.1:0"}
	if s.DataDir == "" {
		s.DataDir = t.TempDir()
	}
	t.Cleanup(func() {
		if s.process != nil {
			s.Kill()
		}
		s.logFailure()
	})
	s.start()
	return s
}

func (s *Server) start() {
	s.t.Helper()
	args := append(append([]string{}, s.opts.Command...), s.Binary, "serve", "--listen", s.listen, "--data-dir", s.DataDir)
	if !s.opts.NoDev {
		args = append(args, "--dev")
	}
	args = append(args, s.opts.Args...)

	p := &process{cmd: exec.Command(args[0], args[1:]...), stdout: newOutput(), stderr: newOutput(), exited: make(chan struct{})}
	p.cmd.Env = append(Environ(), s.opts.Env...)
	p.cmd.Stdout, p.cmd.Stderr = p.stdout, p.stderr
	p.cmd.WaitDelay = time.Second // for a child of Command that kept the pipes
	if err := p.cmd.Start(); err != nil {
		s.t.Fatalf("throngtest: start: %v", err)
	}
	s.process = p
	s.lives = append(s.lives, p)
	go func() {
		p.err = p.cmd.Wait()
		close(p.exited)
	}()
	s.awaitReady()
}

func (s *Server) logFailure() {
	if !s.t.Failed() {
		return
	}
	for _, p := range s.lives {
		s.t.Logf("throngtest: standard error of pid %d:\n%s", p.cmd.Process.Pid, p.stderr)
	}
}

// awaitReady waits for the line that names the address.
func (s *Server) awaitReady() {
	s.t.Helper()
	p := s.process
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	line, err := p.stdout.await(ctx, p.exited, readyPrefix)
	if err != nil {
		s.t.Fatalf("throngtest: the server is not ready: %v\nstandard output:\n%s\nstandard error:\n%s", err, p.stdout, p.stderr)
	}
	address, _, _ := strings.Cut(line, " ")
	s.url, err = url.Parse(address)
	if err != nil || s.url.Host == "" {
		s.t.Fatalf("throngtest: the ready line names no address: %q", line)
	}
	s.listen = s.url.Host
}

// URL returns the address of a path, which may have a query, over HTTP, or over
// HTTPS where the server speaks TLS.
func (s *Server) URL(path string) string { return s.url.Scheme + "://" + s.url.Host + path }

// WSURL returns the address of a path, which may have a query, for WebSockets:
// wss where the server speaks TLS.
func (s *Server) WSURL(path string) string {
	return strings.Replace(s.url.Scheme, "http", "ws", 1) + "://" + s.url.Host + path
}

// Addr returns the host and port that the server listens on.
func (s *Server) Addr() string { return s.url.Host }

// PID returns the process id of the running server.
func (s *Server) PID() int { return s.process.cmd.Process.Pid }

// Stdout returns what the running server has written to standard output.
func (s *Server) Stdout() string { return s.process.stdout.String() }

// Stderr returns what the running server has written to standard error.
func (s *Server) Stderr() string { return s.process.stderr.String() }

// Output returns what all lives of the server wrote to standard error.
func (s *Server) Output() string {
	var all strings.Builder
	for _, p := range s.lives {
		all.WriteString(p.stderr.String())
	}
	return all.String()
}

// AwaitStderr waits until the running server writes a line with the text to
// standard error, or has done so already.
func (s *Server) AwaitStderr(text string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	if _, err := s.process.stderr.await(ctx, s.process.exited, text); err != nil {
		s.t.Fatalf("throngtest: no %q on standard error: %v", text, err)
	}
}

// Signal sends the running server a signal.
func (s *Server) Signal(sig syscall.Signal) {
	s.t.Helper()
	if err := s.process.cmd.Process.Signal(sig); err != nil {
		s.t.Fatalf("throngtest: signal: %v", err)
	}
}

// Kill ends the server with SIGKILL and waits until it is gone.
func (s *Server) Kill() {
	s.t.Helper()
	s.process.cmd.Process.Kill() // fails only where it is gone already
	s.wait()
}

// Stop asks the server to end with SIGTERM and fails the test unless it does,
// with exit code 0.
func (s *Server) Stop() {
	s.t.Helper()
	s.Signal(syscall.SIGTERM)
	if code := s.Wait(); code != 0 {
		s.t.Fatalf("throngtest: exit code %d after SIGTERM, want 0", code)
	}
}

// Wait waits for the server to end by itself and returns its exit code, -1
// where a signal ended it.
func (s *Server) Wait() int {
	s.t.Helper()
	p := s.wait()
	var exit *exec.ExitError
	if p.err != nil && !errors.As(p.err, &exit) {
		s.t.Fatalf("throngtest: wait: %v", p.err)
	}
	return p.cmd.ProcessState.ExitCode()
}

func (s *Server) wait() *process {
	s.t.Helper()
	p := s.process
	select {
	case <-p.exited:
	case <-time.After(stopTimeout):
		p.cmd.Process.Kill()
		<-p.exited
		s.t.Errorf("throngtest: the server did not end within %s", stopTimeout)
	}
	s.process = nil
	return p
}

// Restart starts the server again after Kill, Stop or Wait, on the same port
// and data directory.
func (s *Server) Restart() {
	s.t.Helper()
	if s.process != nil {
		s.t.Fatal("throngtest: Restart of a server that is running")
	}
	s.start()
}

// Environ returns the test's environment without throng's own variables: a test
// says all that the server is to know.
func Environ() []string {
	return slices.DeleteFunc(os.Environ(), func(entry string) bool { return strings.HasPrefix(entry, "THRONG_") })
}
