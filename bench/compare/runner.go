package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// The cores that the two sides of a run are kept to.
const (
	serverCore    = "0"
	generatorCore = "1"
)

// runner runs cells one after the other and keeps what came out.
type runner struct {
	plan      plan
	dir       string // for what runs leave behind
	generator string // throng's binary once more
	runs      []run

	peers map[serverKind][]string // their commands, from firstPeer on
}

// run is one run of throng bench.
type run struct {
	Cell   string          `json:"cell"`
	Side   string          `json:"side"`
	Round  int             `json:"round"`
	Result json.RawMessage `json:"result"` // as throng bench printed it
	Took   measured        `json:"-"`
}

// measured is what the figures are made of.
type measured struct {
	Sent       uint64
	Delivered  uint64
	Rate       float64               `json:"delivered_per_second"`
	LatencyMS  struct{ P99 float64 } `json:"latency_ms"`
	Violations struct{ Lost, Duplicates, Order uint64 }
	LimitedBy  string `json:"limited_by"`
	Server     struct {
		CPUPerDelivery float64 `json:"cpu_us_per_delivery"`
		Before         int64   `json:"pss_before_bytes"`
		Peak           int64   `json:"pss_peak_bytes"`
	}
	Connections struct {
		Idle  float64 `json:"idle_pss_bytes"`
		After float64 `json:"after_message_pss_bytes"`
	}
	Rest struct {
		Requests []struct {
			CPU     float64 `json:"cpu_us_per_request"`
			ToFloor float64 `json:"cpu_to_floor"`
		}
	}
	Storm struct {
		ToImplied    float64 `json:"back_to_implied"`
		NotRecovered uint64  `json:"not_recovered"`
		CPUPerClient float64 `json:"cpu_us_per_client"`
	}
	Gauges struct {
		Memory     int64 `json:"memory_peak_bytes"`
		MemoryMark int64 `json:"memory_mark_bytes"`
		Lagged     uint64
		Closed     uint64
	}
	Append struct {
		PerSecond     float64 `json:"messages_per_second"`
		CPUPerMessage float64 `json:"cpu_us_per_message"`
		File          struct {
			CPUPerMessage float64 `json:"cpu_us_per_message"`
		}
	}
}

// attempts is how often a run is tried: one in which the machine stood still
// for longer than the generator waits says nothing.
const attempts = 2

func (r *runner) runCell(ctx context.Context, c cell) error {
	for round := range c.rounds {
		for _, s := range c.sides {
			fmt.Fprintf(os.Stderr, "%s: %s, round %d of %d\n", c.name, s.name, round+1, c.rounds)
			result, err := r.runSide(ctx, s)
			for again := 1; err != nil && again < attempts && ctx.Err() == nil; again++ {
				fmt.Fprintf(os.Stderr, "once more: %v\n", err)
				result, err = r.runSide(ctx, s)
			}
			if err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			one := run{Cell: c.name, Side: s.name, Round: round, Result: result}
			if err := json.Unmarshal(result, &one.Took); err != nil {
				return fmt.Errorf("%s: the result: %w", s.name, err)
			}
			r.runs = append(r.runs, one)
		}
	}
	return nil
}

// runSide starts the side's server, loads it, and stops it.
func (r *runner) runSide(ctx context.Context, s side) (_ json.RawMessage, err error) {
	args := append([]string{"bench"}, s.args...)
	var command []string
	if s.server == noServer {
		command = append([]string{r.generator}, args...)
	} else {
		p, err := r.startServer(ctx, s.server)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, p.stop()) }()
		args = append(args, "--url", p.url, "--pid", fmt.Sprint(p.command.Process.Pid))
		command = append([]string{"taskset", "-c", generatorCore, r.generator}, args...)
	}
	var out, errs bytes.Buffer
	generator := exec.CommandContext(ctx, command[0], command[1:]...)
	generator.Stdout, generator.Stderr = &out, &errs
	err = generator.Run()
	if out.Len() == 0 { // a result with violations also fails, and counts
		return nil, fmt.Errorf("throng bench: %w\n%s", err, errs.String())
	}
	return bytes.TrimSpace(out.Bytes()), nil
}

// process is a server under measurement.
type process struct {
	command *exec.Cmd
	url     string
	data    string // its data directory, "" for none
	logged  bytes.Buffer
}

func (r *runner) startServer(ctx context.Context, kind serverKind) (_ *process, err error) {
	p := &process{}
	command := []string{r.plan.Floor, "one", "0"}
	switch kind {
	case throng, compressing:
		if p.data, err = os.MkdirTemp(r.dir, "data-"); err != nil {
			return nil, err
		}
		command = []string{r.plan.Throng, "serve", "--dev", "--listen", "127.0.0.1:0", "--data-dir", p.data}
		if kind == compressing {
			command = append(command, "--compress-enabled")
		}
	case floorBatch:
		command[1] = "batch"
	default:
		if peer, ok := r.peers[kind]; ok {
			command = peer
		}
	}
	p.command = exec.CommandContext(ctx, "taskset", append([]string{"-c", serverCore}, command...)...)
	p.command.Stderr = &p.logged
	out, err := p.command.StdoutPipe()
	if err == nil {
		err = p.command.Start()
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(p.data))
	}
	lines := bufio.NewReader(out)
	line, err := lines.ReadString('\n')
	_, address, ok := strings.Cut(strings.TrimSpace(line), " is ready: ")
	if err != nil || !ok {
		return nil, errors.Join(fmt.Errorf("the server is not ready: %q: %s", line, p.logged.String()), p.stop())
	}
	go func() { _, _ = io.Copy(io.Discard, lines) }() // ends with the process
	p.url = strings.TrimSuffix(address, "/")
	return p, nil
}

// stop ends the server. The connections are gone already, so it has nothing to
// wait for.
func (p *process) stop() error {
	_ = p.command.Process.Signal(syscall.SIGTERM)
	timer := time.AfterFunc(10*time.Second, func() { _ = p.command.Process.Kill() })
	defer timer.Stop()
	_ = p.command.Wait() // however it ended, its run is over
	if p.data == "" {
		return nil
	}
	return os.RemoveAll(p.data)
}
