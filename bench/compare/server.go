package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// contender is a kind of server. There is a type for each program that is
// measured, which knows how it is started, and nothing else.
type contender interface {
	// command is the command line. The program says "… is ready: URL" in a line
	// on standard output once it listens, on a free port of 127.0.0.1. The
	// directory is empty and its own; it is removed after the run.
	command(p *plan, dir string) ([]string, error)
}

// throngServer is throng serve --dev.
type throngServer struct {
	flags  []string
	config string // TOML, "" for none
	kept   string // a data directory that stays, "" for one of the run's own
	tls    bool
}

func (s throngServer) command(p *plan, dir string) ([]string, error) {
	data := filepath.Join(dir, "data")
	if s.kept != "" {
		data = s.kept
	}
	args := []string{p.Throng, "serve", "--dev", "--listen", "127.0.0.1:0", "--data-dir", data}
	if s.config != "" {
		path := filepath.Join(dir, "throng.toml")
		if err := os.WriteFile(path, []byte(s.config), 0o600); err != nil {
			return nil, err
		}
		args = append(args, "--config", path)
	}
	if s.tls {
		cert, key := certificatePath(dir), filepath.Join(dir, "key.pem")
		if err := writeCertificate(cert, key); err != nil {
			return nil, err
		}
		args = append(args, "--tls-cert", cert, "--tls-key", key)
	}
	return append(args, s.flags...), nil
}

// throng has all that a benchmark needs out of its way: a run that opens 15,000
// connections measures something else than how fast they are admitted.
var throng = throngServer{flags: []string{"--net-admission=1000000/s"}}

// floor is a C program that does the least, in one of its modes.
type floor string

const (
	floorOne   floor = "one"   // one send for each member and message
	floorBatch floor = "batch" // one send for each member and all that waits
)

func (f floor) command(p *plan, _ string) ([]string, error) {
	return []string{p.Floor, string(f), "0"}, nil
}

// process is a server under measurement.
type process struct {
	process *exec.Cmd
	url     string
	dir     string // of its own
	logged  bytes.Buffer
}

// start starts a server on some cores and returns once it listens.
func (r *runner) start(ctx context.Context, c contender, cores string) (_ *process, err error) {
	p := &process{}
	if p.dir, err = os.MkdirTemp(r.dir, "server-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(p.dir))
		}
	}()
	command, err := c.command(&r.plan, p.dir)
	if err != nil {
		return nil, err
	}
	p.process = exec.CommandContext(ctx, "taskset", append([]string{"-c", cores}, command...)...)
	p.process.Stderr = &p.logged
	out, err := p.process.StdoutPipe()
	if err == nil {
		err = p.process.Start()
	}
	if err != nil {
		return nil, err
	}
	lines := bufio.NewReader(out)
	line, err := lines.ReadString('\n')
	_, address, ok := strings.Cut(strings.TrimSpace(line), " is ready: ")
	if err != nil || !ok {
		stopped := p.stop() // what it logged is whole now
		return nil, errors.Join(fmt.Errorf("the server is not ready: %q: %s", line, p.logged.String()), stopped)
	}
	go func() { _, _ = io.Copy(io.Discard, lines) }() // ends with the process
	p.url = strings.TrimSuffix(address, "/")
	return p, nil
}

// stop ends the server. The connections are gone already, so it has nothing to
// wait for.
func (p *process) stop() error {
	_ = p.process.Process.Signal(syscall.SIGTERM)
	timer := time.AfterFunc(20*time.Second, func() { _ = p.process.Process.Kill() })
	defer timer.Stop()
	_ = p.process.Wait() // however it ended, its run is over
	return os.RemoveAll(p.dir)
}
