package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
)

// The cores that the two sides of a run are kept to, and both.
const (
	serverCore    = "0"
	generatorCore = "1"
	bothCores     = "0,1"
)

// runner runs cells one after the other and keeps what came out.
type runner struct {
	plan      plan
	dir       string // for what runs leave behind
	generator string // throng's binary once more
	runs      []run
}

// run is one run of throng bench.
type run struct {
	Cell   string          `json:"cell"`
	Side   string          `json:"side"`
	Round  int             `json:"round"`
	X      float64         `json:"x,omitempty"` // curves: the size
	Result json.RawMessage `json:"result"`      // as throng bench printed it
	Took   measured        `json:"-"`
}

// measured is what the figures are made of.
type measured struct {
	Options    struct{ Connections int }
	Seconds    float64
	Sent       uint64
	Delivered  uint64
	Rate       float64                    `json:"delivered_per_second"`
	LatencyMS  struct{ P50, P99 float64 } `json:"latency_ms"`
	Violations struct{ Lost, Duplicates, Order uint64 }
	LimitedBy  string `json:"limited_by"`
	Server     struct {
		CPUPerDelivery float64 `json:"cpu_us_per_delivery"`
		Before         int64   `json:"pss_before_bytes"`
		Peak           int64   `json:"pss_peak_bytes"`
	}
	Connections struct {
		Idle     float64 `json:"idle_pss_bytes"`
		After    float64 `json:"after_message_pss_bytes"`
		IdleRSS  float64 `json:"idle_rss_bytes"`
		AfterRSS float64 `json:"after_message_rss_bytes"`
		CPU      float64 `json:"cpu_us_per_open"`
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
			one := run{Cell: c.name, Side: s.name, Round: round, X: s.x, Result: result}
			if err := json.Unmarshal(result, &one.Took); err != nil {
				return fmt.Errorf("%s: the result: %w", s.name, err)
			}
			r.runs = append(r.runs, one)
		}
	}
	return nil
}

// seen returns a cell's runs.
func (r *runner) seen(c cell) seen {
	return slices.DeleteFunc(slices.Clone(r.runs), func(one run) bool { return one.Cell != c.name })
}

// runSide starts the side's server, loads it, and stops it.
func (r *runner) runSide(ctx context.Context, s side) (_ json.RawMessage, err error) {
	args := append([]string{"bench"}, s.args...)
	var command []string
	if s.server == nil {
		command = append([]string{r.generator}, args...)
	} else {
		var p *process
		if p, err = r.start(ctx, s.server, cmp.Or(s.serverCores, serverCore)); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, p.stop()) }()
		args = append(args, "--url", p.url, "--pid", fmt.Sprint(p.process.Process.Pid))
		if s.more != nil {
			more, err := s.more(r, p)
			if err != nil {
				return nil, err
			}
			args = append(args, more...)
		}
		command = append([]string{"taskset", "-c", cmp.Or(s.generatorCores, generatorCore), r.generator}, args...)
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
